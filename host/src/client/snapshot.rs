//! Snapshots of streams over the gateway's HTTP API.

use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Client, ClientError, PAGE_COUNT_MAX};

/// A snapshot that is to be recorded.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// The state, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The state in base64, when it is anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// The state's media type; JSON when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// About the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
}

/// What is known of a snapshot without reading it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// The version of the stream that it stands for.
    pub version: u64,
    /// Its media type.
    pub content_type: String,
    /// Bytes of data.
    pub size: u64,
    /// When it was recorded: RFC 3339, UTC.
    pub created: String,
}

/// Some snapshots of a stream, newest version first.
#[derive(Debug, Deserialize)]
pub struct SnapshotPage {
    /// What there is.
    pub snapshots: Vec<SnapshotInfo>,
    /// More follow below the last one.
    pub more: bool,
}

impl Client {
    /// Records the snapshot of a stream at a version, replacing one that is there.
    pub async fn put_snapshot(
        &self,
        stream: &str,
        version: u64,
        snapshot: &Snapshot,
    ) -> Result<(), ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(snapshot).expect("requests of this client are JSON");
        let url = self.snapshot_path(stream, &version.to_string());
        self.bytes(Method::PUT, &url, headers, body.into()).await.map(drop)
    }

    /// The snapshot at exactly this version, or (none) the one with the highest, as the gateway wrote it.
    pub async fn snapshot(&self, stream: &str, version: Option<u64>) -> Result<Box<RawValue>, ClientError> {
        let version = version.map_or("latest".to_owned(), |version| version.to_string());
        self.json(Method::GET, &self.snapshot_path(stream, &version), None::<&()>).await
    }

    /// Snapshots of a stream below version `before` (none: all), highest version first.
    pub async fn snapshots(&self, stream: &str, before: Option<u64>) -> Result<SnapshotPage, ClientError> {
        let before = before.map_or(String::new(), |before| format!("&before={before}"));
        let path = self.path(&["streams", stream, "snapshots"]);
        self.json(Method::GET, &format!("{path}?count={PAGE_COUNT_MAX}{before}"), None::<&()>).await
    }

    /// Deletes the snapshot at exactly this version.
    pub async fn delete_snapshot(&self, stream: &str, version: u64) -> Result<(), ClientError> {
        let url = self.snapshot_path(stream, &version.to_string());
        self.bytes(Method::DELETE, &url, HeaderMap::new(), bytes::Bytes::new()).await.map(drop)
    }

    fn snapshot_path(&self, stream: &str, version: &str) -> String {
        self.path(&["streams", stream, "snapshots", version])
    }
}
