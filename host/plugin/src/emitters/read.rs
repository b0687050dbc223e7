//! Reads the events of a subscription, page after page, in the order in which its dispatcher asks for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::errors::is_transient;
use crate::bindings::store::dispatch::Reading as Asked;
use crate::bindings::store::types::Error;
use crate::long_read::{LiveReads, PAGE_EVENTS_MAX, Reader};

/// After this time, a page says how far was read, also if it has no events.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Pause after an error that passes by itself.
const PAUSE: Duration = Duration::from_millis(500);

/// The read of one subscription.
#[derive(Clone)]
pub(super) struct Read {
    reader: Reader,
    live: Arc<LiveReads>,
    /// When the last live read began.
    last: Option<Instant>,
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

    /// Where the next page begins; none before the first one.
    #[cfg(feature = "faults")]
    pub(super) fn place(&self) -> Option<u64> {
        self.reader.reading.next()
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
                    tokio::time::sleep_until(last + live.pace()).await;
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
