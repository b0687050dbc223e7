//! Does the actions of a step, which were checked, and takes what they bring.

use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Driver, Over};
use crate::bindings::gateway::requests::{Call, NamedCall, Outcome};
use crate::bindings::gateway::steps::{Action, Feed as FeedSource, NumberedCall, Stopped, Subscription};
use crate::bindings::store::types::Error;
use crate::gateway::error::GatewayError;
use crate::gateway::steps::feed::{self, Ended, Feed, Turned};
use crate::gateway::steps::limits::{CALLS_MAX, HELD_BYTES_MAX};
use crate::gateway::steps::room::Share;
use crate::gateway::steps::rules::{self, Content};
use crate::problem::{code, problem};
use crate::store_calls::{check_options, is_change, named, read_payload};
use crate::topics::Listener;

/// The feed of a consumer of a durable subscription.
const CONSUME: &str = "subscriptions/consume";

/// The feed of a listener of a topic.
const TOPIC: &str = "topics/follow";

/// What an action has brought, under its number.
pub(super) struct Arrived {
    id: u32,
    /// Which of the actions with this number.
    serial: u64,
    what: What,
}

enum What {
    Called(Box<Outcome>, Vec<u8>, Option<OwnedSemaphorePermit>),
    Timer,
    Turned(Box<Turned>),
    Aborted,
}

/// An action that is running under a number.
pub(super) struct Numbered {
    serial: u64,
    /// None for a change, which goes on.
    abort: Option<AbortHandle>,
}

/// Events that are held.
pub(super) struct Hold {
    events: Vec<u8>,
    /// None if there was no room for all of them.
    share: Option<Share>,
}

impl Driver {
    /// Does an action. An error means that the request is over.
    pub(super) async fn act(&mut self, action: Action) -> Result<(), Over> {
        let unchecked = |_| GatewayError::NoResponse;
        match action {
            Action::Start(head) => {
                let head = rules::head(&head, Content::Streamed).map_err(unchecked)?;
                self.begin(head);
            }
            Action::Send(bytes) => {
                if !self.is_head {
                    self.patience.taken(self.out.taken(), self.out.untaken());
                    self.out.push(bytes);
                }
            }
            Action::Finish(trailers) => {
                self.out.finish(rules::trailers(&trailers).map_err(unchecked)?);
                return Err(Over::Done);
            }
            Action::Call(calls) => {
                for call in calls {
                    self.call(call).await;
                }
            }
            Action::Hold(holding) => self.hold(holding.id, holding.events),
            Action::Receive(intake) => self.arrival.used(intake.used as usize),
            Action::Subscribe(subscription) => self.subscribe(subscription),
            Action::Credit(grant) => {
                if let Some(feed) = self.feeds.get_mut(&grant.id) {
                    feed.grant(grant.credit);
                }
            }
            Action::Timer(timer) => {
                let sleep = tokio::time::sleep(Duration::from_millis(timer.ms.into()));
                self.run_numbered(timer.id, async move {
                    sleep.await;
                    What::Timer
                });
            }
            Action::Cancel(id) => self.cancel(id),
        }
        Ok(())
    }

    /// Takes what has arrived.
    pub(super) fn arrived(&mut self, Arrived { id, serial, what }: Arrived) {
        if self.numbered.get(&id).is_none_or(|numbered| numbered.serial != serial) {
            // It was cancelled.
            return;
        }
        self.numbered.remove(&id);
        match what {
            What::Called(outcome, context, guard) => {
                self.exchange.call_finished(id, context, *outcome, guard);
            }
            What::Timer => self.exchange.timer_fired(id),
            What::Turned(turned) => {
                let Some(feed) = self.feeds.get_mut(&id) else { return };
                let (page, ended) = feed.turned(*turned);
                if let Some(page) = page {
                    self.exchange.page_came(page);
                }
                if let Some(Ended(error)) = ended {
                    self.feeds.remove(&id);
                    self.exchange.feed_stopped(Stopped { id, error });
                }
            }
            What::Aborted => {}
        }
    }

    /// Begins to read a page for each subscription that wants one.
    pub(super) fn start_turns(&mut self, untaken: usize) {
        let mut turns = Vec::new();
        for (id, feed) in &mut self.feeds {
            if self.exchange.wants_page(*id, untaken)
                && let Some(turn) = feed.turn()
            {
                turns.push((*id, turn));
            }
        }
        for (id, turn) in turns {
            self.run_numbered(id, async move { What::Turned(Box::new(turn.page(id).await)) });
        }
    }

    /// Drops everything that is open, but for changes.
    pub(super) fn drop_open(&mut self) {
        self.running.clear();
        self.numbered.clear();
        self.holds.clear();
        self.feeds.clear();
    }

    fn cancel(&mut self, id: u32) {
        if let Some(Numbered { abort: Some(abort), .. }) = self.numbered.remove(&id) {
            abort.abort();
        }
        self.holds.remove(&id);
        self.feeds.remove(&id);
    }

    /// Makes a call. A change is polled at once, so that changes are queued in the order of the actions (the rule P4).
    async fn call(&mut self, numbered: NumberedCall) {
        let NumberedCall { id, call, context, held, within_ms, options, .. } = numbered;
        let call = match self.with_held(call, held).and_then(|call| check_options(&options).map(|()| call)) {
            Ok(call) => call,
            Err(error) => {
                self.exchange.call_finished(id, context, Err(error), None);
                return;
            }
        };
        let within = within_ms.map_or(self.wall(), |ms| self.wall().min(Duration::from_millis(ms.into())));
        let mut deadline = Instant::now() + within;
        if !self.exchange.is_started() {
            // So that the outcome is there before the time of the request is over.
            deadline = deadline.min(self.patience.of_calls(self.arrival.last_part(), self.wall()));
        }
        let (calls, caller) = (self.calls.clone(), self.caller());
        if !is_change(&call) {
            let reads = self.reads.clone();
            // A request that runs again gets all outcomes together, so none can wait for the delivery of another.
            let is_held = !self.exchange.runs_again();
            self.run_numbered(id, async move {
                let guard = reads.acquire_owned().await.ok();
                let outcome = calls.run(caller, call, deadline).await;
                // Held until the outcome is delivered.
                What::Called(Box::new(outcome), context, guard.filter(|_| is_held))
            });
            return;
        }
        if self.changes.len() >= CALLS_MAX {
            let message =
                format!("{CALLS_MAX} changes of the request are in progress, cancelled ones among them");
            self.exchange.call_finished(id, context, Err(problem(code::OVERLOADED, message)), None);
            return;
        }
        let serial = self.next_serial();
        self.numbered.insert(id, Numbered { serial, abort: None });
        let turn = matches!(call, Call::ChangeSnapshot(_)).then(|| self.snapshot_turn.clone());
        let mut change: BoxFuture<'static, Arrived> = Box::pin(async move {
            let outcome = match turn {
                None => calls.run(caller, call, deadline).await,
                Some(turn) => match tokio::time::timeout_at(deadline, turn.lock_owned()).await {
                    Ok(_turn) => calls.run(caller, call, deadline).await,
                    Err(_) => Err(problem(
                        code::TIMEOUT,
                        "the time was over before the change's turn; nothing was changed",
                    )),
                },
            };
            Arrived { id, serial, what: What::Called(Box::new(outcome), context, None) }
        });
        match futures_util::poll!(change.as_mut()) {
            std::task::Poll::Ready(arrived) => self.arrived(arrived),
            std::task::Poll::Pending => self.changes.push(change),
        }
    }

    /// A call with the events that were held for it before its own.
    fn with_held(&mut self, mut call: Call, held: Option<u32>) -> Result<Call, Error> {
        let Some(hold) = held.and_then(|held| self.holds.remove(&held)) else { return Ok(call) };
        if hold.share.is_none() {
            let message = format!(
                "there was no room to hold the events of this write; a request may hold {HELD_BYTES_MAX} bytes"
            );
            return Err(problem(code::OVERLOADED, message));
        }
        if let Call::Write(write) = &mut call
            && let [append] = write.request.appends.as_mut_slice()
        {
            let mut events = hold.events;
            events.extend_from_slice(&append.events);
            append.events = events;
        }
        Ok(call)
    }

    fn hold(&mut self, id: u32, events: Vec<u8>) {
        let held: usize = self.holds.values().map(|hold| hold.events.len()).sum();
        let hold = self
            .holds
            .entry(id)
            .or_insert_with(|| Hold { events: Vec::new(), share: Some(self.worker.room.share()) });
        let bytes = hold.events.len() + events.len();
        let fits = held + events.len() <= HELD_BYTES_MAX
            && hold.share.as_mut().is_some_and(|share| share.set(bytes).is_ok());
        if fits {
            hold.events.extend_from_slice(&events);
        } else {
            *hold = Hold { events: Vec::new(), share: None };
        }
    }

    fn subscribe(&mut self, Subscription { id, feed, credit }: Subscription) {
        match feed {
            FeedSource::Query(query) => {
                let reader = self.reader(feed::reading(query));
                self.feeds.insert(id, Feed::of(reader, credit));
            }
            FeedSource::Named(call) => match self.named_feed(&call, credit) {
                Ok(feed) => {
                    self.feeds.insert(id, feed);
                }
                Err(error) => self.exchange.feed_stopped(Stopped { id, error: Some(error) }),
            },
        }
    }

    fn named_feed(&self, call: &NamedCall, credit: Option<u32>) -> Result<Feed, Error> {
        match call.name.as_str() {
            CONSUME => {
                let consume = read_payload(&call.payload)?;
                Ok(Feed::durable(self.calls.clone(), self.caller(), consume, credit))
            }
            TOPIC => {
                let (context, followers) = (&self.worker.context, &self.worker.followers);
                let listen = read_payload(&call.payload)?;
                let listener =
                    Listener::new(context, &followers.topics, &followers.turns, self.caller(), listen)?;
                Ok(Feed::topic(listener, credit))
            }
            name => Err(named(name)),
        }
    }

    fn run_numbered(&mut self, id: u32, work: impl Future<Output = What> + Send + 'static) {
        let serial = self.next_serial();
        let (abort, registration) = AbortHandle::new_pair();
        self.numbered.insert(id, Numbered { serial, abort: Some(abort) });
        let work = Abortable::new(work, registration);
        self.running.push(Box::pin(async move {
            let what = work.await.unwrap_or(What::Aborted);
            Arrived { id, serial, what }
        }));
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
