//! One partition of a pool: what stays when its instance is restarted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, mpsc};

use super::kind::Call;
use super::verdict::{STRIKES_MAX, Verdict, verdict};
use crate::bindings::types::Error;
use crate::trace::Trace;

/// Calls of one partition that are remembered for having ended an instance. Older ones are forgotten, so a
/// sender of ever new poison costs memory only up to here.
const SUSPECTS_MAX: usize = 1_024;

/// Calls that share one call into the guest, at most.
const SHARED_CALLS_MAX: usize = 256;

/// Bytes of requests that share one call into the guest, beyond the first: what a request may have.
const SHARED_BYTES_MAX: usize = 4 << 20;

/// A call on its way, with the request that it belongs to.
pub(crate) struct Letter<C> {
    pub(crate) call: C,
    pub(crate) trace: Trace,
}

/// A partition's mailbox and its memory of what ended its instances.
pub(crate) struct Slot<C> {
    sender: mpsc::Sender<Letter<C>>,
    mailbox: AsyncMutex<mpsc::Receiver<Letter<C>>>,
    /// Calls that an instance took along when it ended: tried again alone, before the mailbox.
    again: Mutex<VecDeque<Letter<C>>>,
    suspects: Mutex<VecDeque<(u64, u32)>>,
    /// How many suspects there are, to spare everybody else the look.
    suspected: AtomicUsize,
    capacity: usize,
}

impl<C: Call> Slot<C> {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(capacity);
        Arc::new(Self {
            sender,
            mailbox: AsyncMutex::new(receiver),
            again: Mutex::default(),
            suspects: Mutex::default(),
            suspected: AtomicUsize::new(0),
            capacity,
        })
    }

    /// Puts a call into the mailbox, or answers it with an error.
    pub(crate) fn send(&self, call: C, trace: Trace) {
        if self.suspected.load(Ordering::Acquire) > 0 && self.strikes(call.fingerprint()) >= STRIKES_MAX {
            return call.fail(quarantined());
        }
        match self.sender.try_send(Letter { call, trace }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(letter) | mpsc::error::TrySendError::Closed(letter)) => {
                letter.call.fail(Error::Overloaded);
            }
        }
    }

    /// The calls that wait now, and how many may.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.capacity - self.sender.capacity(), self.capacity)
    }

    /// The mailbox, for the partition's one worker. Waits until the worker before has let go of it.
    pub(crate) async fn open(&self) -> Mailbox<'_, C> {
        Mailbox { slot: self, receiver: self.mailbox.lock().await }
    }

    /// Decides over the calls that an instance took along when it ended.
    pub(crate) fn bury(&self, letters: Vec<Letter<C>>, committed: bool) {
        let together = letters.len();
        for letter in letters {
            let strikes = if together == 1 { self.strike(letter.call.fingerprint()) } else { 0 };
            match verdict(together, committed, strikes) {
                // At most one call's worth of them: the queue cannot grow, as it is emptied before the mailbox.
                Verdict::TryAlone => self.again.lock().push_back(letter),
                Verdict::Restarting => letter.call.fail(Error::Restarting(
                    "the component ended while it served this request and is being restarted; send it again with the same event ids".into(),
                )),
                Verdict::Quarantine => letter.call.fail(quarantined()),
            }
        }
    }

    fn strikes(&self, fingerprint: u64) -> u32 {
        let suspects = self.suspects.lock();
        suspects.iter().find(|(suspect, _)| *suspect == fingerprint).map_or(0, |(_, strikes)| *strikes)
    }

    fn strike(&self, fingerprint: u64) -> u32 {
        let mut suspects = self.suspects.lock();
        if let Some((_, strikes)) = suspects.iter_mut().find(|(suspect, _)| *suspect == fingerprint) {
            *strikes = strikes.saturating_add(1);
            return *strikes;
        }
        if suspects.len() == SUSPECTS_MAX {
            suspects.pop_front();
        }
        suspects.push_back((fingerprint, 1));
        self.suspected.store(suspects.len(), Ordering::Release);
        1
    }
}

fn quarantined() -> Error {
    Error::Quarantined(format!(
        "this request ended an instance of the component {STRIKES_MAX} times and is not tried again; the trap's backtrace is in the event stream"
    ))
}

/// The receiving end, as long as a worker lives.
pub(crate) struct Mailbox<'a, C> {
    slot: &'a Slot<C>,
    receiver: MutexGuard<'a, mpsc::Receiver<Letter<C>>>,
}

impl<C: Call> Mailbox<'_, C> {
    /// The next calls to serve together. A call that has to be tried alone comes alone.
    pub(crate) async fn next(&mut self) -> Vec<Letter<C>> {
        if let Some(letter) = self.slot.again.lock().pop_front() {
            return vec![letter];
        }
        match self.receiver.recv().await {
            Some(first) => self.gather(first),
            // The slot holds a sender, so the channel is open as long as anybody can ask.
            None => std::future::pending().await,
        }
    }

    fn gather(&mut self, first: Letter<C>) -> Vec<Letter<C>> {
        let Some(mut bytes) = first.call.shareable() else { return vec![first] };
        let mut letters = vec![first];
        while letters.len() < SHARED_CALLS_MAX && bytes < SHARED_BYTES_MAX {
            let Ok(letter) = self.receiver.try_recv() else { break };
            match letter.call.shareable() {
                Some(more) => {
                    bytes += more;
                    letters.push(letter);
                }
                None => {
                    // It goes first next time, alone, which is what it needs anyway.
                    self.slot.again.lock().push_back(letter);
                    break;
                }
            }
        }
        letters
    }
}

#[cfg(test)]
mod tests {
    use super::{Letter, SHARED_CALLS_MAX, SUSPECTS_MAX, Slot};
    use crate::bindings::types::Error;
    use crate::persistence::kind::Call;
    use crate::trace::Trace;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone)]
    struct Probe {
        id: u64,
        shareable: Option<usize>,
        failed: Arc<AtomicUsize>,
    }

    impl Call for Probe {
        fn fail(self, error: Error) {
            let mark = match error {
                Error::Overloaded => 1,
                Error::Restarting(_) => 10,
                Error::Quarantined(_) => 100,
                _ => 1_000,
            };
            self.failed.fetch_add(mark, Ordering::Relaxed);
        }

        fn fingerprint(&self) -> u64 {
            self.id
        }

        fn shareable(&self) -> Option<usize> {
            self.shareable
        }
    }

    fn trace() -> Trace {
        Trace::of(&http::HeaderMap::new())
    }

    fn letter(call: Probe) -> Letter<Probe> {
        Letter { call, trace: trace() }
    }

    fn probe(id: u64) -> Probe {
        Probe { id, shareable: Some(1), failed: Arc::default() }
    }

    #[tokio::test]
    async fn what_waits_is_served_together_up_to_the_limits() {
        let slot = Slot::new(1_000);
        for id in 0..300 {
            slot.send(probe(id), trace());
        }
        assert_eq!(slot.load(), (300, 1_000));
        let mut mailbox = slot.open().await;
        assert_eq!(mailbox.next().await.len(), SHARED_CALLS_MAX);
        assert_eq!(mailbox.next().await.len(), 300 - SHARED_CALLS_MAX);
    }

    #[tokio::test]
    async fn a_call_that_cannot_share_comes_alone_and_in_order() {
        let slot = Slot::new(10);
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
    async fn a_full_mailbox_refuses() {
        let slot = Slot::new(1);
        slot.send(probe(1), trace());
        let refused = probe(2);
        slot.send(refused.clone(), trace());
        assert_eq!(refused.failed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn only_the_call_that_was_alone_is_blamed_and_the_second_time_quarantined() {
        let slot = Slot::new(10);
        let (innocent, poison) = (probe(1), probe(2));
        slot.bury(vec![letter(innocent.clone()), letter(poison.clone())], false);
        let mut mailbox = slot.open().await;
        assert_eq!(mailbox.next().await[0].call.id, 1, "each is tried again alone");
        assert_eq!(mailbox.next().await[0].call.id, 2);
        slot.bury(vec![letter(poison.clone())], false);
        assert_eq!(poison.failed.load(Ordering::Relaxed), 10, "restarting");
        slot.bury(vec![letter(poison.clone())], false);
        assert_eq!(poison.failed.load(Ordering::Relaxed), 110, "quarantined");
        slot.send(poison.clone(), trace());
        assert_eq!(poison.failed.load(Ordering::Relaxed), 210, "and not tried again");
        slot.send(innocent.clone(), trace());
        assert_eq!(mailbox.next().await[0].call.id, 1);
        assert_eq!(innocent.failed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_memory_of_suspects_is_bounded() {
        let slot = Slot::new(10);
        for id in 0..SUSPECTS_MAX as u64 + 10 {
            slot.bury(vec![letter(probe(id))], false);
        }
        assert_eq!(slot.suspects.lock().len(), SUSPECTS_MAX);
    }
}
