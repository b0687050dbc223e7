//! Snapshots and pages of them.

use super::event::{EVENT_FRAME_BYTES, Layout, push_content};
use super::{push_list, push_member, push_name, push_time};
use crate::cursor;
use crate::json::{push_number, push_string};
use crate::store::{RecordedSnapshot, SnapshotId, SnapshotPage};

/// One snapshot.
pub fn snapshot(snapshot: &RecordedSnapshot) -> Vec<u8> {
    encoded(snapshot, Layout::Kept)
}

/// One snapshot as one line of JSON, from which it can be recorded again byte for byte.
pub fn snapshot_line(snapshot: &RecordedSnapshot) -> Vec<u8> {
    let mut out = encoded(snapshot, Layout::Exact);
    out.push(b'\n');
    out
}

fn encoded(snapshot: &RecordedSnapshot, layout: Layout) -> Vec<u8> {
    let mut out = Vec::with_capacity(EVENT_FRAME_BYTES + snapshot.data.len() + snapshot.metadata.len());
    push_place(&mut out, &snapshot.id);
    push_content(&mut out, &snapshot.content_type, &snapshot.data, &snapshot.metadata, layout);
    push_time(&mut out, "created", snapshot.created);
    out.push(b'}');
    out
}

/// The beginning of an object: stream, source unless it is empty, version.
fn push_place(out: &mut Vec<u8>, id: &SnapshotId) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, &id.stream_id);
    if !id.source_id.is_empty() {
        push_name(out, "source");
        push_string(out, &id.source_id);
    }
    push_member(out, "version", id.version);
}

/// What snapshots there are.
pub fn snapshot_page(page: &SnapshotPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.snapshots.len() * 160);
    out.extend_from_slice(b"{\"snapshots\":[");
    push_list(&mut out, &page.snapshots, |out, info| {
        push_place(out, &info.id);
        push_name(out, "content_type");
        push_string(out, &info.content_type);
        push_member(out, "size", info.size);
        push_time(out, "created", info.created);
        out.push(b'}');
    });
    out.push(b']');
    if let Some(last) = page.snapshots.last().filter(|_| page.more) {
        push_name(&mut out, "next");
        push_string(&mut out, &cursor::encode(&last.id));
    }
    out.push(b'}');
    out
}

/// How many snapshots were deleted.
pub fn deleted(count: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(b"{\"deleted\":");
    push_number(&mut out, count);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::snapshot_page;
    use crate::cursor;
    use crate::store::{SnapshotId, SnapshotInfo, SnapshotPage};

    #[test]
    fn only_a_page_before_the_last_says_where_to_go_on() {
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
