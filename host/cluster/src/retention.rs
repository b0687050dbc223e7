//! How much of the log is kept for followers that are behind.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// The sizes of the entries that were appended since the group was started. Those before count nothing, and go first.
pub(crate) struct Retention {
    max_bytes: u64,
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
        Self { max_bytes, sizes: Mutex::default() }
    }

    pub(crate) fn appended(&self, index: u64, bytes: usize) {
        let mut sizes = self.sizes.lock();
        sizes.entries.push_back((index, bytes as u64));
        sizes.bytes += bytes as u64;
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
        through.min(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::Retention;

    #[test]
    fn the_newest_entries_are_kept_and_nothing_that_is_not_durable_goes() {
        let retention = Retention::new(100);
        assert_eq!(retention.purge_through(7), 7, "what was there before has no size");
        for index in 10..20 {
            retention.appended(index, 40);
        }
        assert_eq!(retention.purge_through(100), 17);
        assert_eq!(retention.purge_through(12), 12);
        retention.truncated(15);
        assert_eq!(retention.purge_through(100), 12);
        retention.purged(12);
        assert_eq!(retention.purge_through(100), 12);
        retention.appended(15, 40);
        assert_eq!(retention.purge_through(100), 13);
    }
}
