//! Events and pages of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{push_history, push_list, push_member, push_time};
use crate::history::HistoryId;
use crate::json::{Sound, embeddable, is_json, push_bool, push_number, push_string};
use crate::problem::Problem;
use crate::store::{EventPage, RecordedEvent};

/// Bytes of an event's JSON beside what it carries: field names, numbers, the time, punctuation.
pub(super) const EVENT_FRAME_BYTES: usize = 256;

/// The content type that answers leave out.
const JSON: &str = "application/json";

/// A page of events.
pub fn event_page(page: &EventPage, history: HistoryId) -> Vec<u8> {
    let carried: usize = page.events.iter().map(event_size).sum();
    let mut out = Vec::with_capacity(64 + carried);
    out.extend_from_slice(b"{\"events\":[");
    push_list(&mut out, &page.events, |out, event| push_event(out, event, Layout::Kept));
    out.extend_from_slice(b"],\"next\":");
    push_place(&mut out, page);
    push_history(&mut out, history);
    out.push(b'}');
    out
}

/// The value of `next`, and `end`.
fn push_place(out: &mut Vec<u8>, page: &EventPage) {
    match page.next {
        Some(next) => push_number(out, next),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"end\":");
    push_bool(out, page.end);
}

/// About how many bytes an event takes as JSON.
fn event_size(event: &RecordedEvent) -> usize {
    let content = event.data.len() + event.metadata.len();
    let names = event.stream_id.len() + event.event_type.len() + event.id.len() + event.content_type.len();
    let tags: usize = event.tags.iter().map(|tag| tag.len() + 3).sum();
    let base64 = if is_json(&event.content_type) { 0 } else { event.data.len() / 3 };
    EVENT_FRAME_BYTES + content + names + tags + base64
}

/// What becomes of the white space in JSON that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// It stays, line breaks too.
    Kept,
    /// Line breaks become spaces: JSON has them only between its tokens, where a space is as good.
    OneLine,
    /// What could not be put into a line and taken out of it again byte for byte is base64.
    Exact,
}

impl Layout {
    /// The bytes, if they can stand there as JSON.
    fn json(self, bytes: &[u8]) -> Option<Sound<'_>> {
        let json = embeddable(bytes)?;
        // Who takes a value out of a line leaves the white space around it there.
        let is_exact = || !json.has_line_breaks && json.text.trim_ascii().len() == json.text.len();
        (self != Self::Exact || is_exact()).then_some(json)
    }
}

fn push_event(out: &mut Vec<u8>, event: &RecordedEvent, layout: Layout) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, &event.stream_id);
    push_member(out, "version", event.version);
    push_member(out, "position", event.position);
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
    push_time(out, "created", event.created);
    out.push(b'}');
}

/// One event as a server-sent event: its id is the position with its history, its data one line of JSON.
pub fn push_message(out: &mut Vec<u8>, event: &RecordedEvent, history: HistoryId) {
    push_id(out, event.position, history);
    out.extend_from_slice(b"\ndata: ");
    push_event(out, event, Layout::OneLine);
    out.extend_from_slice(b"\n\n");
}

/// The position up to which a follower has everything, as a server-sent event without data: a client takes its id for the
/// last one that it saw, and shows its user nothing.
pub fn push_progress(out: &mut Vec<u8>, position: u64, history: HistoryId) {
    push_id(out, position, history);
    out.extend_from_slice(b"\n\n");
}

/// The id of a message: a position with its history.
fn push_id(out: &mut Vec<u8>, position: u64, history: HistoryId) {
    out.extend_from_slice(b"id: ");
    push_number(out, position);
    out.push(b'@');
    out.extend_from_slice(history.to_string().as_bytes());
}

/// Why there are no more events, as a server-sent event of the kind `end`.
pub fn push_end_message(out: &mut Vec<u8>, reason: &Problem) {
    out.extend_from_slice(b"event: end\ndata: ");
    // On one line, as all JSON that is written here: line breaks in texts are escaped.
    out.extend_from_slice(&reason.encode());
    out.extend_from_slice(b"\n\n");
}

/// One event as one line of JSON, from which it can be imported byte for byte.
pub fn push_line(out: &mut Vec<u8>, event: &RecordedEvent) {
    push_event(out, event, Layout::Exact);
    out.push(b'\n');
}

/// The last line of an answer of lines, whose last page is this one; `next` and `end` are the answer's.
pub fn push_end_line(out: &mut Vec<u8>, page: &EventPage) {
    out.extend_from_slice(b"{\"page\":{\"next\":");
    push_place(out, page);
    push_member(out, "durable_position", page.durable_position);
    out.extend_from_slice(b"}}\n");
}

/// `data` or `data_base64`, `content_type` unless it is plain JSON, and `metadata` or `metadata_base64`.
pub(super) fn push_content(
    out: &mut Vec<u8>,
    content_type: &str,
    data: &[u8],
    metadata: &[u8],
    layout: Layout,
) {
    let plain = content_type == JSON;
    let json = if plain || is_json(content_type) { layout.json(data) } else { None };
    match json {
        Some(json) => {
            out.extend_from_slice(b",\"data\":");
            push_json(out, json, layout);
        }
        None => push_base64(out, "data_base64", data),
    }
    if json.is_none() || !plain {
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, content_type);
    }
    if metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":null");
    } else if let Some(json) = layout.json(metadata) {
        out.extend_from_slice(b",\"metadata\":");
        push_json(out, json, layout);
    } else {
        push_base64(out, "metadata_base64", metadata);
    }
}

fn push_json(out: &mut Vec<u8>, json: Sound<'_>, layout: Layout) {
    let start = out.len();
    out.extend_from_slice(json.text.as_bytes());
    if json.has_line_breaks && layout == Layout::OneLine {
        for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
}

fn push_base64(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    super::push_name(out, name);
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).expect("what fits into memory has a length as text");
    out.resize(start + length, 0);
    let space = out.get_mut(start..).expect("it was made just now");
    STANDARD.encode_slice(bytes, space).expect("the space is as long as the text");
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Layout, event_page, push_end_line, push_event, push_line, push_message};
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
        push_message(&mut out, &event("application/json", b"{\r\n\"a\":\n\"b\\n\"}", b""), HistoryId(0xab));
        let text = String::from_utf8(out).unwrap();
        let id = "id: 18446744073709551615@00000000000000ab\ndata: ";
        let data = text.strip_prefix(id).unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["data"], json!({"a": "b\n"}));
    }

    #[test]
    fn pages() {
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
    fn tags_stand_there_if_there_are_any() {
        let mut event = event("application/json", b"1", b"");
        assert_eq!(encoded(&event).get("tags"), None);
        event.tags = vec!["k:\"v\"".to_owned(), "é".to_owned()];
        assert_eq!(encoded(&event)["tags"], json!(["k:\"v\"", "é"]));
    }

    #[test]
    fn a_line_is_one_line() {
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
