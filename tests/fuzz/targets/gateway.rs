//! What clients send to the HTTP gateway: packed events, JSON bodies and query strings.

use exesdb_fuzz::fuzz;
use exesdb_gateway_http::body::{
    Taken, check_packed, decode_append, decode_import, decode_import_states_request, decode_query,
    decode_retention, decode_snapshot, decode_stream_append, decode_transaction, take_packed_append,
};
use exesdb_gateway_http::query::{Query, percent_decode};
use exesdb_packed::{EventParts, Events, push_event};
use exesdb_sdk::types::ExpectedVersion;

/// Each input is the body of an append to a stream, and that of a pipeline of appends.
#[test]
fn fuzzed_packed_appends_are_read_or_refused() {
    fuzz("appends", |bytes| {
        check_events(bytes);
        let mut rest = bytes;
        loop {
            let before = rest;
            let Ok(Taken::Append(expected, events)) = take_packed_append(&mut rest) else { break };
            let append = &before[..before.len() - rest.len()];
            assert_eq!(encode_append(expected, events), append, "an append has one form only");
            check_events(events);
        }
    });
}

/// What is accepted goes to the store as it came, so it must be the only form of its events.
fn check_events(bytes: &[u8]) {
    if check_packed(bytes, None).is_ok() {
        assert_eq!(encode_events(bytes), bytes, "accepted events have one form only");
    }
}

fn encode_events(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in Events::new(bytes) {
        let (position, event) = event.expect("the events were accepted");
        let tags: Vec<&str> = event.tags.collect();
        let parts = EventParts {
            flags: event.flags,
            version: event.version,
            created: event.created,
            stream_id: event.stream_id,
            id: event.id,
            event_type: event.event_type,
            content_type: event.content_type,
            tags: &tags,
            data: event.data,
            metadata: event.metadata,
        };
        push_event(&mut out, position, &parts).expect("it was packed before");
    }
    out
}

fn encode_append(expected: ExpectedVersion, events: &[u8]) -> Vec<u8> {
    let (kind, version) = match expected {
        ExpectedVersion::Any => (0, 0),
        ExpectedVersion::NoStream => (1, 0),
        ExpectedVersion::StreamExists => (2, 0),
        ExpectedVersion::Exact(version) => (3, version),
    };
    let length = u32::try_from(9 + events.len()).expect("inputs are short");
    [&length.to_le_bytes()[..], &[kind], &version.to_le_bytes(), events].concat()
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
