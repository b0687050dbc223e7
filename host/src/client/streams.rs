//! Streams: their list, what is known of each, transactions over several, deletion and retention.

use std::fmt::Write as _;

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ClientError;
use super::events::{ExpectedVersion, PAGE_COUNT_MAX};
use super::http::Client;
use super::url::escaped;

/// The limits of what a stream keeps. An event outside any of them is hidden at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Keep only this many of the newest events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Keep only events that are not older than this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// Keep only events from this version on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_before: Option<u64>,
}

/// Whether a stream exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// The stream exists.
    Live,
    /// The stream was deleted. An append starts it again.
    Deleted,
    /// The stream was deleted for good, and refuses appends.
    Tombstoned,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamInfo {
    /// Whether the stream exists.
    pub state: StreamState,
    /// The version of the oldest event that can be read; none if all are hidden.
    #[serde(default)]
    pub first_version: Option<u64>,
    /// The version of the last event, hidden or not.
    pub last_version: u64,
    /// The first version since the stream was last deleted and started again; none if it never was.
    #[serde(default)]
    pub life_begins: Option<u64>,
    /// The limits of what the stream keeps.
    #[serde(default)]
    pub retention: Retention,
    /// The time of its first event: RFC 3339, UTC.
    pub created: String,
    /// The time of its last event.
    pub updated: String,
}

/// The response to a transaction.
#[derive(Debug, Deserialize)]
pub struct Transacted {
    /// One result for each append, in order, as the gateway wrote it: a [`StreamAppended`].
    pub results: Vec<Box<RawValue>>,
    /// The history that the positions belong to; none if the gateway does not say.
    #[serde(default)]
    pub history: Option<String>,
}

/// The versions and position of the events of one append in a transaction.
#[derive(Debug, Deserialize)]
pub struct StreamAppended {
    /// The name of the stream.
    pub stream: String,
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event.
    pub last_version: u64,
    /// The position of the last event in the whole store.
    pub position: u64,
}

/// A page of names of streams, in byte order.
#[derive(Debug, Deserialize)]
pub struct StreamPage {
    /// The names on this page.
    pub streams: Vec<String>,
    /// Whether more names follow the last one.
    pub more: bool,
}

impl Client {
    /// Appends to several streams at once, or to none. The argument is the body of `POST /transactions`.
    pub async fn transact(&self, transaction: &RawValue) -> Result<Transacted, ClientError> {
        self.json(Method::POST, &self.path(&["transactions"]), Some(transaction)).await
    }

    /// Deletes a stream that is at the expected version; with `tombstone`, for good.
    pub async fn delete_stream(
        &self,
        stream: &str,
        expected: ExpectedVersion,
        tombstone: bool,
    ) -> Result<(), ClientError> {
        let mut url = self.path(&["streams", stream]);
        let _ = write!(url, "?expected_version={expected}&tombstone={tombstone}");
        self.bytes(Method::DELETE, &url, HeaderMap::new(), bytes::Bytes::new()).await.map(drop)
    }

    /// Replaces the retention of a stream.
    pub async fn set_retention(&self, stream: &str, retention: &Retention) -> Result<(), ClientError> {
        let url = self.path(&["streams", stream, "retention"]);
        self.send_json(Method::PUT, &url, retention).await
    }

    /// Returns what is known of a stream, also of a deleted one.
    pub async fn stream_info(&self, stream: &str) -> Result<StreamInfo, ClientError> {
        self.json(Method::GET, &self.path(&["streams", stream]), None::<&()>).await
    }

    /// Returns a page of the names that begin with `prefix`, in byte order, after the given one. `deleted` includes deleted
    /// streams.
    pub async fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        deleted: bool,
    ) -> Result<StreamPage, ClientError> {
        let mut path = self.path(&["streams"]);
        let _ = write!(path, "?count={PAGE_COUNT_MAX}&deleted={deleted}");
        if !prefix.is_empty() {
            let _ = write!(path, "&prefix={}", escaped(prefix));
        }
        if let Some(after) = after {
            let _ = write!(path, "&after={}", escaped(after));
        }
        self.json(Method::GET, &path, None::<&()>).await
    }
}
