//! Reads the events of a subscription, page after page, in the order in which its dispatcher asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::errors::is_transient;
use crate::bindings::store::dispatch::Reading as Asked;
use crate::bindings::store::types::Error;
use crate::long_read::{PAGE_EVENTS_MAX, Reader};

/// After this time, a page says how far was read, also if it has no events.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Pause after an error that passes by itself.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a live read waits after the one before, for each other live read of the store. Without it, every append would wake all
/// of them, and each would read for a single event: a hundred subscriptions would take all processors. So each reads what came in
/// the meantime, and all of them together read at most 5,000 times a second.
const PACE: Duration = Duration::from_micros(200);

/// A wait that is shorter is left out, because timers have milliseconds.
const PACE_MIN: Duration = Duration::from_millis(1);

/// The longest of these waits.
const PACE_MAX: Duration = Duration::from_secs(1);

/// The read of one subscription.
#[derive(Clone)]
pub(super) struct Read {
    reader: Reader,
    live: Arc<LiveReads>,
    /// When the last live read began.
    last: Option<Instant>,
}

/// How many live reads a store has.
#[derive(Default)]
pub(super) struct LiveReads(AtomicUsize);

/// A live read, as long as it is one.
struct LiveRead<'a>(&'a LiveReads);

impl LiveReads {
    fn one_more(&self) -> LiveRead<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        LiveRead(self)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
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

/// A page.
pub(super) struct Fed {
    pub(super) from: u64,
    pub(super) events: Vec<u8>,
    pub(super) next: u64,
}

impl Read {
    pub(super) fn new(reader: Reader, live: &Arc<LiveReads>) -> Self {
        Self { reader, live: live.clone(), last: None }
    }

    /// Checks what a dispatcher asks for: the next page.
    pub(super) fn check(&self, asked: &Asked) -> Result<(), String> {
        let next = self.reader.reading.next().unwrap_or(0);
        if asked.from != next {
            return Err(format!("a dispatcher reads from {}; it has read up to {next}", asked.from));
        }
        if !(1..=PAGE_EVENTS_MAX).contains(&asked.count) {
            return Err(format!("a dispatcher reads {} events at a time", asked.count));
        }
        Ok(())
    }

    /// The next page of at most so many events.
    pub(super) async fn next(mut self, count: u32) -> (Self, Result<Fed, Error>) {
        let from = self.reader.reading.next().unwrap_or(0);
        let begun = Instant::now();
        let live = self.live.clone();
        let _live = self.reader.reading.is_live().then(|| live.one_more());
        loop {
            let next = self.reader.reading.next().unwrap_or(0);
            if self.reader.reading.is_live() {
                let news = self.reader.news();
                if next > from {
                    let left = SILENCE_MAX.saturating_sub(begun.elapsed());
                    if tokio::time::timeout(left, news).await.is_err() {
                        return (self, Ok(Fed { from, events: Vec::new(), next }));
                    }
                } else {
                    news.await;
                }
                if let Some(last) = self.last {
                    tokio::time::sleep_until(last + pace(live.count())).await;
                }
                self.last = Some(Instant::now());
            }
            let page = {
                let turns = self.reader.turns.clone();
                let _turn = turns.alone().await;
                self.reader.page(count, None).await
            };
            match page {
                Ok(page) => {
                    let next = self.reader.reading.next().unwrap_or(from);
                    if page.count > 0 || next > from && begun.elapsed() > SILENCE_MAX {
                        return (self, Ok(Fed { from, events: page.events, next }));
                    }
                }
                Err(error) if is_transient(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return (self, Err(error)),
            }
        }
    }
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
        let (one, other) = (reads.one_more(), reads.one_more());
        assert_eq!(reads.count(), 2);
        drop((one, other));
        assert_eq!(reads.count(), 0);
    }
}
