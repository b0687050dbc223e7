//! Emitters: deliver the events of durable subscriptions to their consumers.
//!
//! Each active subscription has an emitter, a supervised child with an instance of the subscriptions component of its own. The
//! component's dispatcher decides what is delivered to whom; the [`emitter`] reads, waits, delivers and stores. What an emitter
//! keeps is lost with it, and nothing else: the next one claims the subscription and goes on at the checkpoint. [`Emitters`]
//! outlives them with a [`mailbox`] for each subscription, so that consumers stay. What ends instances is dealt with as
//! [`suspicion`] says. The [`roster`] of a partition starts an emitter for each of its subscriptions.

mod begin;
mod consumer;
mod emitter;
mod errors;
mod events;
mod guest;
mod mailbox;
mod over;
mod parts;
mod rate;
mod read;
mod roster;
mod shared;
mod supervisor;
mod suspicion;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_supervisor::partition_of;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::consumer::{Consumer, Part};
use self::mailbox::{Mailbox, Settled, Settlement as HowSettled, Word};
use crate::bindings::store::dispatch::{Delivered, DispatcherState, EventNames};
use crate::bindings::store::subscription_types::{Subscribed, SubscriptionState};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::long_read::{LiveReads, Turns};
use crate::persistence::SubscriptionsPool;
use crate::problem::{code, problem};
use crate::store_calls::StoreCalls;

pub(crate) use begin::BACKOFF;
pub(crate) use errors::halted;
pub(crate) use events::query;
#[cfg(test)]
pub(crate) use events::tests::page;
pub(crate) use mailbox::Settlement;
pub(crate) use suspicion::{Beginning, Given, REASON_BYTES_MAX, Suspicion, Whose};

/// The emitters of one store: their mailboxes, and what is to be looked at. It outlives them.
pub struct Emitters {
    /// Subscriptions of the store.
    pub(crate) subscriptions_max: usize,
    partitions: Vec<Partition>,
    mailboxes: Mutex<HashMap<String, Arc<Mailbox>>>,
    turns: Arc<Turns>,
    live: Arc<LiveReads>,
    /// The number of the last consumer.
    consumer: AtomicU64,
}

/// A partition of the subscriptions.
#[derive(Default)]
struct Partition {
    /// Subscriptions that were changed.
    changed: Mutex<BTreeSet<String>>,
    woken: Notify,
}

impl Emitters {
    /// Those of a store with so many partitions, and subscriptions. `turns` are those of its long reads.
    pub(crate) fn new(partitions: usize, subscriptions_max: usize, turns: Arc<Turns>) -> Arc<Self> {
        // A number that a client kept over a restart of the host is no other consumer's.
        let begun = u64::try_from(Clock::System.since_epoch().as_micros()).unwrap_or(0);
        Arc::new(Self {
            subscriptions_max,
            partitions: (0..partitions.max(1)).map(|_| Partition::default()).collect(),
            mailboxes: Mutex::default(),
            turns,
            live: Arc::default(),
            consumer: AtomicU64::new(begun),
        })
    }

    /// A subscription was created, changed or removed: its emitter ends, and another one begins if it is active.
    pub(crate) fn changed(&self, name: &str) {
        let partition = &self.partitions[partition_of(name.as_bytes(), self.partitions.len())];
        partition.changed.lock().insert(name.to_owned());
        partition.woken.notify_one();
    }

    /// Parked events of a subscription are to be delivered once more.
    pub(crate) fn replay(&self, name: &str) {
        if let Some(mailbox) = self.mailboxes.lock().get(name) {
            mailbox.replay();
        }
    }

    /// What the subscription's emitter keeps at the moment, if there is one; and how many events are acknowledged in a second.
    pub(crate) async fn state(&self, name: &str) -> (Option<DispatcherState>, u64) {
        let Some(mailbox) = self.mailboxes.lock().get(name).cloned() else { return (None, 0) };
        let rate = mailbox.acknowledged_in_a_second();
        if !mailbox.is_served() {
            return (None, rate);
        }
        let (reply, state) = oneshot::channel();
        if mailbox.say(Word::State(reply)).is_err() {
            return (None, rate);
        }
        let state = tokio::time::timeout(STATE_PATIENCE, state).await;
        (state.ok().and_then(Result::ok), rate)
    }

    /// A consumer's word about events. Returns how many were meant.
    ///
    /// # Errors
    ///
    /// The emitter is being restarted for long, or too many words wait for it.
    pub(crate) async fn settle(
        &self,
        name: &str,
        consumer: u64,
        events: EventNames,
        settlement: HowSettled,
    ) -> Result<u32, Error> {
        let mailbox = self.mailboxes.lock().get(name).cloned();
        let Some(mailbox) = mailbox else { return Ok(0) };
        let is_acknowledged = matches!(settlement, HowSettled::Acknowledged);
        let (reply, settled) = oneshot::channel();
        mailbox.say(Word::Settled(Settled { consumer, events, settlement, reply }))?;
        let count = settled.await.map_err(|_| {
            let message =
                "the subscription's emitter was restarted; what was not acknowledged is delivered again";
            problem(code::RESTARTING, message)
        })?;
        if is_acknowledged {
            mailbox.count(u64::from(count));
        }
        Ok(count)
    }

    /// Whether an emitter serves a subscription of this name.
    pub(crate) fn serves(&self, name: &str) -> bool {
        self.mailboxes.lock().get(name).is_some_and(|mailbox| mailbox.is_served())
    }

    /// A consumer leaves, and has not failed.
    pub(crate) fn leave(&self, name: &str, consumer: u64) {
        if let Some(mailbox) = self.mailboxes.lock().get(name) {
            mailbox.leave(consumer, false);
        }
    }

    /// Adds a consumer to a subscription, or goes on as one that was kept.
    ///
    /// # Errors
    ///
    /// There is no such subscription, or none such consumer, or somebody else has it; the subscription has halted.
    pub(crate) async fn join(&self, pool: &SubscriptionsPool, joining: Joining) -> Result<Attachment, Error> {
        let Joining { name, consumer, window, by_id, keep } = joining;
        let subscription = pool.describe(Caller::operator(), name.clone()).await?;
        if let SubscriptionState::Halted(reason) = &subscription.state {
            return Err(errors::halted(&name, reason));
        }
        let mailbox = self.mailbox(&name);
        let consumer = match consumer {
            None => {
                let id = self.consumer.fetch_add(1, Ordering::Relaxed) + 1;
                let consumer = Arc::new(Consumer::new(id, window, by_id));
                mailbox.join(&consumer);
                consumer
            }
            Some(id) => {
                let consumer = mailbox.consumer(id).ok_or_else(|| {
                    let message = format!(
                        "the subscription has no consumer {id}: it left, was cut off, or the host was restarted; \
                         begin without one"
                    );
                    problem("no-such-consumer", message)
                })?;
                if !consumer.attach() {
                    let message = format!("another request takes what is delivered to the consumer {id}");
                    return Err(problem("consumer-in-use", message));
                }
                mailbox.resize(id);
                consumer
            }
        };
        let source = subscription.selector.source;
        Ok(Attachment { mailbox, source, consumer, keep, has_failed: false })
    }

    fn mailbox(&self, name: &str) -> Arc<Mailbox> {
        let mut mailboxes = self.mailboxes.lock();
        if !mailboxes.contains_key(name) {
            mailboxes.retain(|_, mailbox| Arc::strong_count(mailbox) > 1 || !mailbox.is_idle());
        }
        mailboxes.entry(name.to_owned()).or_insert_with(Mailbox::new).clone()
    }
}

/// How long the state of an emitter is waited for.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// A consumer that joins.
pub(crate) struct Joining {
    /// The subscription.
    pub(crate) name: String,
    /// One that was kept; none for a new one.
    pub(crate) consumer: Option<u64>,
    /// Events that may be in flight at it, 1 to 10,000.
    pub(crate) window: u32,
    /// It names events by their ids; otherwise by their places. One that was kept does as it did.
    pub(crate) by_id: bool,
    /// It stays when the attachment ends.
    pub(crate) keep: bool,
}

/// A consumer, as long as somebody takes what is delivered to it.
pub(crate) struct Attachment {
    mailbox: Arc<Mailbox>,
    source: Subscribed,
    consumer: Arc<Consumer>,
    keep: bool,
    has_failed: bool,
}

/// Events that were taken.
pub(crate) struct Taken {
    /// Packed.
    pub(crate) events: Vec<u8>,
    /// The same, in the same order.
    pub(crate) delivered: Vec<Delivered>,
}

impl Attachment {
    /// The consumer's number.
    pub(crate) fn consumer(&self) -> u64 {
        self.consumer.id
    }

    /// The consumer ends because it has failed: the first event that it has not settled counts as failed.
    pub(crate) fn fail(mut self) {
        self.has_failed = true;
    }

    /// Waits for what is delivered next, at most until then. At most so many events.
    ///
    /// # Errors
    ///
    /// Nothing more is delivered, or the events cannot be read.
    pub(crate) async fn take(
        &self,
        calls: &StoreCalls,
        caller: &Caller,
        most: usize,
        until: Option<Instant>,
    ) -> Result<Taken, Error> {
        loop {
            let taken = self.consumer.take(most);
            let taken = match until {
                None => taken.await?,
                Some(until) => match tokio::time::timeout_at(until, taken).await {
                    Ok(taken) => taken?,
                    Err(_) => return Ok(Taken { events: Vec::new(), delivered: Vec::new() }),
                },
            };
            if taken.is_whole() {
                let Part { delivered, events } = taken.pass();
                return Ok(Taken { events: events.unwrap_or_default(), delivered });
            }
            let places = taken.places();
            let (page, unread) = loop {
                let deadline = Instant::now() + READ_AGAIN_WALL;
                match events::read_again(calls, caller, &self.source, &places, deadline).await {
                    Err(error) if errors::is_transient(&error) => {
                        tokio::time::sleep(crate::store_calls::POLL).await;
                    }
                    read => break read?,
                }
            };
            let mut delivered = taken.pass_but(&unread);
            let (found, events) = page.found(&places);
            let is_gone = |place: &u64| !found.contains(place) && !unread.contains(place);
            let gone: Vec<u64> = places.iter().copied().filter(is_gone).collect();
            if !gone.is_empty() {
                // They are hidden by now, so there is nothing that could be done with them.
                let (reply, _) = oneshot::channel();
                self.mailbox.say(Word::Settled(Settled {
                    consumer: self.consumer.id,
                    events: EventNames::Places(gone),
                    settlement: HowSettled::Acknowledged,
                    reply,
                }))?;
            }
            delivered.retain(|delivered| found.contains(&delivered.place));
            if !delivered.is_empty() {
                return Ok(Taken { events, delivered });
            }
        }
    }
}

/// How long one read of events by their places may take.
const READ_AGAIN_WALL: Duration = Duration::from_secs(30);

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.keep {
            self.consumer.detach();
            self.mailbox.resize(self.consumer.id);
        } else {
            self.mailbox.leave(self.consumer.id, self.has_failed);
        }
    }
}
