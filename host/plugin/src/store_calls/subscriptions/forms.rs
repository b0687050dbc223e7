//! Durable subscriptions as JSON: the payloads and results of the named calls `subscriptions/...`.
//!
//! Places are versions for a subscription of one stream, and positions for others.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bindings::store::dispatch::{DispatcherState, EventNames};
use crate::bindings::store::subscription_types::{
    ParkedPage, PoisonPolicy, Selector, Settings, Strategy, Subscribed, Subscription, SubscriptionState,
};
use crate::bindings::store::types::{Error, EventFilter, InvalidArgument, QueryItem};

/// A subscription to create.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    pub(super) name: String,
    #[serde(default)]
    pub(super) selector: SelectorForm,
    #[serde(default)]
    pub(super) from: From,
    #[serde(default)]
    pub(super) settings: SettingsForm,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "`from` is a place, `start` or `end`")]
pub(super) enum From {
    Place(u64),
    Word(FromWord),
}

/// The same, in words.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromWord {
    Start,
    End,
}

impl Default for From {
    fn default() -> Self {
        Self::Place(0)
    }
}

/// What is selected: one stream, or of the whole store what fits all of the rest. And of that what has the pattern.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SelectorForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query: Vec<QueryItemForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<String>,
    /// As it was written: numbers are not rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<Box<RawValue>>,
}

/// Types and tags of which an event has one and all.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct QueryItemForm {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

impl SelectorForm {
    pub(super) fn selector(self) -> Result<Selector, Error> {
        let Self { stream, query, stream_prefixes, stream_pattern, type_pattern, .. } = self;
        let (correlation_id, causation_id) = (self.correlation_id, self.causation_id);
        let is_filtered = !query.is_empty()
            || !stream_prefixes.is_empty()
            || [&stream_pattern, &type_pattern, &correlation_id, &causation_id]
                .iter()
                .any(|part| part.is_some());
        let query = query.into_iter().map(|QueryItemForm { types, tags }| QueryItem { types, tags });
        let source = match stream {
            Some(_) if is_filtered => {
                let message =
                    "names one stream and filters of the whole store; with one stream, use `pattern`";
                return Err(invalid("selector", message.to_owned()));
            }
            Some(stream) => Subscribed::OneStream(stream),
            None if !is_filtered => Subscribed::All(None),
            None => Subscribed::All(Some(EventFilter {
                query: query.collect(),
                stream_prefixes,
                stream_pattern,
                type_pattern,
                correlation_id,
                causation_id,
                options: Vec::new(),
            })),
        };
        Ok(Selector { source, pattern: self.pattern.map(|pattern| pattern.get().to_owned()) })
    }

    fn of(selector: Selector) -> Self {
        let mut form = Self::default();
        match selector.source {
            Subscribed::OneStream(stream) => form.stream = Some(stream),
            Subscribed::All(None) => {}
            Subscribed::All(Some(filter)) => {
                let item = |QueryItem { types, tags }| QueryItemForm { types, tags };
                form.query = filter.query.into_iter().map(item).collect();
                form.stream_prefixes = filter.stream_prefixes;
                form.stream_pattern = filter.stream_pattern;
                form.type_pattern = filter.type_pattern;
                form.correlation_id = filter.correlation_id;
                form.causation_id = filter.causation_id;
            }
        }
        form.pattern = selector.pattern.and_then(|pattern| RawValue::from_string(pattern).ok());
        form
    }
}

/// Settings; what is not given is as it was, or as it is by default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SettingsForm {
    strategy: Option<StrategyForm>,
    poison: Option<PoisonForm>,
    ack_timeout_ms: Option<u32>,
    retries_max: Option<u32>,
    consumers_max: Option<u32>,
    buffer_events: Option<u32>,
    checkpoint_events_max: Option<u32>,
    checkpoint_ms: Option<u32>,
    checkpoint_events_min: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum StrategyForm {
    RoundRobin,
    DispatchToSingle,
    Pinned,
    PinnedByCorrelation,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum PoisonForm {
    Park,
    Halt,
}

/// The settings of a subscription that says nothing about them.
pub(super) fn default_settings() -> Settings {
    Settings {
        strategy: Strategy::RoundRobin,
        poison: PoisonPolicy::Park,
        ack_timeout_ms: 30_000,
        retries_max: 10,
        consumers_max: 100,
        buffer_events: 1_000,
        checkpoint_events_max: 1_000,
        checkpoint_ms: 1_000,
        checkpoint_events_min: 10,
        options: Vec::new(),
    }
}

impl SettingsForm {
    /// These settings, and where they say nothing the others.
    pub(super) fn over(self, others: Settings) -> Settings {
        Settings {
            strategy: match self.strategy {
                None => others.strategy,
                Some(StrategyForm::RoundRobin) => Strategy::RoundRobin,
                Some(StrategyForm::DispatchToSingle) => Strategy::DispatchToSingle,
                Some(StrategyForm::Pinned) => Strategy::Pinned,
                Some(StrategyForm::PinnedByCorrelation) => Strategy::PinnedByCorrelation,
            },
            poison: match self.poison {
                None => others.poison,
                Some(PoisonForm::Park) => PoisonPolicy::Park,
                Some(PoisonForm::Halt) => PoisonPolicy::Halt,
            },
            ack_timeout_ms: self.ack_timeout_ms.unwrap_or(others.ack_timeout_ms),
            retries_max: self.retries_max.unwrap_or(others.retries_max),
            consumers_max: self.consumers_max.unwrap_or(others.consumers_max),
            buffer_events: self.buffer_events.unwrap_or(others.buffer_events),
            checkpoint_events_max: self.checkpoint_events_max.unwrap_or(others.checkpoint_events_max),
            checkpoint_ms: self.checkpoint_ms.unwrap_or(others.checkpoint_ms),
            checkpoint_events_min: self.checkpoint_events_min.unwrap_or(others.checkpoint_events_min),
            options: others.options,
        }
    }
}

/// The settings of a subscription.
#[derive(Serialize)]
struct AllSettingsForm {
    strategy: StrategyForm,
    poison: PoisonForm,
    ack_timeout_ms: u32,
    retries_max: u32,
    consumers_max: u32,
    buffer_events: u32,
    checkpoint_events_max: u32,
    checkpoint_ms: u32,
    checkpoint_events_min: u32,
}

/// What the call is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: String,
}

/// New settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    pub(super) name: String,
    pub(super) settings: SettingsForm,
}

/// Which subscriptions are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) after: Option<String>,
    #[serde(default = "page")]
    pub(super) count: u32,
}

/// Which parked events are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parked {
    pub(super) name: String,
    #[serde(default)]
    pub(super) from: u64,
    #[serde(default = "page")]
    pub(super) count: u32,
}

/// Which parked events are replayed or forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    pub(super) name: String,
    #[serde(default)]
    pub(super) from: u64,
    pub(super) up_to: Option<u64>,
}

fn page() -> u32 {
    100
}

/// A consumer's word about events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    pub(super) name: String,
    pub(super) consumer: u64,
    #[serde(default)]
    pub(super) ack: NamesForm,
    #[serde(default)]
    pub(super) retry: NamesForm,
    #[serde(default)]
    pub(super) park: NamesForm,
    #[serde(default)]
    pub(super) skip: NamesForm,
    #[serde(default)]
    pub(super) stop: NamesForm,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) leave: bool,
}

/// Events that a consumer names: by their places, or by their ids if it said so when it began.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of places, or one of event ids")]
pub(super) enum NamesForm {
    Places(Vec<u64>),
    Ids(Vec<String>),
}

impl Default for NamesForm {
    fn default() -> Self {
        Self::Places(Vec::new())
    }
}

impl NamesForm {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Places(places) => places.len(),
            Self::Ids(ids) => ids.len(),
        }
    }

    pub(super) fn names(self) -> EventNames {
        match self {
            Self::Places(places) => EventNames::Places(places),
            Self::Ids(ids) => EventNames::Ids(ids),
        }
    }
}

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

/// A consumer that begins to take, or goes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consume {
    pub(crate) name: String,
    pub(crate) consumer: Option<u64>,
    #[serde(default = "page")]
    pub(crate) window: u32,
    pub(crate) wait_ms: Option<u32>,
    /// It names events by their ids.
    #[serde(default)]
    pub(crate) by_id: bool,
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
            settings: AllSettingsForm {
                strategy: match settings.strategy {
                    Strategy::RoundRobin => StrategyForm::RoundRobin,
                    Strategy::DispatchToSingle => StrategyForm::DispatchToSingle,
                    Strategy::Pinned => StrategyForm::Pinned,
                    Strategy::PinnedByCorrelation => StrategyForm::PinnedByCorrelation,
                },
                poison: match settings.poison {
                    PoisonPolicy::Park => PoisonForm::Park,
                    PoisonPolicy::Halt => PoisonForm::Halt,
                },
                ack_timeout_ms: settings.ack_timeout_ms,
                retries_max: settings.retries_max,
                consumers_max: settings.consumers_max,
                buffer_events: settings.buffer_events,
                checkpoint_events_max: settings.checkpoint_events_max,
                checkpoint_ms: settings.checkpoint_ms,
                checkpoint_events_min: settings.checkpoint_events_min,
            },
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
        let consumer = |state: crate::bindings::store::dispatch::ConsumerState| ConsumerForm {
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

pub(super) fn invalid(argument: &str, message: String) -> Error {
    Error::Invalid(InvalidArgument { argument: argument.to_owned(), message })
}

/// Reads a payload.
pub(crate) fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|error| invalid("payload", format!("cannot be read: {error}")))
}

/// Writes a result.
pub(crate) fn written(result: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(result).expect("a form has no maps and fails to write nothing")
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
