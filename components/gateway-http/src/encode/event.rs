//! Events, pages of events, and the messages and lines that carry them.

use exesdb_json::{
    Layout, push_bool, push_event, push_name, push_number, push_number_field, push_string, text_bytes,
};
use exesdb_sdk::packed::{Broken, Envelope, Events};
use exesdb_sdk::types::PackedPage;

use crate::history::HistoryId;
use crate::problem::Problem;

/// A page of events.
///
/// # Errors
/// [`Broken`], if the page has something else.
pub(crate) fn event_page(page: &PackedPage, history: HistoryId) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::with_capacity(64 + text_bytes(&page.events));
    out.extend_from_slice(b"{\"events\":[");
    let mut is_first = true;
    for event in Events::new(&page.events) {
        let (position, envelope) = event?;
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_event(&mut out, position, &envelope, Layout::Kept);
    }
    out.extend_from_slice(b"],\"next\":");
    push_next_and_end(&mut out, page.next, page.end);
    push_name(&mut out, "history");
    push_string(&mut out, &history.to_string());
    out.push(b'}');
    Ok(out)
}

/// Appends the value of `next`, and the field `end`.
fn push_next_and_end(out: &mut Vec<u8>, next: Option<u64>, end: bool) {
    match next {
        Some(next) => push_number(out, next),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"end\":");
    push_bool(out, end);
}

/// How an event is delivered by a durable subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) place: u64,
    pub(crate) earlier: u32,
}

/// Appends an event that a durable subscription delivers, on one line.
pub(crate) fn push_delivered(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>, delivery: Delivery) {
    push_event(out, position, event, Layout::OneLine);
    // The event's last brace.
    out.pop();
    out.extend_from_slice(b",\"delivery\":{\"place\":");
    push_number(out, delivery.place);
    push_number_field(out, "earlier", delivery.earlier.into());
    out.extend_from_slice(b"}}");
}

/// Appends an event as a server-sent event. Its id is the position with its history, its data one line of JSON.
pub(crate) fn push_message(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>, history: HistoryId) {
    push_id(out, position, history);
    out.push(b'\n');
    push_data(out, position, event);
}

/// Appends an event as a server-sent event without an id: one line of JSON.
pub(crate) fn push_data(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>) {
    out.extend_from_slice(b"data: ");
    push_event(out, position, event, Layout::OneLine);
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

/// Appends the last line of a response.
pub(crate) fn push_end_line(out: &mut Vec<u8>, next: Option<u64>, end: bool, durable_position: u64) {
    out.extend_from_slice(b"{\"page\":{\"next\":");
    push_next_and_end(out, next, end);
    push_number_field(out, "durable_position", durable_position);
    out.extend_from_slice(b"}}\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use exesdb_json::{is_valid, push_line};
    use exesdb_sdk::packed::{self, DATA_IS_JSON, EventParts, Events, METADATA_IS_JSON};
    use exesdb_sdk::types::PackedPage;

    use super::{event_page, push_end_line, push_message};
    use crate::history::HistoryId;

    /// An event as the host has stored it.
    fn event(content_type: &str, data: &[u8], metadata: &[u8]) -> Vec<u8> {
        tagged(content_type, data, metadata, &[])
    }

    fn tagged(content_type: &str, data: &[u8], metadata: &[u8], tags: &[&str]) -> Vec<u8> {
        let flag = |bytes: &[u8], flag: u8| if is_valid(bytes) { flag } else { 0 };
        let parts = EventParts {
            flags: flag(data, DATA_IS_JSON) | flag(metadata, METADATA_IS_JSON),
            version: 3,
            created: 1,
            stream_id: "a/\"b\"",
            id: "x",
            event_type: "typé",
            content_type,
            tags,
            data,
            metadata,
        };
        let mut out = Vec::new();
        packed::push_event(&mut out, u64::MAX, &parts).unwrap();
        out
    }

    fn page(events: Vec<u8>, next: Option<u64>) -> PackedPage {
        PackedPage { events, next, end: true, last_version: None }
    }

    fn encoded(event: &[u8]) -> Value {
        let page = event_page(&page(event.to_vec(), None), HistoryId(1)).unwrap();
        serde_json::from_slice::<Value>(&page).unwrap()["events"][0].take()
    }

    fn line(event: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (position, envelope) = Events::new(event).next().unwrap().unwrap();
        push_line(&mut out, position, &envelope);
        out
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
        let event = event("application/json", b"{\r\n\"a\":\n\"b\\n\"}", b"");
        let (position, envelope) = Events::new(&event).next().unwrap().unwrap();
        push_message(&mut out, position, &envelope, HistoryId(0xab));
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
        let two = page([event.clone(), event].concat(), None);
        let value: Value = serde_json::from_slice(&event_page(&two, HistoryId(1)).unwrap()).unwrap();
        assert_eq!(value["events"].as_array().map(Vec::len), Some(2));
        assert_eq!((&value["next"], &value["end"]), (&Value::Null, &json!(true)));
        let empty = event_page(&page(Vec::new(), Some(0)), HistoryId(0xab)).unwrap();
        assert_eq!(empty, br#"{"events":[],"next":0,"end":true,"history":"00000000000000ab"}"#);
        assert!(event_page(&page(vec![1, 2, 3], None), HistoryId(1)).is_err());
    }

    #[test]
    fn tags_are_omitted_if_there_are_none() {
        assert_eq!(encoded(&event("application/json", b"1", b"")).get("tags"), None);
        let event = tagged("application/json", b"1", b"", &["k:\"v\"", "é"]);
        assert_eq!(encoded(&event)["tags"], json!(["k:\"v\"", "é"]));
    }

    #[test]
    fn a_line_has_no_line_breaks() {
        for (data, metadata, expected) in [
            (
                "{\r\n\"a\":\n\"b\\n\"}",
                "[\n]",
                json!({"data_base64": "ew0KImEiOgoiYlxuIn0=", "content_type": "application/json", "metadata_base64": "Wwpd"}),
            ),
            (" 1", "[]", json!({"data_base64": "IDE=", "content_type": "application/json", "metadata": []})),
            ("{\"a\" :\t\"\\n\"}", "1 ", json!({"data": {"a": "\n"}, "metadata_base64": "MSA="})),
        ] {
            let out = line(&event("application/json", data.as_bytes(), metadata.as_bytes()));
            let line = std::str::from_utf8(&out).unwrap().strip_suffix('\n').unwrap();
            assert!(!line.contains(['\n', '\r']));
            let value: Value = serde_json::from_str(line).unwrap();
            for name in ["data", "data_base64", "content_type", "metadata", "metadata_base64"] {
                assert_eq!(value.get(name), expected.get(name), "{name} of {data:?}");
            }
        }
        let mut end = Vec::new();
        push_end_line(&mut end, None, false, 3);
        assert_eq!(end, b"{\"page\":{\"next\":null,\"end\":false,\"durable_position\":3}}\n");
    }
}
