//! Random heads and bodies: every request gets a response.

use std::collections::BTreeMap;

use exesdb_gateway_http::body::{
    check_packed, decode_append, decode_import, decode_import_states_request, decode_query, decode_retention,
    decode_snapshot, decode_transaction,
};
use exesdb_gateway_http::json::{find_issue, is_valid};
use exesdb_gateway_http::query::percent_decode;
use exesdb_sdk::events::RecordedEvent;
use proptest::prelude::{any, prop};
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::value::RawValue;

use crate::client::Request;
use crate::store::{Tamper, TestStore};

/// Text made of pieces that the router and the decoders know, and of other text.
fn pieces(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = proptest::prop_oneof![
        4 => select(pieces).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn target() -> impl Strategy<Value = String> {
    pieces(&[
        "/v1/stores/main",
        "/events",
        "/streams",
        "/streams/",
        "s",
        "/snapshots",
        "/latest",
        "/retention",
        "/transactions",
        "/append",
        "/import",
        "/states",
        "type",
        "tag",
        "query",
        "[{}]",
        "stream_prefix",
        "stream_pattern",
        "expected_version",
        "tombstone",
        "deleted",
        "true",
        "source",
        "keep",
        "at_most",
        "created",
        "/7",
        "?",
        "&",
        "=",
        "from",
        "count",
        "direction",
        "prefix",
        "after",
        "end",
        "backward",
        "%",
        "%ff",
        "%00",
        "%2F",
        "..",
        "-1",
        "99999999999999999999",
        "//",
        "#",
        "/openapi.json",
    ])
}

fn body() -> impl Strategy<Value = String> {
    pieces(&[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"events\":[{",
        "\"type\":\"t\"",
        "\"data\":",
        "\"data_base64\":\"AA==\"",
        "\"content_type\":\"a/b+json\"",
        "\"metadata\":",
        "\"id\":\"i\"",
        "\"expected_version\":",
        "\"any\"",
        "\"appends\":[{",
        "\"checks\":[{",
        "\"conditions\":[{",
        "\"query\":[{",
        "\"types\":[",
        "\"tags\":[",
        "\"stream\":\"s\"",
        "\"version\":",
        "\"created\":",
        "\"max_count\":",
        "1",
        "1e999",
        "\"\\ud800\"",
        "null",
        " ",
        "\n",
        "}]}",
    ])
}

fn method() -> impl Strategy<Value = String> {
    proptest::prop_oneof![
        8 => select(&["GET", "HEAD", "POST", "PUT", "DELETE"][..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = select(&["accept", "Last-Event-ID", "content-type", "content-encoding", "x"][..]);
    let value = proptest::prop_oneof![
        4 => select(&["text/event-stream", "application/x-ndjson", "application/vnd.exesdb.packed", "*/*", "application/json", "q=;,;q=1", "7", "", "identity"][..])
            .prop_map(|value| value.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ];
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..4)
}

proptest! {
    #[test]
    fn every_request_gets_a_response(
        method in method(),
        target in target(),
        headers in headers(),
        body in proptest::prop_oneof![body().prop_map(String::into_bytes), any::<Vec<u8>>()],
    ) {
        let mut store = TestStore::with(&["s", "t", "s"]);
        let mut request = Request::new(&method, &target).body(body);
        for (name, value) in headers {
            request = request.header(&name, value);
        }
        let response = request.send(&mut store);
        prop_assert!(response.status < 500, "{response:?}");
        if response.status >= 400 && response.has_body() {
            response.problem();
        }
    }

    #[test]
    fn decoders_accept_any_bytes(bytes in any::<Vec<u8>>()) {
        let _append = decode_append(&bytes);
        let _packed = check_packed(&bytes, None);
        let _transaction = decode_transaction(&bytes);
        let _import = decode_import(&bytes);
        let _question = decode_import_states_request(&bytes);
        let _retention = decode_retention(&bytes);
        let _snapshot = decode_snapshot(&bytes);
        let _json = is_valid(&bytes);
    }

    #[test]
    fn decoders_accept_any_near_json(text in body()) {
        let _append = decode_append(text.as_bytes());
        let _transaction = decode_transaction(text.as_bytes());
        let _import = decode_import(text.as_bytes());
        let _question = decode_import_states_request(text.as_bytes());
        let _retention = decode_retention(text.as_bytes());
        let _query = decode_query(&text);
        let _snapshot = decode_snapshot(text.as_bytes());
        let _hazard = find_issue(&text);
    }

    #[test]
    fn percent_encoding_is_undone(text in any::<String>()) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(percent_decode(&encoded).expect("it is encoded"), text);
    }

    /// Whatever another gateway has appended, a page is one JSON value, and a message is one line.
    #[test]
    fn any_stored_event_can_be_sent(
        stream_id in any::<String>(),
        event_type in any::<String>(),
        content_type in proptest::prop_oneof![select(&["application/json", "a/b"][..]).prop_map(str::to_owned), any::<String>()],
        data in proptest::prop_oneof![body().prop_map(String::into_bytes), any::<Vec<u8>>()],
        metadata in proptest::prop_oneof![body().prop_map(String::into_bytes), any::<Vec<u8>>()],
        tags in prop::collection::vec(any::<String>(), 0..3),
        created in any::<u64>(),
    ) {
        let event = RecordedEvent {
            id: stream_id.clone(), version: 0, position: 0, stream_id, event_type, content_type, data, metadata, tags, created,
        };
        let tamper: Tamper = Box::new(move |read| *read = event.clone());
        let mut store = TestStore { tamper: Some(tamper), ..TestStore::with(&["s"]) };
        let response = Request::get("/v1/stores/main/events").send(&mut store);
        // `RawValue` keeps numbers as they are written, even those that no Rust type can hold.
        let page: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&response.body).expect("a page is JSON");
        let events: Vec<Box<RawValue>> = serde_json::from_str(page["events"].get()).expect("events are a list");
        prop_assert_eq!(events.len(), 1);
        let response = Request::follow("/v1/stores/main/events").send(&mut store);
        let messages = response.text().split("\n\n").filter(|message| message.starts_with("id: ") && message.contains("\ndata: "));
        let lines: Vec<usize> = messages.map(|message| message.split(['\n', '\r']).count()).collect();
        prop_assert_eq!(lines, vec![2]);
    }
}
