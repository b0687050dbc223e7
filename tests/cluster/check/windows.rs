//! A second opinion that does not look at positions: a search for an order of operations that explains all answers.
//!
//! It is the search of Wing and Gong with the memory of Lowe, for one stream at a time, which is what versions are about. A
//! stream's operations are cut wherever none is under way, because nothing moves over such a cut.

use std::collections::{BTreeMap, HashSet};

use exesdb_tests::Outcome;

use crate::record::{Expected, History, Level};

/// Operations of a window. The search takes a bit for each, and at worst two to the power of those that overlap.
const WINDOW_MAX: usize = 30;

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Searched {
    pub(super) violations: Vec<String>,
    /// Operations that were searched.
    pub(super) searched: usize,
    /// Those of windows that are too large, or that may overlap an append whose outcome is unknown.
    pub(super) skipped: usize,
}

/// An operation on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// It was acknowledged from this version on.
    Append { expected: Expected, first: u64, events: u64 },
    /// It was refused.
    Refused { expected: Expected },
    /// It saw so many events.
    Read { count: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Timed {
    begun: u64,
    ended: u64,
    operation: Operation,
}

impl Operation {
    /// How many events a stream of so many has after the operation; none if it would have been answered otherwise.
    fn apply(self, count: u64) -> Option<u64> {
        let holds = |expected: Expected| expected.count().is_none_or(|expected| expected == count);
        match self {
            Self::Append { expected, first, events } => {
                (holds(expected) && first == count).then_some(count + events)
            }
            Self::Refused { expected } => (!holds(expected)).then_some(count),
            Self::Read { count: seen } => (seen == count).then_some(count),
        }
    }

    fn events(self) -> u64 {
        match self {
            Self::Append { events, .. } => events,
            Self::Refused { .. } | Self::Read { .. } => 0,
        }
    }
}

/// Searches all windows of all streams.
pub(super) fn search(history: &History) -> Searched {
    let mut streams: BTreeMap<&str, Vec<Timed>> = BTreeMap::new();
    // From when on a stream has an append that may be carried out at any time.
    let mut unknown: BTreeMap<&str, u64> = BTreeMap::new();
    for call in &history.calls {
        let stream = call.append.stream.as_str();
        let (expected, events) = (call.expected, call.append.ids.len() as u64);
        let operation = match call.append.outcome {
            Outcome::Acknowledged { first_version: first, .. } => {
                Operation::Append { expected, first, events }
            }
            Outcome::Refused => Operation::Refused { expected },
            Outcome::Unknown => {
                let since = unknown.entry(stream).or_insert(u64::MAX);
                *since = (*since).min(call.begun);
                continue;
            }
        };
        let timed = Timed { begun: call.begun, ended: call.ended, operation };
        streams.entry(stream).or_default().push(timed);
    }
    for read in history.reads.iter().filter(|read| read.level == Level::Linearizable) {
        let operation = Operation::Read { count: read.count() };
        let timed = Timed { begun: read.begun, ended: read.ended, operation };
        streams.entry(&read.stream).or_default().push(timed);
    }
    let mut searched = Searched::default();
    for (stream, operations) in streams {
        let until = unknown.get(stream).copied().unwrap_or(u64::MAX);
        search_stream(stream, operations, until, &mut searched);
    }
    searched
}

fn search_stream(stream: &str, mut operations: Vec<Timed>, until: u64, searched: &mut Searched) {
    operations.sort_by_key(|timed| timed.begun);
    let mut count = 0;
    for window in windows(&operations) {
        let is_open = window.iter().any(|timed| timed.ended >= until);
        if is_open || window.len() > WINDOW_MAX {
            searched.skipped += window.len();
        } else {
            searched.searched += window.len();
            if !is_linearizable(window, count) {
                searched.violations.push(format!(
                    "no order of these operations on {stream}, which had {count} events, explains the answers: {window:?}"
                ));
            }
        }
        // All that were acknowledged are done, in whatever order.
        count += window.iter().map(|timed| timed.operation.events()).sum::<u64>();
    }
}

/// Cuts operations, which are sorted by their beginnings, wherever none is under way.
fn windows(operations: &[Timed]) -> Vec<&[Timed]> {
    let (mut windows, mut first, mut ended) = (Vec::new(), 0, 0);
    for (index, timed) in operations.iter().enumerate() {
        if index > first && timed.begun > ended {
            windows.push(&operations[first..index]);
            first = index;
        }
        ended = ended.max(timed.ended);
    }
    if first < operations.len() {
        windows.push(&operations[first..]);
    }
    windows
}

/// Whether there is an order of operations, at most 64, that explains all answers and in which each one that began after another
/// one had ended comes after it.
fn is_linearizable(operations: &[Timed], count: u64) -> bool {
    let all = (0..operations.len()).fold(0_u64, |all, index| all | (1 << index));
    // What is done says how many events there are, so it is all that has to be remembered.
    let mut seen: HashSet<u64> = HashSet::new();
    let mut open = vec![(0_u64, count)];
    while let Some((done, count)) = open.pop() {
        if done == all {
            return true;
        }
        if !seen.insert(done) {
            continue;
        }
        let left = || (0..operations.len()).filter(move |index| (done & (1 << index)) == 0);
        let first_end = left().map(|index| operations[index].ended).min().unwrap_or(u64::MAX);
        for index in left().filter(|index| operations[*index].begun <= first_end) {
            if let Some(count) = operations[index].operation.apply(count) {
                open.push((done | (1 << index), count));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Operation, Timed, is_linearizable, windows};
    use crate::record::Expected;

    fn append(begun: u64, ended: u64, expected: Expected, first: u64) -> Timed {
        Timed { begun, ended, operation: Operation::Append { expected, first, events: 1 } }
    }

    fn refused(begun: u64, ended: u64, expected: Expected) -> Timed {
        Timed { begun, ended, operation: Operation::Refused { expected } }
    }

    fn read(begun: u64, ended: u64, count: u64) -> Timed {
        Timed { begun, ended, operation: Operation::Read { count } }
    }

    #[test]
    fn operations_are_cut_where_none_is_under_way() {
        let operations =
            [read(1, 5, 0), read(2, 9, 0), read(6, 7, 0), read(9, 10, 0), read(11, 12, 0), read(20, 21, 0)];
        let lengths: Vec<usize> = windows(&operations).iter().map(|window| window.len()).collect();
        assert_eq!(lengths, [4, 1, 1]);
        assert!(windows(&[]).is_empty());
    }

    #[test]
    fn an_order_is_found_where_there_is_one() {
        let any = Expected::Any;
        let version = Expected::Version;
        for (name, is_there, operations) in [
            ("overlapping, in the other order", true, vec![append(1, 9, any, 1), append(2, 8, any, 0)]),
            ("one after the other", false, vec![append(1, 2, any, 1), append(3, 4, any, 0)]),
            ("a read during an append", true, vec![append(1, 9, any, 0), read(2, 3, 0), read(4, 5, 1)]),
            ("reads that go back", false, vec![append(1, 9, any, 0), read(2, 3, 1), read(4, 5, 0)]),
            ("a stale read", false, vec![append(1, 2, any, 0), read(3, 4, 0)]),
            (
                "the loser of a race",
                true,
                vec![append(1, 9, Expected::NoStream, 0), refused(2, 8, Expected::NoStream)],
            ),
            ("both lose", false, vec![refused(1, 9, Expected::NoStream), refused(2, 8, Expected::NoStream)]),
            ("both win", false, vec![append(1, 9, version(0), 1), append(2, 8, version(0), 2)]),
        ] {
            assert_eq!(is_linearizable(&operations, 0), is_there, "{name}");
        }
    }
}
