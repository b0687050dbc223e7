//! One partition of a pool: what stays when its instance is restarted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, mpsc};

use super::breaker::{Admission, Breaker};
use super::kind::Call;
use super::suspects::Suspects;
use super::verdict::{STRIKES_MAX, Verdict, verdict};
use crate::bindings::types::Error;
use crate::crash::Crash;
use crate::trace::Trace;

/// Calls that share one call into the guest, at most.
const SHARED_CALLS_MAX: usize = 256;

/// Bytes of requests that share one call into the guest, beyond the first: what a request may have.
const SHARED_BYTES_MAX: usize = 4 << 20;

/// How long a partition may be without an instance before calls to it are refused instead of waiting for the next one. A
/// restart takes less than a millisecond: what takes this long may not come back by itself.
const VACANT_MAX: Duration = Duration::from_secs(5);

/// A call on its way, with the request that it belongs to.
pub(crate) struct Letter<C> {
    pub(crate) call: C,
    pub(crate) trace: Trace,
}

/// A partition's mailbox.
pub(crate) struct Slot<C> {
    sender: mpsc::Sender<Letter<C>>,
    mailbox: AsyncMutex<mpsc::Receiver<Letter<C>>>,
    /// A worker holds the mailbox.
    served: AtomicBool,
    /// Calls that an instance took along when it ended: tried again alone, before the mailbox.
    again: Mutex<VecDeque<Letter<C>>>,
    suspects: Arc<Suspects>,
    breaker: Arc<Breaker>,
    /// Since when no worker has held the mailbox; of no meaning while one does.
    vacant_since: Mutex<Instant>,
}

impl<C: Call> Slot<C> {
    pub(crate) fn new(capacity: usize, suspects: Arc<Suspects>, breaker: Arc<Breaker>) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(capacity);
        Arc::new(Self {
            sender,
            mailbox: AsyncMutex::new(receiver),
            served: AtomicBool::new(false),
            again: Mutex::default(),
            suspects,
            breaker,
            vacant_since: Mutex::new(Instant::now()),
        })
    }

    /// Puts a call into the mailbox, or answers it with an error.
    pub(crate) fn send(&self, call: C, trace: Trace) {
        let quarantined = !self.suspects.is_empty()
            && self.suspects.strikes(call.fingerprint(), Instant::now()) >= STRIKES_MAX;
        if quarantined {
            return call.fail(quarantine(None));
        }
        if let Some(reason) = self.vacant() {
            return call.fail(Error::Unavailable(reason));
        }
        if let Admission::Refuse(pause) = self.breaker.admit() {
            return call.fail(resting(pause));
        }
        match self.sender.try_send(Letter { call, trace }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(letter) | mpsc::error::TrySendError::Closed(letter)) => {
                letter.call.fail(Error::Overloaded);
            }
        }
    }

    /// Why there is no use in waiting for an instance, if so.
    pub(crate) fn vacant(&self) -> Option<String> {
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

    /// An instance is there and is about to serve.
    pub(crate) fn occupy(&self) {
        *self.vacant_since.lock() = Instant::now();
        self.breaker.starts();
    }

    /// No instance could be made.
    pub(crate) fn fails_to_start(&self, reason: &str) {
        self.breaker.fails_to_start(reason);
    }

    /// What the pool's partitions know of its component.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Answers calls that came before the breaker opened.
    pub(crate) fn refuse(&self, letters: Vec<Letter<C>>, pause: Duration) {
        letters.into_iter().for_each(|letter| letter.call.fail(resting(pause)));
    }

    /// Whether a worker is there to serve what waits. Not so for a moment at each restart.
    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// The mailbox, for the partition's one worker. Waits until the worker before has let go of it.
    pub(crate) async fn open(&self) -> Mailbox<'_, C> {
        let receiver = self.mailbox.lock().await;
        self.served.store(true, Ordering::Release);
        Mailbox { slot: self, receiver }
    }

    /// Of the calls that are about to be served, the fingerprints of those that ended an instance before.
    pub(crate) fn suspected(&self, calls: &[C]) -> Vec<u64> {
        if self.suspects.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let fingerprints = calls.iter().map(Call::fingerprint);
        fingerprints.filter(|fingerprint| self.suspects.strikes(*fingerprint, now) > 0).collect()
    }

    /// They were served.
    pub(crate) fn acquit(&self, suspected: &[u64]) {
        suspected.iter().for_each(|fingerprint| self.suspects.clear(*fingerprint));
    }

    /// Decides over the calls that an instance took along when it ended with `crash`. `to_blame` is false where its end
    /// says nothing about them.
    pub(crate) fn bury(&self, letters: Vec<Letter<C>>, committed: bool, to_blame: bool, crash: &Crash) {
        let together = letters.len();
        for letter in letters {
            let strikes = if together == 1 && to_blame {
                self.suspects.strike(letter.call.fingerprint(), Instant::now())
            } else {
                0
            };
            match verdict(together, committed, strikes) {
                // At most one call's worth of them: the queue cannot grow, as it is emptied before the mailbox.
                Verdict::TryAlone => self.again.lock().push_back(letter),
                Verdict::Restarting => letter.call.fail(Error::Restarting(format!(
                    "the component {} while it served this request (incident {}) and is being restarted; the outcome is unknown; where it is an append, send it again with the same event ids",
                    crash.for_client(),
                    crash.incident,
                ))),
                Verdict::Quarantine => letter.call.fail(quarantine(Some(crash))),
            }
        }
    }
}

fn resting(pause: Duration) -> Error {
    Error::Unavailable(format!(
        "the component that serves this crashed again and again and is left alone for a while; nothing was done; try again in {} s; `exesdb events --kind trap` has the crashes",
        pause.as_secs() + 1
    ))
}

/// The answer to a call that is not tried again; with the crash that was one too many, if it is this call's.
fn quarantine(crash: Option<&Crash>) -> Error {
    let last = crash.map_or_else(String::new, |crash| {
        format!(", the last time as it {}, incident {}", crash.for_client(), crash.incident)
    });
    Error::Quarantined(format!(
        "this request ended an instance of the component {STRIKES_MAX} times{last}; it is not tried again for some minutes; whether it was applied is unknown; the backtrace is in the telemetry (`exesdb events --kind trap`)"
    ))
}

/// The receiving end, as long as a worker lives.
pub(crate) struct Mailbox<'a, C> {
    slot: &'a Slot<C>,
    receiver: MutexGuard<'a, mpsc::Receiver<Letter<C>>>,
}

impl<C> Drop for Mailbox<'_, C> {
    fn drop(&mut self) {
        self.slot.served.store(false, Ordering::Release);
        *self.slot.vacant_since.lock() = Instant::now();
    }
}

impl<C: Call> Mailbox<'_, C> {
    /// The next calls to serve together. A call that has to be tried alone comes alone. A call that nobody waits for
    /// any more is dropped: its caller was told that the outcome is unknown.
    pub(crate) async fn next(&mut self) -> Vec<Letter<C>> {
        loop {
            let again = self.slot.again.lock().pop_front();
            let letters = match again {
                Some(letter) if letter.call.is_abandoned() => continue,
                Some(letter) => vec![letter],
                None => match self.receiver.recv().await {
                    Some(first) => self.gather(first),
                    // The slot holds a sender, so the channel is open as long as anybody can ask.
                    None => std::future::pending().await,
                },
            };
            if !letters.is_empty() {
                return letters;
            }
        }
    }

    fn gather(&mut self, first: Letter<C>) -> Vec<Letter<C>> {
        let mut bytes = 0;
        let mut letters: Vec<Letter<C>> = Vec::new();
        let mut shared = None;
        let mut next = Some(first);
        while let Some(letter) = next {
            match letter.call.shareable() {
                _ if letter.call.is_abandoned() => {}
                Some((function, more)) if shared.is_none_or(|shared| shared == function) => {
                    shared = Some(function);
                    bytes += more;
                    letters.push(letter);
                }
                None if letters.is_empty() => return vec![letter],
                _ => {
                    // It goes first next time, alone.
                    self.slot.again.lock().push_back(letter);
                    break;
                }
            }
            let full = letters.len() >= SHARED_CALLS_MAX || bytes >= SHARED_BYTES_MAX;
            next = if full { None } else { self.receiver.try_recv().ok() };
        }
        letters
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Letter, SHARED_CALLS_MAX, Slot};
    use crate::bindings::types::Error;
    use crate::crash::Crash;
    use crate::persistence::kind::Call;
    use crate::trace::Trace;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone)]
    struct Probe {
        id: u64,
        shareable: Option<usize>,
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

        fn shareable(&self) -> Option<(u8, usize)> {
            self.shareable.map(|bytes| (self.function, bytes))
        }

        fn makes_room(&self) -> bool {
            false
        }
    }

    fn crash() -> Crash {
        Crash::timeout(30_000)
    }

    fn trace() -> Trace {
        Trace::of(&http::HeaderMap::new())
    }

    fn letter(call: Probe) -> Letter<Probe> {
        Letter { call, trace: trace() }
    }

    fn probe(id: u64) -> Probe {
        Probe { id, shareable: Some(1), function: 0, failed: Arc::default(), abandoned: false }
    }

    #[tokio::test]
    async fn what_waits_is_served_together_up_to_the_limits() {
        let slot = Slot::new(1_000, Arc::default(), Arc::default());
        for id in 0..300 {
            slot.send(probe(id), trace());
        }
        let mut mailbox = slot.open().await;
        assert_eq!(mailbox.next().await.len(), SHARED_CALLS_MAX);
        assert_eq!(mailbox.next().await.len(), 300 - SHARED_CALLS_MAX);
    }

    #[tokio::test]
    async fn a_call_that_cannot_share_comes_alone_and_in_order() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        slot.send(probe(1), trace());
        slot.send(Probe { shareable: None, ..probe(2) }, trace());
        slot.send(probe(3), trace());
        let mut mailbox = slot.open().await;
        let ids =
            |letters: Vec<Letter<Probe>>| letters.iter().map(|letter| letter.call.id).collect::<Vec<_>>();
        assert_eq!(ids(mailbox.next().await), [1]);
        assert_eq!(ids(mailbox.next().await), [2]);
        assert_eq!(ids(mailbox.next().await), [3]);
    }

    #[tokio::test]
    async fn calls_of_different_functions_do_not_share() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        for (id, function) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
            slot.send(Probe { function, ..probe(id) }, trace());
        }
        let mut mailbox = slot.open().await;
        let mut served = Vec::new();
        while served.iter().map(Vec::len).sum::<usize>() < 4 {
            let letters = mailbox.next().await;
            served.push(letters.iter().map(|letter| letter.call.id).collect::<Vec<_>>());
        }
        assert_eq!(served, [vec![1, 2], vec![3], vec![4]]);
    }

    #[tokio::test]
    async fn a_full_mailbox_refuses() {
        let slot = Slot::new(1, Arc::default(), Arc::default());
        slot.send(probe(1), trace());
        let refused = probe(2);
        slot.send(refused.clone(), trace());
        assert_eq!(refused.failed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn only_the_call_that_was_alone_is_blamed_and_the_second_time_quarantined() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        let (innocent, poison) = (probe(1), probe(2));
        slot.bury(vec![letter(innocent.clone()), letter(poison.clone())], false, true, &crash());
        let mut mailbox = slot.open().await;
        assert_eq!(mailbox.next().await[0].call.id, 1, "each is tried again alone");
        assert_eq!(mailbox.next().await[0].call.id, 2);
        slot.bury(vec![letter(poison.clone())], false, true, &crash());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 10, "restarting");
        slot.bury(vec![letter(poison.clone())], false, true, &crash());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 110, "quarantined");
        slot.send(poison.clone(), trace());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 210, "and not tried again");
        slot.send(innocent.clone(), trace());
        assert_eq!(mailbox.next().await[0].call.id, 1);
        assert_eq!(innocent.failed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_not_served() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        slot.send(Probe { abandoned: true, ..probe(1) }, trace());
        slot.send(Probe { abandoned: true, shareable: None, ..probe(2) }, trace());
        slot.send(probe(3), trace());
        slot.bury(
            vec![letter(Probe { abandoned: true, ..probe(4) }), letter(probe(5))],
            false,
            true,
            &crash(),
        );
        let mut mailbox = slot.open().await;
        assert_eq!(mailbox.next().await[0].call.id, 5);
        let served = mailbox.next().await;
        assert_eq!(served.iter().map(|letter| letter.call.id).collect::<Vec<_>>(), [3]);
    }

    #[tokio::test]
    async fn an_end_that_says_nothing_about_its_calls_is_no_strike() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        let slow = probe(1);
        for _ in 0..3 {
            slot.bury(vec![letter(slow.clone())], false, false, &crash());
        }
        assert_eq!(slow.failed.load(Ordering::Relaxed), 30, "restarting, each time");
    }

    #[tokio::test]
    async fn a_success_acquits() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        let call = probe(1);
        assert!(slot.suspected(std::slice::from_ref(&call)).is_empty());
        slot.bury(vec![letter(call.clone())], false, true, &crash());
        let suspected = slot.suspected(&[call.clone(), probe(2)]);
        assert_eq!(suspected, [1]);
        slot.acquit(&suspected);
        slot.bury(vec![letter(call.clone())], false, true, &crash());
        assert_eq!(call.failed.load(Ordering::Relaxed), 20, "restarting twice, no quarantine");
    }

    #[tokio::test]
    async fn a_mailbox_is_served_while_somebody_holds_it() {
        let slot = Slot::<Probe>::new(1, Arc::default(), Arc::default());
        assert!(!slot.is_served());
        let mailbox = slot.open().await;
        assert!(slot.is_served());
        drop(mailbox);
        assert!(!slot.is_served());
    }

    #[tokio::test]
    async fn a_partition_whose_instance_does_not_start_refuses_at_once_and_one_that_starts_does_not() {
        let breaker = Arc::<Breaker>::default();
        let slot = Slot::new(10, Arc::default(), Arc::clone(&breaker));
        let other = Slot::<Probe>::new(10, Arc::default(), breaker);
        other.fails_to_start("its state is another's");
        let call = probe(1);
        slot.send(call.clone(), trace());
        assert_eq!(
            call.failed.load(Ordering::Relaxed),
            10_000,
            "a pool that gave up at the first starts no others"
        );
        slot.occupy();
        slot.send(call.clone(), trace());
        assert_eq!(slot.open().await.next().await[0].call.id, 1);
        assert_eq!(call.failed.load(Ordering::Relaxed), 10_000);
    }

    #[tokio::test]
    async fn an_open_breaker_refuses_at_once() {
        let slot = Slot::new(10, Arc::default(), Arc::default());
        while !slot.breaker().crashed() {}
        let call = probe(1);
        slot.send(call.clone(), trace());
        assert_eq!(call.failed.load(Ordering::Relaxed), 10_000);
    }
}
