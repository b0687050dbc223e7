//! Snapshots of streams over the gateway's HTTP API.

use std::fmt::Write as _;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lines::NDJSON;
use super::{Client, ClientError, PAGE_COUNT_MAX, SEGMENT};

/// A snapshot that is to be recorded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The state, when it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The state in base64, when it is anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// The state's media type; JSON when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// About the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The same in base64, where JSON would not keep it byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_base64: Option<String>,
}

/// What is known of a snapshot without reading it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// The stream that it was computed from.
    pub stream: String,
    /// Who computed it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The version of the stream that it stands for.
    pub version: u64,
    /// Its media type.
    pub content_type: String,
    /// Bytes of data.
    pub size: u64,
    /// When it was recorded: RFC 3339, UTC.
    pub created: String,
}

/// Some snapshots: by stream, then by source, then the newest version first.
#[derive(Debug, Deserialize)]
pub struct SnapshotPage {
    /// What there is.
    pub snapshots: Vec<SnapshotInfo>,
    /// What to go on after; none at the end.
    #[serde(default)]
    pub next: Option<String>,
}

/// Which snapshots a list has.
#[derive(Debug, Clone, Default)]
pub struct SnapshotScope {
    /// Of this stream; none for any.
    pub stream: Option<String>,
    /// Of this source; none for any.
    pub source: Option<String>,
}

/// Which of a source's snapshots of a stream is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichSnapshot {
    /// The one at exactly this version.
    At(u64),
    /// The one with the highest version.
    Latest,
    /// The one with the highest version that is not above this one.
    AtMost(u64),
}

#[derive(Deserialize)]
struct Pruned {
    deleted: u64,
}

impl Client {
    /// Records a source's snapshot of a stream at a version, replacing one that is there. `created` is the time that
    /// it had in another store, RFC 3339; none is now.
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
            let _ = write!(url, "&created={}", utf8_percent_encode(created, SEGMENT));
        }
        self.send_json(Method::PUT, &url, snapshot).await
    }

    /// A source's snapshot of a stream, as the gateway wrote it.
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

    /// The snapshot at exactly this version as one line, from which it can be recorded again byte for byte.
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

    /// A page of the snapshots of a scope, behind the page that gave `after`.
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
                let _ = write!(url, "&{key}={}", utf8_percent_encode(value, SEGMENT));
            }
        }
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// Deletes the snapshot at exactly this version.
    pub async fn delete_snapshot(&self, stream: &str, source: &str, version: u64) -> Result<(), ClientError> {
        let url = self.snapshot_url(stream, source, &version.to_string());
        self.bytes(Method::DELETE, &url, HeaderMap::new(), bytes::Bytes::new()).await.map(drop)
    }

    /// Deletes all but the newest `keep` snapshots that a source has of a stream, and says how many.
    pub async fn prune_snapshots(&self, stream: &str, source: &str, keep: u32) -> Result<u64, ClientError> {
        let url = self.path(&["streams", stream, "snapshots"]);
        let url = format!("{url}?source={}&keep={keep}", utf8_percent_encode(source, SEGMENT));
        let pruned: Pruned = self.json(Method::DELETE, &url, None::<&()>).await?;
        Ok(pruned.deleted)
    }

    fn snapshot_url(&self, stream: &str, source: &str, version: &str) -> String {
        let path = self.path(&["streams", stream, "snapshots", version]);
        format!("{path}?source={}", utf8_percent_encode(source, SEGMENT))
    }
}
