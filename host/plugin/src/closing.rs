//! A wish that something finish, made once and seen by all who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The wish; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Closing(Arc<State>);

#[derive(Default)]
struct State {
    wished: AtomicBool,
    told: Notify,
}

impl Closing {
    /// Makes the wish.
    pub(crate) fn close(&self) {
        self.0.wished.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }

    /// Whether it was made.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.wished.load(Ordering::Acquire)
    }

    /// Completes when it was made.
    pub(crate) async fn closed(&self) {
        let mut told = std::pin::pin!(self.0.told.notified());
        told.as_mut().enable();
        if !self.is_closed() {
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Closing;

    #[tokio::test]
    async fn it_is_noticed_by_earlier_and_later_waiters() {
        let closing = Closing::default();
        {
            let mut waiting = std::pin::pin!(closing.closed());
            assert!(futures_util::poll!(waiting.as_mut()).is_pending() && !closing.is_closed());
            closing.clone().close();
            waiting.await;
        }
        assert!(closing.is_closed());
        closing.closed().await;
    }
}
