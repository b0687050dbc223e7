//! Which version of its stream a row gets, and which rows are in the store already: pure rules.
//!
//! Rows are asked for one after the other, in the order in which they are sent. Of a stream that has events, the first
//! visible one that was made of a row of the file tells where the file stands in it: the rows from that one on are there at
//! versions that follow each other, and as many of the rows before as events are hidden. Of a stream whose events are
//! all hidden nothing is left to compare with: its first rows, as many as it had events, count as there. Whatever a rule
//! gets wrong, the store refuses, because it has another event there: then all its visible events are asked for.

use std::collections::HashSet;
use std::rc::Rc;

use super::order::Place;
use crate::client::StreamInfo;

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It becomes the event of this version, which is the next one.
    New(u64),
    /// It should be the event of this version, which the store has to say.
    There(u64),
    /// It is in the stream.
    Known,
    /// It is in the stream, which hides it.
    Hidden,
}

/// A stream as the rows so far leave it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// The version of the next new event.
    next: u64,
    past: Past,
}

/// What is known of the events that a stream had before the import.
#[derive(Clone, Debug)]
enum Past {
    /// There were none, or none of the file.
    Nothing,
    /// All are hidden; so many rows are still taken for one of them.
    AllHidden { left: u64 },
    /// The first visible row of the file is at this version, and the stream had versions up to `last`.
    From { first: Place, version: u64, last: u64, hidden: u64 },
    /// All visible events, by their ids; so many rows before the first of them may be hidden.
    Seen { ids: Rc<HashSet<String>>, first: Option<Place>, hidden: u64 },
}

impl Stream {
    /// A stream that has never had an event.
    pub(super) fn new() -> Stream {
        Stream { next: 0, past: Past::Nothing }
    }

    /// A stream of which this is known, and the place of its first visible event that is a row of the file, with its
    /// version. With `add_hidden` no row counts as hidden.
    pub(super) fn of(info: &StreamInfo, first: Option<(Place, u64)>, add_hidden: bool) -> Stream {
        let next = info.last_version.saturating_add(1);
        let past = match (first, info.first_version) {
            (Some((first, version)), oldest) => {
                let hidden = if add_hidden { 0 } else { oldest.unwrap_or(0) };
                Past::From { first, version, last: info.last_version, hidden }
            }
            (None, None) if !add_hidden => Past::AllHidden { left: next },
            (None, _) => Past::Nothing,
        };
        Stream { next, past }
    }

    /// The same stream, which goes on at version `next`, when all its visible events are known.
    pub(super) fn seen(&self, next: u64, ids: HashSet<String>) -> Stream {
        let (first, hidden) = match &self.past {
            Past::Nothing => (None, 0),
            Past::AllHidden { left } => (None, *left),
            Past::From { first, hidden, .. } => (Some(*first), *hidden),
            Past::Seen { first, hidden, .. } => (*first, *hidden),
        };
        Stream { next, past: Past::Seen { ids: Rc::new(ids), first, hidden } }
    }

    /// What becomes of the next row.
    pub(super) fn place(&mut self, place: Place, id: &str) -> Fate {
        match &mut self.past {
            Past::AllHidden { left } if *left > 0 => {
                *left -= 1;
                return Fate::Hidden;
            }
            Past::From { first, hidden, .. } if place < *first && *hidden > 0 => {
                *hidden -= 1;
                return Fate::Hidden;
            }
            Past::From { first, version, last, .. } if place >= *first && *version <= *last => {
                let there = *version;
                *version += 1;
                return Fate::There(there);
            }
            Past::Seen { ids, .. } if ids.contains(id) => return Fate::Known,
            Past::Seen { first, hidden, .. } if *hidden > 0 && first.is_none_or(|first| place < first) => {
                *hidden -= 1;
                return Fate::Hidden;
            }
            Past::Nothing | Past::AllHidden { .. } | Past::From { .. } | Past::Seen { .. } => {}
        }
        let version = self.next;
        self.next = self.next.saturating_add(1);
        Fate::New(version)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Fate::{Hidden, Known, New, There};
    use super::{Fate, Stream};
    use crate::client::{Retention, StreamInfo, StreamState};

    fn info(first_version: Option<u64>, last_version: u64) -> StreamInfo {
        let (state, retention) = (StreamState::Live, Retention::default());
        StreamInfo { state, first_version, last_version, retention, updated: String::new() }
    }

    /// What becomes of the rows of these numbers.
    fn fates(mut stream: Stream, rows: std::ops::Range<u64>) -> Vec<Fate> {
        rows.map(|row| stream.place((0, row), &row.to_string())).collect()
    }

    #[test]
    fn which_rows_are_new_and_which_are_there() {
        let of = |first, last, seen: Option<(u64, u64)>| {
            Stream::of(&info(first, last), seen.map(|(row, version)| ((0, row), version)), false)
        };
        let table = [
            ("no stream", Stream::new(), vec![New(0), New(1), New(2), New(3)]),
            ("the same file", of(Some(0), 3, Some((0, 0))), vec![There(0), There(1), There(2), There(3)]),
            ("it has grown", of(Some(0), 1, Some((0, 0))), vec![There(0), There(1), New(2), New(3)]),
            ("the first are hidden", of(Some(2), 2, Some((2, 2))), vec![Hidden, Hidden, There(2), New(3)]),
            ("all are hidden", of(None, 2, None), vec![Hidden, Hidden, Hidden, New(3)]),
            ("all events are of others", of(Some(4), 9, None), vec![New(10), New(11), New(12), New(13)]),
            (
                "after those of others",
                of(Some(0), 9, Some((0, 8))),
                vec![There(8), There(9), New(10), New(11)],
            ),
            ("a row came in before", of(Some(0), 0, Some((1, 0))), vec![New(1), There(0), New(2), New(3)]),
            (
                "fewer are hidden than rows",
                of(Some(1), 1, Some((2, 1))),
                vec![Hidden, New(2), There(1), New(3)],
            ),
        ];
        for (what, stream, expected) in table {
            assert_eq!(fates(stream, 0..4), expected, "{what}");
        }
        let added = Stream::of(&info(None, 2), None, true);
        assert_eq!(fates(added, 0..2), [New(3), New(4)]);
        let added = Stream::of(&info(Some(2), 2), Some(((0, 2), 2)), true);
        assert_eq!(fates(added, 0..4), [New(3), New(4), There(2), New(5)]);
    }

    #[test]
    fn when_all_events_are_known_each_row_is_looked_for() {
        let ids: HashSet<String> = ["1", "3"].map(str::to_owned).into();
        let nothing_hidden = Stream::of(&info(Some(0), 1), Some(((0, 1), 0)), false);
        assert_eq!(fates(nothing_hidden.seen(2, ids.clone()), 0..5), [New(2), Known, New(3), Known, New(4)]);
        let one_hidden = Stream::of(&info(Some(1), 2), Some(((0, 1), 1)), false);
        assert_eq!(fates(one_hidden.seen(3, ids), 0..5), [Hidden, Known, New(3), Known, New(4)]);
        let all_hidden = Stream::of(&info(None, 0), None, false);
        assert_eq!(fates(all_hidden.seen(5, HashSet::new()), 0..2), [Hidden, New(5)]);
    }
}
