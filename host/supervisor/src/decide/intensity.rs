//! Counts the restarts within the period.

use std::collections::VecDeque;
use std::time::Duration;

/// A supervisor's restart limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) restarts: u32,
    pub(crate) period: Duration,
}

/// The times of the latest restarts, at most `restarts + 1`: with more, the supervisor has given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    times: VecDeque<Duration>,
}

impl Times {
    /// Records a restart. Whether it is allowed.
    pub(crate) fn record(&mut self, limit: Limit, now: Duration) -> bool {
        // A killed supervisor's end is recorded with the time of the kill, which may be before the latest restart.
        // Then the later time is recorded for both, so that the times stay in order.
        let now = self.times.back().map_or(now, |latest| now.max(*latest));
        self.forget(limit, now);
        self.times.push_back(now);
        self.times.len() <= limit.restarts as usize
    }

    /// How many restarts of the last period count at `now`.
    pub(crate) fn used(&self, limit: Limit, now: Duration) -> u32 {
        let used =
            self.times.iter().rev().take_while(|time| now.saturating_sub(**time) <= limit.period).count();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// As [`Times::used`] right after [`Times::record`], in constant time.
    pub(crate) fn recorded(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, limit: Limit, now: Duration) {
        while self.times.front().is_some_and(|time| now.saturating_sub(*time) > limit.period) {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Limit, Times};

    #[test]
    fn the_intensity_limits_restarts_within_the_period() {
        let limit = Limit { restarts: 2, period: Duration::from_secs(5) };
        let table: &[(&[u64], bool)] = &[
            (&[0], true),
            (&[0, 0], true),
            (&[0, 0, 0], false),
            (&[0, 1, 5_000], false), // exactly one period apart counts
            (&[0, 1, 5_001], true),  // a restart leaves the window when it is older than the period
            (&[0, 3_000, 6_000, 9_000], true),
        ];
        for (times, allowed) in table {
            let mut recorded = Times::default();
            let mut last = true;
            for at in *times {
                last = recorded.record(limit, Duration::from_millis(*at));
            }
            assert_eq!(last, *allowed, "restarts at {times:?} ms");
        }
    }

    #[test]
    fn an_intensity_of_zero_allows_none() {
        let limit = Limit { restarts: 0, period: Duration::from_secs(1) };
        assert!(!Times::default().record(limit, Duration::ZERO));
    }
}
