//! Timers, on a clock that is the store's as long as something happens, and goes ahead of it when only time can pass.

use super::Backend;

/// The clock.
#[derive(Default)]
pub(super) struct Clock {
    /// Milliseconds that were waited for without the store.
    ahead_ms: u64,
}

impl Clock {
    pub(super) fn now(&self, backend: &mut impl Backend) -> u64 {
        backend.clock_ms() + self.ahead_ms
    }

    /// Goes on to a time, unless it is there already.
    pub(super) fn reach(&mut self, backend: &mut impl Backend, time: u64) {
        self.ahead_ms += time.saturating_sub(self.now(backend));
    }
}

/// The timers that are open.
#[derive(Default)]
pub(super) struct Timers {
    /// Times and numbers, in the order in which they were set.
    set: Vec<(u64, u32)>,
}

impl Timers {
    pub(super) fn add(&mut self, id: u32, due: u64) {
        self.set.push((due, id));
    }

    pub(super) fn cancel(&mut self, id: u32) {
        self.set.retain(|(_, other)| *other != id);
    }

    /// When the next one fires.
    pub(super) fn next(&self) -> Option<u64> {
        self.set.iter().map(|(due, _)| *due).min()
    }

    /// The first one whose time is over: by their times, and those of one time in the order in which they were set.
    pub(super) fn fire(&mut self, now: u64) -> Option<u32> {
        let due = self.next().filter(|due| *due <= now)?;
        let at = self.set.iter().position(|(other, _)| *other == due)?;
        Some(self.set.remove(at).1)
    }
}
