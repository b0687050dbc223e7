//! The state of a gateway request in progress, shared by its connection, its guest and the worker that supervises both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::admission::{LongShare, SHORT_TIME_MAX};
use crate::closing::Closing;
use crate::trace::Trace;

/// How long a client may read nothing of a response that is ready for it. It occupies one of few gateway instances
/// meanwhile.
const READ_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a response is checked: whether its client reads it, and whether it has become a long one.
const RESPONSE_CHECK: Duration = Duration::from_secs(1);

/// A request in progress.
pub(crate) struct RequestControl {
    /// The trace that the request belongs to.
    pub(crate) trace: Trace,
    long: LongShare,
    /// The response counts as a long one.
    is_long: AtomicBool,
    /// The guest waits for events.
    is_live: AtomicBool,
    /// The guest was requested to finish.
    closing: Closing,
    started: Instant,
    /// When the connection last took a part of the response, in milliseconds from `started` and at least 1; 0 while it
    /// asks for more.
    taken_ms: AtomicU64,
    /// When the last part of the request's body arrived, in milliseconds from `started`.
    body_ms: AtomicU64,
    /// Since when the guest waits for the request's body, in milliseconds from `started` and at least 1; 0 while it does
    /// not wait.
    awaited_ms: AtomicU64,
    /// When the response began, in milliseconds from `started` and at least 1; 0 before.
    response_ms: AtomicU64,
    /// The client left, or the component crashed, so what they were given may be to blame.
    has_failed: AtomicBool,
}

/// Why the host ends a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The client does not read it.
    Stalled,
    /// The response or its request takes long, and there are as many long ones as there may be.
    LongShareFull,
}

impl RequestControl {
    pub(crate) fn new(trace: Trace, long: LongShare) -> Self {
        Self {
            trace,
            long,
            is_long: AtomicBool::new(false),
            is_live: AtomicBool::new(false),
            closing: Closing::default(),
            started: Instant::now(),
            taken_ms: AtomicU64::new(0),
            body_ms: AtomicU64::new(0),
            awaited_ms: AtomicU64::new(0),
            response_ms: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Counts the response as a long one because its guest waits for events. Whether there was room.
    pub(crate) fn enter_live(&self) -> bool {
        let entered = self.enter_long();
        self.is_live.fetch_or(entered, Ordering::AcqRel);
        entered
    }

    /// Counts the response as a long one until its end. Whether there was room.
    pub(crate) fn enter_long(&self) -> bool {
        if self.is_long() {
            return true;
        }
        if !self.long.enter() {
            return false;
        }
        if self.is_long.swap(true, Ordering::AcqRel) {
            // The guest and the connection entered at the same time.
            self.long.leave();
        }
        true
    }

    /// Counts the response no longer: it occupies no instance, even if its client still has to read it.
    pub(crate) fn leave_long(&self) {
        if self.is_long.swap(false, Ordering::AcqRel) {
            self.long.leave();
        }
    }

    /// Whether the response counts as a long one.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Acquire)
    }

    /// The guest waits for more of the request's body.
    pub(crate) fn body_awaited(&self) {
        // Only the beginning of the wait counts.
        if self.awaited_ms.load(Ordering::Relaxed) == 0 {
            self.awaited_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// A part of the request's body arrived.
    pub(crate) fn body_arrived(&self) {
        self.body_ms.store(self.now_ms(), Ordering::Relaxed);
        self.awaited_ms.store(0, Ordering::Relaxed);
    }

    /// Notes that the client left, or that the component crashed.
    pub(crate) fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// Whether the client left, or the component crashed. False when the host ends the request.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// The guest's response began.
    pub(crate) fn response_began(&self) {
        self.response_ms.store(self.now_ms(), Ordering::Release);
    }

    /// Completes when the guest has not begun its response within `wall` of the last part of the request. Never completes
    /// for a request that waits for events: the share of long responses bounds those.
    pub(crate) async fn no_response_within(&self, wall: Duration) {
        let mut deadline = wall;
        loop {
            tokio::time::sleep(deadline.saturating_sub(self.started.elapsed())).await;
            if self.response_ms.load(Ordering::Acquire) > 0 || self.is_live.load(Ordering::Acquire) {
                return std::future::pending().await;
            }
            let extended = Duration::from_millis(self.body_ms.load(Ordering::Relaxed)) + wall;
            if extended <= deadline {
                return;
            }
            deadline = extended;
        }
    }

    /// Tells the guest to finish: the client is gone, or the host stops.
    pub(crate) fn close(&self) {
        self.closing.close();
    }

    /// The wish that the guest finish.
    pub(crate) fn closing(&self) -> &Closing {
        &self.closing
    }

    /// Completes when the guest was requested to finish.
    pub(crate) async fn closed(&self) {
        self.closing.closed().await;
    }

    /// The connection asks for more of the response.
    pub(crate) fn body_requested(&self) {
        self.taken_ms.store(0, Ordering::Relaxed);
    }

    /// The connection took a part of the response.
    pub(crate) fn body_taken(&self) {
        self.taken_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Completes when the host has to end the response: its client has read nothing for [`READ_PAUSE_MAX`], or it has become
    /// a long one and there is no room for it.
    pub(crate) async fn overdue(&self) -> Overdue {
        loop {
            tokio::time::sleep(RESPONSE_CHECK).await;
            let passed_since = |then_ms: u64| Duration::from_millis(self.now_ms().saturating_sub(then_ms));
            let taken_ms = self.taken_ms.load(Ordering::Relaxed);
            if taken_ms > 0 && passed_since(taken_ms) > READ_PAUSE_MAX {
                return Overdue::Stalled;
            }
            let since =
                [&self.awaited_ms, &self.response_ms].map(|since_ms| since_ms.load(Ordering::Relaxed));
            let is_long =
                since.iter().any(|since_ms| *since_ms > 0 && passed_since(*since_ms) > SHORT_TIME_MAX);
            if is_long && !self.enter_long() {
                return Overdue::LongShareFull;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Drop for RequestControl {
    fn drop(&mut self) {
        self.leave_long();
    }
}

#[cfg(test)]
mod tests {
    use super::{Overdue, RequestControl};
    use crate::admission::LongShare;
    use crate::trace::Trace;

    #[test]
    fn a_long_response_counts_once_until_its_end() {
        let long = LongShare::of(1);
        let request = || RequestControl::new(Trace::new(), long.clone());
        let (first, second) = (request(), request());
        assert!(first.enter_long() && first.enter_long());
        assert!(!second.enter_long());
        drop(first);
        assert!(second.enter_long());
    }

    #[tokio::test]
    async fn a_response_that_is_read_slowly_becomes_long_or_is_ended() {
        let long = LongShare::of(1);
        let request = || RequestControl::new(Trace::new(), long.clone());
        let (first, second) = (request(), request());
        first.response_began();
        let room = tokio::time::timeout(super::SHORT_TIME_MAX * 3, first.overdue()).await;
        assert!(room.is_err() && first.is_long(), "there was room");
        second.response_began();
        assert_eq!(second.overdue().await, Overdue::LongShareFull);
        let third = request();
        third.body_awaited();
        assert_eq!(third.overdue().await, Overdue::LongShareFull);
    }

    #[tokio::test]
    async fn a_response_has_to_begin_in_time_after_the_body() {
        use std::time::Duration;
        let wall = Duration::from_millis(20);
        let request = || RequestControl::new(Trace::new(), LongShare::of(1));
        request().no_response_within(wall).await;
        let (responded, live) = (request(), request());
        responded.response_began();
        assert!(live.enter_live());
        for patient in [responded, live] {
            let waited = tokio::time::timeout(wall * 3, patient.no_response_within(wall)).await;
            assert!(waited.is_err());
        }
    }
}
