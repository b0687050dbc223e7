//! One partition of a pool: what waits for its instance, which outlives the instances that serve it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Notify, oneshot};

use super::ask::{Ask, fingerprint};
use super::breaker::Breaker;
use super::decider::changes::{Change, Changes, Outcome};
use super::decider::order::DecisionOrder;
use super::decider::queue::{List, Queue, QueueLimits};
use super::decider::standing::ListLimits;
use super::kind::Kind;
use super::poison_tracker::PoisonTracker;
use super::retry::{STRIKES_MAX, Verdict, verdict};
use crate::bindings::store::types::Error;
use crate::crash::Crash;
use crate::problem::{code, problem};
use crate::trace::Trace;

/// Limits of a list of changes: those of the rule W5.
const LIST_LIMITS: ListLimits = ListLimits { requests: 1_000, bytes: 8 << 20 };

/// Bytes of the changes that wait for one partition: those of eight gateway requests with as many bytes of open calls as each
/// may have (16 MiB).
const WAITING_BYTES_MAX: usize = 128 << 20;

/// How long a partition may be without an instance before its calls are refused instead of waiting for the next one. A
/// restart takes less than a millisecond; after this time the component may not come back by itself.
const VACANT_MAX: Duration = Duration::from_secs(5);

/// A list of changes of a kind of component.
pub(crate) type ChangeList<K> = List<Changes<<K as Kind>::Change>>;

/// An ask that waits, with the trace of its request.
pub(crate) struct QueuedAsk<E> {
    pub(crate) ask: Box<dyn Ask<E>>,
    pub(crate) trace: Trace,
}

/// A partition. Changes and asks are sent to it; its worker serves them.
pub(crate) struct Partition<K: Kind> {
    changes: Arc<Queue<Changes<K::Change>>>,
    asks: Mutex<VecDeque<QueuedAsk<K::Exports>>>,
    asked: Notify,
    /// Asks that wait at a time.
    asks_max: usize,
    /// Held by the worker that serves.
    serving: AsyncMutex<()>,
    /// Whether a worker serves.
    served: AtomicBool,
    poison: Arc<PoisonTracker>,
    breaker: Arc<Breaker>,
    /// Since when no worker has served; meaningless while one does.
    vacant_since: Mutex<Instant>,
}

impl<K: Kind> Partition<K> {
    pub(crate) fn new(
        capacity: usize,
        poison: Arc<PoisonTracker>,
        breaker: Arc<Breaker>,
        order: DecisionOrder,
    ) -> Arc<Self> {
        Arc::new(Self {
            changes: Queue::new(
                QueueLimits { requests: capacity, bytes: WAITING_BYTES_MAX },
                LIST_LIMITS,
                order,
            ),
            asks: Mutex::default(),
            asked: Notify::new(),
            asks_max: capacity,
            serving: AsyncMutex::default(),
            served: AtomicBool::new(false),
            poison,
            breaker,
            vacant_since: Mutex::new(Instant::now()),
        })
    }

    /// Queues a change. Its outcome comes from the receiver.
    ///
    /// # Errors
    ///
    /// The change is refused.
    pub(crate) fn change(
        &self,
        change: K::Change,
        trace: Trace,
    ) -> Result<oneshot::Receiver<Outcome>, Error> {
        self.admit(|| change_fingerprint(&change))?;
        self.changes.push(change, trace).map_err(|_| overloaded())
    }

    /// Queues an ask, or fails it.
    pub(crate) fn ask(&self, ask: Box<dyn Ask<K::Exports>>, trace: Trace) {
        if let Err(error) = self.admit(|| fingerprint(&*ask)) {
            return ask.fail(error);
        }
        let mut asks = self.asks.lock();
        if asks.len() >= self.asks_max {
            drop(asks);
            return ask.fail(overloaded());
        }
        asks.push_back(QueuedAsk { ask, trace });
        drop(asks);
        self.asked.notify_one();
    }

    /// Refuses what would wait in vain.
    fn admit(&self, fingerprint: impl Fn() -> u64) -> Result<(), Error> {
        if !self.poison.is_empty() && self.poison.strikes(fingerprint(), Instant::now()) >= STRIKES_MAX {
            return Err(quarantine(None));
        }
        if let Some(reason) = self.vacancy() {
            return Err(problem(code::UNAVAILABLE, reason));
        }
        self.breaker.admit().map_err(breaker_open)
    }

    /// Why waiting for an instance is useless, if it is.
    pub(crate) fn vacancy(&self) -> Option<String> {
        if self.is_served() {
            return None;
        }
        if let Some(reason) = self.breaker.start_failure() {
            return Some(format!("the component does not start: {reason}"));
        }
        let waited = self.vacant_since.lock().elapsed();
        (waited > VACANT_MAX).then(|| {
            format!(
                "no instance of the component has run for {} s; `exesdb tree` shows why",
                waited.as_secs()
            )
        })
    }

    /// Records that an instance was made and is about to serve.
    pub(crate) fn record_start(&self) {
        *self.vacant_since.lock() = Instant::now();
        self.breaker.record_start();
    }

    /// Records why no instance could be made.
    pub(crate) fn record_start_failure(&self, reason: &str) {
        self.breaker.record_start_failure(reason);
    }

    /// The breaker that the pool's partitions share.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether a worker serves. During a restart none does for a moment.
    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// Opens the queues for the partition's one worker. Waits until the previous worker has ended.
    pub(crate) async fn open(&self) -> Service<'_, K> {
        let serving = self.serving.lock().await;
        self.served.store(true, Ordering::Release);
        Service { partition: self, _serving: serving }
    }
}

fn change_fingerprint<C: Change>(change: &C) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(change)
}

fn overloaded() -> Error {
    problem(code::OVERLOADED, "too many requests wait for the component; nothing was done; try again later")
}

fn breaker_open(pause: Duration) -> Error {
    let message = format!(
        "the component that serves this crashed again and again and is left alone for a while; nothing was done; try again in {} s; `exesdb events --kind trap` has the crashes",
        pause.as_secs() + 1
    );
    problem(code::UNAVAILABLE, message)
}

/// The error of a call that is not retried, with the crash that it has just caused, if any.
fn quarantine(crash: Option<&Crash>) -> Error {
    let last = crash.map_or_else(String::new, |crash| {
        format!(", the last time as it {}, incident {}", crash.for_client(), crash.incident)
    });
    let message = format!(
        "this request ended an instance of the component {STRIKES_MAX} times{last}; it is not tried again for some minutes; nothing of it was applied; the backtrace is in the telemetry (`exesdb events --kind trap`)"
    );
    problem(code::QUARANTINED, message)
}

/// The error of a call that only would take too long again.
fn failed(crash: &Crash) -> Error {
    let message = format!(
        "the component {} while it served this request (incident {}) and is being restarted; try again",
        crash.for_client(),
        crash.incident,
    );
    problem(code::RESTARTING, message)
}

/// A partition while a worker serves it.
pub(crate) struct Service<'a, K: Kind> {
    partition: &'a Partition<K>,
    _serving: MutexGuard<'a, ()>,
}

impl<K: Kind> Drop for Service<'_, K> {
    fn drop(&mut self) {
        self.partition.served.store(false, Ordering::Release);
        *self.partition.vacant_since.lock() = Instant::now();
    }
}

/// What one call of the guest serves.
pub(crate) enum Work<'a, K: Kind> {
    /// A list of changes.
    Changes(ChangeList<K>),
    /// One ask.
    Ask(TakenAsk<'a, K>),
}

impl<'a, K: Kind> Service<'a, K> {
    /// The next work; changes and asks take turns as they come. An abandoned ask is dropped: its caller got an error.
    pub(crate) async fn next(&self) -> Work<'a, K> {
        let list = tokio::select! {
            list = self.partition.changes.next_requests() => list,
            ask = self.next_ask() => return Work::Ask(ask),
        };
        // Not cut off by asks: a list that waits to be alone keeps its place.
        Work::Changes(list.with_turn().await)
    }

    async fn next_ask(&self) -> TakenAsk<'a, K> {
        loop {
            let next = self.partition.asks.lock().pop_front();
            match next {
                Some(queued) if queued.ask.is_abandoned() => {}
                Some(queued) => return TakenAsk { queued: Some(queued), partition: self.partition },
                // A permit is kept if an ask comes before this wait.
                None => self.partition.asked.notified().await,
            }
        }
    }
}

/// An ask that is being served. If it is dropped, as when its instance is killed, the next instance serves it.
pub(crate) struct TakenAsk<'a, K: Kind> {
    /// None once it was served or ended.
    queued: Option<QueuedAsk<K::Exports>>,
    partition: &'a Partition<K>,
}

impl<K: Kind> TakenAsk<'_, K> {
    /// The ask and its trace.
    pub(crate) fn get(&mut self) -> &mut QueuedAsk<K::Exports> {
        self.queued.as_mut().expect("it is taken by what consumes self")
    }

    /// Its result was sent.
    pub(crate) fn served(mut self) {
        self.queued = None;
    }

    fn fail(mut self, error: Error) {
        if let Some(queued) = self.queued.take() {
            queued.ask.fail(error);
        }
    }
}

impl<K: Kind> Drop for TakenAsk<'_, K> {
    fn drop(&mut self) {
        if let Some(queued) = self.queued.take() {
            self.partition.asks.lock().push_front(queued);
            self.partition.asked.notify_one();
        }
    }
}

impl<K: Kind> Work<'_, K> {
    /// The traces of its requests.
    pub(crate) fn traces(&mut self) -> Vec<Trace> {
        match self {
            Self::Changes(list) => list.requests().iter().map(|waiting| waiting.trace.clone()).collect(),
            Self::Ask(ask) => vec![ask.get().trace.clone()],
        }
    }

    fn fingerprints(&mut self) -> Vec<u64> {
        match self {
            Self::Changes(list) => {
                list.requests().iter().map(|waiting| change_fingerprint(&waiting.request)).collect()
            }
            Self::Ask(ask) => vec![fingerprint(&*ask.get().ask)],
        }
    }

    /// Fails what was queued before the breaker opened.
    pub(crate) fn refuse(self, pause: Duration) {
        self.fail(&breaker_open(pause));
    }

    pub(crate) fn fail(self, error: &Error) {
        match self {
            Self::Changes(list) => list.end_with(|| Err(error.clone())),
            Self::Ask(ask) => ask.fail(error.clone()),
        }
    }

    fn put_back_after_crash(self) {
        match self {
            Self::Changes(list) => list.put_back_after_crash(),
            // Asks are served alone anyway.
            Self::Ask(ask) => drop(ask),
        }
    }
}

impl<K: Kind> Partition<K> {
    /// The fingerprints of requests that have ended an instance before.
    pub(crate) fn suspected(&self, work: &mut Work<'_, K>) -> Vec<u64> {
        if self.poison.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let fingerprints = work.fingerprints().into_iter();
        fingerprints.filter(|fingerprint| self.poison.strikes(*fingerprint, now) > 0).collect()
    }

    /// Records that suspected requests were served.
    pub(crate) fn record_success(&self, suspected: &[u64]) {
        suspected.iter().for_each(|fingerprint| self.poison.record_success(*fingerprint));
    }

    /// Puts back or fails what an instance was serving when it ended with `crash`. `to_blame` is false if the crash says
    /// nothing about the requests. Returns what became of them.
    pub(crate) fn put_back_or_fail(&self, mut work: Work<'_, K>, to_blame: bool, crash: &Crash) -> Verdict {
        let fingerprints = work.fingerprints();
        let strikes = match *fingerprints {
            [alone] if to_blame => Some(self.poison.record_strike(alone, Instant::now())),
            _ => None,
        };
        let verdict = verdict(fingerprints.len(), strikes);
        match verdict {
            Verdict::Again => work.put_back_after_crash(),
            Verdict::Fail => work.fail(&failed(crash)),
            Verdict::Quarantine => work.fail(&quarantine(Some(crash))),
        }
        verdict
    }
}
