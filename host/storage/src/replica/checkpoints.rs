//! What was applied at the last indices, to compare replicas with.

use std::collections::VecDeque;

use super::entry::EntryCheck;
use crate::head::LogHead;

/// Number of entries that a replica remembers. 8,192: at a thousand entries a second the last eight seconds, which is how
/// late a question about an index may come; 64 bytes each.
pub(super) const CHECKPOINTS_MAX: usize = 8192;

/// A replica as of one entry. Two replicas with the same data and decisions have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The head after the entry.
    pub head: LogHead,
    /// The link of outcomes after the entry; see [`Applied::link`](crate::Applied::link).
    pub link: u64,
}

impl Checkpoint {
    /// The same as other replicas are told it, as of the entry at `index`. The time is not compared: it decides nothing.
    #[must_use]
    pub fn check(&self, index: u64) -> EntryCheck {
        let LogHead { sequence, next_position, chain, .. } = self.head;
        EntryCheck { index, sequence, next_position, chain, link: self.link }
    }
}

/// The checkpoints of consecutive entries.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// Index of the first entry.
    first: u64,
    list: VecDeque<Checkpoint>,
}

impl Checkpoints {
    /// Adds the checkpoint of the entry after the last one.
    pub(super) fn push(&mut self, index: u64, checkpoint: Checkpoint) {
        if self.list.is_empty() {
            self.first = index;
        }
        if self.list.len() == CHECKPOINTS_MAX {
            self.list.pop_front();
            self.first += 1;
        }
        self.list.push_back(checkpoint);
    }

    pub(super) fn get(&self, index: u64) -> Option<Checkpoint> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.list.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{CHECKPOINTS_MAX, Checkpoint, Checkpoints};
    use crate::head::LogHead;

    #[test]
    fn the_last_entries_are_remembered() {
        let mut checkpoints = Checkpoints::default();
        assert_eq!(checkpoints.get(0), None);
        let max = CHECKPOINTS_MAX as u64;
        for index in 5..5 + max + 2 {
            checkpoints.push(index, Checkpoint { head: LogHead::default(), link: index });
        }
        let link = |index| checkpoints.get(index).map(|checkpoint| checkpoint.link);
        for (index, expected) in
            [(0, None), (6, None), (7, Some(7)), (6 + max, Some(6 + max)), (7 + max, None), (u64::MAX, None)]
        {
            assert_eq!(link(index), expected, "{index}");
        }
    }
}
