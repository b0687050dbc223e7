//! How much of the log is kept for lagging followers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::limits::ENTRY_COUNTS_MIN;

/// The sizes of the entries that were appended since the group was started. Those before count nothing, and go first.
pub(crate) struct Retention {
    max_bytes: u64,
    /// Entries up to this one are not kept for anybody.
    released: AtomicU64,
    sizes: Mutex<Sizes>,
}

#[derive(Default)]
struct Sizes {
    /// Index and bytes of each entry, ascending.
    entries: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Retention {
    /// Keeps entries of so many bytes.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, released: AtomicU64::new(0), sizes: Mutex::default() }
    }

    pub(crate) fn appended(&self, index: u64, bytes: usize) {
        let counts = (bytes as u64).max(ENTRY_COUNTS_MIN);
        let mut sizes = self.sizes.lock();
        sizes.entries.push_back((index, counts));
        sizes.bytes += counts;
    }

    /// Keeps nothing up to this entry any more.
    pub(crate) fn release(&self, through: u64) {
        self.released.fetch_max(through, Ordering::Relaxed);
    }

    pub(crate) fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    pub(crate) fn truncated(&self, from: u64) {
        let mut sizes = self.sizes.lock();
        while let Some((_, bytes)) = sizes.entries.pop_back_if(|(index, _)| *index >= from) {
            sizes.bytes -= bytes;
        }
    }

    pub(crate) fn purged(&self, through: u64) {
        let mut sizes = self.sizes.lock();
        while let Some((_, bytes)) = sizes.entries.pop_front_if(|(index, _)| *index <= through) {
            sizes.bytes -= bytes;
        }
    }

    /// The last entry that need not be kept, of those up to `durable`.
    pub(crate) fn purge_through(&self, durable: u64) -> u64 {
        let sizes = self.sizes.lock();
        let mut bytes = sizes.bytes;
        let mut through = sizes.entries.front().map_or(durable, |(index, _)| index.saturating_sub(1));
        for (index, of_entry) in &sizes.entries {
            if bytes <= self.max_bytes {
                break;
            }
            bytes -= of_entry;
            through = *index;
        }
        through.max(self.released()).min(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::Retention;
    use crate::limits::ENTRY_COUNTS_MIN;

    #[test]
    fn the_newest_entries_are_kept_and_nothing_that_is_not_durable_goes() {
        let retention = Retention::new(2_500);
        assert_eq!(retention.purge_through(7), 7, "what was there before has no size");
        for index in 10..20 {
            retention.appended(index, 1_000);
        }
        assert_eq!(retention.purge_through(100), 17);
        assert_eq!(retention.purge_through(12), 12);
        retention.truncated(15);
        assert_eq!(retention.purge_through(100), 12);
        retention.purged(12);
        assert_eq!(retention.purge_through(100), 12);
        retention.appended(15, 1_000);
        assert_eq!(retention.purge_through(100), 13);
        retention.release(15);
        assert_eq!(retention.purge_through(100), 15);
        assert_eq!(retention.purge_through(14), 14);
    }

    #[test]
    fn small_entries_count_as_much_as_in_the_log() {
        let retention = Retention::new(ENTRY_COUNTS_MIN * 2);
        for index in 1..=5 {
            retention.appended(index, 1);
        }
        assert_eq!(retention.purge_through(5), 3);
    }
}
