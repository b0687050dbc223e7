//! Who gets a gateway instance: a queue for short requests, and a share that long ones may take together.
//!
//! Nobody knows of a request that it is long before it was for a while. So each begins as a short one, and enters the
//! share when its response shows it: it waits for events, has no length that was announced, or is not taken soon. What
//! finds the share full is refused, or ended if it has begun. The rest of the instances is always left to short requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Share of a store's gateway instances that may serve long responses, in percent.
const LONG_PERCENT_MAX: usize = 75;

/// How long a response may take until it is a long one, from its head on: a page that a client reads is gone within
/// milliseconds.
pub(crate) const SHORT_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of a response without an announced length that are gathered to find out whether it is a short one, while the
/// share is full. A page of JSON is mostly smaller.
pub(crate) const SHORT_BYTES_MAX: usize = 1 << 20;

/// Requests that may wait for each instance of a worker: at a tenth of the slowest disk's commits a second they are
/// served within [`QUEUE_TIME_MAX`]. Each holds its connection meanwhile.
const QUEUE_PER_INSTANCE: usize = 4;

/// How long a request may wait for an instance. Longer than a burst takes, and shorter than clients are patient.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(5);

/// The long responses of one store, over all of its workers.
#[derive(Clone)]
pub(crate) struct LongShare {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl LongShare {
    /// The share of so many instances.
    pub(crate) fn of(instances: usize) -> Self {
        Self { count: Arc::default(), max: (instances * LONG_PERCENT_MAX / 100).max(1) }
    }

    /// How many there may be.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Takes a place, if there is one.
    pub(crate) fn enter(&self) -> bool {
        let more = |count| (count < self.max).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a request got no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// Too many wait, or it waited for too long.
    Full,
    /// The worker is stopping.
    Closed,
}

/// The way to the instances of one worker.
pub(crate) struct Admission {
    instances: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What pulls requests to a worker, or keeps them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Instances without a request.
    pub(crate) free: usize,
    /// Requests that wait for one.
    pub(crate) waiting: usize,
    /// Instances that no long response holds.
    pub(crate) short: usize,
}

impl Admission {
    /// The way to so many instances.
    pub(crate) fn to(instances: usize) -> Self {
        Self { instances, free: Arc::new(Semaphore::new(instances)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for an instance: in turn, for a bounded time, with a bounded number of others.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, NotAdmitted> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let most = self.instances * QUEUE_PER_INSTANCE;
        let more = |waiting| (waiting < most).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Err(NotAdmitted::Full);
        }
        // Also when the client leaves, and this is dropped.
        let _waits = Waits(&self.waiting);
        match tokio::time::timeout(QUEUE_TIME_MAX, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(NotAdmitted::Closed),
            Err(_) => Err(NotAdmitted::Full),
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// Whether at least half of the instances are free: no need to look for a better worker.
    pub(crate) fn is_calm(&self) -> bool {
        self.free.available_permits() * 2 >= self.instances
    }

    /// The load, with so many long responses among the requests.
    pub(crate) fn load(&self, long: usize) -> Load {
        Load {
            free: self.free.available_permits(),
            waiting: self.waiting.load(Ordering::Acquire),
            short: self.instances.saturating_sub(long),
        }
    }
}

struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The worker that serves a request soonest: one with free instances, the more the better; else the one with the fewest
/// waiting for each instance that short requests may have. Of equal ones the first.
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
    fn the_worker_that_serves_soonest_is_chosen() {
        let load = |free, waiting, short| Load { free, waiting, short };
        for (loads, expected) in [
            (&[][..], None),
            (&[load(0, 0, 0)], Some(0)),
            (&[load(3, 0, 4), load(4, 0, 4)], Some(1)),
            (&[load(4, 0, 4), load(4, 0, 4)], Some(0)),
            (&[load(0, 1, 4), load(1, 9, 4)], Some(1)),
            (&[load(0, 2, 4), load(0, 1, 4)], Some(1)),
            // Few that wait for nothing wait longer than many that wait for something.
            (&[load(0, 0, 0), load(0, 200, 16)], Some(1)),
            (&[load(0, 10, 16), load(0, 3, 4)], Some(0)),
            (&[load(0, 0, 0), load(0, 0, 0)], Some(0)),
        ] {
            assert_eq!(soonest(loads), expected, "{loads:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_in_turn_and_not_for_ever() {
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
        assert!(admission.is_calm());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_closed_one_lets_go() {
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
