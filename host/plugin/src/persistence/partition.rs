//! One partition of a pool: its mailbox, which outlives the instances that serve it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, mpsc};

use super::breaker::Breaker;
use super::call::Call;
use super::poison_tracker::PoisonTracker;
use super::retry::{Decision, STRIKES_MAX, decide};
use crate::bindings::types::Error;
use crate::crash::Crash;
use crate::trace::Trace;

/// Calls in one batch.
const BATCH_CALLS_MAX: usize = 256;

/// Bytes of requests at which a batch is full: as many as one request may have.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How long a partition may be without an instance before its calls are refused instead of waiting for the next one. A
/// restart takes less than a millisecond; after this time the component may not come back by itself.
const VACANT_MAX: Duration = Duration::from_secs(5);

/// A call in a mailbox, with the trace of its request.
pub(crate) struct QueuedCall<C> {
    pub(crate) call: C,
    pub(crate) trace: Trace,
}

/// A partition. Calls are sent to it; its worker serves them.
pub(crate) struct Partition<C> {
    sender: mpsc::Sender<QueuedCall<C>>,
    mailbox: AsyncMutex<mpsc::Receiver<QueuedCall<C>>>,
    /// Whether a worker serves the mailbox.
    served: AtomicBool,
    /// Calls that have to be served alone, before those in the mailbox.
    retries: Mutex<VecDeque<QueuedCall<C>>>,
    poison: Arc<PoisonTracker>,
    breaker: Arc<Breaker>,
    /// Since when no worker has served the mailbox; meaningless while one does.
    vacant_since: Mutex<Instant>,
}

impl<C: Call> Partition<C> {
    pub(crate) fn new(capacity: usize, poison: Arc<PoisonTracker>, breaker: Arc<Breaker>) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(capacity);
        Arc::new(Self {
            sender,
            mailbox: AsyncMutex::new(receiver),
            served: AtomicBool::new(false),
            retries: Mutex::default(),
            poison,
            breaker,
            vacant_since: Mutex::new(Instant::now()),
        })
    }

    /// Puts a call into the mailbox, or fails it.
    pub(crate) fn send(&self, call: C, trace: Trace) {
        let quarantined =
            !self.poison.is_empty() && self.poison.strikes(call.fingerprint(), Instant::now()) >= STRIKES_MAX;
        if quarantined {
            return call.fail(quarantine(None));
        }
        if let Some(reason) = self.vacancy() {
            return call.fail(Error::Unavailable(reason));
        }
        if let Err(pause) = self.breaker.admit() {
            return call.fail(breaker_open(pause));
        }
        match self.sender.try_send(QueuedCall { call, trace }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(queued) | mpsc::error::TrySendError::Closed(queued)) => {
                queued.call.fail(Error::Overloaded);
            }
        }
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

    /// Fails calls that were queued before the breaker opened.
    pub(crate) fn refuse(&self, batch: Vec<QueuedCall<C>>, pause: Duration) {
        batch.into_iter().for_each(|queued| queued.call.fail(breaker_open(pause)));
    }

    /// Whether a worker serves the mailbox. During a restart none does for a moment.
    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// The mailbox, for the partition's one worker. Waits until the previous worker has released it.
    pub(crate) async fn open(&self) -> Mailbox<'_, C> {
        let receiver = self.mailbox.lock().await;
        self.served.store(true, Ordering::Release);
        Mailbox { partition: self, receiver }
    }

    /// The fingerprints of the calls that have ended an instance before.
    pub(crate) fn suspected(&self, calls: &[C]) -> Vec<u64> {
        if self.poison.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let fingerprints = calls.iter().map(Call::fingerprint);
        fingerprints.filter(|fingerprint| self.poison.strikes(*fingerprint, now) > 0).collect()
    }

    /// Records that suspected calls were served.
    pub(crate) fn record_success(&self, suspected: &[u64]) {
        suspected.iter().for_each(|fingerprint| self.poison.record_success(*fingerprint));
    }

    /// Requeues or fails the calls that an instance was serving when it ended with `crash`. `to_blame` is false if the crash
    /// says nothing about them.
    pub(crate) fn requeue_or_fail(
        &self,
        batch: Vec<QueuedCall<C>>,
        committed: bool,
        to_blame: bool,
        crash: &Crash,
    ) {
        let together = batch.len();
        for queued in batch {
            let strikes = if together == 1 && to_blame {
                self.poison.record_strike(queued.call.fingerprint(), Instant::now())
            } else {
                0
            };
            match decide(together, committed, strikes) {
                // At most one batch: the retries are served before the mailbox, so that they cannot pile up.
                Decision::RetryAlone => self.retries.lock().push_back(queued),
                Decision::Fail => queued.call.fail(Error::Restarting(format!(
                    "the component {} while it served this request (incident {}) and is being restarted; the outcome is unknown; where it is an append, send it again with the same event ids",
                    crash.for_client(),
                    crash.incident,
                ))),
                Decision::Quarantine => queued.call.fail(quarantine(Some(crash))),
            }
        }
    }
}

fn breaker_open(pause: Duration) -> Error {
    Error::Unavailable(format!(
        "the component that serves this crashed again and again and is left alone for a while; nothing was done; try again in {} s; `exesdb events --kind trap` has the crashes",
        pause.as_secs() + 1
    ))
}

/// The error of a call that is not retried, with the crash that it has just caused, if any.
fn quarantine(crash: Option<&Crash>) -> Error {
    let last = crash.map_or_else(String::new, |crash| {
        format!(", the last time as it {}, incident {}", crash.for_client(), crash.incident)
    });
    Error::Quarantined(format!(
        "this request ended an instance of the component {STRIKES_MAX} times{last}; it is not tried again for some minutes; whether it was applied is unknown; the backtrace is in the telemetry (`exesdb events --kind trap`)"
    ))
}

/// The mailbox while a worker serves it.
pub(crate) struct Mailbox<'a, C> {
    partition: &'a Partition<C>,
    receiver: MutexGuard<'a, mpsc::Receiver<QueuedCall<C>>>,
}

impl<C> Drop for Mailbox<'_, C> {
    fn drop(&mut self) {
        self.partition.served.store(false, Ordering::Release);
        *self.partition.vacant_since.lock() = Instant::now();
    }
}

impl<C: Call> Mailbox<'_, C> {
    /// The next calls to serve in one call of the guest. A call that is retried is a batch of its own. An abandoned call is
    /// dropped: its caller got an error that says that the outcome is unknown.
    pub(crate) async fn next_batch(&mut self) -> Vec<QueuedCall<C>> {
        loop {
            let retry = self.partition.retries.lock().pop_front();
            let batch = match retry {
                Some(queued) if queued.call.is_abandoned() => continue,
                Some(queued) => vec![queued],
                None => match self.receiver.recv().await {
                    Some(first) => self.batch_from(first),
                    // The partition owns a sender, so the channel cannot be closed here.
                    None => std::future::pending().await,
                },
            };
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    /// A batch of `first` and the calls after it that can join it.
    fn batch_from(&mut self, first: QueuedCall<C>) -> Vec<QueuedCall<C>> {
        let mut bytes = 0;
        let mut batch: Vec<QueuedCall<C>> = Vec::new();
        let mut batched = None;
        let mut next = Some(first);
        while let Some(queued) = next {
            match queued.call.batchable() {
                _ if queued.call.is_abandoned() => {}
                Some((function, more)) if batched.is_none_or(|batched| batched == function) => {
                    batched = Some(function);
                    bytes += more;
                    batch.push(queued);
                }
                None if batch.is_empty() => return vec![queued],
                _ => {
                    // The next batch, alone.
                    self.partition.retries.lock().push_back(queued);
                    break;
                }
            }
            let full = batch.len() >= BATCH_CALLS_MAX || bytes >= BATCH_BYTES_MAX;
            next = if full { None } else { self.receiver.try_recv().ok() };
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_CALLS_MAX, Breaker, Partition, QueuedCall};
    use crate::bindings::types::Error;
    use crate::crash::Crash;
    use crate::persistence::call::Call;
    use crate::trace::Trace;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone)]
    struct Probe {
        id: u64,
        batchable: Option<usize>,
        function: u8,
        failed: Arc<AtomicUsize>,
        abandoned: bool,
    }

    impl Call for Probe {
        fn fail(self, error: Error) {
            let mark = match error {
                Error::Overloaded => 1,
                Error::Restarting(_) => 10,
                Error::Quarantined(_) => 100,
                Error::Unavailable(_) => 10_000,
                _ => 1_000,
            };
            self.failed.fetch_add(mark, Ordering::Relaxed);
        }

        fn fingerprint(&self) -> u64 {
            self.id
        }

        fn is_abandoned(&self) -> bool {
            self.abandoned
        }

        fn batchable(&self) -> Option<(u8, usize)> {
            self.batchable.map(|bytes| (self.function, bytes))
        }

        fn frees_space(&self) -> bool {
            false
        }
    }

    fn crash() -> Crash {
        Crash::timeout(30_000)
    }

    fn trace() -> Trace {
        Trace::of(&http::HeaderMap::new())
    }

    fn queued(call: Probe) -> QueuedCall<Probe> {
        QueuedCall { call, trace: trace() }
    }

    fn probe(id: u64) -> Probe {
        Probe { id, batchable: Some(1), function: 0, failed: Arc::default(), abandoned: false }
    }

    #[tokio::test]
    async fn queued_calls_are_batched_up_to_the_limit() {
        let partition = Partition::new(1_000, Arc::default(), Arc::default());
        for id in 0..300 {
            partition.send(probe(id), trace());
        }
        let mut mailbox = partition.open().await;
        assert_eq!(mailbox.next_batch().await.len(), BATCH_CALLS_MAX);
        assert_eq!(mailbox.next_batch().await.len(), 300 - BATCH_CALLS_MAX);
    }

    #[tokio::test]
    async fn a_call_that_cannot_be_batched_is_served_alone_and_in_order() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        partition.send(probe(1), trace());
        partition.send(Probe { batchable: None, ..probe(2) }, trace());
        partition.send(probe(3), trace());
        let mut mailbox = partition.open().await;
        let ids =
            |batch: Vec<QueuedCall<Probe>>| batch.iter().map(|queued| queued.call.id).collect::<Vec<_>>();
        assert_eq!(ids(mailbox.next_batch().await), [1]);
        assert_eq!(ids(mailbox.next_batch().await), [2]);
        assert_eq!(ids(mailbox.next_batch().await), [3]);
    }

    #[tokio::test]
    async fn calls_of_different_functions_are_not_batched_together() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        for (id, function) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
            partition.send(Probe { function, ..probe(id) }, trace());
        }
        let mut mailbox = partition.open().await;
        let mut served = Vec::new();
        while served.iter().map(Vec::len).sum::<usize>() < 4 {
            let batch = mailbox.next_batch().await;
            served.push(batch.iter().map(|queued| queued.call.id).collect::<Vec<_>>());
        }
        assert_eq!(served, [vec![1, 2], vec![3], vec![4]]);
    }

    #[tokio::test]
    async fn a_full_mailbox_refuses_calls() {
        let partition = Partition::new(1, Arc::default(), Arc::default());
        partition.send(probe(1), trace());
        let refused = probe(2);
        partition.send(refused.clone(), trace());
        assert_eq!(refused.failed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_call_that_ends_two_instances_alone_is_quarantined() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        let (innocent, poison) = (probe(1), probe(2));
        partition.requeue_or_fail(
            vec![queued(innocent.clone()), queued(poison.clone())],
            false,
            true,
            &crash(),
        );
        let mut mailbox = partition.open().await;
        assert_eq!(mailbox.next_batch().await[0].call.id, 1, "each is retried alone");
        assert_eq!(mailbox.next_batch().await[0].call.id, 2);
        partition.requeue_or_fail(vec![queued(poison.clone())], false, true, &crash());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 10, "restarting");
        partition.requeue_or_fail(vec![queued(poison.clone())], false, true, &crash());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 110, "quarantined");
        partition.send(poison.clone(), trace());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 210, "and not retried");
        partition.send(innocent.clone(), trace());
        assert_eq!(mailbox.next_batch().await[0].call.id, 1);
        assert_eq!(innocent.failed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn abandoned_calls_are_not_served() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        partition.send(Probe { abandoned: true, ..probe(1) }, trace());
        partition.send(Probe { abandoned: true, batchable: None, ..probe(2) }, trace());
        partition.send(probe(3), trace());
        partition.requeue_or_fail(
            vec![queued(Probe { abandoned: true, ..probe(4) }), queued(probe(5))],
            false,
            true,
            &crash(),
        );
        let mut mailbox = partition.open().await;
        assert_eq!(mailbox.next_batch().await[0].call.id, 5);
        let served = mailbox.next_batch().await;
        assert_eq!(served.iter().map(|queued| queued.call.id).collect::<Vec<_>>(), [3]);
    }

    #[tokio::test]
    async fn a_crash_that_says_nothing_about_its_calls_is_no_strike() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        let slow = probe(1);
        for _ in 0..3 {
            partition.requeue_or_fail(vec![queued(slow.clone())], false, false, &crash());
        }
        assert_eq!(slow.failed.load(Ordering::Relaxed), 30, "restarting, each time");
    }

    #[tokio::test]
    async fn a_success_clears_earlier_strikes() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        let call = probe(1);
        assert!(partition.suspected(std::slice::from_ref(&call)).is_empty());
        partition.requeue_or_fail(vec![queued(call.clone())], false, true, &crash());
        let suspected = partition.suspected(&[call.clone(), probe(2)]);
        assert_eq!(suspected, [1]);
        partition.record_success(&suspected);
        partition.requeue_or_fail(vec![queued(call.clone())], false, true, &crash());
        assert_eq!(call.failed.load(Ordering::Relaxed), 20, "restarting twice, no quarantine");
    }

    #[tokio::test]
    async fn a_partition_is_served_while_its_mailbox_is_open() {
        let partition = Partition::<Probe>::new(1, Arc::default(), Arc::default());
        assert!(!partition.is_served());
        let mailbox = partition.open().await;
        assert!(partition.is_served());
        drop(mailbox);
        assert!(!partition.is_served());
    }

    #[tokio::test]
    async fn calls_are_refused_after_a_failed_start_until_the_next_start() {
        let breaker = Arc::<Breaker>::default();
        let partition = Partition::new(10, Arc::default(), Arc::clone(&breaker));
        let other = Partition::<Probe>::new(10, Arc::default(), breaker);
        other.record_start_failure("its state is another's");
        let call = probe(1);
        partition.send(call.clone(), trace());
        assert_eq!(
            call.failed.load(Ordering::Relaxed),
            10_000,
            "the failed start of one partition counts for all"
        );
        partition.record_start();
        partition.send(call.clone(), trace());
        assert_eq!(partition.open().await.next_batch().await[0].call.id, 1);
        assert_eq!(call.failed.load(Ordering::Relaxed), 10_000);
    }

    #[tokio::test]
    async fn an_open_breaker_refuses_calls_at_once() {
        let partition = Partition::new(10, Arc::default(), Arc::default());
        while !partition.breaker().crashed() {}
        let call = probe(1);
        partition.send(call.clone(), trace());
        assert_eq!(call.failed.load(Ordering::Relaxed), 10_000);
    }
}
