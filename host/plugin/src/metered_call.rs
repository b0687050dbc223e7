//! Separates a guest's CPU time from the time that it waits in the host.
//!
//! The deadline counts the CPU time since the guest last waited. Guests wait in our interfaces and in WASI's, so a wait is
//! detected where both are visible: when the poll of a call into the guest returns `Pending`, the guest waits for the
//! host, unless an engine tick made it yield.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::offload::offload;

/// Shared by the engine's ticks and the polls of a call, because the call borrows the `Store` while it runs.
#[derive(Debug, Default)]
pub(crate) struct YieldState {
    /// A tick made the guest yield in this poll.
    yielded: AtomicBool,
    /// The guest waited in the host since `take_waited` was last called.
    waited: AtomicBool,
}

impl YieldState {
    /// A tick makes the guest yield.
    pub(crate) fn set_yielded(&self) {
        self.yielded.store(true, Ordering::Relaxed);
    }

    /// Whether the guest waited in the host since the last call of this function.
    pub(crate) fn take_waited(&self) -> bool {
        self.waited.swap(false, Ordering::Relaxed)
    }
}

/// A call into a guest that records waits, and is offloaded while the guest computes.
pub(crate) struct MeteredCall<F> {
    call: Pin<Box<F>>,
    state: Arc<YieldState>,
}

impl<F: Future> MeteredCall<F> {
    pub(crate) fn new(call: F, state: Arc<YieldState>) -> Self {
        Self { call: Box::pin(call), state }
    }
}

impl<F: Future> Future for MeteredCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // A guest that has used up a time slice is likely to use up the next one, too.
        let computes = self.state.yielded.swap(false, Ordering::Relaxed);
        let call = self.call.as_mut();
        let polled = if computes { offload(|| call.poll(context)) } else { call.poll(context) };
        if polled.is_pending() && !self.state.yielded.load(Ordering::Relaxed) {
            self.state.waited.store(true, Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::{MeteredCall, YieldState};
    use crate::offload::tests::{ONLY_PERMIT, PATIENCE};
    use std::sync::{Arc, mpsc};

    #[tokio::test]
    async fn a_wait_is_recorded_and_a_yield_is_not() {
        let state = Arc::new(YieldState::default());
        let tick = state.clone();
        MeteredCall::new(
            async move {
                tick.set_yielded();
                tokio::task::yield_now().await;
            },
            state.clone(),
        )
        .await;
        assert!(!state.take_waited());
        MeteredCall::new(tokio::task::yield_now(), state.clone()).await;
        assert!(state.take_waited());
        assert!(!state.take_waited(), "reading the flag clears it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_guest_that_yielded_continues_offloaded() {
        let _permit = ONLY_PERMIT.lock().await;
        let (sender, receiver) = mpsc::channel();
        let state = Arc::new(YieldState::default());
        let tick = state.clone();
        let call = async move {
            tick.set_yielded();
            tokio::task::yield_now().await;
            // Blocks the runtime's only thread until another task has run.
            tokio::spawn(async move { sender.send(()) });
            receiver.recv_timeout(PATIENCE)
        };
        assert_eq!(tokio::spawn(MeteredCall::new(call, state)).await.unwrap(), Ok(()));
    }
}
