//! Telling a guest that waits in the host from one that computes.
//!
//! The deadline counts the CPU time of a guest since it last waited. Guests wait in our interfaces and in WASI's alike,
//! so it is noticed where both show: a call into a guest that is polled and answers "not yet" waits for the host,
//! unless it was we who made it give way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::beside::beside;

/// What the engine's ticks and the polls of a call tell each other. Shared, because the call borrows the `Store`.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// In this poll the guest was made to give way.
    gave_way: AtomicBool,
    /// The guest waited in the host since it was last asked.
    waited: AtomicBool,
}

impl Pauses {
    /// A tick makes the guest give way.
    pub(crate) fn give_way(&self) {
        self.gave_way.store(true, Ordering::Relaxed);
    }

    /// Whether the guest waited in the host since the last time this was asked.
    pub(crate) fn take_waited(&self) -> bool {
        self.waited.swap(false, Ordering::Relaxed)
    }
}

/// A call into a guest.
pub(crate) struct Watched<F> {
    call: Pin<Box<F>>,
    pauses: Arc<Pauses>,
}

impl<F: Future> Watched<F> {
    pub(crate) fn new(call: F, pauses: Arc<Pauses>) -> Self {
        Self { call: Box::pin(call), pauses }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // A guest that has used up its slice computes, and is likely to use up the next one.
        let computes = self.pauses.gave_way.swap(false, Ordering::Relaxed);
        let call = self.call.as_mut();
        let answer = if computes { beside(|| call.poll(context)) } else { call.poll(context) };
        if answer.is_pending() && !self.pauses.gave_way.load(Ordering::Relaxed) {
            self.pauses.waited.store(true, Ordering::Relaxed);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::{Pauses, Watched};
    use crate::beside::tests::{PATIENCE, ROOM_FOR_ONE};
    use std::sync::{Arc, mpsc};

    #[tokio::test]
    async fn a_wait_is_noticed_and_giving_way_is_not() {
        let pauses = Arc::new(Pauses::default());
        let made_to = pauses.clone();
        Watched::new(
            async move {
                made_to.give_way();
                tokio::task::yield_now().await;
            },
            pauses.clone(),
        )
        .await;
        assert!(!pauses.take_waited());
        Watched::new(tokio::task::yield_now(), pauses.clone()).await;
        assert!(pauses.take_waited());
        assert!(!pauses.take_waited(), "asked once, it is forgotten");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_guest_that_was_made_to_give_way_goes_on_beside_the_others() {
        let _room = ROOM_FOR_ONE.lock().await;
        let (sender, receiver) = mpsc::channel();
        let pauses = Arc::new(Pauses::default());
        let made_to = pauses.clone();
        let call = async move {
            made_to.give_way();
            tokio::task::yield_now().await;
            // Computes, on the only thread of the runtime, until another task has had its turn.
            tokio::spawn(async move { sender.send(()) });
            receiver.recv_timeout(PATIENCE)
        };
        assert_eq!(tokio::spawn(Watched::new(call, pauses)).await.unwrap(), Ok(()));
    }
}
