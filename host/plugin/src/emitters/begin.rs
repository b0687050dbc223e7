//! How an emitter begins: what is stored, whose it is from now on, and what earlier emitters could not take.

use std::sync::Arc;
use std::time::Duration;

use super::consumer::Consumer;
use super::errors::{halted, is_transient};
use super::guest::{Dispatcher, Instance};
use super::mailbox::Mailbox;
use super::over::Over;
use super::shared::Shared;
use super::suspicion::{Beginning as What, Whose};
use crate::bindings::store::dispatch::Beginning;
use crate::bindings::store::subscription_types::{
    Advance, Halting, Parking, Subscription, SubscriptionRequest, SubscriptionState,
};
use crate::bindings::store::types::{Error, Problem};
use crate::caller::Caller;
use crate::problem::code as codes;
use crate::store_calls::POLL;

/// Parked events that are listed at a time.
const PARKED_PAGE: u32 = 1_000;

/// An emitter's subscription, and its dispatcher.
pub(super) struct Begun {
    pub(super) subscription: Subscription,
    pub(super) epoch: u64,
    pub(super) dispatcher: Dispatcher,
    pub(super) consumers: Vec<Arc<Consumer>>,
}

/// Whose instances end, as reasons say it.
const WHOSE: Whose = Whose { child: "its emitter", component: "the subscriptions component" };

/// Claims the subscription.
pub(super) async fn begin(
    shared: &Shared,
    mailbox: &Mailbox,
    name: &str,
    instance: Instance,
) -> Result<Begun, Over> {
    let pool = &shared.pool;
    let claimed = patiently(|| pool.change(Caller::operator(), SubscriptionRequest::Claim(name.to_owned())));
    let epoch = claimed.await.map_err(|error| missing(mailbox, error))?;
    let described = patiently(|| pool.describe(Caller::operator(), name.to_owned()));
    let subscription = described.await.map_err(|error| missing(mailbox, error))?;
    match &subscription.state {
        SubscriptionState::Active => {}
        // Its consumers wait until it is resumed.
        SubscriptionState::Paused => return Err(Over::Done),
        SubscriptionState::Halted(reason) => {
            mailbox.end_consumers(&halted(name, reason));
            return Err(Over::Done);
        }
    }
    match mailbox.suspicion(|suspicion| suspicion.beginning(subscription.settings.poison, WHOSE)) {
        What::Serve => {}
        What::Park(place, reason) => match park(shared, &subscription, epoch, place, reason).await {
            Ok(()) => {}
            // As many are parked as may be.
            Err(Error::Problem(Problem { code, message, .. })) if code == codes::TOO_LARGE => {
                let reason = format!("the event at place {place} cannot be parked: {message}");
                halt(shared, mailbox, name, epoch, &reason).await.map_err(Over::Failed)?;
                return Err(Over::Done);
            }
            Err(error) => return Err(Over::Failed(error)),
        },
        What::Halt(reason) => {
            halt(shared, mailbox, name, epoch, &reason).await.map_err(Over::Failed)?;
            return Err(Over::Done);
        }
    }
    let parked = parked(shared, &subscription).await?;
    let beginning = Beginning { subscription: subscription.clone(), epoch, parked };
    let dispatcher = match instance.dispatcher(beginning).await {
        Ok(dispatcher) => dispatcher,
        Err(crash) => {
            let words = format!("{crash}, incident {}", crash.incident);
            mailbox.suspicion(|suspicion| suspicion.crashed(None, &words));
            return Err(Over::Crashed(crash));
        }
    };
    Ok(Begun { subscription, epoch, dispatcher, consumers: Vec::new() })
}

/// Makes a call again as long as its error passes by itself.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> Result<T, Error> {
    loop {
        match call().await {
            Err(error) if is_transient(&error) => tokio::time::sleep(POLL).await,
            called => return called,
        }
    }
}

fn missing(mailbox: &Mailbox, error: Error) -> Over {
    if matches!(error, Error::NotFound) {
        mailbox.end_consumers(&Error::NotFound);
        return Over::Done;
    }
    Over::Failed(error)
}

/// Parks an event that ends instances.
async fn park(
    shared: &Shared,
    subscription: &Subscription,
    epoch: u64,
    place: u64,
    reason: String,
) -> Result<(), Error> {
    tracing::warn!(
        store = shared.context.store,
        subscription = subscription.name,
        place,
        reason,
        "an event of a durable subscription is parked, because it ends instances"
    );
    let advance = || Advance {
        name: subscription.name.clone(),
        epoch,
        checkpoint: subscription.progress.checkpoint,
        parked: vec![Parking { place, deliveries: 0, reason: reason.clone() }],
        unparked: Vec::new(),
    };
    let change = || shared.pool.change(Caller::operator(), SubscriptionRequest::Advance(advance()));
    patiently(change).await.map(drop)
}

/// The places at or after the checkpoint that are parked.
async fn parked(shared: &Shared, subscription: &Subscription) -> Result<Vec<u64>, Over> {
    let (mut places, mut from) = (Vec::new(), subscription.progress.checkpoint);
    loop {
        let name = || subscription.name.clone();
        let list = || shared.pool.list_parked(Caller::operator(), name(), from, PARKED_PAGE, false);
        let page = patiently(list).await.map_err(Over::Failed)?;
        places.extend(page.events.iter().map(|parked| parked.place));
        match places.last() {
            Some(last) if page.more => from = last.saturating_add(1),
            _ => return Ok(places),
        }
    }
}

/// Halts a subscription, and ends its consumers.
///
/// # Errors
///
/// It cannot be stored.
pub(super) async fn halt(
    shared: &Shared,
    mailbox: &Mailbox,
    name: &str,
    epoch: u64,
    reason: &str,
) -> Result<(), Error> {
    tracing::warn!(store = shared.context.store, subscription = name, reason, "a durable subscription halts");
    let request =
        || SubscriptionRequest::Halt(Halting { name: name.to_owned(), epoch, reason: reason.to_owned() });
    match patiently(|| shared.pool.change(Caller::operator(), request())).await {
        Ok(_) => {
            shared.context.report_subscription(name, "halted", Some(reason));
            mailbox.end_consumers(&halted(name, reason));
        }
        Err(Error::NotFound) => mailbox.end_consumers(&Error::NotFound),
        // Another emitter serves the subscription.
        Err(Error::Problem(Problem { code, .. })) if code == "superseded" => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// How long an emitter that could not begin waits before its supervisor starts it again, at least and at most.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
