//! Imports of events with their versions, times and positions, and marks of imported rows.

use std::collections::BTreeMap;

use exesdb_sdk::types::{Error, ExpectedVersion, ImportMark, ImportState, InvalidArgument, Version};

use crate::Reference;
use crate::requests::{ImportResult, ImportedEvent};

/// The rows of one source that a stream has imported.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportedRows {
    rows: u64,
    leading_rows: u64,
}

/// The events of an import for one stream.
#[derive(Default)]
struct StreamEvents {
    /// The number of added or present events that no mark has counted yet.
    uncounted: u64,
    /// The version of the first hidden event.
    hidden: Option<Version>,
}

impl Reference {
    /// Imports all events and marks, or none. Positions must not be before the end.
    ///
    /// # Errors
    ///
    /// [`Error::StreamDeleted`], [`Error::IdConflict`], [`Error::WrongExpectedVersion`], and [`Error::Invalid`] (without a
    /// message) for a mark with more rows than there can be.
    pub fn import_events(
        &mut self,
        events: &[ImportedEvent],
        marks: &[ImportMark],
    ) -> Result<ImportResult, Error> {
        let mut after = self.clone();
        let (mut added, mut repeated, mut hidden) = (0, 0, 0);
        let mut streams: BTreeMap<&str, StreamEvents> = BTreeMap::new();
        for imported in events {
            let ImportedEvent { stream_id, version, .. } = imported;
            let stream = streams.entry(stream_id).or_default();
            let has_version = self.last_version(stream_id).is_some_and(|last| *version <= last);
            let visible = self.event_at(stream_id, *version).filter(|event| self.is_visible(event));
            match visible {
                None if has_version => {
                    hidden += 1;
                    stream.hidden = stream.hidden.or(Some(*version));
                    continue;
                }
                Some(present) if present.id == imported.event.id => repeated += 1,
                _ => {
                    self.add_imported(&mut after, imported)?;
                    added += 1;
                }
            }
            stream.uncounted += 1;
        }
        for (index, mark) in marks.iter().enumerate() {
            let stream = streams.entry(&mark.stream_id).or_default();
            self.raise(&mut after, stream, mark, index)?;
        }
        *self = after;
        Ok(ImportResult { added, repeated, hidden })
    }

    /// The state from which an import of a source into a stream continues.
    #[must_use]
    pub fn import_state(&self, source: &str, stream_id: &str) -> ImportState {
        let ImportedRows { rows, leading_rows } = self.imported_rows(stream_id, source);
        ImportState { rows, leading_rows, info: self.stream_info(stream_id).ok() }
    }

    /// Adds an event to `after`, the store with the events before it.
    fn add_imported(&self, after: &mut Self, imported: &ImportedEvent) -> Result<(), Error> {
        let ImportedEvent { stream_id, version, position, created, event } = imported;
        if self.is_tombstoned(stream_id) {
            return Err(Error::StreamDeleted(stream_id.clone()));
        }
        let added = &after.events[self.events.len()..];
        let is_added = added.iter().any(|other| other.stream_id == *stream_id && other.id == event.id);
        if is_added || self.event_with_id(stream_id, &event.id).is_some() {
            return Err(after.id_conflict(stream_id, &event.id));
        }
        // A new stream may begin with any version.
        if after.last_version(stream_id).is_some_and(|last| *version != last + 1) {
            return Err(after.conflict(stream_id, before(*version)));
        }
        after.add(stream_id, *version, position.unwrap_or(after.end), *created, event);
        Ok(())
    }

    /// Raises a mark in `after`, the store with all events of the import. Each row by which it rises needs one of them.
    fn raise(
        &self,
        after: &mut Self,
        stream: &mut StreamEvents,
        mark: &ImportMark,
        index: usize,
    ) -> Result<(), Error> {
        let ImportMark { stream_id, source, rows, leading_rows } = mark;
        let stored = self.imported_rows(stream_id, source);
        let rise = rows.saturating_sub(stored.rows);
        let lacks_events = rise > stream.uncounted;
        if lacks_events && let Some(version) = stream.hidden {
            return Err(self.conflict(stream_id, before(version)));
        }
        if lacks_events || *rows > after.next_version(stream_id) {
            let argument = format!("marks[{index}].rows");
            return Err(Error::Invalid(InvalidArgument { argument, message: String::new() }));
        }
        stream.uncounted -= rise;
        let raised = ImportedRows {
            rows: stored.rows.max(*rows),
            leading_rows: stored.leading_rows.max(*leading_rows),
        };
        after.imported.insert((stream_id.clone(), source.clone()), raised);
        Ok(())
    }

    fn imported_rows(&self, stream_id: &str, source: &str) -> ImportedRows {
        self.imported.get(&(stream_id.to_owned(), source.to_owned())).copied().unwrap_or_default()
    }
}

/// The version at which a stream must be, so that its next event has this version.
fn before(version: Version) -> ExpectedVersion {
    version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact)
}
