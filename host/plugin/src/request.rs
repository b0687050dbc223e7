//! The host's hold on a gateway request in progress, shared by the client's side and the guest's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::share::{LongShare, SHORT_TIME_MAX};
use crate::trace::Trace;

/// How long a client may take nothing of an answer that is there for it. It holds a gateway instance meanwhile, of
/// which there are few.
pub(crate) const ANSWER_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether a client takes its response, and whether that has become a long one.
const RESPONSE_CHECK: Duration = Duration::from_secs(1);

/// A request in progress.
pub(crate) struct RequestControl {
    /// The trace that the request belongs to.
    pub(crate) trace: Trace,
    long: LongShare,
    is_long: AtomicBool,
    is_live: AtomicBool,
    closing: AtomicBool,
    closed: Notify,
    begun: Instant,
    /// When the connection last took a part of the answer and did not ask for more yet, in milliseconds from `begun`
    /// and at least 1; 0 while it asks.
    taken_ms: AtomicU64,
    /// When the last part of the request's body came, in milliseconds from `begun`.
    body_ms: AtomicU64,
    /// Since when the guest waits for the request's body, in milliseconds from `begun` and at least 1; 0 while it does not.
    awaited_ms: AtomicU64,
    /// When the response began, in milliseconds from `begun` and at least 1; 0 before.
    answered_ms: AtomicU64,
}

/// Why a response is ended by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The client takes nothing of it.
    Stalled,
    /// It takes long, or its request does, and there are as many of these as there may be.
    LongShareFull,
}

impl RequestControl {
    pub(crate) fn new(trace: Trace, long: LongShare) -> Self {
        Self {
            trace,
            long,
            is_long: AtomicBool::new(false),
            is_live: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            begun: Instant::now(),
            taken_ms: AtomicU64::new(0),
            body_ms: AtomicU64::new(0),
            awaited_ms: AtomicU64::new(0),
            answered_ms: AtomicU64::new(0),
        }
    }

    /// The guest waits for events: that makes the response a long one. Whether there was room.
    pub(crate) fn enter_live(&self) -> bool {
        let entered = self.enter_long();
        self.is_live.fetch_or(entered, Ordering::AcqRel);
        entered
    }

    /// Counts the response as a long one, until its end. Whether there was room.
    pub(crate) fn enter_long(&self) -> bool {
        if self.is_long() {
            return true;
        }
        if !self.long.enter() {
            return false;
        }
        if self.is_long.swap(true, Ordering::AcqRel) {
            // The guest and the connection found out at the same time.
            self.long.leave();
        }
        true
    }

    /// The request holds no instance any more, whatever its client still has to take.
    pub(crate) fn leave_long(&self) {
        if self.is_long.swap(false, Ordering::AcqRel) {
            self.long.leave();
        }
    }

    /// Whether the response counts as a long one.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Acquire)
    }

    /// The guest has to wait for more of the request's body.
    pub(crate) fn awaits_body(&self) {
        // The first time counts.
        if self.awaited_ms.load(Ordering::Relaxed) == 0 {
            self.awaited_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// A part of the request's body came.
    pub(crate) fn body_comes(&self) {
        self.body_ms.store(self.now_ms(), Ordering::Relaxed);
        self.awaited_ms.store(0, Ordering::Relaxed);
    }

    /// The guest's response has begun.
    pub(crate) fn responds(&self) {
        self.answered_ms.store(self.now_ms(), Ordering::Release);
    }

    /// Completes when the guest has not begun its response within `wall` of the last part of the request. A request
    /// that waits for events may wait: of those there is a share of their own.
    pub(crate) async fn unanswered(&self, wall: Duration) {
        let mut due = wall;
        loop {
            tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
            if self.answered_ms.load(Ordering::Acquire) > 0 || self.is_live.load(Ordering::Acquire) {
                return std::future::pending().await;
            }
            let moved = Duration::from_millis(self.body_ms.load(Ordering::Relaxed)) + wall;
            if moved <= due {
                return;
            }
            due = moved;
        }
    }

    /// Asks the guest to finish: nobody waits for more, or the host is stopping.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.notify_waiters();
    }

    /// Completes when the guest was asked to finish.
    pub(crate) async fn closed(&self) {
        let mut notified = std::pin::pin!(self.closed.notified());
        notified.as_mut().enable();
        if !self.closing.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// The connection asks for more of the answer.
    pub(crate) fn asks(&self) {
        self.taken_ms.store(0, Ordering::Relaxed);
    }

    /// The connection took a part of the answer.
    pub(crate) fn takes(&self) {
        self.taken_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Completes when the host has to end the response: its client has taken nothing for [`ANSWER_PAUSE_MAX`], or it has
    /// become a long one and there is no room for that.
    pub(crate) async fn overdue(&self) -> Overdue {
        loop {
            tokio::time::sleep(RESPONSE_CHECK).await;
            let passed_since = |then_ms: u64| Duration::from_millis(self.now_ms().saturating_sub(then_ms));
            let taken_ms = self.taken_ms.load(Ordering::Relaxed);
            if taken_ms > 0 && passed_since(taken_ms) > ANSWER_PAUSE_MAX {
                return Overdue::Stalled;
            }
            let since =
                [&self.awaited_ms, &self.answered_ms].map(|since_ms| since_ms.load(Ordering::Relaxed));
            let is_long =
                since.iter().any(|since_ms| *since_ms > 0 && passed_since(*since_ms) > SHORT_TIME_MAX);
            if is_long && !self.enter_long() {
                return Overdue::LongShareFull;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
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
    use crate::share::LongShare;
    use crate::trace::Trace;

    #[test]
    fn a_long_response_is_counted_once_and_until_its_end() {
        let long = LongShare::of(1);
        let request = || RequestControl::new(Trace::new(), long.clone());
        let (first, second) = (request(), request());
        assert!(first.enter_long() && first.enter_long());
        assert!(!second.enter_long());
        drop(first);
        assert!(second.enter_long());
    }

    #[tokio::test]
    async fn a_response_that_is_not_taken_soon_becomes_a_long_one_or_is_ended() {
        let long = LongShare::of(1);
        let request = || RequestControl::new(Trace::new(), long.clone());
        let (first, second) = (request(), request());
        first.responds();
        let room = tokio::time::timeout(super::SHORT_TIME_MAX * 3, first.overdue()).await;
        assert!(room.is_err() && first.is_long(), "there was room");
        second.responds();
        assert_eq!(second.overdue().await, Overdue::LongShareFull);
        let third = request();
        third.awaits_body();
        assert_eq!(third.overdue().await, Overdue::LongShareFull);
    }

    #[tokio::test]
    async fn a_response_has_to_begin_in_time_after_the_last_of_the_body() {
        use std::time::Duration;
        let wall = Duration::from_millis(20);
        let request = || RequestControl::new(Trace::new(), LongShare::of(1));
        request().unanswered(wall).await;
        let (responded, live) = (request(), request());
        responded.responds();
        assert!(live.enter_live());
        for patient in [responded, live] {
            let waited = tokio::time::timeout(wall * 3, patient.unanswered(wall)).await;
            assert!(waited.is_err());
        }
    }

    #[tokio::test]
    async fn closing_is_heard_before_and_after() {
        let request = RequestControl::new(Trace::new(), LongShare::of(1));
        {
            let waiting = request.closed();
            tokio::pin!(waiting);
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
            request.close();
            waiting.await;
        }
        request.closed().await;
    }
}
