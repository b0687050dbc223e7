//! Admission to gateway instances: a queue for each worker, and a share of the instances that long responses may occupy.
//!
//! Whether a request is long shows only later. So each starts as a short one and enters the share when its response waits
//! for events, has no announced length, or is not read soon. If the share is full, the request is refused, or ended if its
//! response has begun. The other instances are always left to short requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Percent of a store's gateway instances that may serve long responses.
const LONG_PERCENT_MAX: usize = 75;

/// How long a short response may take from its head to its end. A client reads an ordinary page within milliseconds.
pub(crate) const SHORT_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of a short response without an announced length. While the share is full, so much is read ahead to see whether the
/// response is short. Most pages of JSON are smaller.
pub(crate) const SHORT_BYTES_MAX: usize = 1 << 20;

/// Requests that may wait, per instance of a worker. Even the slowest disk serves them within [`QUEUE_TIME_MAX`]. Each
/// occupies its connection meanwhile.
const QUEUE_PER_INSTANCE: usize = 4;

/// How long a request may wait for an instance: longer than a burst lasts, and shorter than the timeouts of clients.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(5);

/// The long responses of one store, counted over all of its workers.
#[derive(Clone)]
pub(crate) struct LongShare {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl LongShare {
    /// The share of a store with so many instances.
    pub(crate) fn of(instances: usize) -> Self {
        Self { count: Arc::default(), max: (instances * LONG_PERCENT_MAX / 100).max(1) }
    }

    /// How many long responses there may be.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Counts one more long response. Whether there was room.
    pub(crate) fn enter(&self) -> bool {
        let more = |count| (count < self.max).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Counts one long response less.
    pub(crate) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a request got no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The queue is full, or the request waited in it for too long.
    Full,
    /// The worker is stopping.
    Closed,
}

/// Admission to the instances of one worker.
pub(crate) struct Admission {
    instances: usize,
    /// One permit for each free instance.
    free: Arc<Semaphore>,
    /// Requests in the queue.
    waiting: AtomicUsize,
}

/// The load of a worker, by which one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Instances without a request.
    pub(crate) free: usize,
    /// Requests that wait for an instance.
    pub(crate) waiting: usize,
    /// Instances that serve no long response.
    pub(crate) short: usize,
}

impl Admission {
    /// Admission to so many instances.
    pub(crate) fn to(instances: usize) -> Self {
        Self { instances, free: Arc::new(Semaphore::new(instances)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for an instance, in a bounded queue and for a bounded time.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, NotAdmitted> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let queue_max = self.instances * QUEUE_PER_INSTANCE;
        let more = |waiting| (waiting < queue_max).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Err(NotAdmitted::Full);
        }
        // Leaves the queue also when the client goes and this future is dropped.
        let _queued = Queued(&self.waiting);
        match tokio::time::timeout(QUEUE_TIME_MAX, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(NotAdmitted::Closed),
            Err(_) => Err(NotAdmitted::Full),
        }
    }

    /// Waits for an instance for a request that was admitted before and needs one again. None if the worker is stopping: then
    /// the request ends soon, and goes on without one.
    pub(crate) async fn enter_again(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().acquire_owned().await.ok()
    }

    /// Admits no further requests.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// Whether at least half of the instances are free, so that no other worker has to be considered.
    pub(crate) fn is_mostly_free(&self) -> bool {
        self.free.available_permits() * 2 >= self.instances
    }

    /// The load, of which so many requests have long responses.
    pub(crate) fn load(&self, long: usize) -> Load {
        Load {
            free: self.free.available_permits(),
            waiting: self.waiting.load(Ordering::Acquire),
            short: self.instances.saturating_sub(long),
        }
    }
}

/// A place in the queue.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The index of the worker that will serve a request soonest: the one with the most free instances; if none are free, the
/// one with the fewest waiting requests per instance without a long response. Of equal workers, the first.
pub(crate) fn soonest(loads: &[Load]) -> Option<usize> {
    let slower = |a: &Load, b: &Load| {
        let waits = |load: &Load, other: &Load| (load.waiting + 1) * other.short;
        b.free.cmp(&a.free).then_with(|| waits(a, b).cmp(&waits(b, a))).then_with(|| b.short.cmp(&a.short))
    };
    (0..loads.len()).min_by(|a, b| slower(&loads[*a], &loads[*b]))
}

#[cfg(test)]
mod tests {
    use super::{Admission, Load, LongShare, NotAdmitted, QUEUE_TIME_MAX, soonest};

    #[test]
    fn long_responses_leave_a_quarter_to_short_ones() {
        for (instances, max) in [(192, 144), (64, 48), (4, 3), (2, 1), (1, 1)] {
            let share = LongShare::of(instances);
            assert_eq!(share.max(), max);
            let entered = (0..instances * 2).filter(|_| share.enter()).count();
            assert_eq!(entered, max);
            share.leave();
            assert!(share.enter() && !share.enter());
        }
    }

    #[test]
    fn the_least_loaded_worker_is_chosen() {
        let load = |free, waiting, short| Load { free, waiting, short };
        for (loads, expected) in [
            (&[][..], None),
            (&[load(0, 0, 0)], Some(0)),
            (&[load(3, 0, 4), load(4, 0, 4)], Some(1)),
            (&[load(4, 0, 4), load(4, 0, 4)], Some(0)),
            (&[load(0, 1, 4), load(1, 9, 4)], Some(1)),
            (&[load(0, 2, 4), load(0, 1, 4)], Some(1)),
            // Without instances for short requests, even an empty queue takes longer than a long one elsewhere.
            (&[load(0, 0, 0), load(0, 200, 16)], Some(1)),
            (&[load(0, 10, 16), load(0, 3, 4)], Some(0)),
            (&[load(0, 0, 0), load(0, 0, 0)], Some(0)),
        ] {
            assert_eq!(soonest(loads), expected, "{loads:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_in_order_for_a_bounded_time() {
        let admission = Admission::to(1);
        let first = admission.enter().await.expect("there is room");
        let waiting: Vec<_> = (0..4).map(|_| Box::pin(admission.enter())).collect();
        let mut waiting = waiting.into_iter();
        let (mut second, mut third) = (waiting.next().expect("of four"), waiting.next().expect("of four"));
        let rest: Vec<_> = waiting.collect();
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        for mut waits in rest {
            assert!(futures_util::poll!(waits.as_mut()).is_pending());
            // The client leaves.
            drop(waits);
        }
        assert_eq!(admission.load(1), Load { free: 0, waiting: 2, short: 0 });
        drop(first);
        let second = second.await.expect("it is the next");
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        let begun = tokio::time::Instant::now();
        assert_eq!(third.await.expect_err("nobody left"), NotAdmitted::Full);
        assert_eq!(begun.elapsed(), QUEUE_TIME_MAX);
        drop(second);
        assert!(admission.is_mostly_free());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_closed_one_ends_the_waits() {
        let admission = Admission::to(1);
        let _first = admission.enter().await.expect("there is room");
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(admission.enter())).collect();
        for waits in &mut waiting {
            assert!(futures_util::poll!(waits.as_mut()).is_pending());
        }
        assert_eq!(admission.enter().await.expect_err("the queue is full"), NotAdmitted::Full);
        admission.close();
        for waits in waiting {
            assert_eq!(waits.await.expect_err("the worker stops"), NotAdmitted::Closed);
        }
    }
}
