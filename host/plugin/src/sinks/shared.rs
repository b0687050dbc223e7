//! What a sink's driver uses, looks at and says.

use std::sync::Arc;
use std::time::Duration;

use super::Sink;
use super::plugin::SinkPlugin;
use super::rules::Next;
use super::status::Status;
use crate::bindings::store::dispatch::Refusal;
use crate::bindings::store::subscription_types::{Settings, SubscriptionState};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::crash::Crash;
use crate::emitters::{Beginning, Emitters, Given, Whose};
use crate::installed::Deployment;
use crate::persistence::SubscriptionsPool;
use crate::problem::message_of;
use crate::store_calls::StoreCalls;

/// How often a sink looks whether its subscription is there and active, while it has nothing to do.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whose instances end, as reasons say it.
const WHOSE: Whose = Whose { child: "the sink", component: "the sink" };

/// What a sink's driver uses.
pub(super) struct Shared<'a> {
    pub(super) sink: &'a Sink,
    pub(super) emitters: &'a Emitters,
    pub(super) pool: &'a SubscriptionsPool,
    pub(super) deployment: Arc<Deployment<SinkPlugin>>,
    pub(super) calls: StoreCalls,
    pub(super) path: Arc<str>,
}

impl Shared<'_> {
    /// The settings of the subscription, if it is active; otherwise why it cannot be consumed.
    pub(super) async fn look(&self) -> Result<Settings, String> {
        let name = &self.sink.spec.subscription;
        match self.pool.describe(Caller::operator(), name.clone()).await {
            Ok(subscription) => match subscription.state {
                SubscriptionState::Active => Ok(subscription.settings),
                SubscriptionState::Paused => Err(format!("the subscription {name} is paused")),
                SubscriptionState::Halted(reason) => {
                    Err(format!("the subscription {name} has halted, until it is resumed: {reason}"))
                }
            },
            Err(Error::NotFound) => Err(format!("there is no durable subscription {name} yet")),
            Err(error) => Err(message_of(&error)),
        }
    }

    pub(super) fn wait(&self, why: String) -> Duration {
        self.say(Status::Waiting(why));
        LOOK_INTERVAL
    }

    /// What is done with an event that is known to end instances, or if too many ended without an event to blame (E10).
    pub(super) fn poison(&self, first: u64, settings: &Settings) -> Option<Next> {
        match self.sink.suspicion.lock().beginning(settings.poison, WHOSE) {
            Beginning::Park(place, reason) if place == first => Some(Next::Refuse(Refusal::Park(reason))),
            Beginning::Serve | Beginning::Park(..) => None,
            Beginning::Halt(reason) => Some(Next::GiveBack(Some(Refusal::Stop(reason)), Duration::ZERO)),
        }
    }

    pub(super) fn crashed(&self, given: Option<Given>, crash: Box<Crash>) -> Box<Crash> {
        let words = format!("{crash}, incident {}", crash.incident);
        self.sink.suspicion.lock().crashed(given, &words);
        crash
    }

    /// Says what the sink does, once for each change.
    pub(super) fn say(&self, status: Status) {
        let before = std::mem::replace(&mut *self.sink.status.lock(), status.clone());
        if !status.is_news_after(&before) {
            return;
        }
        let (store, sink) = (&self.deployment.context.store, &self.sink.spec.name);
        let (is, reason) = (status.is(), status.reason());
        match reason {
            None => tracing::info!(store, sink, is, "a sink delivers the events of its subscription"),
            Some(reason) => tracing::warn!(store, sink, is, reason, "a sink does not deliver"),
        }
        let detail = serde_json::json!({ "sink": sink, "is": is, "reason": reason });
        self.deployment.context.telemetry.emit(&self.path, "sink", detail);
    }

    pub(super) fn say_refused(&self, place: Option<u64>, refusal: &Refusal) {
        let (store, sink) = (&self.deployment.context.store, &self.sink.spec.name);
        let subscription = &self.sink.spec.subscription;
        match refusal {
            Refusal::Retry | Refusal::Skip => {}
            Refusal::Park(reason) => {
                tracing::warn!(
                    store,
                    sink,
                    subscription,
                    place,
                    reason,
                    "an event is parked, because a sink does not take it"
                );
            }
            Refusal::Stop(reason) => {
                tracing::warn!(store, sink, subscription, place, reason, "a sink halts its subscription");
            }
        }
    }
}
