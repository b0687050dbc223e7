//! Snapshots and pages of them.

use exesdb_json::{
    Content, Layout, Timestamp, is_valid, push_content, push_name, push_number_field, push_string,
    push_time_field,
};
use exesdb_sdk::steps::snapshots::{RecordedSnapshot, SnapshotData, SnapshotInfo, SnapshotPage};
use serde::Serialize;

use super::to_json;
use crate::cursor;

/// Bytes of a snapshot's JSON without its texts and content: field names, numbers, the time, punctuation.
const SNAPSHOT_OVERHEAD_BYTES: usize = 256;

/// A snapshot.
pub(crate) fn snapshot(snapshot: &RecordedSnapshot) -> Vec<u8> {
    encode(snapshot, Layout::Kept)
}

/// A snapshot as one line of JSON, from which it can be recorded again byte for byte.
pub(crate) fn snapshot_line(snapshot: &RecordedSnapshot) -> Vec<u8> {
    let mut out = encode(snapshot, Layout::Exact);
    out.push(b'\n');
    out
}

fn encode(snapshot: &RecordedSnapshot, layout: Layout) -> Vec<u8> {
    let SnapshotData { content_type, data, metadata } = &snapshot.snapshot;
    let mut out = Vec::with_capacity(SNAPSHOT_OVERHEAD_BYTES + data.len() + metadata.len());
    out.extend_from_slice(b"{\"stream\":");
    push_string(&mut out, &snapshot.id.stream_id);
    if !snapshot.id.source_id.is_empty() {
        push_name(&mut out, "source");
        push_string(&mut out, &snapshot.id.source_id);
    }
    push_number_field(&mut out, "version", snapshot.id.version);
    let content = Content {
        content_type,
        data,
        // Snapshots have no flags, and another gateway may have recorded them.
        data_is_json: is_valid(data),
        metadata,
        metadata_is_json: is_valid(metadata),
    };
    push_content(&mut out, content, layout);
    push_time_field(&mut out, "created", snapshot.created);
    out.push(b'}');
    out
}

#[derive(Serialize)]
struct Page<'a> {
    snapshots: Vec<Info<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Info<'a> {
    stream: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    version: u64,
    content_type: &'a str,
    size: u64,
    created: Timestamp,
}

impl<'a> From<&'a SnapshotInfo> for Info<'a> {
    fn from(info: &'a SnapshotInfo) -> Self {
        Self {
            stream: &info.id.stream_id,
            source: &info.id.source_id,
            version: info.id.version,
            content_type: &info.content_type,
            size: info.size,
            created: Timestamp(info.created),
        }
    }
}

/// A page of snapshots without their data.
pub(crate) fn snapshot_page(page: &SnapshotPage) -> Vec<u8> {
    let last = page.snapshots.last().filter(|_| page.more);
    to_json(&Page {
        snapshots: page.snapshots.iter().map(Info::from).collect(),
        next: last.map(|last| cursor::encode(&last.id)),
    })
}

#[derive(Serialize)]
struct Deleted {
    deleted: u64,
}

/// The number of deleted snapshots.
pub(crate) fn deleted(count: u64) -> Vec<u8> {
    to_json(&Deleted { deleted: count })
}

#[cfg(test)]
mod tests {
    use super::snapshot_page;
    use crate::cursor;
    use exesdb_sdk::steps::snapshots::{SnapshotId, SnapshotInfo, SnapshotPage};

    #[test]
    fn only_a_page_before_the_last_has_a_cursor() {
        let id = SnapshotId { stream_id: "s".to_owned(), source_id: String::new(), version: 1 };
        let other = SnapshotId { source_id: "p".to_owned(), ..id.clone() };
        let info = |id: &SnapshotId| SnapshotInfo {
            id: id.clone(),
            content_type: "a/b".to_owned(),
            size: 2,
            created: 0,
        };
        let mut page = SnapshotPage { snapshots: vec![info(&id), info(&other)], more: false };
        let expected = "{\"snapshots\":[{\"stream\":\"s\",\"version\":1,\"content_type\":\"a/b\",\"size\":2,\
                        \"created\":\"1970-01-01T00:00:00.000000Z\"},{\"stream\":\"s\",\"source\":\"p\",\"version\":1,\
                        \"content_type\":\"a/b\",\"size\":2,\"created\":\"1970-01-01T00:00:00.000000Z\"}]";
        assert_eq!(String::from_utf8(snapshot_page(&page)).unwrap(), format!("{expected}}}"));
        page.more = true;
        assert_eq!(
            String::from_utf8(snapshot_page(&page)).unwrap(),
            format!("{expected},\"next\":\"{}\"}}", cursor::encode(&other))
        );
    }
}
