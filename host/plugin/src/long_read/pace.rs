//! The pace of those who have read everything and read on, each on its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a live read waits after the one before, for each other live read of the store. Without it, every append would wake all
/// of them, and each would read for a single event: a hundred subscriptions would take all processors. So each reads what came in
/// the meantime, and all of them together read at most 5,000 times a second.
const PACE: Duration = Duration::from_micros(200);

/// A wait that is shorter is left out, because timers have milliseconds.
const PACE_MIN: Duration = Duration::from_millis(1);

/// The longest of these waits.
const PACE_MAX: Duration = Duration::from_secs(1);

/// How many live reads a store has.
#[derive(Default)]
pub(crate) struct LiveReads(AtomicUsize);

/// A live read, as long as it is one.
pub(crate) struct LiveRead<'a>(&'a LiveReads);

impl LiveReads {
    /// One more.
    pub(crate) fn one_more(&self) -> LiveRead<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        LiveRead(self)
    }

    /// The time between two of them that one reader makes.
    pub(crate) fn pace(&self) -> Duration {
        pace(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for LiveRead<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time between two reads of one subscription, if there are so many live reads.
fn pace(live_reads: usize) -> Duration {
    let others = u32::try_from(live_reads.saturating_sub(1)).unwrap_or(u32::MAX);
    let pace = PACE.saturating_mul(others).min(PACE_MAX);
    if pace < PACE_MIN { Duration::ZERO } else { pace }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LiveReads, pace};

    #[test]
    fn many_live_reads_take_their_time() {
        for (live_reads, expected_us) in
            [(0, 0), (5, 0), (6, 1_000), (100, 19_800), (5_001, 1_000_000), (usize::MAX, 1_000_000)]
        {
            assert_eq!(pace(live_reads), Duration::from_micros(expected_us), "{live_reads}");
        }
    }

    #[test]
    fn live_reads_are_counted_as_long_as_they_last() {
        let reads = LiveReads::default();
        let live: Vec<_> = (0..6).map(|_| reads.one_more()).collect();
        assert_eq!(reads.pace(), Duration::from_millis(1));
        drop(live);
        assert_eq!(reads.pace(), Duration::ZERO);
    }
}
