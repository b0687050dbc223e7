//! Clients that take nothing of a long response are cut off after 30 s, reads with the place to go on from; others notice nothing.
//! So are clients that send a part of a large message, and then nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::thread::sleep;
use std::time::Duration;

use exesdb_tests::{Connection, Host, NO_EVENTS};
use serde_json::{Value, json};

/// Longer than a client may take nothing.
const PAUSE: Duration = Duration::from_secs(35);

/// More than the buffers of sockets and a window of pages can hold: 32 MiB in all.
const EVENTS: u64 = 2_000;
const DATA_BYTES: usize = 16 << 10;

fn fill(host: &Host) {
    let events = vec![json!({ "type": "t", "data": "x".repeat(DATA_BYTES) }); 100];
    for _ in 0..EVENTS / 100 {
        host.http.append("s", "any", &events).expect(200);
    }
}

/// Requests all events of the store. With HTTP/1.0 the body of the response has no chunks.
fn request(host: &Host, query: &str, accept: &str) -> Connection {
    let mut connection = host.http.connect();
    let request =
        format!("GET /v1/stores/main/events{query} HTTP/1.0\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("the host reads");
    connection
}

/// The rest of a response, which the host ends.
fn rest(connection: &mut Connection) -> String {
    let mut rest = String::new();
    connection.read_to_string(&mut rest).expect("the response ends, after a whole character");
    rest
}

#[test]
fn a_read_of_many_pages_that_nobody_takes_ends_with_its_place() {
    let host = Host::start();
    fill(&host);
    let mut slow = request(&host, "", "application/x-ndjson");
    sleep(PAUSE);
    let response = rest(&mut slow);
    let (_, body) = response.split_once("\r\n\r\n").expect("it has a head");
    let lines: Vec<Value> =
        body.lines().map(|line| serde_json::from_str(line).expect("lines are whole")).collect();
    let (last, events) = lines.split_last().expect("it has lines");
    for (position, event) in (0_u64..).zip(events) {
        assert_eq!(event["position"], position);
    }
    let taken = events.len() as u64;
    assert!(0 < taken && taken < EVENTS, "{taken}");
    assert_eq!((&last["page"]["next"], &last["page"]["end"]), (&json!(taken), &json!(false)));
    let mut later = request(&host, &format!("?from={taken}"), "application/x-ndjson");
    // The lines of the other events, and the last one.
    let response = rest(&mut later);
    let (_, body) = response.split_once("\r\n\r\n").expect("it has a head");
    assert_eq!(body.lines().count() as u64, EVENTS - taken + 1);
}

#[test]
fn a_follower_that_takes_nothing_is_cut_off_and_others_of_its_group_are_not() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    let mut slow = request(&host, "", "text/event-stream");
    let mut begun = [0; 4_096];
    assert!(slow.read(&mut begun).expect("it begins") > 0);
    let other = host.http.follow("/v1/stores/main/events", None);
    assert_eq!(other.take(1).len(), 1);
    fill(&host);
    // The other one gets everything meanwhile.
    assert_eq!(
        other.take(EVENTS as usize).last().map(|event| event["position"].clone()),
        Some(json!(EVENTS))
    );
    sleep(PAUSE);
    let rest = rest(&mut slow);
    let ending = rest.rsplit_once("event: end\n").expect("the last message says why").1;
    assert!(ending.contains("urn:exesdb:problem:overloaded") && ending.contains("the last id"), "{ending}");
    let last_id = rest.rsplit_once("\nid: ").expect("events have ids").1;
    let last: u64 = last_id.split_once('@').expect("with the history").0.parse().expect("it is a position");
    assert!(0 < last && last < EVENTS, "{last}");
    let resumed = host.http.follow("/v1/stores/main/events", Some(last));
    let resumed = resumed.take(usize::try_from(EVENTS - last).expect("it is small"));
    assert_eq!(resumed.first().map(|event| event["position"].clone()), Some(json!(last + 1)));
    host.http.append_one("s").expect(200);
    assert_eq!(other.take(1)[0]["position"], EVENTS + 1);
}

/// Begins a pipeline of appends.
fn pipeline(host: &Host) -> Connection {
    let mut connection = host.http.connect();
    let head = "POST /v1/stores/main/append HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).expect("the host reads");
    connection
}

/// A part of a body that is sent in chunks.
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn send(connection: &mut Connection, text: &str) {
    connection.write_all(chunk(text).as_bytes()).expect("the host reads");
}

/// Reads until a text comes.
#[track_caller]
fn until(connection: &mut Connection, text: &str) {
    let (mut response, mut buffer) = (String::new(), [0; 4_096]);
    while !response.contains(text) {
        let bytes = connection.read(&mut buffer).expect("the host goes on");
        assert!(bytes > 0, "it ended without {text}: {response}");
        response.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
    }
}

#[test]
fn a_pipeline_may_be_silent_between_appends_but_not_within_a_large_one() {
    let host = Host::start();
    let append = "{\"stream\":\"s\",\"events\":[{\"type\":\"t\",\"data\":1}]}\n";
    let (mut between, mut within, mut little_by_little) = (pipeline(&host), pipeline(&host), pipeline(&host));
    send(&mut between, append);
    until(&mut between, "\"last_version\":0");
    let large = format!("{{\"stream\":\"{}", "x".repeat(64 << 10));
    for (version, slow) in (1..).zip([&mut within, &mut little_by_little]) {
        send(slow, append);
        until(slow, &format!("\"last_version\":{version}"));
        send(slow, &large);
    }
    for _ in 0..8 {
        sleep(PAUSE / 8);
        // Once it is cut off, nothing can be sent.
        drop(little_by_little.write_all(b"1\r\nx\r\n"));
    }
    let mut buffer = [0; 4_096];
    for slow in [&mut within, &mut little_by_little] {
        let end = slow.read(&mut buffer).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "it is not cut off: {end:?}");
    }
    send(&mut between, append);
    until(&mut between, "\"last_version\":3");
}

/// Appends that are sent at once by a client that takes no answers. One of so many is made, and the others are refused, because
/// that fills a response sooner.
const LINES: usize = 50;

/// More than the host, its answers and the buffers of sockets can hold of what is sent.
const SENT_MAX: usize = 256 << 20;

/// If nothing is taken for so long, the host reads no more.
const STUCK: Duration = Duration::from_secs(5);

/// Sends appends without taking an answer until the host reads no more. Returns how many it could have made.
fn send_until_stuck(connection: &mut Connection) -> usize {
    connection.set_write_timeout(Some(STUCK)).expect("a socket has a timeout");
    let event = "\"events\":[{\"type\":\"t\",\"data\":";
    let refused = format!("{{\"stream\":\"{}\",\"expected_version\":7,{event}1}}]}}\n", "x".repeat(256));
    let refused = refused.repeat(LINES - 1);
    let mut sent = 0;
    for number in 0.. {
        let chunk = chunk(&format!("{{\"stream\":\"slow\",{event}{number}}}]}}\n{refused}"));
        let mut left = chunk.as_bytes();
        while !left.is_empty() {
            match connection.write(left) {
                Ok(bytes) => left = &left[bytes..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return number + 1;
                }
                Err(error) => panic!("the host has cut it off before it read no more: {error}"),
            }
        }
        sent += chunk.len();
        assert!(sent < SENT_MAX, "the host goes on although no answer is taken");
    }
    unreachable!("it returns, or sends too much")
}

#[test]
fn a_pipeline_whose_answers_nobody_takes_is_cut_off_and_others_are_not() {
    let host = Host::start();
    let mut slow = pipeline(&host);
    let slow = std::thread::spawn(move || {
        let sent = send_until_stuck(&mut slow);
        sleep(PAUSE);
        let mut response = Vec::new();
        if let Err(error) = slow.read_to_end(&mut response) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is not cut off: {error}");
        }
        (sent, String::from_utf8_lossy(&response).into_owned())
    });
    // All the while, others append and get their answers.
    let mut other = pipeline(&host);
    for version in 0.. {
        send(&mut other, "{\"stream\":\"other\",\"events\":[{\"type\":\"t\",\"data\":1}]}\n");
        until(&mut other, &format!("\"last_version\":{version},"));
        host.http.append_one("single").expect(200);
        if slow.is_finished() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let (sent, response) = slow.join().expect("the slow client was cut off");
    let (_, body) = response.split_once("\r\n\r\n").expect("it has a head");
    assert!(!body.ends_with("0\r\n\r\n"), "the response is complete");
    // The last line may have come in part.
    let answers = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let versions: Vec<u64> = answers.filter_map(|answer| answer["last_version"].as_u64()).collect();
    assert_eq!(versions, (0..versions.len() as u64).collect::<Vec<_>>());
    let stored = host.http.read("slow");
    for (number, event) in stored.iter().enumerate() {
        assert_eq!(event["data"], number, "appends are made in their order");
    }
    let (answered, stored) = (versions.len(), stored.len());
    assert!(0 < answered && answered <= stored && stored < sent, "{answered}, {stored}, {sent}");
    assert_eq!(host.traps(), NO_EVENTS);
}
