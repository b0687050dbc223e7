//! Drives a sink: takes events from its subscription, passes them, and settles them as the [rules](super::rules) say.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::Reason;
use tokio::time::Instant;

use super::Sink;
use super::batch::Batch;
use super::check::checked;
use super::instance::{Instance, NotMade};
use super::joined::Joined;
use super::plugin::SinkPlugin;
use super::rules::Next;
use super::shared::{LOOK_INTERVAL, Shared};
use super::status::Status;
use crate::bindings::store::dispatch::Refusal;
use crate::bindings::store::sink::{Batch as Passed, Failure, Outcome, Unavailability};
use crate::bindings::store::subscription_types::Settings;
use crate::caller::Caller;
use crate::crash::Crash;
use crate::emitters::{Emitters, Joining, Settlement, Taken};
use crate::installed::Deployment;
use crate::persistence::SubscriptionsPool;
use crate::problem::message_of;
use crate::store_calls::{POLL, StoreCalls};

/// A batch may take such a part of the time that the subscription gives a consumer for an event, and so may a call. Events
/// wait for the batch before theirs, so none is overdue before it was passed.
const ACK_TIMEOUT_PARTS: u32 = 4;

/// Drives one sink while its child lives.
pub(super) struct Driver<'a> {
    shared: Shared<'a>,
    instance: Option<Instance>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        sink: &'a Sink,
        emitters: &'a Emitters,
        pool: &'a SubscriptionsPool,
        deployment: Arc<Deployment<SinkPlugin>>,
        path: Arc<str>,
    ) -> Self {
        let calls = StoreCalls::of(&deployment.context);
        Self { shared: Shared { sink, emitters, pool, deployment, calls, path }, instance: None }
    }

    /// Delivers events until an instance crashes.
    pub(super) async fn run(mut self) -> Reason {
        loop {
            match self.serve().await {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(crash) => return crash.reason(),
            }
        }
    }

    /// Consumes the subscription until something is to be waited for; returns how long.
    async fn serve(&mut self) -> Result<Duration, Box<Crash>> {
        let settings = match self.shared.look().await {
            Ok(settings) => settings,
            Err(why) => return Ok(self.shared.wait(why)),
        };
        let (emitters, subscription) = (self.shared.emitters, self.shared.sink.spec.subscription.as_str());
        let window = self.shared.sink.rules.lock().window(self.shared.sink.spec.batch_events);
        let joining =
            Joining { name: subscription.to_owned(), consumer: None, window, by_id: false, keep: false };
        let attachment = match emitters.join(self.shared.pool, joining).await {
            Ok(attachment) => attachment,
            Err(error) => return Ok(self.shared.wait(message_of(&error))),
        };
        let joined = Joined { emitters, subscription, attachment };
        let is_failing = |status: &Status| {
            matches!(status, Status::Retrying(_) | Status::Unavailable(_) | Status::Open(_))
        };
        if !is_failing(&self.shared.sink.status.lock()) {
            self.shared.say(Status::Serving);
        }
        loop {
            let until = Instant::now() + LOOK_INTERVAL;
            let caller = Caller::operator();
            let taken =
                joined.attachment.take(&self.shared.calls, &caller, window as usize, Some(until)).await;
            match taken {
                Ok(taken) if taken.delivered.is_empty() => {
                    if let Err(why) = self.shared.look().await {
                        return Ok(self.shared.wait(why));
                    }
                }
                Ok(taken) => {
                    if let Some(pause) = self.deliver(&joined, taken, &settings).await? {
                        return Ok(pause);
                    }
                }
                Err(error) => return Ok(self.shared.wait(message_of(&error))),
            }
        }
    }

    /// Passes a batch, in pieces if need be. Returns a pause if the rest of it goes back to the subscription.
    async fn deliver(
        &mut self,
        joined: &Joined<'_>,
        taken: Taken,
        settings: &Settings,
    ) -> Result<Option<Duration>, Box<Crash>> {
        let (mut batch, begun) = (Batch::of(taken), Instant::now());
        let time = Duration::from_millis(settings.ack_timeout_ms.into()) / ACK_TIMEOUT_PARTS;
        while let Some(first) = batch.first() {
            if begun.elapsed() > time {
                return Ok(Some(Duration::ZERO));
            }
            let next = match self.shared.poison(first, settings) {
                Some(next) => next,
                None => match self.pass(joined, &mut batch, time, settings).await? {
                    Some(next) => next,
                    // The subscription did not hear what was done, and delivers it again.
                    None => return Ok(Some(POLL)),
                },
            };
            let (refusal, pause) = match next {
                Next::GoOn => continue,
                Next::Refuse(refusal) => (Some(refusal), None),
                Next::GiveBack(refusal, pause) => (refusal, Some(pause)),
            };
            if let Some(refusal) = refusal {
                let places = batch.places(1);
                self.shared.say_refused(places.first().copied(), &refusal);
                if !joined.settle(places, Settlement::Refused(refusal)).await {
                    return Ok(Some(POLL));
                }
                batch.pass(1);
            }
            if pause.is_some() {
                return Ok(pause);
            }
        }
        Ok(None)
    }

    /// Passes the next events, and acknowledges what is done. Returns what follows; none if the subscription has not heard it.
    async fn pass(
        &mut self,
        joined: &Joined<'_>,
        batch: &mut Batch,
        time: Duration,
        settings: &Settings,
    ) -> Result<Option<Next>, Box<Crash>> {
        let is_suspected =
            batch.first().is_some_and(|first| self.shared.sink.suspicion.lock().is_about(first));
        let count = if is_suspected { 1 } else { batch.len() };
        let outcome = self.call(batch, count, time).await?;
        let done = outcome.done as usize;
        let tried = (done + usize::from(outcome.failure.is_some())).min(count);
        if let Some(given) = batch.given(tried) {
            self.shared.sink.suspicion.lock().took(given);
        }
        if done > 0 {
            if !joined.settle(batch.places(done), Settlement::Acknowledged).await {
                return Ok(None);
            }
            self.shared.sink.suspicion.lock().progressed();
            batch.pass(done);
        }
        let failure = outcome.failure.clone();
        // They may have been changed since the sink has joined.
        let changed = match outcome.failure {
            Some(_) => self.shared.look().await.ok(),
            None => None,
        };
        let settings = changed.as_ref().unwrap_or(settings);
        let (next, is_open) = {
            let mut rules = self.shared.sink.rules.lock();
            let next = rules.after(outcome, batch.first(), settings, fastrand::u64(..));
            (next, rules.is_open())
        };
        self.shared.say(match failure {
            Some(Failure::Unavailable(Unavailability { reason, .. })) if is_open => Status::Open(reason),
            Some(Failure::Unavailable(Unavailability { reason, .. })) => Status::Unavailable(reason),
            Some(Failure::Failed(reason)) if matches!(next, Next::GiveBack(Some(Refusal::Retry), _)) => {
                Status::Retrying(reason)
            }
            _ => Status::Serving,
        });
        Ok(Some(next))
    }

    /// Calls the instance with the next events, and checks what it returns.
    async fn call(&mut self, batch: &Batch, count: usize, time: Duration) -> Result<Outcome, Box<Crash>> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                match Instance::new(&self.shared.deployment, &self.shared.path, &self.shared.sink.spec.grants)
                    .await
                {
                    Ok(instance) => instance,
                    Err(NotMade::Broken(reason)) => {
                        return Ok(Outcome { done: 0, failure: Some(Failure::Broken(reason)) });
                    }
                    Err(NotMade::Crashed(crash)) => return Err(self.shared.crashed(None, crash)),
                }
            }
        };
        let (events, earlier) = batch.head(count);
        let wall = Duration::from_millis(self.shared.deployment.context.limits.call_wall_ms);
        // A part of the wall time is left for what the sink does when it sees that the time is over.
        let time = time.min(wall / 2).as_millis();
        let passed = Passed {
            subscription: self.shared.sink.spec.subscription.clone(),
            events,
            earlier,
            time_ms: u32::try_from(time).unwrap_or(u32::MAX),
        };
        let returned = instance.deliver(passed).await;
        let outcome = match returned {
            Ok(outcome) => checked(outcome, count).map_err(|what| instance.breach(&what)),
            Err(crash) => Err(crash),
        };
        match outcome {
            Ok(outcome) => {
                self.instance = Some(instance);
                Ok(outcome)
            }
            Err(crash) => Err(self.shared.crashed(batch.given(count), crash)),
        }
    }
}
