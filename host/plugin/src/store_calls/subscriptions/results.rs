//! Durable subscriptions as JSON: the results of the named calls `subscriptions/...`.

use jiff::Timestamp;
use serde::Serialize;

use super::forms::{AllSettingsForm, SelectorForm};
use crate::bindings::store::dispatch::{ConsumerState, DispatcherState};
use crate::bindings::store::subscription_types::{ParkedPage, Subscription, SubscriptionState};

/// How many events were meant.
#[derive(Default, Serialize)]
pub(super) struct Counts {
    pub(super) acknowledged: u32,
    pub(super) refused: u32,
}

/// How many things were changed.
#[derive(Serialize)]
pub(super) struct Count {
    pub(super) count: u64,
}

/// Whether a subscription was created.
#[derive(Serialize)]
pub(super) struct Created {
    pub(super) created: bool,
}

/// What the feed says about the events that a consumer gets.
#[derive(Serialize)]
pub(crate) struct Notes {
    pub(crate) consumer: u64,
    pub(crate) places: Vec<u64>,
    /// How often each was delivered before.
    pub(crate) earlier: Vec<u32>,
}

/// A subscription.
#[derive(Serialize)]
pub(super) struct SubscriptionForm {
    name: String,
    selector: SelectorForm,
    from: u64,
    settings: AllSettingsForm,
    state: &'static str,
    /// Why it has halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    checkpoint: u64,
    parked: u64,
    created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lag: Option<Lag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) emitter: Option<EmitterForm>,
}

/// What a subscription has not settled.
#[derive(Serialize)]
pub(super) struct Lag {
    /// Events of the stream, or positions of the store, after the checkpoint; 0 if nothing that is selected is among them.
    pub(super) events: u64,
    /// The age of the oldest of them that is selected, in milliseconds.
    pub(super) ms: u64,
}

/// What an emitter does.
#[derive(Serialize)]
pub(super) struct EmitterForm {
    read: u64,
    in_flight: u32,
    waiting: u32,
    retrying: u32,
    acknowledged: u64,
    redelivered: u64,
    acknowledged_per_second: u64,
    consumers: Vec<ConsumerForm>,
}

#[derive(Serialize)]
struct ConsumerForm {
    consumer: u64,
    in_flight: u32,
    window: u32,
    acknowledged: u64,
}

impl SubscriptionForm {
    pub(super) fn of(subscription: Subscription) -> Self {
        let Subscription { name, selector, start, settings, state, progress, created, updated } =
            subscription;
        let (state, reason) = match state {
            SubscriptionState::Active => ("active", None),
            SubscriptionState::Paused => ("paused", None),
            SubscriptionState::Halted(reason) => ("halted", Some(reason)),
        };
        Self {
            name,
            selector: SelectorForm::of(selector),
            from: start,
            settings: AllSettingsForm::of(&settings),
            state,
            reason,
            checkpoint: progress.checkpoint,
            parked: progress.parked,
            created: rfc3339(created),
            updated: rfc3339(updated),
            lag: None,
            emitter: None,
        }
    }
}

impl EmitterForm {
    pub(super) fn of(state: DispatcherState, acknowledged_per_second: u64) -> Self {
        let consumer = |state: ConsumerState| ConsumerForm {
            consumer: state.consumer,
            in_flight: state.in_flight,
            window: state.window,
            acknowledged: state.acknowledged,
        };
        Self {
            read: state.read,
            in_flight: state.in_flight,
            waiting: state.waiting,
            retrying: state.retrying,
            acknowledged: state.acknowledged,
            redelivered: state.redelivered,
            acknowledged_per_second,
            consumers: state.consumers.into_iter().map(consumer).collect(),
        }
    }
}

/// A page of subscriptions.
#[derive(Serialize)]
pub(super) struct ListForm {
    pub(super) subscriptions: Vec<SubscriptionForm>,
    pub(super) more: bool,
}

/// A page of parked events.
#[derive(Serialize)]
pub(super) struct ParkedForm {
    parked: Vec<ParkedEventForm>,
    more: bool,
}

#[derive(Serialize)]
struct ParkedEventForm {
    place: u64,
    deliveries: u32,
    reason: String,
    parked: String,
    is_replayed: bool,
}

impl ParkedForm {
    pub(super) fn of(page: ParkedPage) -> Self {
        let parked = page.events.into_iter().map(|event| ParkedEventForm {
            place: event.place,
            deliveries: event.deliveries,
            reason: event.reason,
            parked: rfc3339(event.parked),
            is_replayed: event.is_replayed,
        });
        Self { parked: parked.collect(), more: page.more }
    }
}

/// RFC 3339 with microseconds. What a component claims may be later than that can be written.
fn rfc3339(micros: u64) -> String {
    let time = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    format!("{:.6}", time.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn every_number_of_microseconds_is_a_time() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(1_000_001), "1970-01-01T00:00:01.000001Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-12-3"));
    }
}
