//! Which version of its stream a row gets, and which rows are in the store already: pure rules.
//!
//! The store knows how many rows of the source each stream has had, and how many of them the file begins with. Rows are asked
//! for one after the other, in the order in which they are sent. Those that can be seen are told by their ids. Of those
//! that cannot, as many are hidden as the stream has had rows that cannot be seen now: such as the file begins with and,
//! where an import was broken off, such as are sent before the first that can be seen. All others are new. Whatever a rule
//! gets wrong, the store refuses, because it has another event there: then all visible events are read.

use std::collections::HashMap;
use std::rc::Rc;

use super::order::Place;
use crate::client::{RowCount, StreamInfo};

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It becomes the event of this version, which is the next one.
    New(u64),
    /// It should be the event of this version, which the store has to say.
    There(u64),
    /// It is in the stream, which hides it.
    Hidden,
}

/// What has to be read of a stream before its rows can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing.
    Nothing,
    /// Up to the first visible event that is a row of the file.
    First,
    /// All visible events.
    All,
}

/// A visible event that is a row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VisibleRow {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) version: u64,
}

/// What was read of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Visible {
    /// In the order of versions.
    rows: Vec<VisibleRow>,
    /// A visible event that is no row of the file came after one that is.
    has_others_after: bool,
    /// Rows are not in the order of the file, or there are others between them.
    is_mixed: bool,
}

impl Visible {
    /// Notes the next visible event: a row of the file or another.
    pub(super) fn push(&mut self, row: Option<VisibleRow>) {
        match row {
            None => self.has_others_after = !self.rows.is_empty(),
            Some(row) => {
                let is_next = self.rows.last().is_none_or(|last| last.place < row.place);
                self.is_mixed |= !is_next || self.has_others_after;
                self.rows.push(row);
            }
        }
    }

    /// Whether a row of the file was read.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }
}

/// A stream as the rows so far leave it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// The version of the next new event.
    next: u64,
    /// How many rows of the source it has had.
    rows: u64,
    /// What the store was told of that.
    marked: RowCount,
    /// The rows that it has had after those that the file begins with.
    after: RowsAfter,
    /// Rows that can be seen and that the store has not counted: it has them from a copy of another store.
    uncounted: u64,
    /// How many of the next rows that cannot be seen are hidden.
    hidden: u64,
    /// Hidden rows are added again.
    add_hidden: bool,
    past: Past,
}

/// Rows of a stream in any order, after the first `leading` ones of the file.
#[derive(Clone, Copy, Debug)]
struct RowsAfter {
    leading: u64,
    count: u64,
    /// The number after the highest of them.
    end: u64,
}

impl RowsAfter {
    fn new(leading: u64) -> RowsAfter {
        RowsAfter { leading, count: 0, end: leading }
    }

    fn push(&mut self, ordinal: u64) {
        if ordinal >= self.leading {
            self.count += 1;
            self.end = self.end.max(ordinal.saturating_add(1));
        }
    }

    /// How many rows the file begins with that are all among them, once no row is missing between them.
    fn leading(&self) -> u64 {
        if self.end - self.leading == self.count { self.end } else { self.leading }
    }
}

/// What is known of the rows that can be seen.
#[derive(Clone, Debug)]
enum Past {
    /// There is none.
    Nothing,
    /// The rows from this one on (none: from the first one) are at versions that follow each other.
    /// `is_counted`: all of them are rows that the file begins with.
    Run { first: Option<Place>, version: u64, last: u64, is_counted: bool },
    /// The rows of these ids are at these versions; this one has the lowest.
    Each { versions: Rc<HashMap<String, u64>>, first: Option<Place> },
}

impl Stream {
    /// A stream of which this is known, and that has had so many rows of the source; and what has to be read before its
    /// rows are placed. With `counts_all` the store has counted whatever rows it has.
    pub(super) fn begin(
        marked: RowCount,
        info: Option<&StreamInfo>,
        counts_all: bool,
        add_hidden: bool,
    ) -> (Stream, Reading) {
        let rows = marked.rows;
        let mut stream = Stream {
            next: info.map_or(0, |info| info.last_version.saturating_add(1)),
            rows,
            marked,
            after: RowsAfter::new(marked.leading_rows),
            uncounted: 0,
            hidden: 0,
            add_hidden,
            past: Past::Nothing,
        };
        let Some(info) = info else { return (stream, Reading::Nothing) };
        let reading = match info.first_version {
            None => {
                stream.hidden = rows;
                Reading::Nothing
            }
            Some(_) if rows == 0 && counts_all => Reading::Nothing,
            // All that it has had are rows of the source, and nothing before the first is hidden.
            Some(0) if rows == stream.next => {
                stream.past = stream.run(None, 0, info.last_version);
                Reading::Nothing
            }
            Some(0) if rows > 0 && info.retention.max_age_seconds.is_none() => Reading::First,
            Some(_) => Reading::All,
        };
        (stream, reading)
    }

    /// The stream after [`Reading::First`]: nothing of it is hidden.
    pub(super) fn with_first(mut self, first: Option<&VisibleRow>) -> Stream {
        if let Some(VisibleRow { place, version, .. }) = first {
            self.past = self.run(Some(*place), *version, self.next.saturating_sub(1));
        }
        self
    }

    /// Rows from one on, at the versions from this one to the last.
    fn run(&self, first: Option<Place>, version: u64, last: u64) -> Past {
        let length = last.saturating_sub(version).saturating_add(1);
        let is_counted = self.marked.is_complete() && length <= self.marked.rows;
        Past::Run { first, version, last, is_counted }
    }

    /// The stream after [`Reading::All`].
    pub(super) fn with_all(mut self, visible: Visible) -> Stream {
        let seen = visible.rows.len() as u64;
        self.uncounted = seen.saturating_sub(self.rows);
        self.hidden = self.rows.saturating_sub(seen);
        match (visible.rows.first(), visible.rows.last()) {
            // Versions between that cannot be seen are hidden ones: the store says so.
            (Some(first), Some(last)) if !visible.is_mixed => {
                let run = last.version.saturating_sub(first.version).saturating_add(1);
                self.hidden = self.rows.saturating_sub(run);
                self.past = self.run(Some(first.place), first.version, last.version);
            }
            _ => self.past = each(visible),
        }
        self
    }

    /// The same stream, which others have written to, after all its visible events were read: it goes on at version `next`
    /// and has had so many rows. What is hidden of the rows that are still to come is as before.
    pub(super) fn looked_at_again(&self, marked: RowCount, next: u64, visible: Visible) -> Stream {
        let uncounted = (visible.rows.len() as u64).saturating_sub(marked.rows);
        Stream { next, rows: marked.rows, marked, uncounted, past: each(visible), ..self.clone() }
    }

    /// What becomes of the next row, which comes after `ordinal` others of its stream in the file.
    pub(super) fn place(&mut self, place: Place, ordinal: u64, id: &str) -> Fate {
        self.after.push(ordinal);
        let is_leading = ordinal < self.marked.leading_rows;
        let there = match &mut self.past {
            Past::Run { first, version, last, is_counted }
                if first.is_none_or(|first| place >= first)
                    && *version <= *last
                    && (is_leading || !*is_counted) =>
            {
                *version += 1;
                Some(*version - 1)
            }
            Past::Each { versions, .. } => versions.get(id).copied(),
            Past::Run { .. } | Past::Nothing => None,
        };
        if let Some(version) = there {
            if self.uncounted > 0 {
                self.uncounted -= 1;
                self.rows = self.rows.saturating_add(1);
            }
            return Fate::There(version);
        }
        let first = match &self.past {
            Past::Run { first, .. } | Past::Each { first, .. } => *first,
            Past::Nothing => None,
        };
        let was_sent_before = || !self.marked.is_complete() && first.is_none_or(|first| place < first);
        if self.hidden > 0 && (is_leading || was_sent_before()) {
            self.hidden -= 1;
            if !self.add_hidden {
                return Fate::Hidden;
            }
        } else {
            self.rows = self.rows.saturating_add(1);
        }
        let version = self.next;
        self.next = self.next.saturating_add(1);
        Fate::New(version)
    }

    /// How many rows the stream has had with those that were placed, if the store does not know it yet. Whoever asks tells
    /// the store.
    pub(super) fn mark(&mut self) -> Option<RowCount> {
        let leading_rows = self.marked.leading_rows.max(self.after.leading()).min(self.rows);
        let now = RowCount { rows: self.rows, leading_rows };
        let is_higher = now != self.marked;
        self.marked = now;
        is_higher.then_some(now)
    }
}

fn each(visible: Visible) -> Past {
    let first = visible.rows.first().map(|row| row.place);
    let versions = visible.rows.into_iter().map(|row| (row.id, row.version)).collect();
    Past::Each { versions: Rc::new(versions), first }
}

#[cfg(test)]
mod tests {
    use super::Fate::{Hidden, New, There};
    use super::{Fate, Reading, Stream, Visible, VisibleRow};
    use crate::client::{Retention, RowCount, StreamInfo, StreamState};

    fn info(first_version: Option<u64>, last_version: u64) -> StreamInfo {
        StreamInfo {
            state: StreamState::Live,
            first_version,
            last_version,
            life_begins: None,
            retention: Retention::default(),
            created: String::new(),
            updated: String::new(),
        }
    }

    fn aged(first_version: Option<u64>, last_version: u64) -> StreamInfo {
        let retention = Retention { max_age_seconds: Some(1), ..Retention::default() };
        StreamInfo { retention, ..info(first_version, last_version) }
    }

    fn row(number: u64, version: u64) -> VisibleRow {
        VisibleRow { place: (0, number), id: number.to_string(), version }
    }

    /// Visible events from a version on: rows of the file by their numbers, or others (none).
    fn visible(mut version: u64, events: &[Option<u64>]) -> Visible {
        let mut visible = Visible::default();
        for event in events {
            visible.push(event.map(|number| row(number, version)));
            version += 1;
        }
        visible
    }

    /// That a stream has had the first rows of the file, and no others.
    fn had(rows: u64) -> RowCount {
        RowCount { rows, leading_rows: rows }
    }

    /// A stream that has had the first `rows` rows and of which these events can be seen from `first` on.
    fn stream(rows: u64, info: &StreamInfo, events: &[Option<u64>]) -> Stream {
        stream_with(had(rows), info, events)
    }

    fn stream_with(marked: RowCount, info: &StreamInfo, events: &[Option<u64>]) -> Stream {
        let first = info.first_version.unwrap_or(0);
        let (stream, reading) = Stream::begin(marked, Some(info), true, false);
        let read = visible(first, events);
        match reading {
            Reading::Nothing => stream,
            Reading::First => stream.with_first(read.rows.first()),
            Reading::All => stream.with_all(read),
        }
    }

    /// What becomes of the rows of these numbers, and how many the stream has had then.
    fn fates(mut stream: Stream, rows: std::ops::Range<u64>) -> (Vec<Fate>, u64) {
        let fates = rows.map(|row| stream.place((0, row), row, &row.to_string())).collect();
        (fates, stream.rows)
    }

    #[test]
    fn which_rows_are_new_and_which_are_there() {
        let (no_one, all) =
            (Stream::begin(had(0), None, true, false).0, [Some(0), Some(1), Some(2), Some(3)]);
        let others = [None; 4];
        let table = [
            ("no stream", no_one, vec![New(0), New(1), New(2), New(3)], 4),
            (
                "the same file",
                stream(4, &info(Some(0), 3), &all),
                vec![There(0), There(1), There(2), There(3)],
                4,
            ),
            (
                "it has grown",
                stream(2, &info(Some(0), 1), &all[..2]),
                vec![There(0), There(1), New(2), New(3)],
                4,
            ),
            (
                "the first are hidden",
                stream(3, &info(Some(2), 2), &all[2..3]),
                vec![Hidden, Hidden, There(2), New(3)],
                4,
            ),
            ("all are hidden", stream(3, &info(None, 2), &[]), vec![Hidden, Hidden, Hidden, New(3)], 4),
            (
                "others' events are hidden",
                stream(0, &info(None, 9), &[]),
                vec![New(10), New(11), New(12), New(13)],
                4,
            ),
            (
                "some hidden events are others'",
                stream(1, &info(None, 9), &[]),
                vec![Hidden, New(10), New(11), New(12)],
                4,
            ),
            (
                "others' events are visible",
                stream(0, &info(Some(4), 7), &others),
                vec![New(8), New(9), New(10), New(11)],
                4,
            ),
            (
                "begun again by others",
                stream(2, &info(Some(2), 5), &others),
                vec![Hidden, Hidden, New(6), New(7)],
                4,
            ),
            (
                "after others",
                stream(2, &info(Some(0), 3), &[None, None, Some(0), Some(1)]),
                vec![There(2), There(3), New(4), New(5)],
                4,
            ),
            (
                "between others, the first hidden",
                stream(3, &info(Some(2), 6), &[None, Some(1), None, Some(2), None]),
                vec![Hidden, There(3), There(5), New(7)],
                4,
            ),
            // Of others are the hidden events, and the row that came in before is new. The last one looks new, and the store
            // refuses it, which has it at another version: then the stream is looked at again.
            (
                "others' events hidden, all rows visible",
                stream(2, &info(Some(2), 3), &[Some(1), Some(2)]),
                vec![New(4), There(2), New(5), New(6)],
                5,
            ),
            (
                "a row came in before, was imported, and another is hidden",
                stream(4, &info(Some(1), 3), &[Some(2), Some(3), Some(0)]),
                vec![There(3), Hidden, There(1), There(2)],
                4,
            ),
            (
                "too old in between",
                stream(4, &aged(Some(1), 3), &[]).with_all(at_times(&[(1, 0, 1), (3, 0, 3)])),
                vec![Hidden, There(1), There(2), There(3)],
                4,
            ),
        ];
        for (what, stream, expected, rows) in table {
            assert_eq!(fates(stream, 0..4), (expected, rows), "{what}");
        }
    }

    /// What becomes of rows of these numbers, which are sent in this order, and what the store is told then.
    fn sent(mut stream: Stream, ordinals: &[u64]) -> (Vec<Fate>, Option<RowCount>) {
        let rows = ordinals.iter().zip(0..);
        let fates =
            rows.map(|(ordinal, time)| stream.place((time, *ordinal), *ordinal, &ordinal.to_string()));
        (fates.collect(), stream.mark())
    }

    #[test]
    fn rows_that_came_late_are_new_though_they_are_sent_between_hidden_ones() {
        // The file had rows 0 to 2 when it was imported; row 3 has a time between theirs.
        let order = [0, 3, 1, 2];
        let told = Some(had(4));
        assert_eq!(
            sent(stream(3, &info(None, 2), &[]), &order),
            (vec![Hidden, New(3), Hidden, Hidden], told)
        );
        assert_eq!(
            sent(stream(3, &info(Some(2), 2), &[]).with_all(at_times(&[(2, 3, 2)])), &order),
            (vec![Hidden, New(3), Hidden, There(2)], told)
        );
        // Between visible ones, without a conflict first.
        let run = stream(3, &info(Some(0), 2), &[]);
        assert_eq!(sent(run, &order), (vec![There(0), New(3), There(1), There(2)], told));
        // A stream that was deleted and has other events now.
        let again = stream(3, &info(Some(3), 4), &[None, None]);
        assert_eq!(sent(again, &order), (vec![Hidden, New(5), Hidden, Hidden], told));
    }

    /// Visible rows of these numbers, times and versions.
    fn at_times(rows: &[(u64, i128, u64)]) -> Visible {
        let mut visible = Visible::default();
        for (number, time, version) in rows {
            visible.push(Some(VisibleRow {
                place: (*time, *number),
                id: number.to_string(),
                version: *version,
            }));
        }
        visible
    }

    #[test]
    fn an_import_in_order_of_time_that_was_broken_off_goes_on() {
        // Of rows 0 to 4, which are sent in this order, the first three were.
        let order = [4, 0, 2, 3, 1];
        let begun = Stream::begin(had(0), None, true, false).0;
        let (fates, marked) = sent(begun, &order[..3]);
        let broken_off = RowCount { rows: 3, leading_rows: 0 };
        assert_eq!((fates, marked), (vec![New(0), New(1), New(2)], Some(broken_off)));
        // Then the stream was deleted, or not.
        for (first, expected) in [
            (None, vec![Hidden, Hidden, Hidden, New(3), New(4)]),
            (Some(0), vec![There(0), There(1), There(2), New(3), New(4)]),
        ] {
            let stream = stream_with(broken_off, &info(first, 2), &[]);
            assert_eq!(sent(stream, &order), (expected, Some(had(5))), "{first:?}");
        }
        // Rows of another file of that name: what it begins with is not known any more.
        let (_, marked) = sent(stream(3, &info(Some(0), 2), &[]), &[7, 8]);
        assert_eq!(marked, Some(RowCount { rows: 5, leading_rows: 3 }));
    }

    #[test]
    fn what_has_to_be_read_of_a_stream() {
        let reading =
            |rows, info: &StreamInfo, counts_all| Stream::begin(had(rows), Some(info), counts_all, false).1;
        assert_eq!(Stream::begin(had(0), None, false, false).1, Reading::Nothing);
        for (what, rows, info, expected) in [
            ("another source", 0, info(Some(0), 9), Reading::Nothing),
            ("only rows of the source", 10, info(Some(0), 9), Reading::Nothing),
            ("nothing is hidden", 5, info(Some(0), 9), Reading::First),
            ("some may be too old", 5, aged(Some(0), 9), Reading::All),
            ("some are hidden", 5, info(Some(3), 9), Reading::All),
            ("all are hidden", 5, info(None, 9), Reading::Nothing),
        ] {
            assert_eq!(reading(rows, &info, true), expected, "{what}");
        }
        // A copy of a store has rows that it did not count.
        assert_eq!(reading(0, &info(Some(0), 9), false), Reading::All);
    }

    #[test]
    fn rows_that_are_added_again_are_not_counted_again() {
        let begin = |rows, info: &StreamInfo| Stream::begin(had(rows), Some(info), true, true).0;
        assert_eq!(fates(begin(3, &info(None, 2)), 0..4), (vec![New(3), New(4), New(5), New(6)], 4));
        let stream = begin(3, &info(Some(2), 2)).with_all(visible(2, &[Some(2)]));
        assert_eq!(fates(stream, 0..4), (vec![New(3), New(4), There(2), New(5)], 4));
        // The next time they are there.
        let stream = begin(4, &info(Some(2), 5)).with_all(visible(2, &[Some(2), Some(0), Some(1), Some(3)]));
        assert_eq!(fates(stream, 0..4), (vec![There(3), There(4), There(2), There(5)], 4));
    }

    #[test]
    fn a_stream_that_others_wrote_to_goes_on_after_them() {
        let mut hidden = stream(2, &info(None, 1), &[]);
        assert_eq!(hidden.place((0, 0), 0, "0"), Hidden);
        assert_eq!(
            fates(hidden.looked_at_again(had(2), 5, Visible::default()), 1..4).0,
            [Hidden, New(5), New(6)]
        );
        let new = Stream::begin(had(0), None, true, false).0;
        assert_eq!(
            fates(new.looked_at_again(had(0), 3, Visible::default()), 0..2),
            (vec![New(3), New(4)], 2)
        );
        // A row came in between.
        let grown = stream(2, &info(Some(0), 1), &[Some(0), Some(2)]);
        let again = grown.looked_at_again(had(2), 2, visible(0, &[Some(0), Some(2)]));
        assert_eq!(fates(again, 0..4), (vec![There(0), New(2), There(1), New(3)], 4));
    }

    #[test]
    fn rows_that_a_copy_of_a_store_has_are_counted_as_they_are_met() {
        let begun = Stream::begin(had(0), Some(&info(Some(0), 1)), false, false).0;
        let mut stream = begun.with_all(visible(0, &[Some(0), Some(1)]));
        assert_eq!((stream.place((0, 0), 0, "0"), stream.mark()), (There(0), Some(had(1))));
        assert_eq!(
            (stream.place((0, 1), 1, "1"), stream.mark(), stream.mark()),
            (There(1), Some(had(2)), None)
        );
        assert_eq!((stream.place((0, 2), 2, "2"), stream.mark()), (New(2), Some(had(3))));
        let mut counted = stream_of_two();
        assert_eq!((counted.place((0, 0), 0, "0"), counted.mark()), (There(0), None));
    }

    fn stream_of_two() -> Stream {
        stream(2, &info(Some(0), 1), &[])
    }
}
