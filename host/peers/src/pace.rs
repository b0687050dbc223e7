//! When something is due: the next attempt to connect, and the next part of a snapshot.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{RECONNECT_MAX, RECONNECT_MIN};

/// Pauses between attempts, which double up to a limit. Half of each is chance, so that nodes do not knock in step.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure. `chance` is at least 0 and below 1.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let doubled = 2u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let pause = RECONNECT_MIN.saturating_mul(doubled).min(RECONNECT_MAX);
        pause.mul_f64(0.5 + chance / 2.0)
    }
}

/// Keeps a rate: a bucket that holds what flows in a tenth of a second.
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// When everything so far would be sent at that rate.
    paid_until: Instant,
}

impl Pace {
    pub(crate) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Self { bytes_per_s, paid_until: now }
    }

    /// Counts bytes that are sent now. Returns when more may be.
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) -> Instant {
        let burst = Duration::from_millis(100);
        let unused = now.checked_sub(burst).unwrap_or(now);
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_s);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_until = self.paid_until.max(unused) + takes;
        self.paid_until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Backoff, Pace};
    use crate::limits::{RECONNECT_MAX, RECONNECT_MIN};

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next(1.0)).collect();
        assert_eq!(pauses[..3], [RECONNECT_MIN, RECONNECT_MIN * 2, RECONNECT_MIN * 4]);
        assert_eq!(pauses[39], RECONNECT_MAX);
        backoff.succeeded();
        assert_eq!(backoff.next(0.0), RECONNECT_MIN / 2);
    }

    #[test]
    fn a_pace_is_kept_after_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000, start);
        assert_eq!(pace.sent(500, start), start + Duration::from_millis(500));
        assert_eq!(pace.sent(500, start), start + Duration::from_secs(1));
        let later = start + Duration::from_secs(10);
        assert_eq!(pace.sent(100, later), later, "a tenth of a second was saved up, and no more");
    }
}
