//! How long the committer has been writing the group at hand, or syncing the mark: nothing else shows a disk that hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the committer, read by anybody.
pub(super) struct WriteClock {
    epoch: Instant,
    /// Microseconds from `epoch` to the start of the write in progress, plus one; 0 between writes.
    started: AtomicU64,
}

impl WriteClock {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), started: AtomicU64::new(0) }
    }

    /// Runs a write.
    pub(super) fn time<T>(&self, write: impl FnOnce() -> T) -> T {
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.started.store(now + 1, Ordering::Release);
        // Also if the write panics.
        let _stop = StopOnDrop(&self.started);
        write()
    }

    /// How long the write in progress has been running; `None` if there is none.
    pub(super) fn running_for(&self) -> Option<Duration> {
        match self.started.load(Ordering::Acquire) {
            0 => None,
            started => Some(self.epoch.elapsed().saturating_sub(Duration::from_micros(started - 1))),
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicU64);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
