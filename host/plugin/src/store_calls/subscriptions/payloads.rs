//! Durable subscriptions as JSON: the payloads of the named calls `subscriptions/...`.
//!
//! Places are versions for a subscription of one stream, and positions for others.

use serde::Deserialize;

use super::forms::{SelectorForm, SettingsForm};
use crate::bindings::store::dispatch::EventNames;

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
