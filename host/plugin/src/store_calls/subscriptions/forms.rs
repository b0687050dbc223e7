//! What payloads and results have in common: the selector and the settings of a subscription as JSON, and how JSON is read and
//! written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bindings::store::fields::Field;
use crate::bindings::store::subscription_types::{PoisonPolicy, Selector, Settings, Strategy, Subscribed};
use crate::bindings::store::types::{Error, EventFilter, InvalidArgument, QueryItem};

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
    /// What a gateway keeps with the filter, or the component knows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
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
            || !self.options.is_empty()
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
                options: fields(self.options),
            })),
        };
        Ok(Selector { source, pattern: self.pattern.map(|pattern| pattern.get().to_owned()) })
    }

    pub(super) fn of(selector: Selector) -> Self {
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
                form.options = texts(filter.options);
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
    /// What a gateway keeps with the subscription, or the component knows. All of them are replaced.
    options: Option<BTreeMap<String, String>>,
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
            options: self.options.map_or(others.options, fields),
        }
    }
}

/// The settings of a subscription.
#[derive(Serialize)]
pub(super) struct AllSettingsForm {
    strategy: StrategyForm,
    poison: PoisonForm,
    ack_timeout_ms: u32,
    retries_max: u32,
    consumers_max: u32,
    buffer_events: u32,
    checkpoint_events_max: u32,
    checkpoint_ms: u32,
    checkpoint_events_min: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
}

impl AllSettingsForm {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
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
            options: texts(settings.options.clone()),
        }
    }
}

fn fields(options: BTreeMap<String, String>) -> Vec<Field> {
    options.into_iter().map(|(name, value)| Field { name, value }).collect()
}

fn texts(options: Vec<Field>) -> BTreeMap<String, String> {
    options.into_iter().map(|Field { name, value }| (name, value)).collect()
}

pub(super) fn invalid(argument: &str, message: String) -> Error {
    Error::Invalid(InvalidArgument { argument: argument.to_owned(), message })
}

/// Reads a payload. Where in it a mistake is says nothing to those who did not write it.
pub(crate) fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        invalid("payload", format!("cannot be read: {what}"))
    })
}

/// Writes a result.
pub(crate) fn written(result: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(result).expect("keys are texts, and memory is all that is written to")
}
