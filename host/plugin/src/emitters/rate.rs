//! How often something happens.

use std::time::{Duration, Instant};

/// The time over which a rate is averaged: what was counted so long ago has lost two thirds of its weight.
const WINDOW: Duration = Duration::from_secs(10);

/// A count that decays.
#[derive(Default)]
pub(super) struct Rate {
    count: f64,
    at: Option<Instant>,
}

impl Rate {
    pub(super) fn add(&mut self, count: u64) {
        self.add_at(count, Instant::now());
    }

    /// About so many were counted in a second, of late.
    pub(super) fn in_a_second(&mut self) -> u64 {
        self.in_a_second_at(Instant::now())
    }

    fn add_at(&mut self, count: u64, now: Instant) {
        self.decay(now);
        self.count += f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn in_a_second_at(&mut self, now: Instant) -> u64 {
        self.decay(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is no negative number"
        )]
        let rate = (self.count / WINDOW.as_secs_f64()).round() as u64;
        rate
    }

    fn decay(&mut self, now: Instant) {
        if let Some(at) = self.at {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            self.count *= (-passed / WINDOW.as_secs_f64()).exp();
        }
        self.at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Rate;

    #[test]
    fn a_steady_rate_is_found_and_fades() {
        let (mut rate, begun) = (Rate::default(), Instant::now());
        for tenth in 0..1_000 {
            rate.add_at(20, begun + Duration::from_millis(tenth * 100));
        }
        let now = begun + Duration::from_millis(99_900);
        let found = rate.in_a_second_at(now);
        assert!((190..210).contains(&found), "{found}");
        let later = rate.in_a_second_at(now + Duration::from_secs(60));
        assert!(later < 1, "{later}");
    }
}
