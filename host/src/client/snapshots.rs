//! Snapshots of streams.

use std::fmt::Write as _;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ClientError;
use super::events::PAGE_COUNT_MAX;
use super::http::Client;
use super::response_lines::NDJSON;
use super::url::escaped;

/// A snapshot to be recorded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The state, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The state in base64, if it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// The state's media type; none is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The snapshot's metadata, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The metadata in base64, where JSON would not keep it byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_base64: Option<String>,
}

/// A snapshot without its data.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// The name of its stream.
    pub stream: String,
    /// The source that computed it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The version of the stream up to which it was computed.
    pub version: u64,
    /// The data's media type.
    pub content_type: String,
    /// The size of the data, in bytes.
    pub size: u64,
    /// The time when it was recorded: RFC 3339, UTC.
    pub created: String,
}

/// A page of snapshots, by stream, then by source, then the newest version first.
#[derive(Debug, Deserialize)]
pub struct SnapshotPage {
    /// The snapshots on this page.
    pub snapshots: Vec<SnapshotInfo>,
    /// The cursor for the next page; none at the end.
    #[serde(default)]
    pub next: Option<String>,
}

/// The snapshots that a list is limited to.
#[derive(Debug, Clone, Default)]
pub struct SnapshotScope {
    /// Those of this stream; none for all.
    pub stream: Option<String>,
    /// Those of this source; none for all.
    pub source: Option<String>,
}

/// Selects one of the snapshots that a source has of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichSnapshot {
    /// The snapshot at exactly this version.
    At(u64),
    /// The snapshot with the highest version.
    Latest,
    /// The snapshot with the highest version that is not above this one.
    AtMost(u64),
}

#[derive(Deserialize)]
struct Pruned {
    deleted: u64,
}

impl Client {
    /// Records a source's snapshot of a stream at a version, in place of an existing one. `created` is the time that it had
    /// in another store, RFC 3339; none is now.
    pub async fn put_snapshot(
        &self,
        stream: &str,
        source: &str,
        version: u64,
        snapshot: &Snapshot,
        created: Option<&str>,
    ) -> Result<(), ClientError> {
        let mut url = self.snapshot_url(stream, source, &version.to_string());
        if let Some(created) = created {
            let _ = write!(url, "&created={}", escaped(created));
        }
        self.send_json(Method::PUT, &url, snapshot).await
    }

    /// Returns a source's snapshot of a stream, as the gateway wrote it.
    pub async fn snapshot(
        &self,
        stream: &str,
        source: &str,
        which: WhichSnapshot,
    ) -> Result<Box<RawValue>, ClientError> {
        let url = match which {
            WhichSnapshot::At(version) => self.snapshot_url(stream, source, &version.to_string()),
            WhichSnapshot::Latest => self.snapshot_url(stream, source, "latest"),
            WhichSnapshot::AtMost(version) => {
                format!("{}&at_most={version}", self.snapshot_url(stream, source, "latest"))
            }
        };
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// Returns the snapshot at exactly this version as one line, from which it can be recorded again byte for byte.
    pub async fn snapshot_line(
        &self,
        stream: &str,
        source: &str,
        version: u64,
    ) -> Result<Box<RawValue>, ClientError> {
        let url = self.snapshot_url(stream, source, &version.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(NDJSON));
        let (_, line) = self.bytes(Method::GET, &url, headers, bytes::Bytes::new()).await?;
        serde_json::from_slice(&line)
            .map_err(|error| ClientError::Unreadable { url, detail: error.to_string() })
    }

    /// Returns a page of the snapshots of a scope. `after` is the [`SnapshotPage::next`] of the page before.
    pub async fn snapshots(
        &self,
        scope: &SnapshotScope,
        after: Option<&str>,
    ) -> Result<SnapshotPage, ClientError> {
        let mut url = match &scope.stream {
            Some(stream) => self.path(&["streams", stream, "snapshots"]),
            None => self.path(&["snapshots"]),
        };
        let _ = write!(url, "?count={PAGE_COUNT_MAX}");
        for (key, value) in [("source", scope.source.as_deref()), ("after", after)] {
            if let Some(value) = value {
                let _ = write!(url, "&{key}={}", escaped(value));
            }
        }
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// Deletes the snapshot at exactly this version.
    pub async fn delete_snapshot(&self, stream: &str, source: &str, version: u64) -> Result<(), ClientError> {
        let url = self.snapshot_url(stream, source, &version.to_string());
        self.bytes(Method::DELETE, &url, HeaderMap::new(), bytes::Bytes::new()).await.map(drop)
    }

    /// Deletes all but the newest `keep` snapshots that a source has of a stream. Returns how many were deleted.
    pub async fn prune_snapshots(&self, stream: &str, source: &str, keep: u32) -> Result<u64, ClientError> {
        let url = self.path(&["streams", stream, "snapshots"]);
        let url = format!("{url}?source={}&keep={keep}", escaped(source));
        let pruned: Pruned = self.json(Method::DELETE, &url, None::<&()>).await?;
        Ok(pruned.deleted)
    }

    fn snapshot_url(&self, stream: &str, source: &str, version: &str) -> String {
        let path = self.path(&["streams", stream, "snapshots", version]);
        format!("{path}?source={}", escaped(source))
    }
}
