//! The emitter of one subscription: does what its dispatcher says, and passes what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{Reason, ShutdownSignal};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::begin::{Begun, halt};
use super::consumer::{Consumer, Part};
use super::errors::is_transient;
use super::events::{Page, read_again};
use super::guest::Dispatcher;
use super::mailbox::{Mailbox, Settled, Settlement, Word};
use super::over::Over;
use super::read::{Fed, Read};
use super::shared::Shared;
use super::suspicion::Given;
use crate::bindings::store::dispatch::{
    Delivery, EventNames, Fed as FedInput, Input, Leaving, Output, Refusing, Replaying, Resizing, Settling,
};
use crate::bindings::store::subscription_types::{Advance, Subscribed, Subscription, SubscriptionRequest};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::crash::Crash;
use crate::problem::problem;
use crate::store_calls::POLL;

/// Time between steps that only the dispatcher asks for, at least.
const WAKE_MIN: Duration = Duration::from_millis(1);

/// Inputs of one step. The interface permits 1,000; this leaves room for what comes with them.
const WORDS_OF_STEP_MAX: usize = 900;

/// Parked events that are delivered once more, of one step.
const REPLAYED_OF_STEP_MAX: u32 = 200;

/// How long an emitter that is about to end may take to store what is settled.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// How often consumers are looked for whose clients have not come back.
const ABANDONED_INTERVAL: Duration = Duration::from_secs(10);

/// An emitter that serves.
pub(super) struct Emitter<'a> {
    shared: &'a Shared,
    mailbox: &'a Mailbox,
    subscription: Subscription,
    epoch: u64,
    dispatcher: Dispatcher,
    /// Those that the dispatcher has, by their numbers.
    consumers: HashMap<u64, Arc<Consumer>>,
    read: Read,
    reading: Option<BoxFuture<'static, (Read, Result<Fed, Error>)>>,
    storing: Option<BoxFuture<'static, Result<u64, Error>>>,
    /// The last page that was read, and the last one that is delivered once more.
    pages: [Page; 2],
    /// From which place on parked events are to be delivered once more; none if there is nothing to be listed.
    replay_from: Option<u64>,
    now: u64,
    wake_at: Option<u64>,
    abandoned_at: Instant,
    /// When it ends, whether everything is stored or not.
    drain_until: Option<Instant>,
}

/// What is to be passed to the dispatcher.
#[derive(Default)]
struct Step {
    inputs: Vec<Input>,
    replies: Vec<oneshot::Sender<u32>>,
    given: Option<Given>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(shared: &'a Shared, mailbox: &'a Mailbox, begun: Begun) -> Self {
        let Begun { subscription, epoch, dispatcher, consumers } = begun;
        let read = shared.read(&subscription);
        Self {
            shared,
            mailbox,
            subscription,
            epoch,
            dispatcher,
            consumers: consumers.into_iter().map(|consumer| (consumer.id, consumer)).collect(),
            read,
            reading: None,
            storing: None,
            pages: Default::default(),
            replay_from: Some(0),
            now: 0,
            wake_at: None,
            abandoned_at: Instant::now() + ABANDONED_INTERVAL,
            drain_until: None,
        }
    }

    /// Serves until the subscription is changed, the supervisor stops the emitter, or the instance ends.
    pub(super) async fn run(mut self, shutdown: &ShutdownSignal) -> Reason {
        let over = self.serve(shutdown).await;
        match over {
            Over::Done if shutdown.is_requested() => Reason::Shutdown,
            Over::Done => Reason::Normal,
            Over::Crashed(crash) => crash.reason(),
            Over::Failed(error) => Reason::error(crate::problem::message_of(&error)),
        }
    }

    async fn serve(&mut self, shutdown: &ShutdownSignal) -> Over {
        let joined = self.consumers.values().map(|consumer| Input::Joined(consumer.joining())).collect();
        let mut step = Step { inputs: joined, ..Step::default() };
        loop {
            if let Err(over) = self.step(step).await {
                return over;
            }
            if self.drain_until.is_some_and(|until| self.storing.is_none() || until <= Instant::now()) {
                return Over::Done;
            }
            step = match self.next(shutdown).await {
                Ok(step) => step,
                Err(over) => return over,
            };
        }
    }

    /// Waits for what happens next.
    async fn next(&mut self, shutdown: &ShutdownSignal) -> Result<Step, Over> {
        let mut step = Step::default();
        let is_draining = self.drain_until.is_some();
        let wake_in = self.wake_at.map(|at| Duration::from_micros(at.saturating_sub(self.shared.now())));
        let wake_in = wake_in.map(|wake_in| wake_in.max(WAKE_MIN));
        let due =
            wake_in.map_or(self.abandoned_at, |wake_in| self.abandoned_at.min(Instant::now() + wake_in));
        let due = self.drain_until.map_or(due, |until| due.min(until));
        let replays = self.replay_from.is_some() && self.storing.is_none() && !is_draining;
        tokio::select! {
            () = std::future::ready(()), if replays => {}
            () = shutdown.requested(), if !is_draining => self.drain(&mut step),
            () = self.mailbox.woken.notified() => {
                if self.mailbox.is_draining() && !is_draining {
                    self.drain(&mut step);
                }
                self.words(&mut step).await?;
            }
            (read, fed) = ready(&mut self.reading) => {
                (self.read, self.reading) = (read, None);
                self.fed(fed, &mut step).await?;
            }
            stored = ready(&mut self.storing) => {
                self.storing = None;
                self.stored(stored, &mut step)?;
            }
            () = tokio::time::sleep_until(due) => self.look_for_abandoned(),
        }
        if self.mailbox.take_replay() {
            self.replay_from = Some(0);
        }
        if self.drain_until.is_none()
            && self.storing.is_none()
            && let Some(from) = self.replay_from.take()
        {
            self.replay(from, &mut step).await?;
        }
        Ok(step)
    }

    fn drain(&mut self, step: &mut Step) {
        self.drain_until = Some(Instant::now() + DRAIN_TIME);
        step.inputs.push(Input::Drain);
    }

    fn look_for_abandoned(&mut self) {
        if self.abandoned_at > Instant::now() {
            return;
        }
        self.abandoned_at = Instant::now() + ABANDONED_INTERVAL;
        for consumer in self.mailbox.abandoned() {
            self.mailbox.leave(consumer, true);
        }
        // Those whose clients were to come again, and have not, have no window any more.
        for (id, _) in self.consumers.iter().filter(|(_, consumer)| !consumer.is_attached()) {
            self.mailbox.resize(*id);
        }
    }

    /// Takes what was said in the meantime.
    async fn words(&mut self, step: &mut Step) -> Result<(), Over> {
        for consumer in self.mailbox.take_resized() {
            // The window of one that has not joined yet is that which it joins with.
            if let Some(of) = self.consumers.get(&consumer) {
                step.inputs.push(Input::Resized(Resizing { consumer, window: of.open_window() }));
            }
        }
        for word in self.mailbox.take_words(WORDS_OF_STEP_MAX) {
            match word {
                Word::Joined(consumer) => {
                    step.inputs.push(Input::Joined(consumer.joining()));
                    self.consumers.insert(consumer.id, consumer);
                }
                Word::Left { consumer, failed } => {
                    if self.consumers.remove(&consumer).is_some() {
                        #[cfg(feature = "faults")]
                        if let Some((input, reply)) =
                            failed.then(|| crate::fault::last_word(consumer)).flatten()
                        {
                            step.inputs.push(input);
                            step.replies.push(reply);
                        }
                        step.inputs.push(Input::Left(Leaving { consumer, failed }));
                    }
                }
                Word::Settled(Settled { consumer, events, settlement, reply }) => {
                    if let Some(consumer) = self.consumers.get(&consumer) {
                        consumer.hear();
                        if let EventNames::Places(places) = &events {
                            consumer.withdraw(places);
                        }
                    }
                    step.inputs.push(match settlement {
                        Settlement::Acknowledged => Input::Acknowledged(Settling { consumer, events }),
                        Settlement::Refused(refusal) => {
                            Input::Refused(Refusing { consumer, events, refusal })
                        }
                    });
                    step.replies.push(reply);
                }
                Word::State(reply) => {
                    let state = self.dispatcher.state().await;
                    let state = state.map_err(|crash| self.crashed(crash, None))?;
                    // Whoever asked may be gone.
                    drop(reply.send(state));
                }
            }
        }
        Ok(())
    }

    /// Takes a page that was read.
    async fn fed(&mut self, fed: Result<Fed, Error>, step: &mut Step) -> Result<(), Over> {
        let fed = match fed {
            Ok(fed) => fed,
            Err(error) => {
                let why = format!("its events cannot be read: {}", crate::problem::message_of(&error));
                return Err(self.halt(&why).await);
            }
        };
        let Fed { from, events, next } = fed;
        let page = Page::of(events, self.is_of_stream());
        step.given = page.ends().map(|(first, last)| Given { first, last });
        step.inputs.push(Input::Page(FedInput { from, events: page.bytes().to_vec(), next }));
        self.pages[0] = page;
        Ok(())
    }

    fn stored(&mut self, stored: Result<u64, Error>, step: &mut Step) -> Result<(), Over> {
        match stored {
            Ok(_) => {
                self.mailbox.suspicion(super::suspicion::Suspicion::progressed);
                step.inputs.push(Input::Stored);
            }
            Err(Error::NotFound) => {
                self.mailbox.end_consumers(&Error::NotFound);
                return Err(Over::Done);
            }
            // Another emitter serves the subscription.
            Err(Error::Problem(problem)) if problem.code == "superseded" => return Err(Over::Done),
            Err(error) => step.inputs.push(Input::NotStored(crate::problem::message_of(&error))),
        }
        Ok(())
    }

    /// Lists parked events that are to be delivered once more (the rule D6).
    async fn replay(&mut self, from: u64, step: &mut Step) -> Result<(), Over> {
        let (caller, name) = (Caller::operator(), self.subscription.name.clone());
        let is_suspected = self.mailbox.suspicion(|suspicion| suspicion.is_about(from));
        let count = if is_suspected { 1 } else { REPLAYED_OF_STEP_MAX };
        let listed = self.shared.pool.list_parked(caller.clone(), name, from, count, true).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(Error::NotFound) => {
                self.mailbox.end_consumers(&Error::NotFound);
                return Err(Over::Done);
            }
            Err(error) if is_transient(&error) => {
                self.replay_from = Some(from);
                tokio::time::sleep(POLL).await;
                return Ok(());
            }
            Err(error) => return Err(Over::Failed(error)),
        };
        let mut places: Vec<u64> = listed.events.iter().map(|parked| parked.place).collect();
        self.replay_from = places.last().filter(|_| listed.more).map(|last| last.saturating_add(1));
        if places.is_empty() {
            return Ok(());
        }
        let source = &self.subscription.selector.source;
        let deadline = Instant::now() + self.shared.wall();
        let read = read_again(&self.shared.calls, &caller, source, &places, deadline).await;
        let (page, unread) = match read {
            Ok(read) => read,
            Err(error) if is_transient(&error) => {
                self.replay_from = Some(from);
                tokio::time::sleep(POLL).await;
                return Ok(());
            }
            Err(error) => return Err(Over::Failed(error)),
        };
        // What did not fit the page comes with the next one.
        self.replay_from = unread.first().copied().or(self.replay_from);
        places.retain(|place| !unread.contains(place));
        let (Some(first), Some(last)) = (places.first().copied(), places.last().copied()) else {
            return Ok(());
        };
        let given = step.given.get_or_insert(Given { first, last });
        (given.first, given.last) = (given.first.min(first), given.last.max(last));
        step.inputs.push(Input::Replay(Replaying { places, events: page.bytes().to_vec() }));
        self.pages[1] = page;
        Ok(())
    }

    /// Passes what has happened to the dispatcher, and does what it says.
    async fn step(&mut self, step: Step) -> Result<(), Over> {
        let Step { inputs, replies, given } = step;
        self.now = self.now.max(self.shared.now());
        let outcome = self.dispatcher.step(self.now, inputs).await;
        let outcome = outcome.map_err(|crash| self.crashed(crash, given))?;
        if outcome.counts.len() != replies.len() {
            let (counts, words) = (outcome.counts.len(), replies.len());
            let what = format!("a step of a dispatcher counts {counts} words of consumers, and had {words}");
            return Err(self.breach(&what, given));
        }
        if let Some(given) = given {
            self.mailbox.suspicion(|suspicion| suspicion.took(given));
        }
        for (reply, count) in replies.into_iter().zip(outcome.counts) {
            let sent = reply.send(count);
            // The consumer may be gone.
            let (Ok(()) | Err(_)) = sent;
        }
        self.wake_at = outcome.wake_at;
        for output in outcome.outputs {
            self.output(output).await?;
        }
        Ok(())
    }

    async fn output(&mut self, output: Output) -> Result<(), Over> {
        match output {
            Output::Read(asked) => {
                if self.reading.is_some() {
                    return Err(self.breach("a dispatcher reads while a read is open", None));
                }
                if let Err(what) = self.read.check(&asked) {
                    return Err(self.breach(&what, None));
                }
                let is_suspected = self.mailbox.suspicion(|suspicion| suspicion.is_about(asked.from));
                let count = if is_suspected { 1 } else { asked.count };
                let read = self.read.clone();
                self.reading = Some(Box::pin(read.next(count)));
            }
            Output::Deliver(delivery) => self.deliver(delivery)?,
            Output::TurnAway(id) => {
                let most = self.subscription.settings.consumers_max;
                let message = format!("the subscription has its {most} consumers (consumers_max)");
                self.end_consumer(id, problem("too-many-consumers", message));
            }
            Output::CutOff(id) => {
                let message = "the consumer said nothing for three times as long as it may take for an event \
                               (ack_timeout_ms); what it had is delivered to others";
                self.end_consumer(id, problem("cut-off", message));
            }
            Output::Store(advance) => self.store(advance)?,
            Output::Halt(reason) => return Err(self.halt(&reason).await),
        }
        Ok(())
    }

    fn deliver(&mut self, Delivery { consumer, events }: Delivery) -> Result<(), Over> {
        let Some(to) = self.consumers.get(&consumer) else {
            return Err(self.breach("a dispatcher delivers to a consumer that is not there", None));
        };
        let places = || events.iter().map(|delivered| delivered.place);
        let packed = self.pages.iter().find_map(|page| page.events(places()));
        match to.deliver(Part { delivered: events, events: packed }) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.breach("a dispatcher delivers more than a consumer's window", None)),
        }
    }

    fn end_consumer(&mut self, id: u64, error: Error) {
        self.consumers.remove(&id);
        if let Some(consumer) = self.mailbox.forget(id) {
            consumer.end(error);
        }
    }

    fn store(&mut self, advance: Advance) -> Result<(), Over> {
        if self.storing.is_some() {
            return Err(self.breach("a dispatcher stores while a store is open", None));
        }
        if advance.name != self.subscription.name || advance.epoch != self.epoch {
            return Err(self.breach("a dispatcher stores what is not its own", None));
        }
        #[cfg(feature = "faults")]
        let advance = crate::fault::checkpoint(advance, self.read.place());
        let pool = self.shared.pool.clone();
        self.storing = Some(Box::pin(async move {
            loop {
                let request = SubscriptionRequest::Advance(advance.clone());
                match pool.change(Caller::operator(), request).await {
                    // It may be made twice: the second one changes nothing.
                    Err(error) if is_transient(&error) => tokio::time::sleep(POLL).await,
                    stored => return stored,
                }
            }
        }));
        Ok(())
    }

    async fn halt(&mut self, reason: &str) -> Over {
        match halt(self.shared, self.mailbox, &self.subscription.name, self.epoch, reason).await {
            Ok(()) => Over::Done,
            Err(error) => Over::Failed(error),
        }
    }

    fn breach(&mut self, what: &str, given: Option<Given>) -> Over {
        let crash = self.dispatcher.breach(what);
        self.crashed(crash, given)
    }

    fn crashed(&self, crash: Box<Crash>, given: Option<Given>) -> Over {
        let words = format!("{crash}, incident {}", crash.incident);
        self.mailbox.suspicion(|suspicion| suspicion.crashed(given, &words));
        Over::Crashed(crash)
    }

    fn is_of_stream(&self) -> bool {
        matches!(self.subscription.selector.source, Subscribed::OneStream(_))
    }
}

/// Waits for a future, if there is one.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
