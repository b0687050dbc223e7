//! Live reads: existing events, then new ones, and resumption after a broken connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use exesdb_tests::{Client, Connection, Host, eventually, stderr};
use serde_json::{Value, json};

fn append(http: &Client, stream: &str, count: usize) {
    for _ in 0..count {
        http.append_one(stream).expect(200);
    }
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["position"].as_u64().expect("a position is a number")).collect()
}

fn versions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["version"].as_u64().expect("a version is a number")).collect()
}

#[test]
fn existing_events_come_first_and_then_new_ones() {
    let host = Host::start();
    append(&host.http, "s", 300);
    append(&host.http, "other", 2);
    let stream = host.http.follow("/v1/stores/main/streams/s/events", None);
    let store = host.http.follow("/v1/stores/main/events", None);
    assert_eq!(versions(&stream.take(300)), (0..300).collect::<Vec<_>>());
    assert_eq!(positions(&store.take(302)), (0..302).collect::<Vec<_>>());
    for _ in 0..20 {
        append(&host.http, "other", 1);
        append(&host.http, "s", 1);
    }
    assert_eq!(versions(&stream.take(20)), (300..320).collect::<Vec<_>>());
    assert_eq!(positions(&store.take(40)), (302..342).collect::<Vec<_>>());
    assert!(stream.is_silent() && store.is_silent(), "each event comes once");
}

#[test]
fn following_begins_at_the_given_position() {
    let host = Host::start();
    for _ in 0..5 {
        append(&host.http, "other", 1);
        append(&host.http, "s", 1);
    }
    // route, last event id, first event: (version, position)
    let table = [
        ("streams/s/events?from=3", None, (3, 7)),
        ("streams/s/events?from=0", None, (0, 1)),
        ("streams/s/events?from=end", None, (5, 11)),
        ("streams/s/events?from=5", None, (5, 11)),
        ("events?from=4", None, (2, 4)),
        ("events?from=end", None, (5, 10)),
        // The header takes precedence: a client that reconnects sends it.
        ("streams/s/events", Some(3), (2, 5)),
        ("streams/s/events?from=0", Some(3), (2, 5)),
        ("streams/s/events?from=end", Some(3), (2, 5)),
        // A position of another stream: the first event of this stream after it.
        ("streams/s/events", Some(4), (2, 5)),
        ("streams/s/events", Some(9), (5, 11)),
        ("events", Some(0), (0, 1)),
        ("events?from=end", Some(3), (2, 4)),
        ("events", Some(9), (5, 10)),
    ];
    let followers: Vec<_> = table
        .iter()
        .map(|(route, last, _)| host.http.follow(&format!("/v1/stores/main/{route}"), *last))
        .collect();
    append(&host.http, "other", 1);
    append(&host.http, "s", 1);
    for ((route, last, (version, position)), follower) in table.iter().zip(&followers) {
        let first = &follower.take(1)[0];
        assert_eq!(
            (&first["version"], &first["position"]),
            (&(*version).into(), &(*position).into()),
            "{route} {last:?}"
        );
    }
}

#[test]
fn a_stream_can_be_followed_before_it_exists() {
    let host = Host::start();
    append(&host.http, "other", 3);
    let from_start = host.http.follow("/v1/stores/main/streams/later/events", None);
    let from_end = host.http.follow("/v1/stores/main/streams/later/events?from=end", None);
    append(&host.http, "other", 3);
    assert!(from_start.is_silent() && from_end.is_silent());
    append(&host.http, "later", 2);
    assert_eq!(versions(&from_start.take(2)), [0, 1]);
    assert_eq!(versions(&from_end.take(2)), [0, 1]);
}

#[test]
fn a_broken_connection_is_resumed_without_a_gap() {
    let host = Host::start();
    append(&host.http, "s", 10);
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let last = seen.last().copied();
        let follower = host.http.follow("/v1/stores/main/events", last);
        // The connection is dropped with messages in flight.
        append(&host.http, "s", 7);
        seen.extend(positions(&follower.take(4)));
    }
    assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
}

#[test]
fn every_follower_of_a_busy_stream_sees_each_event_once() {
    const APPENDS: usize = 100;
    const WRITERS: usize = 4;
    let host = Host::start();
    let store: Vec<_> = (0..6).map(|_| host.http.follow("/v1/stores/main/events", None)).collect();
    let stream: Vec<_> = (0..6).map(|_| host.http.follow("/v1/stores/main/streams/s/events", None)).collect();
    let writer = |_| {
        let http = host.http.clone();
        std::thread::spawn(move || append(&http, "s", APPENDS))
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    let all: Vec<u64> = (0..(APPENDS * WRITERS) as u64).collect();
    for follower in &store {
        assert_eq!(positions(&follower.take(all.len())), all);
    }
    for follower in &stream {
        assert_eq!(versions(&follower.take(all.len())), all);
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert!(store.iter().chain(&stream).all(|follower| follower.is_silent()));
}

#[test]
fn a_restart_of_a_part_ends_no_follower() {
    let host = Host::start();
    append(&host.http, "s", 3);
    let paths = ["events", "streams/s/events", "events?stream_prefix=s", "events?from=1"];
    let followers: Vec<_> =
        paths.iter().map(|path| host.http.follow(&format!("/v1/stores/main/{path}"), None)).collect();
    let parts = [
        "system/gateway-system/gateway-workers/0",
        "system/gateway-system/gateway-workers/1",
        "system/gateway-system/pubsub",
        "system/core-system/store-system/store",
        "system/core-system/persistence-system/streams/readers",
        "system",
        // All components are loaded again.
        "",
    ];
    for part in parts {
        host.ok(&["kill", format!("host/main/{part}").trim_end_matches('/')]);
        // It may be refused meanwhile.
        eventually("an append is served", || (host.http.append_one("s").status == 200).then_some(()));
    }
    let all = positions(&host.http.read_all());
    for (path, follower) in paths.iter().zip(&followers) {
        let expected = if path.ends_with("from=1") { &all[1..] } else { &all[..] };
        assert_eq!(positions(&follower.take(expected.len())), expected, "{path}");
    }
    append(&host.http, "s", 1);
    assert!(followers.iter().all(|follower| positions(&follower.take(1)) == [all.len() as u64]));
}

#[test]
fn a_store_without_pubsub_can_be_followed() {
    let host = Host::with_config("[[store]]\nname = \"main\"\npubsub = false\n");
    let follower = host.http.follow("/v1/stores/main/streams/s/events", None);
    for version in 0..5 {
        append(&host.http, "s", 1);
        assert_eq!(versions(&follower.take(1)), [version]);
    }
}

/// The raw messages of a live read, up to one with this text.
fn messages_until(host: &Host, path: &str, last_event_id: Option<u64>, text: &str) -> String {
    let mut connection = host.http.connect();
    let resumed = last_event_id.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{resumed}connection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).expect("the host reads");
    let (mut response, mut buffer) = (String::new(), [0; 4_096]);
    while !response.contains(text) {
        let bytes = connection.read(&mut buffer).expect("the host goes on");
        assert!(bytes > 0, "it ended without {text}: {response}");
        response.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
    }
    response
}

#[test]
fn a_tombstone_ends_following_and_says_why() {
    let host = Host::start();
    append(&host.http, "s", 2);
    append(&host.http, "t", 1);
    let stream = host.http.follow("/v1/stores/main/streams/s/events", None);
    let store = host.http.follow("/v1/stores/main/events", None);
    assert_eq!((stream.take(2).len(), store.take(3).len()), (2, 3));
    let command = |arguments: &[&str]| {
        let mut command = host.command();
        command.arg("follow").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary can be run")
    };
    let mut printing = command(&["s", "--json"]);
    let mut printed = BufReader::new(printing.stdout.take().expect("it was piped")).lines();
    for version in 0..2 {
        let event: Value =
            serde_json::from_str(&printed.next().expect("an event").expect("a line")).expect("JSON");
        assert_eq!(event["version"], version);
    }
    // A deleted stream may begin again.
    host.http.delete(&host.http.stream("s")).expect(204);
    append(&host.http, "s", 1);
    // Both have read it before it is hidden.
    assert_eq!((versions(&stream.take(1)), versions(&store.take(1))), (vec![2], vec![2]));
    host.http.delete(&format!("{}?tombstone=true", host.http.stream("s"))).expect(204);
    assert!(stream.next().is_none(), "nothing more can come");
    let output = printing.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("the stream `s` has a tombstone"), "{}", stderr(&output));
    assert_eq!(printed.count(), 1, "what came before is printed");
    // Followers of the whole store continue.
    append(&host.http, "t", 1);
    assert_eq!(versions(&store.take(1)), [1]);
    // A later follower gets the message immediately.
    let output = command(&["s"]).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    host.http
        .get_with("/v1/stores/main/streams/s/events", &[("accept", "text/event-stream")])
        .expect_problem(410, "stream-deleted");
}

#[test]
fn the_last_message_says_why_a_stream_ends() {
    let host = Host::start();
    append(&host.http, "s", 1);
    let path = "/v1/stores/main/streams/s/events";
    let ending = std::thread::scope(|scope| {
        let ending = scope.spawn(|| messages_until(&host, path, None, "event: end"));
        let follower = host.http.follow(path, None);
        assert_eq!(follower.take(1).len(), 1);
        host.http.delete(&format!("{}?tombstone=true", host.http.stream("s"))).expect(204);
        ending.join().expect("the stream ends")
    });
    assert!(ending.contains("event: end\ndata: {\"type\":\"urn:exesdb:problem:stream-deleted\""), "{ending}");
}

#[test]
fn a_filtered_follower_can_resume_where_nothing_matched() {
    let host = Host::start();
    append(&host.http, "s", 1);
    append(&host.http, "other", 20);
    let path = "/v1/stores/main/events?stream_prefix=s";
    let seen = messages_until(&host, path, None, "id: 20@");
    assert!(seen.contains("id: 0@"), "{seen}");
    // Progress is reported while events are skipped, and not only when the connection would fall silent.
    std::thread::scope(|scope| {
        let later = scope.spawn(|| messages_until(&host, path, None, "id: 25@"));
        append(&host.http, "other", 5);
        let later = later.join().expect("it is told");
        assert_eq!(later.matches("data: ").count(), 1, "{later}");
    });
    // It resumes from there.
    append(&host.http, "s", 1);
    let resumed = messages_until(&host, path, Some(25), "data: ");
    assert!(resumed.contains("id: 26@"), "{resumed}");
    // A follower from the end knows where to resume before the first event.
    let at_end = messages_until(&host, "/v1/stores/main/events?from=end", None, "id: ");
    assert!(at_end.contains("id: 26@"), "{at_end}");
}

/// Begins to follow. With HTTP/1.0 the body of the response has no chunks.
fn begin(host: &Host, path: &str) -> Connection {
    let mut connection = host.http.connect();
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("the host reads");
    connection
}

/// Reads until the response has a text so often.
fn read_until(connection: &mut Connection, response: &mut String, text: &str, times: usize) {
    let mut buffer = vec![0; 64 << 10];
    while response.matches(text).count() < times {
        let bytes = connection.read(&mut buffer).expect("the host goes on");
        assert!(bytes > 0, "it ended without {text}");
        response.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
    }
}

/// The kinds of the messages with data; `event` for an event.
fn kinds(response: &str) -> Vec<&str> {
    let (_, body) = response.split_once("\r\n\r\n").expect("it has a head");
    let has_data = |message: &&str| message.lines().any(|line| line.starts_with("data: "));
    let messages = body.split("\n\n").filter(has_data);
    let names = messages.map(|message| message.lines().find_map(|line| line.strip_prefix("event: ")));
    names.map(|name| name.unwrap_or("event")).collect()
}

#[test]
fn a_follower_that_asks_is_told_when_it_falls_behind() {
    const CAUGHT_UP: &str = "event: caught-up\ndata: {}\n\n";
    const EVENT: &str = "\ndata: {\"";
    let host = Host::start();
    append(&host.http, "s", 1);
    let paths = ["/v1/stores/main/events", "/v1/stores/main/streams/s/events"];
    let mut asked = paths.map(|path| (begin(&host, &format!("{path}?caught_up=true")), String::new()));
    let mut others = paths.map(|path| (begin(&host, path), String::new()));
    for (connection, response) in &mut asked {
        read_until(connection, response, CAUGHT_UP, 1);
    }
    for (connection, response) in &mut others {
        read_until(connection, response, EVENT, 1);
    }
    // One append of more than a page has: all of it is there when the page is read, which does not reach the end.
    let event = json!({ "type": "t", "data": "x".repeat(600 << 10) });
    host.http.append("s", "any", &[event.clone(), event.clone(), event]).expect(200);
    for (connection, response) in &mut asked {
        read_until(connection, response, CAUGHT_UP, 2);
        let mut kinds = kinds(response);
        assert_eq!(kinds.iter().filter(|kind| **kind == "event").count(), 4, "each event comes once");
        kinds.dedup();
        assert_eq!(kinds, ["event", "caught-up", "event", "fell-behind", "event", "caught-up"]);
    }
    for (connection, response) in &mut others {
        read_until(connection, response, EVENT, 4);
        assert!(kinds(response).iter().all(|kind| *kind == "event"), "who has not asked is not told");
    }
}
