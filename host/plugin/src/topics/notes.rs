//! Topics as JSON: the payload and the notes of the named feed `topics/follow`.

use serde::{Deserialize, Serialize};

use super::lag::Dropped;
use super::record::Record;

/// What is listened to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) topic: String,
}

/// What a page says besides its events.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Notes {
    /// In the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<Begun>,
    /// What was dropped before the events of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<Dropped>,
    /// Records of a system topic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<Record>,
}

/// Where a listener begins.
#[derive(Debug, Serialize)]
pub(super) struct Begun {
    pub(super) topic: String,
    /// The position or version from which on it hears events; none for a system topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<u64>,
}
