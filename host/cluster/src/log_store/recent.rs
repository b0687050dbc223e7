//! The entries that were appended last: they are sent to followers and applied soon, and need not be read or decoded again
//! for that.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::entry::LogEntry;

/// The last entries of a log, up to its end.
pub(super) struct Recent {
    max_bytes: usize,
    /// Index of the first one.
    first: u64,
    entries: VecDeque<One>,
    bytes: usize,
}

struct One {
    encoded: Bytes,
    /// Until it is taken, which is to be applied.
    entry: Option<LogEntry>,
}

impl Recent {
    /// Remembers entries of so many bytes, and at least one.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, first: 0, entries: VecDeque::new(), bytes: 0 }
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds an entry that was appended to the log.
    pub(super) fn appended(&mut self, entry: LogEntry) {
        let index = entry.id().index;
        if index != self.next() {
            self.entries.clear();
            (self.first, self.bytes) = (index, 0);
        }
        let encoded = entry.encoded().clone();
        self.bytes += encoded.len();
        self.entries.push_back(One { encoded, entry: Some(entry) });
        while self.bytes > self.max_bytes && self.entries.len() > 1 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(one) = self.entries.pop_front() {
            self.bytes -= one.encoded.len();
            self.first += 1;
        }
    }

    /// Forgets the entries from this index on.
    pub(super) fn truncated(&mut self, from: u64) {
        while self.next() > from
            && let Some(one) = self.entries.pop_back()
        {
            self.bytes -= one.encoded.len();
        }
    }

    /// Forgets the entries up to this index.
    pub(super) fn purged(&mut self, through: u64) {
        while self.first <= through && !self.entries.is_empty() {
            self.forget_first();
        }
    }

    /// The entries of a range, as many as fit into `max_bytes`, and at least one; `None` if the first one is not here.
    pub(super) fn encoded(&self, range: &Range<u64>, max_bytes: usize) -> Option<Vec<Bytes>> {
        if range.start < self.first || range.start >= self.next() {
            return None;
        }
        let mut bytes = 0;
        let at = |index: u64| usize::try_from(index - self.first).ok();
        let of_range = self.entries.range(at(range.start)?..at(range.end.clamp(range.start, self.next()))?);
        let fits = |one: &&One| {
            let is_first = bytes == 0;
            bytes += one.encoded.len();
            is_first || bytes <= max_bytes
        };
        Some(of_range.take_while(fits).map(|one| one.encoded.clone()).collect())
    }

    /// The entries of a range that are here, up to its end, and the index of the first one or [`u64::MAX`]. What was decoded
    /// is given away.
    pub(super) fn take(&mut self, range: &Range<u64>) -> (u64, Vec<(Bytes, Option<LogEntry>)>) {
        let (first, end) = (range.start.max(self.first), range.end.min(self.next()));
        if first >= end {
            return (u64::MAX, Vec::new());
        }
        let at = |index: u64| usize::try_from(index - self.first).expect("it is the place of an entry");
        let of_range = self.entries.range_mut(at(first)..at(end));
        (first, of_range.map(|one| (one.encoded.clone(), one.entry.take())).collect())
    }
}

#[cfg(test)]
mod tests {
    use exesdb_storage::LogId;
    use openraft::entry::RaftEntry;

    use super::Recent;
    use crate::entry::LogEntry;
    use crate::types::to_raft;

    fn blank(index: u64) -> LogEntry {
        LogEntry::new_blank(to_raft(LogId { term: 1, leader: 1, index }))
    }

    #[test]
    fn the_newest_entries_are_remembered_within_the_limit_and_given_away_once() {
        let bytes = blank(1).encoded().len();
        let mut recent = Recent::new(bytes * 3);
        (1..=5).for_each(|index| recent.appended(blank(index)));
        let count = |recent: &Recent, range, max| recent.encoded(&range, max).map(|entries| entries.len());
        assert_eq!(count(&recent, 2..9, usize::MAX), None, "the second one was forgotten");
        assert_eq!(count(&recent, 3..9, usize::MAX), Some(3));
        assert_eq!(count(&recent, 3..9, bytes * 2), Some(2));
        assert_eq!(count(&recent, 4..9, 0), Some(1));
        assert_eq!(count(&recent, 6..9, usize::MAX), None);
        let mut taken = |range| {
            let (first, entries) = recent.take(&range);
            (first, entries.into_iter().map(|(_, entry)| entry.is_some()).collect::<Vec<_>>())
        };
        assert_eq!(taken(1..4), (3, vec![true]));
        assert_eq!(taken(1..9), (3, vec![false, true, true]));
        assert_eq!(taken(6..9), (u64::MAX, vec![]));
        recent.truncated(4);
        recent.appended(blank(4));
        assert_eq!(count(&recent, 3..9, usize::MAX), Some(2));
        recent.purged(3);
        assert_eq!(count(&recent, 4..9, usize::MAX), Some(1));
        recent.purged(9);
        recent.appended(blank(20));
        assert_eq!(count(&recent, 20..21, usize::MAX), Some(1));
        assert_eq!(recent.bytes, bytes);
    }
}
