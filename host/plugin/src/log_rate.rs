//! Bounds how many log records are written per second.

use std::time::{Duration, Instant};

use crate::limits::LOG_RECORDS_PER_SECOND_MAX;

/// Counts the records of the current second.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    second: Option<Instant>,
    written: u32,
    dropped: u32,
}

impl LogRate {
    /// If one more record may be written: how many were dropped since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u32> {
        let fresh = self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1));
        if fresh {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written == LOG_RECORDS_PER_SECOND_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::LogRate;
    use crate::limits::LOG_RECORDS_PER_SECOND_MAX;

    #[test]
    fn records_over_the_rate_are_dropped_and_counted() {
        let mut rate = LogRate::default();
        let start = Instant::now();
        for _ in 0..LOG_RECORDS_PER_SECOND_MAX {
            assert_eq!(rate.admit(start), Some(0));
        }
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + Duration::from_secs(1)), Some(2));
    }
}
