//! Rules, without side effects: which version of its stream a row gets, and which rows are in the store already.
//!
//! The store knows how many rows of the source each stream has received, and how many of these are the first rows of the
//! file. Rows are decided one after the other, in the order of sending. Visible rows are recognized by their ids or versions.
//! Of the other rows, as many are hidden as the stream has received rows that are not visible now: rows from the beginning of
//! the file and, after an interrupted import, rows that are sent before the first visible one. All others are new. If a
//! decision is wrong, the store has another event at that version and refuses the row; then all visible events are read.

use std::collections::HashMap;
use std::rc::Rc;

use super::sort::RowKey;
use crate::client::{RowCount, StreamInfo};

/// The decision on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The row becomes the event of this version, the next one of the stream.
    New(u64),
    /// The row should be the existing event of this version. The store checks it.
    Existing(u64),
    /// The row is in the stream, hidden.
    Hidden,
}

/// The events of a stream that have to be read before its rows can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Required {
    /// No events.
    Nothing,
    /// The visible events up to the first one that is a row of the file.
    First,
    /// All visible events.
    All,
}

/// A visible event that is a row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VisibleRow {
    pub(super) key: RowKey,
    pub(super) id: String,
    pub(super) version: u64,
}

/// The visible events of a stream that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Visible {
    /// The rows of the file among them, in the order of versions.
    rows: Vec<VisibleRow>,
    /// Whether the last event is no row of the file, and comes after one.
    has_others_after: bool,
    /// Whether rows are not in the order of sending, or have other events between them.
    is_mixed: bool,
}

impl Visible {
    /// Adds the next visible event: a row of the file, or (none) another event.
    pub(super) fn push(&mut self, row: Option<VisibleRow>) {
        match row {
            None => self.has_others_after = !self.rows.is_empty(),
            Some(row) => {
                let is_next = self.rows.last().is_none_or(|last| last.key < row.key);
                self.is_mixed |= !is_next || self.has_others_after;
                self.rows.push(row);
            }
        }
    }

    /// Whether there are rows of the file.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }
}

/// The state of a stream after the rows so far.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// The version of the next new event.
    next: u64,
    /// Number of rows of the source that it has received.
    rows: u64,
    /// The number that the store knows.
    marked: RowCount,
    /// The rows that it has received after the leading rows of the file.
    later: LaterRows,
    /// Number of visible rows that the store has not counted, because they were copied from another store.
    uncounted: u64,
    /// How many of the next rows without a visible event are hidden.
    hidden: u64,
    /// Whether hidden rows are added again.
    add_hidden: bool,
    visible: VisibleRows,
}

/// Rows of a stream in any order, after the `leading` first ones of the file.
#[derive(Clone, Copy, Debug)]
struct LaterRows {
    leading: u64,
    count: u64,
    /// The ordinal after the highest one of them.
    end: u64,
}

impl LaterRows {
    fn new(leading: u64) -> LaterRows {
        LaterRows { leading, count: 0, end: leading }
    }

    fn push(&mut self, ordinal: u64) {
        if ordinal >= self.leading {
            self.count += 1;
            self.end = self.end.max(ordinal.saturating_add(1));
        }
    }

    /// Number of leading rows of the file, which grows once the later rows are complete.
    fn leading(&self) -> u64 {
        if self.end - self.leading == self.count { self.end } else { self.leading }
    }
}

/// The versions of the visible rows.
#[derive(Clone, Debug)]
enum VisibleRows {
    /// There are none.
    None,
    /// The rows from this one on (none: from the first one) have successive versions, from `version` to `last`. `is_counted`
    /// says that all of them are leading rows of the file.
    Run { first: Option<RowKey>, version: u64, last: u64, is_counted: bool },
    /// The rows with these ids have these versions. `first` is the one with the lowest version.
    ById { versions: Rc<HashMap<String, u64>>, first: Option<RowKey> },
}

impl Stream {
    /// The state of a stream before the import, and the events that have to be read before its rows are decided. `counts_all`
    /// says that the store has counted all the rows that it has.
    pub(super) fn begin(
        marked: RowCount,
        info: Option<&StreamInfo>,
        counts_all: bool,
        add_hidden: bool,
    ) -> (Stream, Required) {
        let rows = marked.rows;
        let mut stream = Stream {
            next: info.map_or(0, |info| info.last_version.saturating_add(1)),
            rows,
            marked,
            later: LaterRows::new(marked.leading_rows),
            uncounted: 0,
            hidden: 0,
            add_hidden,
            visible: VisibleRows::None,
        };
        let Some(info) = info else { return (stream, Required::Nothing) };
        let required = match info.first_version {
            None => {
                stream.hidden = rows;
                Required::Nothing
            }
            Some(_) if rows == 0 && counts_all => Required::Nothing,
            // All its events are rows of the source, and none is hidden.
            Some(0) if rows == stream.next => {
                stream.visible = stream.run(None, 0, info.last_version);
                Required::Nothing
            }
            Some(0) if rows > 0 && info.retention.max_age_seconds.is_none() => Required::First,
            Some(_) => Required::All,
        };
        (stream, required)
    }

    /// Sets the result of [`Required::First`]. Nothing of the stream is hidden.
    pub(super) fn with_first(mut self, first: Option<&VisibleRow>) -> Stream {
        if let Some(VisibleRow { key, version, .. }) = first {
            self.visible = self.run(Some(*key), *version, self.next.saturating_sub(1));
        }
        self
    }

    /// Rows with successive versions.
    fn run(&self, first: Option<RowKey>, version: u64, last: u64) -> VisibleRows {
        let length = last.saturating_sub(version).saturating_add(1);
        let is_counted = self.marked.is_complete() && length <= self.marked.rows;
        VisibleRows::Run { first, version, last, is_counted }
    }

    /// Sets the result of [`Required::All`].
    pub(super) fn with_all(mut self, visible: Visible) -> Stream {
        let seen = visible.rows.len() as u64;
        self.uncounted = seen.saturating_sub(self.rows);
        self.hidden = self.rows.saturating_sub(seen);
        match (visible.rows.first(), visible.rows.last()) {
            // If a version in between is hidden, the store says so.
            (Some(first), Some(last)) if !visible.is_mixed => {
                let run = last.version.saturating_sub(first.version).saturating_add(1);
                self.hidden = self.rows.saturating_sub(run);
                self.visible = self.run(Some(first.key), first.version, last.version);
            }
            _ => self.visible = by_id(visible),
        }
        self
    }

    /// The state of a stream to which others have written, after all its visible events were read. The next new event gets
    /// version `next`. The number of hidden rows still to come does not change.
    pub(super) fn reloaded(&self, marked: RowCount, next: u64, visible: Visible) -> Stream {
        let uncounted = (visible.rows.len() as u64).saturating_sub(marked.rows);
        Stream { next, rows: marked.rows, marked, uncounted, visible: by_id(visible), ..self.clone() }
    }

    /// Decides on the next row. `ordinal` is the number of rows of its stream before it in the file.
    pub(super) fn decide(&mut self, key: RowKey, ordinal: u64, id: &str) -> Decision {
        self.later.push(ordinal);
        let is_leading = ordinal < self.marked.leading_rows;
        let existing = match &mut self.visible {
            VisibleRows::Run { first, version, last, is_counted }
                if first.is_none_or(|first| key >= first)
                    && *version <= *last
                    && (is_leading || !*is_counted) =>
            {
                *version += 1;
                Some(*version - 1)
            }
            VisibleRows::ById { versions, .. } => versions.get(id).copied(),
            VisibleRows::Run { .. } | VisibleRows::None => None,
        };
        if let Some(version) = existing {
            if self.uncounted > 0 {
                self.uncounted -= 1;
                self.rows = self.rows.saturating_add(1);
            }
            return Decision::Existing(version);
        }
        let first = match &self.visible {
            VisibleRows::Run { first, .. } | VisibleRows::ById { first, .. } => *first,
            VisibleRows::None => None,
        };
        let was_sent_before = || !self.marked.is_complete() && first.is_none_or(|first| key < first);
        if self.hidden > 0 && (is_leading || was_sent_before()) {
            self.hidden -= 1;
            if !self.add_hidden {
                return Decision::Hidden;
            }
        } else {
            self.rows = self.rows.saturating_add(1);
        }
        let version = self.next;
        self.next = self.next.saturating_add(1);
        Decision::New(version)
    }

    /// The number of rows that the stream has received with those decided so far, if the store does not know it yet. The
    /// caller has to send it to the store.
    pub(super) fn mark(&mut self) -> Option<RowCount> {
        let leading_rows = self.marked.leading_rows.max(self.later.leading()).min(self.rows);
        let now = RowCount { rows: self.rows, leading_rows };
        let is_higher = now != self.marked;
        self.marked = now;
        is_higher.then_some(now)
    }
}

fn by_id(visible: Visible) -> VisibleRows {
    let first = visible.rows.first().map(|row| row.key);
    let versions = visible.rows.into_iter().map(|row| (row.id, row.version)).collect();
    VisibleRows::ById { versions: Rc::new(versions), first }
}

#[cfg(test)]
mod tests;
