//! The representation of a response, `HEAD`, and bodies at their limits.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Down, Frame, Host, NO_EVENTS, take_frame};
use serde_json::json;

const EVENTS: &str = "/v1/stores/main/events";

#[test]
fn a_bounded_read_is_not_an_event_stream() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    for (accept, query, expected) in [
        ("application/json, text/event-stream", "", "application/json"),
        ("application/json, text/event-stream", "?count=1", "application/json"),
        ("text/event-stream, application/json", "?count=1", "application/json"),
        ("text/event-stream, */*;q=0.1", "?count=1&direction=backward", "application/json"),
        ("text/event-stream, application/x-ndjson", "?count=1", "application/x-ndjson"),
        ("application/json;q=0.5, application/x-ndjson", "", "application/x-ndjson"),
        ("application/x-ndjson, application/vnd.exesdb.packed", "", "application/x-ndjson"),
        ("text/event-stream, application/vnd.exesdb.packed", "?count=1", "application/vnd.exesdb.packed"),
    ] {
        let response = host.http.get_with(&format!("{EVENTS}{query}"), &[("accept", accept)]).expect(200);
        assert_eq!(response.content_type, expected, "{accept} {query}");
    }
    let refused = host.http.get_with(&format!("{EVENTS}?count=1"), &[("accept", "text/event-stream")]);
    assert_eq!(refused.expect_problem(400, "invalid-argument").json["field"], "count");
}

/// The frames of a response of packed events.
fn frames(body: &[u8]) -> Vec<Frame<'_>> {
    let mut rest = body;
    std::iter::from_fn(|| take_frame(&mut rest).expect("these are frames")).collect()
}

#[test]
fn packed_events_have_the_same_content_as_pages() {
    let host = Host::start();
    let events = [
        json!({ "type": "opened", "data": { "owner": "Ada" }, "metadata": { "by": 1 }, "tags": ["a", "ä"] }),
        json!({ "type": "scanned", "data_base64": "/9j/4A==", "content_type": "image/jpeg" }),
    ];
    host.http.append("account/7", "any", &events).expect(200);
    // More than one page, so that the events come in several pieces.
    host.http.append_many("more", 1_000).expect(200);
    let body = host.http.packed(EVENTS);
    let mut found = frames(&body);
    let end = Frame::End { next: Some(1_002), end: true, durable_position: 1_002 };
    assert_eq!(found.pop(), Some(end));
    let packed: Vec<_> = found
        .into_iter()
        .map(|frame| match frame {
            Frame::Event { position, event } => (position, event),
            Frame::End { .. } => panic!("there is one end"),
        })
        .collect();
    let read = host.http.read_all();
    assert_eq!(packed.len(), read.len());
    for ((position, packed), read) in packed.iter().zip(&read) {
        assert_eq!(
            (*position, packed.version),
            (read["position"].as_u64().unwrap(), read["version"].as_u64().unwrap())
        );
        assert_eq!(
            (packed.stream_id, packed.id),
            (read["stream"].as_str().unwrap(), read["id"].as_str().unwrap())
        );
        assert_eq!(packed.event_type, read["type"]);
    }
    let (first, second) = (&packed[0].1, &packed[1].1);
    assert_eq!((first.content_type, first.data), ("application/json", br#"{"owner":"Ada"}"#.as_slice()));
    assert_eq!((first.metadata, first.tags.collect::<Vec<_>>()), (br#"{"by":1}"#.as_slice(), vec!["a", "ä"]));
    assert_eq!((second.content_type, second.data), ("image/jpeg", [0xff, 0xd8, 0xff, 0xe0].as_slice()));
    let one = host.http.packed("/v1/stores/main/streams/account%2F7/events?from=1&count=1");
    assert_eq!(frames(&one).len(), 2);
}

#[test]
fn head_has_the_length_of_the_response_to_get() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    for path in
        [EVENTS, "/v1/stores/main/streams/s", "/openapi.json", "/v1/stores", "/v1/stores/main/streams/none"]
    {
        let length = |method: &str| {
            let mut connection = host.http.connect();
            let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).expect("the host reads");
            let mut response = String::new();
            connection.read_to_string(&mut response).expect("the host responds");
            let (head, body) = response.split_once("\r\n\r\n").expect("a response has a head");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect(path).parse().expect("a number");
            (length, body.len())
        };
        let (get, head) = (length("GET"), length("HEAD"));
        assert_eq!((get.0, head), (get.1, (get.0, 0)), "{path}");
    }
}

#[test]
fn a_thousand_events_of_thirty_two_tags_fit_one_request() {
    let host = Host::start();
    let tags: Vec<String> = (0..32).map(|tag| format!("tag-{tag}")).collect();
    let events = vec![json!({ "type": "t", "data": 1, "tags": tags }); 1_000];
    host.http.append("s", "any", &events).expect(200);
    let tagged = host.http.get(&format!("{EVENTS}?tag=tag-31&count=1000")).expect(200);
    assert_eq!(tagged.json["events"].as_array().map(Vec::len), Some(1_000));
    let transaction = json!({ "appends": [{ "stream": "t", "events": events }] });
    host.http.post("/v1/stores/main/transactions", &transaction).expect(200);
    // More is refused, with the name of the limit.
    let tags: Vec<String> = (0..32).map(|tag| format!("{tag:0>40}")).collect();
    let events = vec![json!({ "type": "t", "data": 1, "tags": tags }); 1_000];
    let refused = host.http.append("s", "any", &events).expect_problem(413, "too-large");
    assert_eq!((&refused.json["field"], &refused.json["limit"]), (&json!("events"), &json!(1_048_576)));
}

/// Errors of the host's libraries have backtraces, which must not be shown to clients.
#[test]
fn a_body_that_is_cut_off_gets_a_fixed_sentence() {
    let host = Down::new(None).with_environment(&[("RUST_BACKTRACE", "1")]).start();
    let body = "{\"events\":[{\"type\":\"t\",\"data\":1}]}";
    let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for framing in [
        format!("content-length: 100\r\n\r\n{body}"),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\nzz\r\n", body.len()),
    ] {
        let mut connection = host.http.connect();
        connection.write_all(format!("{head}{framing}").as_bytes()).expect("the host reads");
        connection.shutdown(std::net::Shutdown::Write).expect("the connection is there");
        let mut response = String::new();
        // The host may close the connection without a response.
        drop(connection.read_to_string(&mut response));
        if response.is_empty() {
            continue;
        }
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
        assert!(response.len() < 1_000, "{} bytes: {response}", response.len());
        let sentence = "body: broke off before its end, and nothing was done; send it again";
        assert!(response.contains(sentence) || !response.contains("application/"), "{response}");
        for inside in ["hyper", "Error", "backtrace", ".rs", "wasmtime"] {
            assert!(!response.contains(inside), "{inside}: {response}");
        }
    }
    assert_eq!(host.http.read_all().len(), 0);
    assert_eq!(host.traps(), NO_EVENTS);
}
