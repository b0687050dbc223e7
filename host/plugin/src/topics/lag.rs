//! When a listener is too slow, and where it goes on. Pure.

use serde::Serialize;

/// Positions of the store, or versions of a stream, that may lie between a listener's place and the end after it has read a page.
/// A page has at most 1,000 events, so a listener that keeps up never lags by so many, and a short restart drops nothing.
pub(super) const LAG_MAX: u64 = 4_096;

/// A listener that skips ahead reads so many of the newest events.
pub(super) const KEPT: u64 = 256;

/// What a listener does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Dropped {
    /// The first position or version that is left out; of a system topic, the number of an event of the telemetry.
    pub(super) from: u64,
    /// The end of what is left out, exclusive.
    pub(super) until: u64,
    /// How many these are.
    pub(super) events: u64,
}

impl Dropped {
    pub(super) fn of(from: u64, until: u64) -> Self {
        Self { from, until, events: until.saturating_sub(from) }
    }

    /// This and what was left out later.
    pub(super) fn and(self, later: Self) -> Self {
        Self { from: self.from, until: later.until, events: self.events.saturating_add(later.events) }
    }
}

/// What is left out for a listener that goes on at `next`, in a log or stream that ends at `end`.
pub(super) fn dropped(next: u64, end: u64) -> Option<Dropped> {
    (end.saturating_sub(next) > LAG_MAX).then(|| Dropped::of(next, end - KEPT))
}

#[cfg(test)]
mod tests {
    use super::{Dropped, KEPT, LAG_MAX, dropped};

    #[test]
    fn who_is_too_far_behind_goes_on_near_the_end() {
        let cases = [
            (0, 0, None),
            (7, 3, None),
            (0, LAG_MAX, None),
            (0, LAG_MAX + 1, Some((0, LAG_MAX + 1 - KEPT))),
            (100, 100 + LAG_MAX, None),
            (100, 10_100, Some((100, 10_100 - KEPT))),
            (u64::MAX, u64::MAX, None),
            (0, u64::MAX, Some((0, u64::MAX - KEPT))),
        ];
        for (next, end, expected) in cases {
            let expected = expected.map(|(from, until)| Dropped { from, until, events: until - from });
            assert_eq!(dropped(next, end), expected, "{next} of {end}");
        }
    }

    #[test]
    fn who_was_put_ahead_is_not_too_far_behind() {
        let ahead = dropped(5, 1_000_000).expect("it is far behind");
        assert_eq!(dropped(ahead.until, 1_000_000), None);
    }
}
