//! The pause before a restart: beyond OTP, and off by default.

use std::time::Duration;

use crate::spec::Backoff;

/// Counts restarts in a row, by which a child's pauses grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streak {
    /// Restarts since the child last ran for at least `Backoff::max`.
    length: u32,
}

impl Streak {
    /// The pause before the next restart of a child that ran for `ran`. `jitter` is any number; it determines by how much
    /// the pause is shortened.
    pub(crate) fn next(&mut self, backoff: Backoff, ran: Duration, jitter: u64) -> Duration {
        if ran >= backoff.max {
            self.length = 0;
        }
        let doublings = self.length.checked_sub(1);
        self.length = self.length.saturating_add(1);
        // The first restart has no pause.
        let Some(doublings) = doublings else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let whole = backoff.first.saturating_mul(factor).min(backoff.max);
        // Shortened by up to a half, in 1024 steps.
        let cut = whole / 2 * u32::try_from(jitter % 1024).expect("less than 1024") / 1024;
        whole - cut
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Streak;
    use crate::spec::Backoff;

    #[test]
    fn pauses_double_up_to_the_limit_and_reset_after_a_long_run() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut streak = Streak::default();
        let crash = |streak: &mut Streak| streak.next(backoff, Duration::ZERO, 0).as_millis();
        let pauses: Vec<u128> = (0..6).map(|_| crash(&mut streak)).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1000]);
        assert_eq!(streak.next(backoff, Duration::from_secs(1), 0), Duration::ZERO);
        assert_eq!(crash(&mut streak), 100);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_half() {
        let backoff = Backoff::new(Duration::from_millis(1024), Duration::from_secs(60));
        for jitter in [0, 1, 511, 1023, 1024, u64::MAX] {
            let mut streak = Streak { length: 1 };
            let pause = streak.next(backoff, Duration::ZERO, jitter).as_millis();
            assert!((512..=1024).contains(&pause), "{jitter}: {pause}");
        }
    }
}
