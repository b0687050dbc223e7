//! Marks: how many rows of each source each stream has imported. They are absolute numbers that only rise, so a repeated
//! request changes nothing; and they remain when retention, deletion or scavenging remove the events.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::arguments::{check_stream_id, check_text};
use exesdb_sdk::types::{Error, ExpectedVersion, ImportMark, ImportState, Version, damaged, invalid};
use exesdb_sdk::view::View;

use super::decide::EventDecision;
use super::present::Heads;
use crate::check::{check_at_most, within};
use crate::decide::conflict;
use crate::events::NewEvent;
use crate::layout::{IMPORTS, ImportedRows, import_key};
use crate::read::info_of;

/// Maximum length of the name of a source in bytes. Only its digest is stored, but each mark of a request has the name.
pub const SOURCE_BYTES_MAX: usize = 256;

/// Maximum number of marks of one import: one for each of its events.
pub const MARKS_MAX: usize = 1_000;

/// Maximum number of streams of one call: as many as an import has events.
pub const STATES_MAX: usize = 1_000;

/// For each stream, in order, how many rows of the source it has imported, and its description.
///
/// # Errors
///
/// [`Error::Invalid`] and the problem `too-large` for the arguments, those of the storage, and `damaged` for damaged data.
pub fn import_states(
    view: &impl View,
    source: &str,
    stream_ids: &[String],
) -> Result<Vec<ImportState>, Error> {
    check_text("source", source, SOURCE_BYTES_MAX)?;
    check_at_most("stream-ids", stream_ids.len(), STATES_MAX)?;
    for (index, stream_id) in stream_ids.iter().enumerate() {
        check_stream_id("", stream_id).map_err(|error| within(error, || format!("stream-ids[{index}]")))?;
    }
    let keys = stream_ids.iter().map(|stream_id| import_key(stream_id, source)).collect();
    let imported = read(view, keys)?;
    let infos = info_of(view, stream_ids)?;
    let states = imported.into_iter().zip(infos).map(|(imported, info)| {
        let ImportedRows { rows, leading_rows } = imported.unwrap_or_default();
        ImportState { rows, leading_rows, info }
    });
    Ok(states.collect())
}

/// Checks everything that needs no read.
pub(super) fn check(marks: &[ImportMark]) -> Result<(), Error> {
    check_at_most("marks", marks.len(), MARKS_MAX)?;
    let mut seen = HashSet::with_capacity(marks.len());
    for (index, ImportMark { stream_id, source, rows, leading_rows }) in marks.iter().enumerate() {
        let argument = || format!("marks[{index}]");
        check_stream_id("stream-id", stream_id).map_err(|error| within(error, argument))?;
        check_text("source", source, SOURCE_BYTES_MAX).map_err(|error| within(error, argument))?;
        if *rows == 0 {
            return Err(within(invalid("rows", "is 0; a mark has 1 at least"), argument));
        }
        if leading_rows > rows {
            let message = format!("is {leading_rows}, more than the {rows} rows that they are among");
            return Err(within(invalid("leading-rows", message), argument));
        }
        if !seen.insert((stream_id, source)) {
            let message = format!(
                "is {source:?}, as in a mark of stream {stream_id:?} before; a stream and a source have one"
            );
            return Err(within(invalid("source", message), argument));
        }
    }
    Ok(())
}

/// Reads the stored marks.
pub(super) fn read(view: &impl View, keys: Vec<Vec<u8>>) -> Result<Vec<Option<ImportedRows>>, Error> {
    let values = view.get_all(IMPORTS, &keys)?.into_iter().zip(&keys);
    let rows = values.map(|(value, key)| match value {
        None => Ok(None),
        Some(value) => ImportedRows::decode(&value)
            .map(Some)
            .ok_or_else(|| damaged(IMPORTS, key, "the value is no number of rows")),
    });
    rows.collect()
}

/// A mark that rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rise<'a> {
    pub(super) stream_id: &'a str,
    pub(super) source: &'a str,
    /// The stored mark.
    pub(super) before: Option<ImportedRows>,
    pub(super) after: ImportedRows,
}

/// The events of an import for one stream.
#[derive(Clone, Copy, Debug, Default)]
struct StreamEvents {
    /// The number of added or present events that no mark has counted yet.
    uncounted: u64,
    /// The version of the first hidden event.
    hidden: Option<Version>,
    /// The last added version.
    last: Option<Version>,
}

/// Decides which marks rise. For each row by which a mark rises, the import must have an event that is added or present.
pub(super) fn rises<'a>(
    marks: &'a [ImportMark],
    stored: &[Option<ImportedRows>],
    heads: &Heads<'_>,
    events: &[NewEvent<'_>],
    decisions: &[EventDecision],
) -> Result<Vec<Rise<'a>>, Error> {
    let mut streams: HashMap<&str, StreamEvents> = HashMap::new();
    for (event, decision) in events.iter().zip(decisions) {
        let in_stream = streams.entry(event.envelope.stream_id).or_default();
        match decision {
            EventDecision::Hidden => in_stream.hidden = in_stream.hidden.or(Some(event.envelope.version)),
            EventDecision::Repeat => in_stream.uncounted += 1,
            EventDecision::Add => {
                in_stream.uncounted += 1;
                in_stream.last = Some(event.envelope.version);
            }
        }
    }
    let mut rises = Vec::new();
    for (index, (mark, before)) in marks.iter().zip(stored).enumerate() {
        let ImportMark { stream_id, source, rows, leading_rows } = mark;
        let stored = before.unwrap_or_default();
        let by = rows.saturating_sub(stored.rows);
        let after = ImportedRows {
            rows: stored.rows.max(*rows),
            leading_rows: stored.leading_rows.max(*leading_rows),
        };
        if after == stored {
            continue;
        }
        let head = heads.get(stream_id.as_str()).and_then(Option::as_ref);
        let in_stream = streams.entry(stream_id).or_default();
        let Some(uncounted) = in_stream.uncounted.checked_sub(by) else {
            if let Some(version) = in_stream.hidden {
                // Another event took the row's version, and is hidden by now.
                let expected =
                    version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                return Err(conflict(stream_id, expected, head));
            }
            let message = format!(
                "is {rows}, {by} more than before, but {} events of the stream in this import are added or there",
                in_stream.uncounted
            );
            return Err(within(invalid("rows", message), || format!("marks[{index}]")));
        };
        in_stream.uncounted = uncounted;
        let last = in_stream.last.or(head.map(|head| head.last_version));
        let versions = last.map_or(0, |last| last.saturating_add(1));
        if *rows > versions {
            let message = format!("is {rows}, but the stream has had {versions} events at most");
            return Err(within(invalid("rows", message), || format!("marks[{index}]")));
        }
        rises.push(Rise { stream_id, source, before: *before, after });
    }
    Ok(rises)
}
