//! The host's hold on a gateway request in progress, shared by the client's side and the guest's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::trace::Trace;

/// How long a client may take nothing of an answer that is there for it. It holds a gateway instance meanwhile, of
/// which there are few.
pub(crate) const ANSWER_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether a client takes its answer.
const ANSWER_PAUSE_CHECK: Duration = Duration::from_secs(5);

/// Requests of one worker that wait for events, or did: each holds its instance as long as its client stays.
#[derive(Clone)]
pub(crate) struct LiveRequests {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl LiveRequests {
    /// At most `max` at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self { count: Arc::default(), max }
    }
}

/// A request in progress.
pub(crate) struct RequestControl {
    /// The trace that the request belongs to.
    pub(crate) trace: Trace,
    live: LiveRequests,
    is_live: AtomicBool,
    closing: AtomicBool,
    closed: Notify,
    begun: Instant,
    /// When the connection last took a part of the answer and did not ask for more yet, in milliseconds from `begun`
    /// and at least 1; 0 while it asks.
    taken_ms: AtomicU64,
    /// When the last part of the request's body came, in milliseconds from `begun`.
    body_ms: AtomicU64,
    has_response: AtomicBool,
}

impl RequestControl {
    pub(crate) fn new(trace: Trace, live: LiveRequests) -> Self {
        Self {
            trace,
            live,
            is_live: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            begun: Instant::now(),
            taken_ms: AtomicU64::new(0),
            body_ms: AtomicU64::new(0),
            has_response: AtomicBool::new(false),
        }
    }

    /// Counts the request as one that waits for events, until its end. Whether there was room.
    pub(crate) fn enter_live(&self) -> bool {
        if self.is_live.load(Ordering::Acquire) {
            return true;
        }
        let before = self.live.count.fetch_add(1, Ordering::AcqRel);
        if before >= self.live.max {
            self.live.count.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        self.is_live.store(true, Ordering::Release);
        true
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

    /// A part of the request's body came.
    pub(crate) fn body_comes(&self) {
        self.body_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The guest's response has begun.
    pub(crate) fn responds(&self) {
        self.has_response.store(true, Ordering::Release);
    }

    /// Completes when the guest has not begun its response within `wall` of the last part of the request. A request
    /// that waits for events may wait: of those there is a share of their own.
    pub(crate) async fn unanswered(&self, wall: Duration) {
        let mut due = wall;
        loop {
            tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
            if self.has_response.load(Ordering::Acquire) || self.is_live.load(Ordering::Acquire) {
                return std::future::pending().await;
            }
            let moved = Duration::from_millis(self.body_ms.load(Ordering::Relaxed)) + wall;
            if moved <= due {
                return;
            }
            due = moved;
        }
    }

    /// Completes when the client has taken nothing for [`ANSWER_PAUSE_MAX`].
    pub(crate) async fn stalled(&self) {
        loop {
            tokio::time::sleep(ANSWER_PAUSE_CHECK).await;
            let taken_ms = self.taken_ms.load(Ordering::Relaxed);
            let pause = Duration::from_millis(self.now_ms().saturating_sub(taken_ms));
            if taken_ms > 0 && pause > ANSWER_PAUSE_MAX {
                return;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Drop for RequestControl {
    fn drop(&mut self) {
        if *self.is_live.get_mut() {
            self.live.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LiveRequests, RequestControl};
    use crate::trace::Trace;

    #[test]
    fn a_live_request_is_counted_once_and_until_its_end() {
        let live = LiveRequests::new(1);
        let request = || RequestControl::new(Trace::new(), live.clone());
        let (first, second) = (request(), request());
        assert!(first.enter_live() && first.enter_live());
        assert!(!second.enter_live());
        drop(first);
        assert!(second.enter_live());
    }

    #[tokio::test]
    async fn a_response_has_to_begin_in_time_after_the_last_of_the_body() {
        use std::time::Duration;
        let wall = Duration::from_millis(20);
        let request = || RequestControl::new(Trace::new(), LiveRequests::new(1));
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
        let request = RequestControl::new(Trace::new(), LiveRequests::new(1));
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
