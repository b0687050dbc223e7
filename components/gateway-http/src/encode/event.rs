//! Events, pages of events, and the messages and lines that carry them.

use super::content::{Layout, push_content, push_name, push_number_field, push_time_field};
use crate::history::HistoryId;
use crate::json::{is_json, push_bool, push_number, push_string};
use crate::problem::Problem;
use crate::store::{EventPage, RecordedEvent};

/// Bytes of an event's JSON without its texts and content: field names, numbers, the time, punctuation.
pub(super) const EVENT_OVERHEAD_BYTES: usize = 256;

/// A page of events.
pub(crate) fn event_page(page: &EventPage, history: HistoryId) -> Vec<u8> {
    let carried: usize = page.events.iter().map(event_size).sum();
    let mut out = Vec::with_capacity(64 + carried);
    out.extend_from_slice(b"{\"events\":[");
    push_list(&mut out, &page.events, |out, event| push_event(out, event, Layout::Kept));
    out.extend_from_slice(b"],\"next\":");
    push_next_and_end(&mut out, page);
    push_name(&mut out, "history");
    push_string(&mut out, &history.to_string());
    out.push(b'}');
    out
}

fn push_list<T>(out: &mut Vec<u8>, items: &[T], mut push: impl FnMut(&mut Vec<u8>, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
}

/// Appends the value of `next`, and the field `end`.
fn push_next_and_end(out: &mut Vec<u8>, page: &EventPage) {
    match page.next {
        Some(next) => push_number(out, next),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"end\":");
    push_bool(out, page.end);
}

/// The approximate size of an event as JSON.
fn event_size(event: &RecordedEvent) -> usize {
    let content = event.data.len() + event.metadata.len();
    let names = event.stream_id.len() + event.event_type.len() + event.id.len() + event.content_type.len();
    let tags: usize = event.tags.iter().map(|tag| tag.len() + 3).sum();
    let base64 = if is_json(&event.content_type) { 0 } else { event.data.len() / 3 };
    EVENT_OVERHEAD_BYTES + content + names + tags + base64
}

fn push_event(out: &mut Vec<u8>, event: &RecordedEvent, layout: Layout) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, &event.stream_id);
    push_number_field(out, "version", event.version);
    push_number_field(out, "position", event.position);
    out.extend_from_slice(b",\"id\":");
    push_string(out, &event.id);
    out.extend_from_slice(b",\"type\":");
    push_string(out, &event.event_type);
    push_content(out, &event.content_type, &event.data, &event.metadata, layout);
    if !event.tags.is_empty() {
        out.extend_from_slice(b",\"tags\":[");
        push_list(out, &event.tags, |out, tag| push_string(out, tag));
        out.push(b']');
    }
    push_time_field(out, "created", event.created);
    out.push(b'}');
}

/// Appends an event as a server-sent event. Its id is the position with its history, its data one line of JSON.
pub(crate) fn push_message(out: &mut Vec<u8>, event: &RecordedEvent, history: HistoryId) {
    push_id(out, event.position, history);
    out.extend_from_slice(b"\ndata: ");
    push_event(out, event, Layout::OneLine);
    out.extend_from_slice(b"\n\n");
}

/// Appends a progress message: a server-sent event that has an id but no data. A client adopts the id as its last one, and
/// dispatches no event.
pub(crate) fn push_progress(out: &mut Vec<u8>, position: u64, history: HistoryId) {
    push_id(out, position, history);
    out.extend_from_slice(b"\n\n");
}

/// Appends the id of a message: a position with its history.
fn push_id(out: &mut Vec<u8>, position: u64, history: HistoryId) {
    out.extend_from_slice(b"id: ");
    push_number(out, position);
    out.push(b'@');
    out.extend_from_slice(history.to_string().as_bytes());
}

/// Appends the server-sent event `end`, which says why no more events follow.
pub(crate) fn push_end_message(out: &mut Vec<u8>, reason: &Problem) {
    out.extend_from_slice(b"event: end\ndata: ");
    // The JSON is one line, because line breaks in strings are escaped.
    out.extend_from_slice(&reason.encode());
    out.extend_from_slice(b"\n\n");
}

/// Appends an event as one line of JSON, from which it can be imported byte for byte.
pub(crate) fn push_line(out: &mut Vec<u8>, event: &RecordedEvent) {
    push_event(out, event, Layout::Exact);
    out.push(b'\n');
}

/// Appends the last line of a response. `page` is its last page, whose `next` and `end` hold for the response.
pub(crate) fn push_end_line(out: &mut Vec<u8>, page: &EventPage) {
    out.extend_from_slice(b"{\"page\":{\"next\":");
    push_next_and_end(out, page);
    push_number_field(out, "durable_position", page.durable_position);
    out.extend_from_slice(b"}}\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{event_page, push_end_line, push_event, push_line, push_message};
    use crate::encode::content::Layout;
    use crate::history::HistoryId;
    use crate::store::{EventPage, RecordedEvent};

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
            tags: Vec::new(),
            created: 1,
        }
    }

    fn encoded(event: &RecordedEvent) -> Value {
        let mut out = Vec::new();
        push_event(&mut out, event, Layout::Kept);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_has_all_its_fields() {
        assert_eq!(
            encoded(&event("application/json", b"{\"a\":1}", b"[2]")),
            json!({
                "stream": "a/\"b\"", "version": 3, "position": u64::MAX, "id": "x", "type": "typé",
                "data": {"a": 1}, "metadata": [2], "created": "1970-01-01T00:00:00.000001Z",
            })
        );
    }

    #[test]
    fn data_is_embedded_if_it_is_valid_json() {
        for (content_type, data, field, value, typed) in [
            ("application/json", &b" null"[..], "data", json!(null), false),
            ("application/vnd.x+json", b"1", "data", json!(1), true),
            ("application/json; charset=utf-8", b"1", "data", json!(1), true),
            ("application/octet-stream", b"{}", "data_base64", json!("e30="), true),
            ("text/plain", b"", "data_base64", json!(""), true),
            // Another gateway may have accepted these. They must not corrupt the page.
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
    fn the_data_of_a_message_is_one_line() {
        let mut out = Vec::new();
        push_message(&mut out, &event("application/json", b"{\r\n\"a\":\n\"b\\n\"}", b""), HistoryId(0xab));
        let text = String::from_utf8(out).unwrap();
        let id = "id: 18446744073709551615@00000000000000ab\ndata: ";
        let data = text.strip_prefix(id).unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["data"], json!({"a": "b\n"}));
    }

    #[test]
    fn a_page_has_its_events_and_its_end() {
        let event = event("application/json", b"1", b"");
        let page =
            EventPage { events: vec![event.clone(), event], next: None, end: true, durable_position: 9 };
        let value: Value = serde_json::from_slice(&event_page(&page, HistoryId(1))).unwrap();
        assert_eq!(value["events"].as_array().map(Vec::len), Some(2));
        assert_eq!((&value["next"], &value["end"]), (&Value::Null, &json!(true)));
        let empty = EventPage { events: Vec::new(), next: Some(0), end: true, durable_position: 0 };
        let expected = br#"{"events":[],"next":0,"end":true,"history":"00000000000000ab"}"#;
        assert_eq!(event_page(&empty, HistoryId(0xab)), expected);
    }

    #[test]
    fn tags_are_omitted_if_there_are_none() {
        let mut event = event("application/json", b"1", b"");
        assert_eq!(encoded(&event).get("tags"), None);
        event.tags = vec!["k:\"v\"".to_owned(), "é".to_owned()];
        assert_eq!(encoded(&event)["tags"], json!(["k:\"v\"", "é"]));
    }

    #[test]
    fn a_line_has_no_line_breaks() {
        let mut out = Vec::new();
        for (data, metadata, expected) in [
            (
                "{\r\n\"a\":\n\"b\\n\"}",
                "[\n]",
                json!({"data_base64": "ew0KImEiOgoiYlxuIn0=", "content_type": "application/json", "metadata_base64": "Wwpd"}),
            ),
            (" 1", "[]", json!({"data_base64": "IDE=", "content_type": "application/json", "metadata": []})),
            ("{\"a\" :\t\"\\n\"}", "1 ", json!({"data": {"a": "\n"}, "metadata_base64": "MSA="})),
        ] {
            out.clear();
            push_line(&mut out, &event("application/json", data.as_bytes(), metadata.as_bytes()));
            let line = std::str::from_utf8(&out).unwrap().strip_suffix('\n').unwrap();
            assert!(!line.contains(['\n', '\r']));
            let value: Value = serde_json::from_str(line).unwrap();
            for name in ["data", "data_base64", "content_type", "metadata", "metadata_base64"] {
                assert_eq!(value.get(name), expected.get(name), "{name} of {data:?}");
            }
        }
        let mut end = Vec::new();
        push_end_line(
            &mut end,
            &EventPage { events: Vec::new(), next: None, end: false, durable_position: 3 },
        );
        assert_eq!(end, b"{\"page\":{\"next\":null,\"end\":false,\"durable_position\":3}}\n");
    }
}
