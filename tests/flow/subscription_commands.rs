//! `exesdb subscription`: what its options select, what it lists and forgets, and how it names mistakes.

use exesdb_tests::{Host, NO_EVENTS, eventually, stderr};
use serde_json::{Value, json};

const TO_BE: &str = r#"{"to":{"country":"BE"}}"#;

/// Creates a subscription with these options.
#[track_caller]
fn create(host: &Host, name: &str, options: &[&str]) {
    let said = host.ok(&[&["subscription", "create", name][..], options].concat());
    assert!(said.contains("created"), "{said}");
}

/// The positions of what `exesdb consume` prints.
#[track_caller]
fn consumed(host: &Host, name: &str, options: &[&str]) -> Vec<u64> {
    let events = host.json(&[&["consume", name, "--json"][..], options].concat());
    events.iter().map(|event| event["position"].as_u64().expect("a number")).collect()
}

/// Checks that a subscription delivers these events, and then nothing more.
#[track_caller]
fn delivers(host: &Host, name: &str, positions: &[u64]) {
    let count = positions.len().to_string();
    assert_eq!(consumed(host, name, &["--count", &count]), positions, "{name}");
    assert_eq!(consumed(host, name, &["--idle-for", "1"]), [0_u64; 0], "{name} has nothing else");
}

/// A name, options of `create`, and the positions of the events that they select.
type Case = (&'static str, &'static [&'static str], &'static [u64]);

const CASES: [Case; 16] = [
    ("all", &[], &[0, 1, 2, 3, 4]),
    ("type", &["--type", "placed"], &[0, 1]),
    ("types", &["--type", "placed", "--type", "sent"], &[0, 1, 3]),
    ("tag", &["--tag", "x"], &[0, 1, 3]),
    ("tags", &["--tag", "x", "--tag", "y"], &[1]),
    ("type-and-tag", &["--type", "placed", "--tag", "y"], &[1]),
    ("regex", &["--regex", "^p"], &[0, 1, 2]),
    ("prefix", &["--stream-prefix", "order-"], &[0, 1, 2]),
    ("prefixes", &["--stream-prefix", "order-2", "--stream-prefix", "invoice-2"], &[1, 2, 4]),
    ("pattern", &["--pattern", r#"{"type":"placed","tags":["x"]}"#], &[0, 1]),
    ("payload", &["--payload", TO_BE], &[0, 2, 3]),
    ("pattern-and-payload", &["--pattern", r#"{"tags":["x"]}"#, "--payload", TO_BE], &[0, 3]),
    ("stream", &["--stream", "order-2"], &[1, 2]),
    ("stream-and-payload", &["--stream", "order-2", "--payload", TO_BE], &[2]),
    ("from", &["--stream", "order-2", "--from", "1"], &[2]),
    (
        "everything",
        &[
            "--type",
            "placed",
            "--type",
            "paid",
            "--tag",
            "y",
            "--regex",
            "^p",
            "--stream-prefix",
            "order-",
            "--payload",
            TO_BE,
        ],
        &[2],
    ),
];

#[test]
fn the_options_of_create_select_what_is_consumed() {
    let host = Host::start();
    let events: [(&str, &str, &str, &[&str]); 5] = [
        ("order-1", "placed", "BE", &["x"]),
        ("order-2", "placed", "NL", &["x", "y"]),
        ("order-2", "paid", "BE", &["y"]),
        ("invoice-1", "sent", "BE", &["x"]),
        ("invoice-2", "cancelled", "NL", &["z"]),
    ];
    for (stream, kind, country, tags) in events {
        let event = json!({ "type": kind, "data": { "to": { "country": country }, "n": 1 }, "tags": tags });
        host.http.append(stream, "any", &[event]).expect(200);
    }
    for (name, options, _) in CASES {
        create(&host, name, options);
    }
    std::thread::scope(|scope| {
        for (name, _, positions) in CASES {
            let host = &host;
            scope.spawn(move || delivers(host, name, positions));
        }
    });
}

#[test]
fn a_subscription_from_the_end_has_what_comes_later() {
    let host = Host::start();
    host.http.append_many("a", 3).expect(200);
    let subscriptions: [(&str, &[&str], u64); 3] = [
        ("store", &["--from", "end"], 3),
        ("stream", &["--stream", "a", "--from", "end"], 3),
        ("new", &["--stream", "b", "--from", "end"], 0),
    ];
    for (name, options, from) in subscriptions {
        create(&host, name, options);
        assert_eq!(host.http.described(name)["from"], from, "{name}");
    }
    host.http.append_many("a", 2).expect(200);
    host.http.append_many("b", 2).expect(200);
    delivers(&host, "store", &[3, 4, 5, 6]);
    delivers(&host, "stream", &[3, 4]);
    delivers(&host, "new", &[5, 6]);
}

#[test]
fn subscriptions_are_listed_as_json() {
    let host = Host::start();
    create(&host, "a/1", &["--stream", "a", "--retries", "3"]);
    create(&host, "a/2", &["--type", "t", "--strategy", "pinned"]);
    create(&host, "b", &["--buffer-events", "7", "--poison", "halt"]);
    host.ok(&["subscription", "pause", "b"]);
    let page = host.http.get(&format!("{}/subscriptions", host.http.path())).expect(200).json;
    let listed = host.json(&["subscription", "list", "--json"]);
    assert_eq!(json!(listed), page["subscriptions"], "as the gateway wrote them");
    let of: Vec<_> =
        listed.iter().map(|subscription| [&subscription["name"], &subscription["state"]]).collect();
    assert_eq!(json!(of), json!([["a/1", "active"], ["a/2", "active"], ["b", "paused"]]));
    assert_eq!(listed[0]["settings"]["retries_max"], 3);
    assert_eq!(listed[1]["settings"]["strategy"], "pinned");
    assert_eq!(
        (&listed[2]["settings"]["buffer_events"], &listed[2]["settings"]["poison"]),
        (&json!(7), &json!("halt"))
    );
    let some = host.json(&["subscription", "list", "--prefix", "a/", "--json"]);
    assert_eq!(some, &listed[..2]);
    assert_eq!(host.json(&["subscription", "list", "--prefix", "c", "--json"]), NO_EVENTS);
}

/// Has a consumer park four events of a subscription.
fn park(host: &Host, name: &str) {
    let mut consumer = host.http.consume(name, 10);
    let events = consumer.take(4);
    let places: Vec<&Value> = events.iter().map(|event| &event["delivery"]["place"]).collect();
    consumer.settle(&json!({ "park": places, "reason": "why", "leave": true }));
    eventually("all of them are parked", || (host.http.described(name)["parked"] == 4).then_some(()));
}

/// The places of what is parked, as the command says it.
fn parked(host: &Host, name: &str) -> Vec<u64> {
    let parked = host.json(&["subscription", "parked", name, "--json"]);
    parked.iter().map(|parked| parked["place"].as_u64().expect("a number")).collect()
}

#[test]
fn parked_events_are_shown_with_what_they_are_and_forgotten() {
    let host = Host::start();
    host.http.append_many("other", 2).expect(200);
    host.http.append_many("a/b", 4).expect(200);
    create(&host, "store", &["--from", "2"]);
    create(&host, "stream", &["--stream", "a/b"]);
    let events = host.http.read("a/b");
    // The name, and the place of the first event.
    for (name, first) in [("store", 2_u64), ("stream", 0)] {
        park(&host, name);
        let shown = host.json(&["subscription", "parked", name, "--json"]);
        let text = host.ok(&["subscription", "parked", name]);
        assert_eq!(shown.len(), events.len());
        for (place, (shown, event)) in (first..).zip(shown.iter().zip(&events)) {
            assert_eq!((&shown["place"], &shown["event"]), (&json!(place), event), "{name}");
            assert_eq!((&shown["reason"], &shown["deliveries"]), (&json!("why"), &json!(1)), "{name}");
            let version = &event["version"];
            assert!(text.contains(&format!("{place}  delivered 1 times: why\n")), "{text}");
            assert!(text.contains(&format!("  a/b@{version}  t  1\n")), "{text}");
        }
    }

    let truncate = |arguments: &[&str]| host.ok(&[&["subscription", "truncate"][..], arguments].concat());
    assert_eq!(truncate(&["store", "--from", "3", "--up-to", "4"]), "2 parked events are forgotten\n");
    assert_eq!(parked(&host, "store"), [2, 5]);
    assert_eq!(truncate(&["store", "--from", "6"]), "0 parked events are forgotten\n");
    assert_eq!(host.http.described("store")["parked"], 2);
    assert_eq!(parked(&host, "stream"), [0, 1, 2, 3], "those of another one stay");

    // What was parked may be gone from the store.
    host.ok(&["delete", "a/b"]);
    for name in ["store", "stream"] {
        let shown = host.json(&["subscription", "parked", name, "--json"]);
        assert!(shown.iter().all(|shown| shown.get("event") == Some(&Value::Null)), "{shown:#?}");
        let text = host.ok(&["subscription", "parked", name]);
        assert_eq!(text.matches("  the store does not have the event any more\n").count(), shown.len());
        assert_eq!(
            truncate(&[name]),
            format!("{} parked events are forgotten\n", shown.len()),
            "all of them without a place"
        );
        assert_eq!(parked(&host, name), [0_u64; 0]);
        assert_eq!(host.http.described(name)["parked"], 0);
    }
}

/// Runs `exesdb subscription`, which must fail with this code and print nothing but the error, which it returns.
#[track_caller]
fn refused(host: &Host, arguments: &[&str], code: i32) -> String {
    let output = host.exesdb(&[&["subscription"][..], arguments].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    said
}

#[test]
fn mistakes_are_named_by_the_options() {
    let host = Host::start();
    create(&host, "there", &[]);
    let (large, long) = (format!("\"{}\"", "x".repeat(5_000)), "x".repeat(257));
    // arguments, beginning of the error
    let table: [(&[&str], &str); 13] = [
        (&["create", "s", "--type", ""], "--type: is empty; it must have 1 to 256 bytes"),
        (&["create", "s", "--tag", "x", "--tag", ""], "--tag: is empty; it must have 1 to 256 bytes"),
        (&["create", "s", "--regex", "("], "--regex: is no regular expression that can be used: "),
        (&["create", "s", "--stream", ""], "--stream: is empty; it must have 1 to 256 bytes"),
        (&["create", "s", "--pattern", r#"{"kind":1}"#], "--pattern: has the member `kind`; "),
        (&["create", "s", "--payload", &large], "--payload: has "),
        (&["create", "s", "--ack-timeout", "99"], "--ack-timeout: is 99; it must be at least 100 and "),
        (&["create", "s", "--retries", "1001"], "--retries: is 1001; it must be at least 0 and at most 1000"),
        (&["create", "s", "--consumers-max", "0"], "--consumers-max: is 0; it must be at least 1 and "),
        (&["update", "there", "--retries", "1001"], "--retries: is 1001; it must be at least 0 and "),
        (&["update", "there", "--checkpoint-ms", "9"], "--checkpoint-ms: is 9; it must be at least 10 and "),
        (&["create", "a\u{7}"], "the name: has the control character U+0007 at byte 1; "),
        (&["create", "s", "--stream-prefix", &long], "--stream-prefix: has 257 bytes; it may have 256"),
    ];
    for (arguments, expected) in table {
        let said = refused(&host, arguments, 1);
        assert!(said.starts_with(&format!("exesdb: {expected}")), "{arguments:?}: {said}");
    }
    assert_eq!(host.json(&["subscription", "list", "--json"]).len(), 1, "what was refused created nothing");
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let host = Host::start();
    // arguments, exit code, part of the error
    let table: [(&[&str], i32, &str); 5] = [
        (
            &["--pattern", "{\"data\":1}", "--payload", "1"],
            1,
            "exesdb: --payload is the member `data` of --pattern: give one of them",
        ),
        (&["--pattern", "[]"], 2, "write a JSON object, such as {\"type\":\"placed\"}"),
        (&["--payload", "{"], 2, "it is not JSON"),
        (&["--from", "start"], 2, "write a number or end"),
        (&["--stream", "a", "--tag", "x"], 2, "cannot be used with"),
    ];
    for (options, code, part) in table {
        let said = refused(&host, &[&["create", "s"][..], options].concat(), code);
        assert!(said.contains(part), "{options:?}: {said}");
    }
    assert_eq!(host.json(&["subscription", "list", "--json"]), NO_EVENTS);
}

#[test]
fn mistakes_are_named_by_the_members_of_the_request() {
    let host = Host::start();
    let path = host.http.subscription("s");
    for (body, field) in [
        (json!({ "settings": { "ack_timeout_ms": 99 } }), "settings.ack_timeout_ms"),
        (json!({ "settings": { "checkpoint_events_max": 0 } }), "settings.checkpoint_events_max"),
        (json!({ "selector": { "pattern": { "kind": 1 } } }), "selector.pattern"),
        (json!({ "selector": { "stream": "" } }), "selector.stream"),
        (json!({ "selector": { "query": [{ "tags": [""] }] } }), "selector.query[0].tags[0]"),
        (json!({ "selector": { "query": [{}, { "types": ["t", ""] }] } }), "selector.query[1].types[1]"),
        (json!({ "selector": { "type_pattern": "(" } }), "selector.type_pattern"),
    ] {
        let refused = host.http.put(&path, &body).expect_problem(400, "invalid-argument");
        assert_eq!(refused.json["field"], field, "{body}");
        assert!(refused.detail().starts_with(&format!("{field}: ")), "{}", refused.text);
    }
}
