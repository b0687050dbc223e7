//! Every action, and every way in which a body and a response come.

use exesdb_tests::{Host, after, eventually, last_seq, of_kind};
use serde_json::Value;

use super::{Exchange, LAST_CHUNK, append, get, host, path};

#[test]
fn a_gateway_gets_the_request_with_its_body_whole_or_in_pieces() {
    let host = host("");
    let about = "store main mount http piece 9437184 held 16777216";
    let got = host.http.get_with(&path("echo?a=1&b"), &[("X-Probe", "here")]).expect(200);
    assert_eq!(
        got.text,
        format!("GET /v1/stores/main/probe/echo Some(\"a=1&b\") whole 0 x-probe Some(\"here\") {about}")
    );
    assert_eq!(got.content_type, "text/plain");
    for (bytes, expected) in
        [(0, "whole 0"), (5, "whole 5"), (1 << 20, "whole 1048576"), ((1 << 20) + 1, "pieces Some(1048577)")]
    {
        let text = host.http.post_bytes(&path("echo"), "text/plain", &vec![b'x'; bytes]).expect(200).text;
        assert!(text.contains(&format!(" {expected} ")), "{bytes}: {text}");
    }
    let mut chunked = Exchange::post(&host, "echo");
    assert!(chunked.until(" held 16777216").contains(" pieces None "));
    let head = host.http.head(&path("echo")).expect(200);
    assert_eq!(head.text, "");
}

#[test]
fn calls_are_made_and_their_outcomes_come_with_their_contexts() {
    let host = host("");
    assert_eq!(append(&host, "s", "one"), "versions 0 to 0 at 0 of 1 the context");
    assert_eq!(append(&host, "s", "two"), "versions 1 to 1 at 1 of 2 the context");
    assert_eq!(get(&host, "read"), "page 2");
    // Two calls side by side, by a handler that runs again from its beginning.
    assert_eq!(get(&host, "again"), "end 2 page 2");
    // Events that were held come before those of the call.
    let held = host.http.post_bytes(&path("held/h"), "text/plain", b"part").expect(200);
    assert_eq!(held.text, "versions 0 to 2 at 4 of 5");
    let refused = host.http.post_bytes(&path("append/"), "text/plain", b"x").expect(200);
    assert!(refused.text.starts_with("invalid appends[0].stream-id"), "{}", refused.text);
}

#[test]
fn a_handler_that_runs_again_gets_its_whole_body_or_none() {
    let host = host("");
    for (bytes, expected) in [(10, "\r\n\r\nwhole 10"), (11, "413 Payload Too Large")] {
        let mut exchange = Exchange::post(&host, "again-body/10");
        exchange.send("12345");
        exchange.send(&"x".repeat(bytes - 5));
        exchange.write(LAST_CHUNK);
        exchange.until(expected);
    }
}

#[test]
fn a_body_that_breaks_off_fails_its_request_alone() {
    let host = host("");
    let length = "host: localhost\r\ncontent-length: 100\r\n\r\na\n";
    let before = Exchange::begin(&host, &format!("POST {} HTTP/1.1\r\n{length}", path("append/s")));
    before.shutdown();
    // The host may close the connection without a response.
    let response = before.end();
    let sentence = "body: broke off before its end, and nothing was done; send it again";
    assert!(response.is_empty() || response.contains(sentence), "{response}");
    let mut later = Exchange::post(&host, "lines/s");
    later.send("a\n");
    later.until("a: versions 0 to 0");
    later.shutdown();
    let rest = later.end();
    assert!(!rest.ends_with(LAST_CHUNK), "it has a last chunk: {rest}");
    assert_eq!(host.traps().len(), 0);
    assert_eq!(get(&host, "echo").split(' ').next(), Some("GET"));
}

#[test]
fn appends_of_one_connection_are_pipelined_and_answered_in_order() {
    const LINES: usize = 2_000;
    let host = host("");
    let mut exchange = Exchange::post(&host, "lines/piped");
    // The head comes before the client has sent anything.
    exchange.until("200 OK");
    exchange.send("a\nb\nhalf of ");
    exchange.until("a: versions 0 to 0");
    exchange.until("b: versions 1 to 1");
    exchange.send("c\n");
    exchange.until("half of c: versions 2 to 2");
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line}\n")).collect();
    exchange.send(&lines.concat());
    exchange.write(LAST_CHUNK);
    for line in 0..LINES {
        let version = line + 3;
        // Each answer follows the one before it.
        let answer = exchange.until(&format!("line {line}: versions {version} to {version} "));
        assert!(answer.matches("line ").count() == 1, "{answer}");
    }
    exchange.until(LAST_CHUNK);
    assert_eq!(get(&host, "read"), "page 1000");
}

#[test]
fn changes_that_were_cancelled_count_until_they_are_done() {
    let host = host("");
    append(&host, "s", "one");
    assert_eq!(get(&host, "cancelled/s"), "problem overloaded unknown false");
    append(&host, "s", "it goes on");
    assert_eq!(get(&host, "read"), "page 2");
}

#[test]
fn a_request_without_a_response_is_an_incident() {
    let host = host("[store.limits]\nresponse_wall_ms = 300");
    let text = host.http.get(&path("silent")).expect_problem(500, "internal").text;
    let incident = eventually("it is in the log", || {
        let mut records = host.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        records.find_map(|record| {
            let is_it = record["message"] == "a gateway component did not begin its response";
            is_it.then(|| record["incident"].as_str().expect("an incident has an id").to_owned())
        })
    });
    assert!(text.contains(&incident), "{incident} is not in {text}");
    assert_eq!(get(&host, "read"), "page 0");
}

#[test]
fn a_response_ends_when_a_timer_says_so() {
    let host = host("");
    let mut exchange = Exchange::get(&host, "timer");
    exchange.until("soon, ");
    exchange.until("now");
    exchange.until(LAST_CHUNK);
}

#[test]
fn a_subscription_delivers_while_the_client_sends() {
    let host = host("");
    let mut exchange = Exchange::post(&host, "subscribe");
    exchange.until("page 0 next Some(0) caught-up true\n");
    append(&host, "s", "one");
    exchange.until("page 1 next Some(1) caught-up true\n");
    exchange.send("hello");
    exchange.until("body 5\n");
    // At most as many events as were granted.
    let mut lines = Exchange::post(&host, "lines/many");
    lines.send("1\n2\n3\n4\n5\n");
    lines.write(LAST_CHUNK);
    lines.until("5: ");
    let pages = exchange.until("next Some(6) caught-up true\n");
    for line in pages.lines().filter(|line| line.starts_with("page ")) {
        assert!(line.starts_with("page 1 ") || line.starts_with("page 2 "), "{pages}");
    }
    exchange.write(LAST_CHUNK);
    exchange.until("body 0\n");
    exchange.until(LAST_CHUNK);
}

#[test]
fn a_host_that_stops_tells_those_that_are_open() {
    let host = host("");
    let mut exchange = Exchange::post(&host, "subscribe");
    exchange.until("page 0 ");
    host.signal("TERM");
    exchange.until("draining 4000\n");
    exchange.until(LAST_CHUNK);
    host.ended();
}

#[test]
fn a_restart_of_the_store_does_not_end_a_subscription() {
    let host = host("");
    let mut exchange = Exchange::post(&host, "subscribe");
    exchange.until("page 0 ");
    for (event, path) in [
        "host/main/system/core-system/persistence-system/streams/readers",
        "host/main/system/core-system/store-system/store",
    ]
    .into_iter()
    .enumerate()
    {
        let mark = last_seq(&host.events());
        host.ok(&["kill", path]);
        eventually("it was restarted", || {
            let events = after(&host.events(), mark);
            let started = [of_kind(&events, "started"), of_kind(&events, "sup_started")].concat();
            started.iter().any(|event| event["path"] == path).then_some(())
        });
        let is_up = |host: &Host| host.http.get("/health/ready").status == 200;
        eventually("the store serves", || is_up(&host).then_some(()));
        append(&host, "s", &format!("event {event}"));
        exchange.until(&format!("next Some({}) caught-up true\n", event + 1));
    }
}
