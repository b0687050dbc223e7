//! What a subscription's consumers have to say to its emitter. It outlives the emitters, so that a restart of one ends no consumer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Notify, oneshot};

use super::consumer::Consumer;
use super::rate::Rate;
use super::suspicion::Suspicion;
use crate::bindings::store::dispatch::{DispatcherState, EventNames, Refusal};
use crate::bindings::store::types::Error;
use crate::problem::{code, problem};

/// Words that wait for the emitter. As many as waiting calls of one partition; further ones are refused.
const WORDS_MAX: usize = 1_024;

/// How long a consumer whose client asked to keep it may be without anybody who takes what is delivered, at least.
const DETACHED_MIN: Duration = Duration::from_secs(60);

/// The same, in times that it may take for an event.
const DETACHED_TIMEOUTS: u32 = 3;

/// What a consumer says about events.
#[derive(Debug)]
pub(crate) enum Settlement {
    /// It is done with them.
    Acknowledged,
    /// It refuses them.
    Refused(Refusal),
}

/// What somebody says to the emitter.
pub(super) enum Word {
    Joined(Arc<Consumer>),
    Left { consumer: u64, failed: bool },
    Settled(Settled),
    State(oneshot::Sender<DispatcherState>),
}

/// A consumer's word about events. The reply is how many were meant.
pub(super) struct Settled {
    pub(super) consumer: u64,
    pub(super) events: EventNames,
    pub(super) settlement: Settlement,
    pub(super) reply: oneshot::Sender<u32>,
}

impl Word {
    /// Whether nobody waits for its reply any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Joined(_) | Self::Left { .. } => false,
            Self::Settled(settled) => settled.reply.is_closed(),
            Self::State(reply) => reply.is_closed(),
        }
    }
}

/// The mailbox of one subscription.
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    pub(super) woken: Notify,
    /// Held by the emitter that serves.
    serving: AsyncMutex<()>,
}

#[derive(Default)]
struct Inner {
    words: VecDeque<Word>,
    consumers: BTreeMap<u64, Arc<Consumer>>,
    /// Consumers that somebody began or ceased to take from.
    resized: BTreeSet<u64>,
    is_served: bool,
    /// The emitter is to end, because the subscription was changed.
    is_draining: bool,
    /// Parked events are to be delivered once more.
    is_replaying: bool,
    /// How long a consumer may take for an event.
    ack_timeout: Duration,
    suspicion: Suspicion,
    acknowledged: Rate,
}

impl Mailbox {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), woken: Notify::new(), serving: AsyncMutex::default() })
    }

    /// Adds a consumer.
    pub(super) fn join(&self, consumer: &Arc<Consumer>) {
        let mut inner = self.inner.lock();
        inner.consumers.insert(consumer.id, consumer.clone());
        if inner.is_served {
            inner.words.push_back(Word::Joined(consumer.clone()));
        }
        drop(inner);
        self.woken.notify_one();
    }

    /// Somebody began or ceased to take from a consumer, so it has another window.
    pub(super) fn resize(&self, consumer: u64) {
        let mut inner = self.inner.lock();
        if inner.consumers.contains_key(&consumer) {
            inner.resized.insert(consumer);
        }
        drop(inner);
        self.woken.notify_one();
    }

    /// Consumers that have another window.
    pub(super) fn take_resized(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.inner.lock().resized)
    }

    /// Removes a consumer.
    pub(super) fn leave(&self, consumer: u64, failed: bool) {
        let mut inner = self.inner.lock();
        if inner.consumers.remove(&consumer).is_some() && inner.is_served {
            inner.words.push_back(Word::Left { consumer, failed });
        }
        drop(inner);
        self.woken.notify_one();
    }

    /// Removes a consumer that the emitter has removed already.
    pub(super) fn forget(&self, consumer: u64) -> Option<Arc<Consumer>> {
        self.inner.lock().consumers.remove(&consumer)
    }

    /// The consumer with this number.
    pub(super) fn consumer(&self, id: u64) -> Option<Arc<Consumer>> {
        self.inner.lock().consumers.get(&id).cloned()
    }

    /// Passes a word to the emitter, or to the next one.
    ///
    /// # Errors
    ///
    /// As many words wait as may.
    pub(super) fn say(&self, word: Word) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if inner.words.len() >= WORDS_MAX {
            inner.words.retain(|word| !word.is_abandoned());
        }
        if inner.words.len() >= WORDS_MAX {
            let message =
                "too many words wait for the subscription's emitter; nothing was done; try again later";
            return Err(problem(code::OVERLOADED, message));
        }
        inner.words.push_back(word);
        drop(inner);
        self.woken.notify_one();
        Ok(())
    }

    /// Whether an emitter serves.
    pub(super) fn is_served(&self) -> bool {
        self.inner.lock().is_served
    }

    /// Whether nobody needs it.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        !inner.is_served && inner.consumers.is_empty() && inner.suspicion == Suspicion::default()
    }

    /// Asks the emitter to store what is settled and to end.
    pub(super) fn drain(&self) {
        self.inner.lock().is_draining = true;
        self.woken.notify_one();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.inner.lock().is_draining
    }

    /// Asks the emitter to deliver parked events once more.
    pub(super) fn replay(&self) {
        self.inner.lock().is_replaying = true;
        self.woken.notify_one();
    }

    pub(super) fn take_replay(&self) -> bool {
        std::mem::take(&mut self.inner.lock().is_replaying)
    }

    /// At most so many words.
    pub(super) fn take_words(&self, most: usize) -> Vec<Word> {
        let mut inner = self.inner.lock();
        let count = inner.words.len().min(most);
        let words = inner.words.drain(..count).collect();
        if !inner.words.is_empty() {
            self.woken.notify_one();
        }
        words
    }

    /// The consumers that are kept for clients who have not come back.
    pub(super) fn abandoned(&self) -> Vec<u64> {
        let inner = self.inner.lock();
        let patience = DETACHED_MIN.max(inner.ack_timeout * DETACHED_TIMEOUTS);
        let abandoned = inner.consumers.values().filter(|consumer| consumer.is_abandoned(patience));
        abandoned.map(|consumer| consumer.id).collect()
    }

    /// Ends all consumers, for this reason.
    pub(super) fn end_consumers(&self, error: &Error) {
        let consumers = std::mem::take(&mut self.inner.lock().consumers);
        consumers.into_values().for_each(|consumer| consumer.end(error.clone()));
    }

    /// What is suspected of the subscription's events.
    pub(super) fn suspicion<T>(&self, access: impl FnOnce(&mut Suspicion) -> T) -> T {
        access(&mut self.inner.lock().suspicion)
    }

    /// Counts acknowledged events.
    pub(super) fn count(&self, acknowledged: u64) {
        self.inner.lock().acknowledged.add(acknowledged);
    }

    /// Events that were acknowledged in a second, of late.
    pub(super) fn acknowledged_in_a_second(&self) -> u64 {
        self.inner.lock().acknowledged.in_a_second()
    }

    /// Opens it for the subscription's one emitter, with the consumers that there are. Waits until the previous one has ended.
    pub(super) async fn open(&self, ack_timeout: Duration) -> (Service<'_>, Vec<Arc<Consumer>>) {
        let serving = self.serving.lock().await;
        let mut inner = self.inner.lock();
        (inner.is_served, inner.is_draining, inner.ack_timeout) = (true, false, ack_timeout);
        // What nobody waits for any more was said of deliveries that are made again now.
        inner
            .words
            .retain(|word| !matches!(word, Word::Joined(_) | Word::Left { .. }) && !word.is_abandoned());
        inner.resized.clear();
        let consumers: Vec<Arc<Consumer>> = inner.consumers.values().cloned().collect();
        consumers.iter().for_each(|consumer| consumer.forget_untaken());
        drop(inner);
        (Service { mailbox: self, _serving: serving }, consumers)
    }
}

/// A mailbox while an emitter serves it.
pub(super) struct Service<'a> {
    mailbox: &'a Mailbox,
    _serving: MutexGuard<'a, ()>,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.mailbox.inner.lock().is_served = false;
        self.mailbox.woken.notify_one();
    }
}
