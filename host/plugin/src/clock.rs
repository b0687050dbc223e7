//! The time of day of a store's components, in views and in WASI's wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::HostWallClock;

/// A time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The system's time.
    #[default]
    System,
    /// Always 1970-01-01T00:00:00 UTC, so that no event is too old: for copies of a store that include expired events.
    Epoch,
}

impl Clock {
    /// The time since 1970-01-01T00:00:00 UTC.
    pub(crate) fn since_epoch(self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Epoch => Duration::ZERO,
        }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.since_epoch()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wasmtime_wasi::HostWallClock as _;

    use super::Clock;

    #[test]
    fn the_system_clock_runs_and_the_epoch_clock_does_not() {
        assert!(Clock::System.now() > Duration::from_secs(1_700_000_000));
        assert_eq!((Clock::Epoch.now(), Clock::Epoch.since_epoch()), (Duration::ZERO, Duration::ZERO));
        assert_eq!(Clock::default(), Clock::System);
    }
}
