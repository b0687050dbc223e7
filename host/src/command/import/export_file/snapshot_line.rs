//! A snapshot of an export.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Snapshot, present};

/// A snapshot as the gateway writes it.
#[derive(Debug, Deserialize)]
pub(super) struct SnapshotLine {
    pub(super) stream: String,
    #[serde(default)]
    pub(super) source: String,
    pub(super) version: u64,
    pub(super) created: String,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    metadata_base64: Option<String>,
}

impl SnapshotLine {
    pub(super) fn parse(raw: &RawValue) -> Result<SnapshotLine, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }

    /// The snapshot to be recorded.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            data: self.data.clone(),
            data_base64: self.data_base64.clone(),
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            metadata_base64: self.metadata_base64.clone(),
        }
    }
}
