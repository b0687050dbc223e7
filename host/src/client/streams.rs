//! What can be done with whole streams: several at once, an end, and how long their events are kept.

use std::fmt::Write as _;

use http::{HeaderMap, Method};
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Client, ClientError, ExpectedVersion, PAGE_COUNT_MAX, SEGMENT, StreamPage};

/// How long the events of a stream are kept: what no limit keeps is hidden at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Only so many of the newest events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Only events of the last so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// Only events from this version on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_before: Option<u64>,
}

/// Whether a stream is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// It is.
    Live,
    /// Its events were deleted; an append begins it again.
    Deleted,
    /// It was deleted for good.
    Tombstoned,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamInfo {
    /// Whether it is there.
    pub state: StreamState,
    /// The oldest event that can be read, if any can.
    #[serde(default)]
    pub first_version: Option<u64>,
    /// The last event, whether it can be read or not.
    pub last_version: u64,
    /// The first version of its present life, if it was deleted and begun again.
    #[serde(default)]
    pub life_begins: Option<u64>,
    /// How long its events are kept.
    #[serde(default)]
    pub retention: Retention,
    /// When its first event was appended: RFC 3339, UTC.
    pub created: String,
    /// When its last event was appended.
    pub updated: String,
}

/// The answer to a transaction.
#[derive(Debug, Deserialize)]
pub struct Transacted {
    /// One result for each append, in order, as the gateway wrote it; see [`StreamAppended`].
    pub results: Vec<Box<RawValue>>,
    /// The history that the positions belong to, as the gateway wrote it; none if it does not say.
    #[serde(default)]
    pub history: Option<String>,
}

/// Where the events of one of a transaction's appends stand.
#[derive(Debug, Deserialize)]
pub struct StreamAppended {
    /// Which stream.
    pub stream: String,
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event.
    pub last_version: u64,
    /// The position of the last event in the whole store.
    pub position: u64,
}

impl Client {
    /// Appends to several streams at once: all or none. The body is that of `POST /transactions`.
    pub async fn transact(&self, transaction: &RawValue) -> Result<Transacted, ClientError> {
        self.json(Method::POST, &self.path(&["transactions"]), Some(transaction)).await
    }

    /// Deletes a stream, if it is at the expected version; with `tombstone` for good.
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

    /// Says how long the events of a stream are kept, in place of what was said before.
    pub async fn set_retention(&self, stream: &str, retention: &Retention) -> Result<(), ClientError> {
        let url = self.path(&["streams", stream, "retention"]);
        self.send_json(Method::PUT, &url, retention).await
    }

    /// What is known of a stream, deleted ones included.
    pub async fn stream_info(&self, stream: &str) -> Result<StreamInfo, ClientError> {
        self.json(Method::GET, &self.path(&["streams", stream]), None::<&()>).await
    }

    /// Names of streams that begin with `prefix`, in byte order, after the given one; of deleted ones too if `deleted`.
    pub async fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        deleted: bool,
    ) -> Result<StreamPage, ClientError> {
        let mut path = self.path(&["streams"]);
        let _ = write!(path, "?count={PAGE_COUNT_MAX}&deleted={deleted}");
        if !prefix.is_empty() {
            let _ = write!(path, "&prefix={}", utf8_percent_encode(prefix, SEGMENT));
        }
        if let Some(after) = after {
            let _ = write!(path, "&after={}", utf8_percent_encode(after, SEGMENT));
        }
        self.json(Method::GET, &path, None::<&()>).await
    }
}
