//! Limits: requests at a limit succeed, and requests over it are refused with the limit in the message.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use exesdb_tests::{Host, NO_EVENTS, Response};
use serde_json::{Value, json};

const EVENT_BYTES: usize = 1 << 20;
const REQUEST_BYTES: usize = 4 << 20;
const EVENTS: usize = 1_000;

/// An event whose data, a JSON string, has this many bytes.
fn event(bytes: usize) -> Value {
    json!({ "type": "t", "data": "x".repeat(bytes - 2) })
}

fn refused(response: Response, limit: usize) {
    let response = response.expect_problem(413, "too-large");
    assert!(response.detail().contains(&limit.to_string()), "{}", response.text);
}

#[test]
fn a_response_over_a_limit_names_it() {
    let host = Host::start();
    host.http.append("s", "any", &[event(EVENT_BYTES)]).expect(200);
    refused(host.http.append("s", "any", &[event(EVENT_BYTES + 1)]), EVENT_BYTES);
    let with_metadata = json!({ "type": "t", "data": "x".repeat(EVENT_BYTES - 4), "metadata": "abc" });
    refused(host.http.append("s", "any", &[with_metadata]), EVENT_BYTES);

    host.http.append("s", "any", &vec![event(3); EVENTS]).expect(200);
    refused(host.http.append("s", "any", &vec![event(3); EVENTS + 1]), EVENTS);

    // A body at the limit; its white space counts.
    let mut body =
        json!({ "events": [event(EVENT_BYTES - 100), event(EVENT_BYTES - 100), event(EVENT_BYTES - 100)] })
            .to_string()
            .into_bytes();
    body.resize(REQUEST_BYTES, b' ');
    let path = format!("{}/events", host.http.stream("s"));
    host.http.post_bytes(&path, "application/json", &body).expect(200);
    body.push(b' ');
    refused(host.http.post_bytes(&path, "application/json", &body), REQUEST_BYTES);

    let snapshot = format!("{}/snapshots/1", host.http.stream("s"));
    host.http.put(&snapshot, &json!({ "data": "x".repeat(EVENT_BYTES - 2) })).expect(204);
    refused(host.http.put(&snapshot, &json!({ "data": "x".repeat(EVENT_BYTES) })), EVENT_BYTES);

    assert_eq!(host.http.read("s").len(), 1 + EVENTS + 3, "what was refused left nothing");
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn a_body_that_never_ends_is_refused_without_being_read_to_its_end() {
    let host = Host::start();
    let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    // Announced by its length, but never sent.
    let announced = format!("{head}content-length: 99999999999\r\n\r\n{{");
    let response = begun(&host, announced.as_bytes());
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    // In chunks without an end.
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..5 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend_from_slice(&vec![b' '; 1 << 20]);
        chunked.extend_from_slice(b"\r\n");
    }
    let response = begun(&host, &chunked);
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    // Sent completely, far over the limit: the host closes the connection of a client that does not read.
    let mut connection = host.http.connect();
    let endless = format!("{head}content-length: 99999999999\r\n\r\n");
    let mut sent = connection.write_all(endless.as_bytes());
    for _ in 0..1_000 {
        sent = sent.and_then(|()| connection.write_all(&vec![b' '; 1 << 20]));
    }
    assert!(sent.is_err(), "a gigabyte was taken");
    host.http.append_one("s").expect(200);
    assert_eq!(host.traps(), NO_EVENTS);
}

/// The time until a response begins counts from the last part of the request, and not from the first.
#[test]
fn a_body_may_take_longer_than_the_beginning_of_a_response() {
    let host =
        Host::with_config("[[store]]\nname = \"main\"\n[store.limits.gateway]\nresponse_wall_ms = 1000\n");
    let mut connection = host.http.connect();
    let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    connection.write_all(head.as_bytes()).expect("the host reads");
    let body = json!({ "events": [event(20_000)] }).to_string();
    for part in body.as_bytes().chunks(body.len() / 10) {
        std::thread::sleep(Duration::from_millis(300));
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        connection.write_all(&chunk).expect("the host reads");
    }
    connection.write_all(b"0\r\n\r\n").expect("the host reads");
    let mut response = String::new();
    connection.read_to_string(&mut response).expect("the host responds");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

/// Sends bytes on a connection of their own, and reads the response until it names the limit.
fn begun(host: &Host, request: &[u8]) -> String {
    let mut connection = host.http.connect();
    connection.write_all(request).expect("the host reads");
    let mut response = Vec::new();
    let mut piece = [0; 4_096];
    while !String::from_utf8_lossy(&response).contains(&REQUEST_BYTES.to_string()) {
        let bytes = connection.read(&mut piece).expect("the host responds");
        assert_ne!(bytes, 0, "the response names no limit: {}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&piece[..bytes]);
    }
    String::from_utf8(response).expect("a response is text")
}
