//! How long the sync in progress has been running: a hung disk shows in nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the committer, read by anybody.
pub(super) struct SyncClock {
    epoch: Instant,
    /// Microseconds from `epoch` to the start of the sync in progress, plus one; 0 between syncs.
    started: AtomicU64,
}

impl SyncClock {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), started: AtomicU64::new(0) }
    }

    /// Runs a sync.
    pub(super) fn time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.started.store(now + 1, Ordering::Release);
        // Also if the sync panics.
        let _stop = StopOnDrop(&self.started);
        sync()
    }

    /// How long the sync in progress has been running; `None` if there is none.
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
