//! A group: what its records amount to, in the order in which they are in the log.
//!
//! The same rules hold for what is accepted and not written yet, for what is written, and for what is read when the log
//! is opened. They differ in what they know about an entry: `T`.

use bytes::Bytes;

use crate::ranges::{Ranges, Span};
use crate::record::Op;

/// An index with a few bytes of its owner's, such as the term of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The index.
    pub index: u64,
    /// At most [`NOTE_BYTES_MAX`](crate::limits::NOTE_BYTES_MAX) bytes, which the log does not read.
    pub note: Bytes,
}

/// A group of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group<T> {
    /// The owner's state, such as a vote.
    pub(crate) state: Option<Bytes>,
    /// The last entry that is not needed any more.
    pub(crate) purged: Option<Noted>,
    /// The last entry that the owner knows as committed.
    pub(crate) committed: Option<Noted>,
    /// Index of the next entry; `None` before the first one, which may have any.
    pub(crate) next: Option<u64>,
    /// The entries that are there, without gaps.
    pub(crate) entries: Ranges<T>,
}

/// Why an operation does not fit its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The first entry must have another index.
    OutOfOrder { expected: u64, found: u64 },
    /// The index was purged.
    Purged { index: u64, through: u64 },
    /// Entries are copied that are not there.
    NotThere { index: u64 },
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self { state: None, purged: None, committed: None, next: None, entries: Ranges::default() }
    }
}

impl<T: Clone + PartialEq> Group<T> {
    /// Whether an operation fits.
    pub(crate) fn check(&self, op: &Op) -> Result<(), Misfit> {
        match op {
            Op::Entries(span) => match self.next {
                Some(expected) if expected != span.first => {
                    Err(Misfit::OutOfOrder { expected, found: span.first })
                }
                _ => Ok(()),
            },
            Op::Copied(span) => match self.entries.gaps(*span).first() {
                Some(gap) => Err(Misfit::NotThere { index: gap.first }),
                None => Ok(()),
            },
            Op::Truncate { from } => match &self.purged {
                Some(purged) if *from <= purged.index => {
                    Err(Misfit::Purged { index: *from, through: purged.index })
                }
                _ => Ok(()),
            },
            Op::State(_) | Op::Purge(_) | Op::Committed(_) | Op::Remove => Ok(()),
        }
    }

    /// Applies an operation that fits. `of_entries` is what is known about its entries. Returns what was known about
    /// those that are gone.
    pub(crate) fn apply(&mut self, op: &Op, of_entries: T) -> Vec<T> {
        match op {
            Op::Entries(span) => {
                self.next = Some(span.last + 1);
                self.entries.cover(*span, of_entries)
            }
            Op::Copied(span) => self.entries.cover(*span, of_entries),
            Op::State(state) => {
                self.state = Some(state.clone());
                Vec::new()
            }
            Op::Truncate { from } => {
                self.next = self.next.map(|next| next.min(*from));
                self.entries.cut_from(*from)
            }
            // An owner that repeats an earlier purge changes nothing.
            Op::Purge(purged) if self.purged.as_ref().is_some_and(|before| before.index > purged.index) => {
                Vec::new()
            }
            Op::Purge(purged) => {
                self.purged = Some(purged.clone());
                self.next = Some(self.next.unwrap_or(0).max(purged.index + 1));
                self.entries.cut_below(purged.index + 1)
            }
            Op::Committed(committed) => {
                self.committed = Some(committed.clone());
                Vec::new()
            }
            Op::Remove => {
                let before = std::mem::take(self);
                before.entries.iter().map(|(_, value)| value.clone()).collect()
            }
        }
    }

    /// Whether the ranges leave no gap up to `next`, and nothing is there that was purged.
    pub(crate) fn is_consistent(&self) -> bool {
        let Some(Span { first, last }) = self.entries.hull() else {
            return self.next.is_some() || self.purged.is_none();
        };
        self.entries.gaps(Span { first, last }).is_empty()
            && self.next.is_some_and(|next| Some(next) == last.checked_add(1))
            && self.purged.as_ref().is_none_or(|purged| purged.index < first)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Group, Misfit, Noted};
    use crate::ranges::Span;
    use crate::record::Op;

    fn entries(first: u64, last: u64) -> Op {
        Op::Entries(Span { first, last })
    }

    fn copied(first: u64, last: u64) -> Op {
        Op::Copied(Span { first, last })
    }

    fn purge(index: u64) -> Op {
        Op::Purge(Noted { index, note: Bytes::new() })
    }

    /// Each step with its name as the place of its entries; the entries that are there after all of them.
    fn after(steps: &[(Op, char)]) -> (Result<(), Misfit>, String, Option<u64>) {
        let mut group = Group::default();
        for (op, place) in steps {
            if let Err(misfit) = group.check(op) {
                return (Err(misfit), String::new(), group.next);
            }
            group.apply(op, *place);
            assert!(group.is_consistent(), "{group:?}");
        }
        let places = group.entries.iter();
        let places = places.flat_map(|(span, place)| (span.first..=span.last).map(|_| *place)).collect();
        (Ok(()), places, group.next)
    }

    #[test]
    fn operations_follow_each_other() {
        let truncate = |from| Op::Truncate { from };
        type Steps = Vec<(Op, char)>;
        type Expected = (Result<(), Misfit>, &'static str, Option<u64>);
        let table: Vec<(&str, Steps, Expected)> = vec![
            ("the first entry has any index", vec![(entries(5, 6), 'a')], (Ok(()), "aa", Some(7))),
            ("entries follow", vec![(entries(0, 0), 'a'), (entries(1, 2), 'b')], (Ok(()), "abb", Some(3))),
            (
                "a gap",
                vec![(entries(0, 0), 'a'), (entries(2, 2), 'b')],
                (Err(Misfit::OutOfOrder { expected: 1, found: 2 }), "", Some(1)),
            ),
            (
                "an overlap",
                vec![(entries(0, 1), 'a'), (entries(1, 2), 'b')],
                (Err(Misfit::OutOfOrder { expected: 2, found: 1 }), "", Some(2)),
            ),
            (
                "truncated, and written again",
                vec![(entries(1, 4), 'a'), (truncate(3), '-'), (entries(3, 3), 'b')],
                (Ok(()), "aab", Some(4)),
            ),
            (
                "truncated at the end",
                vec![(entries(1, 2), 'a'), (truncate(9), '-'), (entries(3, 3), 'b')],
                (Ok(()), "aab", Some(4)),
            ),
            ("purged", vec![(entries(1, 4), 'a'), (purge(2), '-')], (Ok(()), "aa", Some(5))),
            (
                "purged beyond the end",
                vec![(entries(1, 4), 'a'), (purge(9), '-'), (entries(10, 10), 'b')],
                (Ok(()), "b", Some(11)),
            ),
            ("purged twice", vec![(purge(9), '-'), (purge(2), '-')], (Ok(()), "", Some(10))),
            (
                "truncated below what was purged",
                vec![(entries(1, 4), 'a'), (purge(2), '-'), (truncate(2), '-')],
                (Err(Misfit::Purged { index: 2, through: 2 }), "", Some(5)),
            ),
            ("copied", vec![(entries(1, 4), 'a'), (copied(1, 2), 'b')], (Ok(()), "bbaa", Some(5))),
            (
                "copied, and not there",
                vec![(entries(1, 4), 'a'), (copied(4, 5), 'b')],
                (Err(Misfit::NotThere { index: 5 }), "", Some(5)),
            ),
            (
                "removed",
                vec![(entries(1, 4), 'a'), (Op::Remove, '-'), (entries(7, 7), 'b')],
                (Ok(()), "b", Some(8)),
            ),
        ];
        for (case, steps, (outcome, places, next)) in table {
            assert_eq!(after(&steps), (outcome, places.to_owned(), next), "{case}");
        }
    }

    #[test]
    fn what_is_gone_is_returned() {
        let mut group = Group::default();
        for (op, place) in [(entries(1, 2), 'a'), (entries(3, 4), 'b'), (entries(5, 6), 'c')] {
            assert!(group.apply(&op, place).is_empty());
        }
        assert_eq!(group.apply(&Op::Truncate { from: 4 }, '-'), ['c']);
        assert_eq!(group.apply(&purge(2), '-'), ['a']);
        assert_eq!(group.apply(&copied(3, 3), 'd'), ['b']);
        assert_eq!(group.apply(&Op::Remove, '-'), ['d']);
        assert_eq!(group, Group::default());
    }
}
