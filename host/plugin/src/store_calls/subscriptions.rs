//! The named calls of durable subscriptions. [`payloads`] and [`results`] are JSON.
//!
//! | name | payload | result |
//! |---|---|---|
//! | `subscriptions/create` | `name`, `selector`, `from`, `settings` | `created` |
//! | `subscriptions/update` | `name`, `settings` | `count` |
//! | `subscriptions/pause`, `/resume`, `/remove` | `name` | `count` |
//! | `subscriptions/list` | `prefix`, `after`, `count` | `subscriptions`, `more` |
//! | `subscriptions/info` | `name` | the subscription, `lag`, `emitter` |
//! | `subscriptions/parked` | `name`, `from`, `count` | `parked`, `more` |
//! | `subscriptions/replay`, `/truncate` | `name`, `from`, `up_to` | `count` |
//! | `subscriptions/settle` | `name`, `consumer`, `ack`, `retry`, `park`, `skip`, `stop`, `reason`, `leave` | `acknowledged`, `refused` |
//!
//! The feed `subscriptions/consume` has the payload `name`, `consumer`, `window`, `wait_ms`, `by_id`, and notes with `consumer`, `places`
//! and `earlier` for its events.

mod forms;
mod payloads;
mod results;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::payloads::{Create, From, FromWord, List, Named, Parked, Scope, Settle, Update};
use self::results::{Count, Counts, Created, EmitterForm, Lag, ListForm, ParkedForm, SubscriptionForm};
use super::StoreCalls;
use crate::bindings::gateway::requests::{Call, Query, Reply};
use crate::bindings::store::dispatch::Refusal;
use crate::bindings::store::places::Direction;
use crate::bindings::store::subscription_types::{
    NewSubscription, ParkedScope, Subscribed, Subscription, SubscriptionRequest, SubscriptionState,
    Update as NewSettings,
};
use crate::bindings::store::types::{Error, InvalidArgument, PackedPage};
use crate::caller::Caller;
use crate::emitters::{Attachment, Emitters, Joining, Settlement, halted, query};
use crate::names;
use crate::persistence::SubscriptionsPool;
use crate::problem::{code, not_committed, problem};

pub(crate) use forms::{read, written};
pub(crate) use payloads::Consume;
pub(crate) use results::Notes;

/// Events in flight at a consumer, as the interface says.
const WINDOW_MAX: u32 = 10_000;

/// Events that one word of a consumer names, as the interface says.
const NAMES_MAX: usize = 10_000;

/// How long a consumer that asks again and again may wait for events at a time, in milliseconds. Less than the time that a
/// gateway has until it begins its response.
const WAIT_MS_MAX: u32 = 30_000;

/// How often somebody who waits for an emitter's reply looks whether there is one at all.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Subscriptions of a page, and parked events of one.
const PAGE_MAX: u32 = 1_000;

impl StoreCalls {
    /// Makes a named call; none if this host does not have it.
    pub(super) async fn subscription_call(
        &self,
        caller: Caller,
        name: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Option<Result<Vec<u8>, Error>> {
        let name = name.strip_prefix("subscriptions/")?;
        // What is stored can be read on every node; emitters and their consumers are the leader's.
        let is_stored = ["list", "parked"].contains(&name);
        if !is_stored && let Err(error) = self.leads() {
            return Some(Err(error));
        }
        Some(match name {
            "create" => self.create(caller, payload, deadline).await,
            "update" => self.update(caller, payload).await,
            "pause" => self.change(caller, payload, SubscriptionRequest::Pause, "paused").await,
            "resume" => self.change(caller, payload, SubscriptionRequest::Resume, "resumed").await,
            "remove" => self.change(caller, payload, SubscriptionRequest::Remove, "removed").await,
            "list" => self.list(caller, payload).await,
            "info" => self.info(caller, payload, deadline).await,
            "parked" => self.parked(caller, payload).await,
            "replay" => self.scoped(caller, payload, SubscriptionRequest::Replay).await,
            "truncate" => self.scoped(caller, payload, SubscriptionRequest::Truncate).await,
            "settle" => self.settle(payload).await,
            _ => return None,
        })
    }

    /// Adds a consumer, or goes on as one.
    ///
    /// # Errors
    ///
    /// See [`Emitters::join`].
    pub(crate) async fn consume(&self, consume: &Consume) -> Result<Attachment, Error> {
        let Consume { name, consumer, window, wait_ms, by_id } = consume;
        bounded("window", *window, 1, WINDOW_MAX)?;
        bounded("wait_ms", wait_ms.unwrap_or(0), 0, WAIT_MS_MAX)?;
        let joining = Joining {
            name: name.clone(),
            consumer: *consumer,
            window: *window,
            by_id: *by_id,
            keep: wait_ms.is_some() || consumer.is_some(),
        };
        self.leads()?;
        self.emitters()?.join(&*self.subscriptions()?, joining).await
    }

    /// Whether this node has the store's emitters.
    fn leads(&self) -> Result<(), Error> {
        self.access()?.backend().leads().map(drop).map_err(|failure| not_committed(&failure))
    }

    async fn create(&self, caller: Caller, payload: &[u8], deadline: Instant) -> Result<Vec<u8>, Error> {
        let Create { name, selector, from, settings } = read(payload)?;
        let (pool, emitters) = (self.subscriptions()?, self.emitters()?);
        let selector = selector.selector()?;
        let start = match from {
            From::Place(place) => place,
            From::Word(FromWord::Start) => 0,
            From::Word(FromWord::End) => self.end(caller.clone(), &selector.source, deadline).await?,
        };
        if !is_there(pool.describe(caller.clone(), name.clone()).await)? {
            // What cannot be read would halt it at once.
            let page = self.page(caller.clone(), query(&selector.source, start, 1, None), deadline).await;
            page.map_err(of_selector)?;
            let most = emitters.subscriptions_max;
            let listed = pool.list(caller.clone(), String::new(), None, PAGE_MAX.min(as_u32(most))).await?;
            if listed.subscriptions.len() >= most || listed.more && most > PAGE_MAX as usize {
                let message = format!("the store has its {most} durable subscriptions (subscriptions_max)");
                return Err(problem(code::TOO_LARGE, message));
            }
        }
        let settings = settings.over(forms::default_settings());
        let new = NewSubscription { name: name.clone(), selector, start, settings };
        let created = pool.change(caller, SubscriptionRequest::Create(new)).await?;
        if created > 0 {
            self.context.report_subscription(&name, "created", None);
            emitters.changed(&name);
        }
        Ok(written(&Created { created: created > 0 }))
    }

    async fn update(&self, caller: Caller, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let Update { name, settings } = read(payload)?;
        let pool = self.subscriptions()?;
        let before = pool.describe(caller.clone(), name.clone()).await?.settings;
        let update = NewSettings { name: name.clone(), settings: settings.over(before) };
        let count = pool.change(caller, SubscriptionRequest::Update(update)).await?;
        if count > 0 {
            self.context.report_subscription(&name, "updated", None);
        }
        // Also if nothing was changed: the request before this one may have ended when its change was durable and not told.
        self.emitters()?.changed(&name);
        Ok(written(&Count { count }))
    }

    async fn change(
        &self,
        caller: Caller,
        payload: &[u8],
        request: fn(String) -> SubscriptionRequest,
        is: &str,
    ) -> Result<Vec<u8>, Error> {
        let Named { name } = read(payload)?;
        let count = self.subscriptions()?.change(caller, request(name.clone())).await?;
        if count > 0 {
            self.context.report_subscription(&name, is, None);
        }
        self.emitters()?.changed(&name);
        Ok(written(&Count { count }))
    }

    async fn list(&self, caller: Caller, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let List { prefix, after, count } = read(payload)?;
        let page = self.subscriptions()?.list(caller, prefix, after, count).await?;
        let subscriptions = page.subscriptions.into_iter().map(SubscriptionForm::of).collect();
        Ok(written(&ListForm { subscriptions, more: page.more }))
    }

    async fn info(&self, caller: Caller, payload: &[u8], deadline: Instant) -> Result<Vec<u8>, Error> {
        let Named { name } = read(payload)?;
        let (state, rate) = self.emitters()?.state(&name).await;
        let subscription = self.subscriptions()?.describe(caller.clone(), name).await?;
        let lag = self.lag(caller, &subscription, deadline).await?;
        let mut form = SubscriptionForm::of(subscription);
        form.lag = Some(lag);
        form.emitter = state.map(|state| EmitterForm::of(state, rate));
        Ok(written(&form))
    }

    /// How far the checkpoint is from the end of what is selected.
    async fn lag(
        &self,
        caller: Caller,
        subscription: &Subscription,
        deadline: Instant,
    ) -> Result<Lag, Error> {
        let (source, checkpoint) = (&subscription.selector.source, subscription.progress.checkpoint);
        let found = async {
            let end = self.end(caller.clone(), source, deadline).await?;
            Ok((end, self.page(caller, query(source, checkpoint, 1, None), deadline).await?))
        };
        let (end, page) = match found.await {
            // Nothing of such a stream can be delivered any more. The subscription has halted, and says why.
            Err(Error::StreamDeleted(_)) => return Ok(Lag { events: 0, ms: 0 }),
            found => found?,
        };
        let first = exesdb_packed::Events::new(&page.events).next();
        let Some(Ok((_, envelope))) = first else { return Ok(Lag { events: 0, ms: 0 }) };
        let now = u64::try_from(self.context.clock.since_epoch().as_micros()).unwrap_or(u64::MAX);
        let ms = now.saturating_sub(envelope.created) / 1_000;
        Ok(Lag { events: end.saturating_sub(checkpoint), ms })
    }

    async fn parked(&self, caller: Caller, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let Parked { name, from, count } = read(payload)?;
        let page = self.subscriptions()?.list_parked(caller, name, from, count, false).await?;
        Ok(written(&ParkedForm::of(page)))
    }

    async fn scoped(
        &self,
        caller: Caller,
        payload: &[u8],
        request: fn(ParkedScope) -> SubscriptionRequest,
    ) -> Result<Vec<u8>, Error> {
        let Scope { name, from, up_to } = read(payload)?;
        let (pool, mut total) = (self.subscriptions()?, 0);
        loop {
            let scope = ParkedScope { name: name.clone(), from, up_to };
            let count = pool.change(caller.clone(), request(scope)).await?;
            total += count;
            if count == 0 {
                break;
            }
        }
        self.emitters()?.replay(&name);
        Ok(written(&Count { count: total }))
    }

    async fn settle(&self, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let Settle { name, consumer, ack, retry, park, skip, stop, reason, leave } = read(payload)?;
        let emitters = self.emitters()?;
        if !emitters.serves(&name) {
            // Its emitter is being restarted, or it has none.
            let subscription = self.subscriptions()?.describe(Caller::operator(), name.clone()).await?;
            if [&ack, &skip, &park, &retry, &stop].iter().any(|names| names.count() > 0) {
                not_delivering(&subscription)?;
            }
        }
        let words = [
            ("ack", ack, Settlement::Acknowledged),
            ("skip", skip, Settlement::Refused(Refusal::Skip)),
            ("park", park, Settlement::Refused(Refusal::Park(reason.clone()))),
            ("retry", retry, Settlement::Refused(Refusal::Retry)),
            ("stop", stop, Settlement::Refused(Refusal::Stop(reason))),
        ];
        for (argument, names, settlement) in &words {
            if names.count() > NAMES_MAX {
                let message = format!("names {} events; it may name {NAMES_MAX}", names.count());
                return Err(forms::invalid(argument, message));
            }
            let (Settlement::Refused(Refusal::Park(reason)) | Settlement::Refused(Refusal::Stop(reason))) =
                settlement
            else {
                continue;
            };
            if reason.len() > REASON_BYTES_MAX {
                let message = format!("has {} bytes; it may have {REASON_BYTES_MAX}", reason.len());
                return Err(forms::invalid("reason", message));
            }
        }
        let mut counts = Counts::default();
        for (_, names, settlement) in words {
            if names.count() == 0 {
                continue;
            }
            let is_acknowledged = matches!(settlement, Settlement::Acknowledged);
            let settled = emitters.settle(&name, consumer, names.names(), settlement);
            let count = self.settled(&emitters, &name, settled).await?;
            let total = if is_acknowledged { &mut counts.acknowledged } else { &mut counts.refused };
            *total += count;
        }
        if leave {
            emitters.leave(&name, consumer);
        }
        Ok(written(&counts))
    }

    /// Waits for the reply of the subscription's emitter, or of the next one if it is being restarted. Not if there is none.
    async fn settled(
        &self,
        emitters: &Emitters,
        name: &str,
        settled: impl Future<Output = Result<u32, Error>>,
    ) -> Result<u32, Error> {
        let mut settled = std::pin::pin!(settled);
        loop {
            match tokio::time::timeout(LOOK_INTERVAL, settled.as_mut()).await {
                Ok(count) => return count,
                Err(_) if emitters.serves(name) => {}
                Err(_) => {
                    not_delivering(
                        &self.subscriptions()?.describe(Caller::operator(), name.to_owned()).await?,
                    )?;
                }
            }
        }
    }

    /// The place after the last event of a source.
    pub(crate) async fn end(
        &self,
        caller: Caller,
        source: &Subscribed,
        deadline: Instant,
    ) -> Result<u64, Error> {
        match source {
            Subscribed::All(_) => Ok(self.horizon()?.end),
            stream @ Subscribed::OneStream(_) => {
                let mut last = query(stream, 0, 1, None);
                last.selection.direction = Direction::Backward;
                if let crate::bindings::store::types::Source::OneStream(stream) = &mut last.selection.source {
                    stream.from = None;
                }
                let page = self.page(caller, last, deadline).await?;
                Ok(page.last_version.map_or(0, |last| last.saturating_add(1)))
            }
        }
    }

    /// A page; an empty one if there is no such stream yet.
    async fn page(&self, caller: Caller, query: Query, deadline: Instant) -> Result<PackedPage, Error> {
        match Box::pin(self.run(caller, Call::Read(query), deadline)).await {
            Ok(answer) => match answer.reply {
                Reply::Page(page) => Ok(page),
                _ => Err(problem(code::OTHER, "a read did not bring a page")),
            },
            Err(Error::NotFound) => {
                Ok(PackedPage { events: Vec::new(), next: None, end: true, last_version: None })
            }
            Err(error) => Err(error),
        }
    }

    fn emitters(&self) -> Result<Arc<Emitters>, Error> {
        self.part(&names::emitters(&self.context.store))
    }

    fn subscriptions(&self) -> Result<Arc<SubscriptionsPool>, Error> {
        self.part(&names::subscriptions(&self.context.store))
    }
}

/// Bytes of a reason, as the interface says.
const REASON_BYTES_MAX: usize = 1_024;

/// The error of a consumer of a subscription that delivers nothing, if it does not.
fn not_delivering(subscription: &Subscription) -> Result<(), Error> {
    let name = &subscription.name;
    match &subscription.state {
        SubscriptionState::Active => Ok(()),
        SubscriptionState::Paused => {
            let message = format!(
                "the subscription {name} is paused; what was not acknowledged is delivered again when it is resumed"
            );
            Err(problem("paused", message))
        }
        SubscriptionState::Halted(reason) => Err(halted(name, reason)),
    }
}

/// The error of a query, whose arguments are parts of the selector.
fn of_selector(error: Error) -> Error {
    match error {
        Error::Invalid(InvalidArgument { argument, message }) => {
            let part = ["filter.", "selection."].iter().find_map(|record| argument.strip_prefix(record));
            forms::invalid(&format!("selector.{}", part.unwrap_or(&argument)), message)
        }
        other => other,
    }
}

fn is_there(described: Result<Subscription, Error>) -> Result<bool, Error> {
    match described {
        Ok(_) => Ok(true),
        Err(Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn bounded(argument: &str, number: u32, least: u32, most: u32) -> Result<(), Error> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(forms::invalid(argument, format!("is {number}; it must be {least} to {most}")))
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
