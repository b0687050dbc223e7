//! Recent entries in memory.

use std::collections::VecDeque;

use crate::held::Held;

/// The records whose payloads are kept, the oldest first. One that is not needed any more counts until its turn comes.
pub(super) struct Cache {
    records: VecDeque<Held>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps the payload of a record that was written, in the place of the oldest ones.
    pub(super) fn add(&mut self, record: Held) {
        self.bytes += record.len();
        self.records.push_back(record);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.len();
            oldest.evict();
        }
    }
}
