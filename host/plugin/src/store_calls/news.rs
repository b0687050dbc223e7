//! Waiting for events of the store.

use std::sync::Arc;
use std::time::Duration;

use exesdb_pubsub::{Bus, TooManyWaiters, Wait};

use super::StoreCalls;
use crate::names;

/// How long a wait lasts if the store has no pubsub, by configuration or because it is being restarted.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// The next event that a reader has not seen.
pub(crate) struct News(Option<Wait>);

impl StoreCalls {
    /// The next event at or after position `seen`, of one stream or of any. A wake-up may be lost, and may be for nothing.
    pub(crate) fn news(&self, stream: Option<&str>, seen: u64) -> Result<News, TooManyWaiters> {
        let bus: Option<Arc<Bus>> = self.context.registry.get(&names::pubsub(&self.context.store));
        bus.map(|bus| bus.wait(stream, seen)).transpose().map(News)
    }
}

impl News {
    /// Waits for it.
    pub(crate) async fn woken(self) {
        match self.0 {
            Some(wait) => wait.woken().await,
            None => tokio::time::sleep(POLL).await,
        }
    }

    /// Waits for it, for a bounded time.
    pub(crate) async fn within(self, time: Duration) {
        // Whoever waited reads, whether it was woken or not.
        drop(tokio::time::timeout(time, self.woken()).await);
    }
}
