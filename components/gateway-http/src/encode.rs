//! Answers as JSON, written straight into the bytes that are sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::json::{embeddable, is_json, push_bool, push_number, push_string};
use crate::store::{
    AppendResult, EventPage, RecordedEvent, RecordedSnapshot, SnapshotPage, StreamInfo, StreamPage,
};
use crate::timestamp::push_rfc3339;

/// Bytes of an event's JSON beside what it carries: field names, numbers, the time, punctuation.
const EVENT_FRAME_BYTES: usize = 256;

/// The content type that answers leave out.
const JSON: &str = "application/json";

/// Where the events of an append stand.
pub fn append_result(result: &AppendResult) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"first_version\":");
    push_number(&mut out, result.first_version);
    out.extend_from_slice(b",\"last_version\":");
    push_number(&mut out, result.last_version);
    out.extend_from_slice(b",\"position\":");
    push_number(&mut out, result.position);
    out.push(b'}');
    out
}

/// A page of events.
pub fn event_page(page: &EventPage) -> Vec<u8> {
    let carried: usize = page.events.iter().map(event_size).sum();
    let mut out = Vec::with_capacity(64 + carried);
    out.extend_from_slice(b"{\"events\":[");
    push_list(&mut out, &page.events, push_event);
    out.extend_from_slice(b"],\"next\":");
    match page.next {
        Some(next) => push_number(&mut out, next),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"end\":");
    push_bool(&mut out, page.end);
    out.push(b'}');
    out
}

/// About how many bytes an event takes as JSON.
fn event_size(event: &RecordedEvent) -> usize {
    let content = event.data.len() + event.metadata.len();
    let names = event.stream_id.len() + event.event_type.len() + event.id.len() + event.content_type.len();
    let base64 = if is_json(&event.content_type) { 0 } else { event.data.len() / 3 };
    EVENT_FRAME_BYTES + content + names + base64
}

/// One event.
pub fn push_event(out: &mut Vec<u8>, event: &RecordedEvent) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, &event.stream_id);
    out.extend_from_slice(b",\"version\":");
    push_number(out, event.version);
    out.extend_from_slice(b",\"position\":");
    push_number(out, event.position);
    out.extend_from_slice(b",\"id\":");
    push_string(out, &event.id);
    out.extend_from_slice(b",\"type\":");
    push_string(out, &event.event_type);
    push_content(out, &event.content_type, &event.data, &event.metadata);
    push_time(out, "created", event.created);
    out.push(b'}');
}

/// One event as a server-sent event: its id is the position, its data one line of JSON.
pub fn push_message(out: &mut Vec<u8>, event: &RecordedEvent) {
    out.extend_from_slice(b"id: ");
    push_number(out, event.position);
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    push_event(out, event);
    // JSON has line breaks only between its tokens, where a space is as good; here they would end the line.
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    out.extend_from_slice(b"\n\n");
}

/// `data` or `data_base64`, `content_type` unless it is plain JSON, and `metadata`.
fn push_content(out: &mut Vec<u8>, content_type: &str, data: &[u8], metadata: &[u8]) {
    let json = if is_json(content_type) { embeddable(data) } else { None };
    match json {
        Some(json) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(json.as_bytes());
        }
        None => push_base64(out, "data_base64", data),
    }
    if json.is_none() || content_type != JSON {
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, content_type);
    }
    if metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":null");
    } else if let Some(json) = embeddable(metadata) {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(json.as_bytes());
    } else {
        push_base64(out, "metadata_base64", metadata);
    }
}

fn push_base64(out: &mut Vec<u8>, field: &str, bytes: &[u8]) {
    out.push(b',');
    push_string(out, field);
    out.extend_from_slice(b":\"");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn push_time(out: &mut Vec<u8>, field: &str, micros: u64) {
    out.push(b',');
    push_string(out, field);
    out.extend_from_slice(b":\"");
    push_rfc3339(out, micros);
    out.push(b'"');
}

fn push_list<T>(out: &mut Vec<u8>, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
}

/// A page of stream names.
pub fn stream_page(page: &StreamPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.streams.iter().map(|name| name.len() + 3).sum::<usize>());
    out.extend_from_slice(b"{\"streams\":[");
    push_list(&mut out, &page.streams, |out, name| push_string(out, name));
    out.extend_from_slice(b"],\"more\":");
    push_bool(&mut out, page.more);
    out.push(b'}');
    out
}

/// What is known of a stream.
pub fn stream_info(info: &StreamInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(192 + info.stream_id.len());
    out.extend_from_slice(b"{\"stream\":");
    push_string(&mut out, &info.stream_id);
    out.extend_from_slice(b",\"last_version\":");
    push_number(&mut out, info.last_version);
    push_time(&mut out, "created", info.created);
    push_time(&mut out, "updated", info.updated);
    out.push(b'}');
    out
}

/// One snapshot.
pub fn snapshot(snapshot: &RecordedSnapshot) -> Vec<u8> {
    let mut out = Vec::with_capacity(EVENT_FRAME_BYTES + snapshot.data.len() + snapshot.metadata.len());
    out.extend_from_slice(b"{\"stream\":");
    push_string(&mut out, &snapshot.stream_id);
    out.extend_from_slice(b",\"version\":");
    push_number(&mut out, snapshot.version);
    push_content(&mut out, &snapshot.content_type, &snapshot.data, &snapshot.metadata);
    push_time(&mut out, "created", snapshot.created);
    out.push(b'}');
    out
}

/// What snapshots there are.
pub fn snapshot_page(page: &SnapshotPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.snapshots.len() * 128);
    out.extend_from_slice(b"{\"snapshots\":[");
    push_list(&mut out, &page.snapshots, |out, info| {
        out.extend_from_slice(b"{\"version\":");
        push_number(out, info.version);
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, &info.content_type);
        out.extend_from_slice(b",\"size\":");
        push_number(out, info.size);
        push_time(out, "created", info.created);
        out.push(b'}');
    });
    out.extend_from_slice(b"],\"more\":");
    push_bool(&mut out, page.more);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{event_page, push_event, push_message, snapshot_page};
    use crate::store::{EventPage, RecordedEvent, SnapshotInfo, SnapshotPage};

    fn event(content_type: &str, data: &[u8], metadata: &[u8]) -> RecordedEvent {
        RecordedEvent {
            stream_id: "a/\"b\"".to_owned(),
            version: 3,
            position: u64::MAX,
            id: "x".to_owned(),
            event_type: "typé".to_owned(),
            content_type: content_type.to_owned(),
            data: data.to_vec(),
            metadata: metadata.to_vec(),
            created: 1,
        }
    }

    fn encoded(event: &RecordedEvent) -> Value {
        let mut out = Vec::new();
        push_event(&mut out, event);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_in_full() {
        assert_eq!(
            encoded(&event("application/json", b"{\"a\":1}", b"[2]")),
            json!({
                "stream": "a/\"b\"", "version": 3, "position": u64::MAX, "id": "x", "type": "typé",
                "data": {"a": 1}, "metadata": [2], "created": "1970-01-01T00:00:00.000001Z",
            })
        );
    }

    #[test]
    fn data_is_json_where_it_can_be() {
        for (content_type, data, field, value, typed) in [
            ("application/json", &b" null"[..], "data", json!(null), false),
            ("application/vnd.x+json", b"1", "data", json!(1), true),
            ("application/json; charset=utf-8", b"1", "data", json!(1), true),
            ("application/octet-stream", b"{}", "data_base64", json!("e30="), true),
            ("text/plain", b"", "data_base64", json!(""), true),
            // Another gateway may have let these in. They must not spoil the page.
            ("application/json", b"}],\"x\":[", "data_base64", json!("fV0sIngiOls="), true),
            ("application/json", b"", "data_base64", json!(""), true),
            ("application/json", b"\xff", "data_base64", json!("/w=="), true),
        ] {
            let encoded = encoded(&event(content_type, data, b""));
            assert_eq!(encoded.get(field), Some(&value), "{content_type}");
            assert_eq!(encoded.get("content_type").is_some(), typed, "{content_type}");
            assert_eq!(encoded.get("metadata"), Some(&Value::Null));
        }
        let odd = encoded(&event("application/json", b"1", b"{"));
        assert_eq!(odd.get("metadata_base64"), Some(&json!("ew==")));
        assert_eq!(odd.get("metadata"), None);
    }

    #[test]
    fn a_message_is_one_line() {
        let mut out = Vec::new();
        push_message(&mut out, &event("application/json", b"{\r\n\"a\":\n\"b\\n\"}", b""));
        let text = String::from_utf8(out).unwrap();
        let data =
            text.strip_prefix("id: 18446744073709551615\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["data"], json!({"a": "b\n"}));
    }

    #[test]
    fn pages() {
        let event = event("application/json", b"1", b"");
        let page =
            EventPage { events: vec![event.clone(), event], next: None, end: true, durable_position: 9 };
        let value: Value = serde_json::from_slice(&event_page(&page)).unwrap();
        assert_eq!(value["events"].as_array().map(Vec::len), Some(2));
        assert_eq!((&value["next"], &value["end"]), (&Value::Null, &json!(true)));
        let empty = EventPage { events: Vec::new(), next: Some(0), end: true, durable_position: 0 };
        assert_eq!(event_page(&empty), br#"{"events":[],"next":0,"end":true}"#);
        let info = SnapshotInfo { version: 1, content_type: "a/b".to_owned(), size: 2, created: 0 };
        let page = SnapshotPage { snapshots: vec![info], more: false };
        assert_eq!(
            String::from_utf8(snapshot_page(&page)).unwrap(),
            "{\"snapshots\":[{\"version\":1,\"content_type\":\"a/b\",\"size\":2,\
             \"created\":\"1970-01-01T00:00:00.000000Z\"}],\"more\":false}"
        );
    }
}
