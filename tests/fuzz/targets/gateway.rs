//! What clients send to the HTTP gateway: frames, JSON bodies and query strings.

use exesdb_fuzz::fuzz;
use exesdb_gateway_http::body::{
    check_packed, decode_append, decode_append_frames, decode_import, decode_import_states_request,
    decode_query, decode_retention, decode_snapshot, decode_stream_append, decode_transaction,
    take_packed_append,
};
use exesdb_gateway_http::frame::{AppendedEvent, take_appended};
use exesdb_gateway_http::query::{Query, percent_decode};

/// Tags that are kept of a frame.
const TAGS_MAX: usize = 32;

#[test]
fn fuzzed_frames_are_read_or_refused() {
    fuzz("frames", |bytes| {
        drop(decode_append_frames(bytes));
        let _ = check_packed(bytes, None);
        let _ = take_packed_append(&mut &*bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest;
            let Ok(event) = take_appended(&mut rest, TAGS_MAX) else { break };
            let frame = &before[..before.len() - rest.len()];
            if event.tags.len() <= TAGS_MAX {
                assert_eq!(encode(&event), frame, "a frame that is read is the only form of its event");
            }
        }
    });
}

/// The frame of an event to append.
fn encode(event: &AppendedEvent<'_>) -> Vec<u8> {
    let mut fields = vec![3];
    let text = |fields: &mut Vec<u8>, text: &str| {
        fields.extend(u16::try_from(text.len()).expect("it was read from two bytes").to_be_bytes());
        fields.extend(text.as_bytes());
    };
    [event.id, event.event_type, event.content_type].iter().for_each(|field| text(&mut fields, field));
    fields.extend(u16::try_from(event.tags.len()).expect("there are few").to_be_bytes());
    event.tags.iter().for_each(|tag| text(&mut fields, tag));
    for bytes in [event.data, event.metadata] {
        fields.extend(u32::try_from(bytes.len()).expect("it was read from four bytes").to_be_bytes());
        fields.extend(bytes);
    }
    [&u32::try_from(fields.len()).expect("inputs are short").to_be_bytes()[..], &fields].concat()
}

#[test]
fn fuzzed_bodies_are_read_or_refused() {
    fuzz("bodies", |bytes| {
        drop(decode_append(bytes));
        drop(decode_transaction(bytes));
        drop(decode_stream_append(bytes));
        drop(decode_import(bytes));
        drop(decode_import_states_request(bytes));
        drop(decode_retention(bytes));
        drop(decode_snapshot(bytes));
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop(decode_query(text));
        }
    });
}

#[test]
fn fuzzed_query_strings_are_read_or_refused() {
    fuzz("queries", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(query) =
            Query::parse_repeated(&text, &["from", "count", "direction", "stream_prefix"], &["tag"])
        {
            drop(query.number("from", 0, u64::MAX));
            drop(query.number("count", 1, 1000));
            drop(query.flag("direction"));
            assert!(query.all("tag").all(|tag| tag.len() <= text.len()), "decoding makes no text longer");
        }
        if let Ok(decoded) = percent_decode(&text) {
            let encoded: String = decoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(percent_decode(&encoded).as_ref(), Ok(&decoded));
        }
    });
}
