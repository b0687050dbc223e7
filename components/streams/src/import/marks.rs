//! How many rows of each source were imported into each stream: absolute numbers that only go up, so that a request that is
//! sent again changes nothing, and that stay when retention, deletion or scavenging take the events.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::arguments::{check_stream_id, check_text, invalid};
use exesdb_sdk::keyspaces::{Keyspaces, damaged};
use exesdb_sdk::streams::{ImportMark, ImportState, ImportedEvent};
use exesdb_sdk::types::{Error, ExpectedVersion, Version};

use super::decide::Fate;
use super::present::Heads;
use crate::check::{check_at_most, within};
use crate::decide::conflict;
use crate::layout::{IMPORTS, ImportedRows, import_key};
use crate::read::info_of;

/// Longest name of a source, in bytes: only a digest of it is kept, but each mark of a request has it.
pub const SOURCE_BYTES_MAX: usize = 256;

/// Most marks of one import: one for each of its events.
pub const MARKS_MAX: usize = 1_000;

/// Most streams that one call asks about: as many as an import has events.
pub const STATES_MAX: usize = 1_000;

/// For each of the streams, in order, how many rows of the source were imported into it, and what is known of it. `now` is
/// the time of day in microseconds, which tells what retention hides.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] for the arguments, those of the storage, and [`Error::Other`] for damaged
/// data.
pub fn import_states(
    store: &impl Keyspaces,
    now: u64,
    source: &str,
    stream_ids: &[String],
) -> Result<Vec<ImportState>, Error> {
    check_text("source", source, SOURCE_BYTES_MAX)?;
    check_at_most("stream-ids", stream_ids.len(), STATES_MAX)?;
    for (index, stream_id) in stream_ids.iter().enumerate() {
        check_stream_id("", stream_id).map_err(|error| within(error, || format!("stream-ids[{index}]")))?;
    }
    let keys = stream_ids.iter().map(|stream_id| import_key(stream_id, source)).collect();
    let imported = read(store, keys)?;
    let infos = info_of(store, now, stream_ids)?;
    let states = imported.into_iter().zip(infos).map(|(imported, info)| {
        let ImportedRows { rows, leading_rows } = imported.unwrap_or_default();
        ImportState { rows, leading_rows, info }
    });
    Ok(states.collect())
}

/// Checks what needs no look into the store.
pub(super) fn check(marks: &[ImportMark]) -> Result<(), Error> {
    check_at_most("marks", marks.len(), MARKS_MAX)?;
    let mut met = HashSet::with_capacity(marks.len());
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
        if !met.insert((stream_id, source)) {
            let message = format!(
                "is {source:?}, as in a mark of stream {stream_id:?} before; a stream and a source have one"
            );
            return Err(within(invalid("source", message), argument));
        }
    }
    Ok(())
}

/// The numbers that are stored.
pub(super) fn read(store: &impl Keyspaces, keys: Vec<Vec<u8>>) -> Result<Vec<Option<ImportedRows>>, Error> {
    let values = store.get_all(IMPORTS, &keys)?.into_iter().zip(&keys);
    let rows = values.map(|(value, key)| match value {
        None => Ok(None),
        Some(value) => ImportedRows::decode(&value)
            .map(Some)
            .ok_or_else(|| damaged(IMPORTS, key, "the value is no number of rows")),
    });
    rows.collect()
}

/// A mark that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rise<'a> {
    pub(super) stream_id: &'a str,
    pub(super) source: &'a str,
    /// What is stored.
    pub(super) before: Option<ImportedRows>,
    pub(super) after: ImportedRows,
}

/// What a stream gets by an import.
#[derive(Clone, Copy, Debug, Default)]
struct Gets {
    /// Events that are added or there, and not taken for rows yet.
    backing: u64,
    /// The first event that is hidden.
    hidden: Option<Version>,
    /// The last version that is added.
    last: Option<Version>,
}

/// Decides which marks go up. Each row by which one does is an event of this import that is added or there.
pub(super) fn rises<'a>(
    marks: &'a [ImportMark],
    stored: &[Option<ImportedRows>],
    heads: &Heads<'_>,
    events: &[ImportedEvent],
    fates: &[Fate],
) -> Result<Vec<Rise<'a>>, Error> {
    let mut streams: HashMap<&str, Gets> = HashMap::new();
    for (event, fate) in events.iter().zip(fates) {
        let gets = streams.entry(&event.stream_id).or_default();
        match fate {
            Fate::Hidden => gets.hidden = gets.hidden.or(Some(event.version)),
            Fate::Repeat => gets.backing += 1,
            Fate::Add => {
                gets.backing += 1;
                gets.last = Some(event.version);
            }
        }
    }
    let mut rises = Vec::new();
    for (index, (mark, before)) in marks.iter().zip(stored).enumerate() {
        let ImportMark { stream_id, source, rows, leading_rows } = mark;
        let there = before.unwrap_or_default();
        let by = rows.saturating_sub(there.rows);
        let after =
            ImportedRows { rows: there.rows.max(*rows), leading_rows: there.leading_rows.max(*leading_rows) };
        if after == there {
            continue;
        }
        let head = heads.get(stream_id.as_str()).and_then(Option::as_ref);
        let gets = streams.entry(stream_id).or_default();
        let Some(backing) = gets.backing.checked_sub(by) else {
            if let Some(version) = gets.hidden {
                // The row's place was taken by an event that is hidden by now.
                let expected =
                    version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                return Err(conflict(stream_id, expected, head));
            }
            let message = format!(
                "is {rows}, {by} more than before, but {} events of the stream in this import are added or there",
                gets.backing
            );
            return Err(within(invalid("rows", message), || format!("marks[{index}]")));
        };
        gets.backing = backing;
        let last = gets.last.or(head.map(|head| head.last_version));
        let versions = last.map_or(0, |last| last.saturating_add(1));
        if *rows > versions {
            let message = format!("is {rows}, but the stream has had {versions} events at most");
            return Err(within(invalid("rows", message), || format!("marks[{index}]")));
        }
        rises.push(Rise { stream_id, source, before: *before, after });
    }
    Ok(rises)
}
