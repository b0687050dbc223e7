//! Transactions, imports and retention: whole requests, and their bodies.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exesdb_gateway_http::body::{
    Import, decode_append, decode_import, decode_import_states_request, decode_retention, decode_transaction,
};
use exesdb_gateway_http::limits::{
    APPEND_EVENTS_MAX, IMPORT_EVENTS_MAX, IMPORT_MARKS_MAX, IMPORT_STATES_MAX, QUERY_ITEMS_MAX,
    QUERY_TYPES_MAX, TAGS_MAX, TRANSACTION_APPENDS_MAX, TRANSACTION_CHECKS_MAX, TRANSACTION_CONDITIONS_MAX,
};
use exesdb_gateway_http::problem::{Kind, Member, Problem};
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

fn transact(store: &mut TestStore, body: &str) -> TestResponse {
    Request::new("POST", "/v1/stores/main/transactions").body(body).send(store)
}

fn import(store: &mut TestStore, body: &str) -> TestResponse {
    Request::new("POST", "/v1/stores/main/import").body(body).send(store)
}

fn field(problem: &Problem) -> &str {
    match problem.members.first() {
        Some(("field", Member::Text(field))) => field,
        other => panic!("the first member names the field, not {other:?}"),
    }
}

#[test]
fn a_transaction_returns_a_result_for_each_append() {
    let mut store = TestStore::with(&["a"]);
    let response = transact(
        &mut store,
        r#"{"appends":[
            {"stream":"a","expected_version":0,"events":[{"type":"t","data":1},{"type":"t","data":2}]},
            {"stream":"b/c","events":[{"id":"x","type":"t","data":3,"tags":["k:v"]}]}
        ],"checks":[{"stream":"d","expected_version":"no_stream"}]}"#,
    );
    assert_eq!(
        response.json(),
        json!({"results": [
            {"stream": "a", "first_version": 1, "last_version": 2, "position": 2},
            {"stream": "b/c", "first_version": 0, "last_version": 0, "position": 3},
        ], "history": "00000000000000aa"})
    );
    let events = store.events();
    let ids: Vec<&str> = events.iter().skip(1).map(|event| event.id.as_str()).collect();
    assert_eq!((ids[0].len(), ids[1].len(), ids[2]), (36, 36, "x"));
    assert_ne!(ids[0], ids[1]);
    assert_eq!(events[3].tags, ["k:v"]);
}

#[test]
fn a_refused_transaction_states_the_reason() {
    let mut store = TestStore::with(&["a", "b"]);
    let body =
        |rest: &str| format!(r#"{{"appends":[{{"stream":"c","events":[{{"type":"t","data":1}}]}}]{rest}}}"#);
    for (rest, problem, members) in [
        (
            r#","checks":[{"stream":"b","expected_version":3}]"#,
            "wrong-expected-version",
            json!(["b", 0, null, null]),
        ),
        (
            r#","checks":[{"stream":"d","expected_version":"stream_exists"}]"#,
            "wrong-expected-version",
            json!(["d", null, null, null]),
        ),
        (
            r#","conditions":[{"query":[{"types":["other"]}]},{"query":[{"tags":["of:b"]}],"after":0}]"#,
            "condition-failed",
            json!([null, null, 1, 1]),
        ),
        (r#","conditions":[{"query":[{}],"after":null}]"#, "condition-failed", json!([null, null, 0, 0])),
    ] {
        let response = transact(&mut store, &body(rest));
        assert_eq!((response.status, response.problem().as_str()), (409, problem), "{rest}");
        let found = response.json();
        let found = json!([found["stream"], found["actual_version"], found["condition"], found["position"]]);
        assert_eq!(found, members, "{rest}");
        assert_eq!(store.end(), 2);
    }
    let held = body(r#","conditions":[{"query":[{}],"after":1}]"#);
    assert_eq!(transact(&mut store, &held).status, 200);
}

#[test]
fn refused_transactions_name_their_field() {
    let (invalid, malformed) = (Kind::InvalidArgument, Kind::MalformedBody);
    let append =
        |rest: &str| format!(r#"{{"appends":[{{"stream":"s","events":[{{"type":"t","data":1{rest}}}]}}]}}"#);
    let beside =
        |rest: &str| format!(r#"{{"appends":[{{"stream":"s","events":[{{"type":"t","data":1}}]}}],{rest}}}"#);
    let long = "x".repeat(257);
    for (body, kind, named) in [
        (String::new(), malformed, "body"),
        ("[]".to_owned(), invalid, "body"),
        ("{}".to_owned(), invalid, "appends"),
        (r#"{"appends":[]}"#.to_owned(), invalid, "appends"),
        (r#"{"appends":{}}"#.to_owned(), invalid, "appends"),
        (r#"{"append":[]}"#.to_owned(), invalid, "append"),
        (r#"{"appends":[1]}"#.to_owned(), invalid, "appends[0]"),
        (r#"{"appends":[{}]}"#.to_owned(), invalid, "appends[0].stream"),
        (r#"{"appends":[{"stream":"s"}]}"#.to_owned(), invalid, "appends[0].events"),
        (r#"{"appends":[{"stream":"s","events":[]}]}"#.to_owned(), invalid, "appends[0].events"),
        (r#"{"appends":[{"stream":"","events":[]}]}"#.to_owned(), invalid, "appends[0].stream"),
        (r#"{"appends":[{"stream":7}]}"#.to_owned(), invalid, "appends[0].stream"),
        (format!(r#"{{"appends":[{{"stream":"{long}"}}]}}"#), invalid, "appends[0].stream"),
        (r#"{"appends":[{"stream":"\u0000"}]}"#.to_owned(), invalid, "appends[0].stream"),
        (r#"{"appends":[{"streams":"s"}]}"#.to_owned(), invalid, "appends[0].streams"),
        (r#"{"appends":[{"stream":"s","stream":"s"}]}"#.to_owned(), invalid, "appends[0].stream"),
        (r#"{"appends":[{"expected_version":-1}]}"#.to_owned(), invalid, "appends[0].expected_version"),
        (append(r#","x":1"#), invalid, "appends[0].events[0].x"),
        (append(r#","id":"""#), invalid, "appends[0].events[0].id"),
        (append(r#","tags":null"#), invalid, "appends[0].events[0].tags"),
        (append(r#","tags":"k""#), invalid, "appends[0].events[0].tags"),
        (append(r#","tags":["k",1]"#), invalid, "appends[0].events[0].tags[1]"),
        (append(r#","tags":["k",""]"#), invalid, "appends[0].events[0].tags[1]"),
        (append(r#","tags":["k","k"]"#), invalid, "appends[0].events[0].tags[1]"),
        (append(&format!(r#","tags":["{long}"]"#)), invalid, "appends[0].events[0].tags[0]"),
        (append(r#","tags":["a\n"]"#), invalid, "appends[0].events[0].tags[0]"),
        (append(r#","tags":["a]"#), malformed, "appends[0].events[0].tags[0]"),
        (beside(r#""checks":1"#), invalid, "checks"),
        (beside(r#""checks":[{}]"#), invalid, "checks[0].stream"),
        (beside(r#""checks":[{"stream":"s"}]"#), invalid, "checks[0].expected_version"),
        (
            beside(r#""checks":[{"stream":"s","expected_version":"none"}]"#),
            invalid,
            "checks[0].expected_version",
        ),
        (beside(r#""checks":[{"stream":"s","events":[]}]"#), invalid, "checks[0].events"),
        (beside(r#""conditions":{}"#), invalid, "conditions"),
        (beside(r#""conditions":[{}]"#), invalid, "conditions[0].query"),
        (beside(r#""conditions":[{"query":[]}]"#), invalid, "conditions[0].query"),
        (beside(r#""conditions":[{"query":{}}]"#), invalid, "conditions[0].query"),
        (beside(r#""conditions":[{"query":[{}],"after":-1}]"#), invalid, "conditions[0].after"),
        (beside(r#""conditions":[{"query":[{}],"after":1.5}]"#), invalid, "conditions[0].after"),
        (beside(r#""conditions":[{"query":[{}],"after":"1"}]"#), invalid, "conditions[0].after"),
        (beside(r#""conditions":[{"query":[{"types":[""]}]}]"#), invalid, "conditions[0].query[0].types[0]"),
        (
            beside(r#""conditions":[{"query":[{},{"tags":["\t"]}]}]"#),
            invalid,
            "conditions[0].query[1].tags[0]",
        ),
        (
            beside(r#""conditions":[{"query":[{"tags":["a","a"]}]}]"#),
            invalid,
            "conditions[0].query[0].tags[1]",
        ),
        (beside(r#""conditions":[{"query":[{"type":"a"}]}]"#), invalid, "conditions[0].query[0].type"),
        (beside(r#""conditions":[],"conditions":[]"#), invalid, "conditions"),
    ] {
        let shown: String = body.chars().take(120).collect();
        let problem = decode_transaction(body.as_bytes()).expect_err(&shown);
        assert_eq!((problem.kind, field(&problem)), (kind, named), "{shown}: {}", problem.detail);
        assert!(problem.detail.starts_with(&format!("{named}: ")), "{}", problem.detail);
        assert!(problem.detail.len() < 600, "{}", problem.detail);
    }
}

#[test]
fn problems_of_transactions_state_the_limit() {
    let list = |item: &str, count: usize| vec![item; count].join(",");
    let one = r#"{"stream":"s","events":[{"type":"t","data":1}]}"#;
    let appends = |count| format!(r#"{{"appends":[{}]}}"#, list(one, count));
    let events = |count| {
        let append = format!(r#"{{"stream":"s","events":[{}]}}"#, list(r#"{"type":"t","data":1}"#, count));
        format!(r#"{{"appends":[{append},{one}]}}"#)
    };
    let beside =
        |name: &str, item: &str, count| format!(r#"{{"appends":[{one}],"{name}":[{}]}}"#, list(item, count));
    let check = r#"{"stream":"s","expected_version":0}"#;
    let query = |items: &str| format!(r#"{{"appends":[{one}],"conditions":[{{"query":[{items}]}}]}}"#);
    let types = |count| query(&format!(r#"{{"types":[{}]}}"#, list("\"t\"", count)));
    let tags = |count: usize| {
        let tags: Vec<String> = (0..count).map(|tag| format!("\"{tag}\"")).collect();
        query(&format!(r#"{{"tags":[{}]}}"#, tags.join(",")))
    };
    for (most, over, named, limit) in [
        (
            appends(TRANSACTION_APPENDS_MAX),
            appends(TRANSACTION_APPENDS_MAX + 1),
            "appends",
            TRANSACTION_APPENDS_MAX,
        ),
        (events(APPEND_EVENTS_MAX - 1), events(APPEND_EVENTS_MAX), "appends", APPEND_EVENTS_MAX),
        (
            events(APPEND_EVENTS_MAX - 1),
            events(APPEND_EVENTS_MAX + 1),
            "appends[0].events",
            APPEND_EVENTS_MAX,
        ),
        (
            beside("checks", check, TRANSACTION_CHECKS_MAX),
            beside("checks", check, TRANSACTION_CHECKS_MAX + 1),
            "checks",
            TRANSACTION_CHECKS_MAX,
        ),
        (
            beside("conditions", r#"{"query":[{}]}"#, TRANSACTION_CONDITIONS_MAX),
            beside("conditions", r#"{"query":[{}]}"#, TRANSACTION_CONDITIONS_MAX + 1),
            "conditions",
            TRANSACTION_CONDITIONS_MAX,
        ),
        (
            query(&list("{}", QUERY_ITEMS_MAX)),
            query(&list("{}", QUERY_ITEMS_MAX + 1)),
            "conditions[0].query",
            QUERY_ITEMS_MAX,
        ),
        (types(QUERY_TYPES_MAX), types(QUERY_TYPES_MAX + 1), "conditions[0].query[0].types", QUERY_TYPES_MAX),
        (tags(TAGS_MAX), tags(TAGS_MAX + 1), "conditions[0].query[0].tags", TAGS_MAX),
    ] {
        decode_transaction(most.as_bytes()).unwrap();
        let problem = decode_transaction(over.as_bytes()).unwrap_err();
        assert_eq!((problem.kind, field(&problem)), (Kind::TooLarge, named), "{}", problem.detail);
        assert!(problem.members.contains(&("limit", Member::Number(limit as u64))), "{}", problem.detail);
    }
}

#[test]
fn tags_keep_their_order() {
    let body = br#"{"events":[{"type":"t","data":1,"tags":["b","a"]},{"type":"t","data":1,"tags":[]}]}"#;
    let append = decode_append(body).unwrap();
    let tags: Vec<Vec<&str>> =
        append.events.iter().map(|event| event.tags.iter().map(|tag| &**tag).collect()).collect();
    assert_eq!(tags, [vec!["b", "a"], vec![]]);
}

#[test]
fn events_read_as_lines_can_be_imported() {
    let mut from = TestStore::with(&["s"]);
    from.add_with("t", |event| {
        event.data = b"\xff".to_vec();
        event.content_type = "image/png".to_owned();
    });
    // A line cannot hold line breaks, and does not preserve white space around a value.
    from.add_with("t", |event| {
        event.data = b"{\r\n  \"a\" : \"\\n\"\n}\n".to_vec();
        event.metadata = b"[\n]".to_vec();
    });
    from.add_with("t", |event| {
        event.data = b" 1.50\t".to_vec();
        event.content_type = "application/cloudevents+json".to_owned();
        event.metadata = b" {\"b\" :\t1e400}".to_vec();
    });
    let body = br#"{"events":[{"id":"c","type":"cloud","data":{"a":1},"content_type":"application/cloudevents+json","metadata":[1]}]}"#;
    assert_eq!(Request::append("s", body).send(&mut from).status, 200);
    let lines =
        Request::get("/v1/stores/main/events").header("accept", "application/x-ndjson").send(&mut from);
    let mut events: Vec<&str> = lines.text().lines().collect();
    events.pop();
    let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
    let mut to = TestStore::default();
    let response = import(&mut to, &body);
    assert_eq!(
        response.json(),
        json!({"added": 5, "repeated": 0, "hidden": 0, "durable_position": 5, "history": "00000000000000aa"})
    );
    assert_eq!(to.events(), from.events());
    assert_eq!(import(&mut to, &body).json()["repeated"], json!(5));
}

#[test]
fn snapshots_read_as_lines_can_be_recorded() {
    for (data, metadata) in [
        (&b"{\"a\": [1,\n2]}"[..], &b"[]"[..]),
        (b"\t1e400", b"{\r}"),
        (b"{\"a\" : 1}", b" 1"),
        (b"null", b""),
    ] {
        let path = "/v1/stores/main/streams/s/snapshots/1";
        let (mut from, mut to) = (TestStore::with(&["s"]), TestStore::with(&["s"]));
        let (data, metadata) = (STANDARD.encode(data), STANDARD.encode(metadata));
        let body = format!(
            r#"{{"data_base64":"{data}","content_type":"application/json","metadata_base64":"{metadata}"}}"#
        );
        assert_eq!(Request::new("PUT", path).body(body).send(&mut from).status, 204);
        let read = |store: &mut TestStore| {
            Request::get(path).header("accept", "application/x-ndjson").send(store).body
        };
        let line = Request::get(path).header("accept", "application/x-ndjson").send(&mut from);
        assert_eq!((line.status, line.header("content-type")), (200, Some("application/x-ndjson")));
        let text = line.text().strip_suffix('\n').expect("the line has its end");
        assert!(!text.contains(['\n', '\r']), "{text}");
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect("it is JSON");
        for place in ["stream", "version", "created"] {
            assert!(members.remove(place).is_some(), "{place}");
        }
        let body = serde_json::to_string(&members).expect("it is JSON");
        assert_eq!(Request::new("PUT", path).body(body).send(&mut to).status, 204);
        assert_eq!(read(&mut to), read(&mut from));
    }
}

#[test]
fn imported_events_have_version_position_and_time() {
    let event = |rest: &str| {
        let body = format!(r#"{{"events":[{{"stream":"s","id":"i","type":"t","data":1{rest}}}]}}"#);
        decode_import(body.as_bytes())
            .map(|Import { events, .. }| (events[0].version, events[0].position, events[0].created))
    };
    for (rest, expected) in [
        (r#","version":7,"created":9"#, (7, None, 9)),
        (r#","version":0,"created":9,"position":null"#, (0, None, 9)),
        (
            r#","version":18446744073709551615,"created":"1970-01-01T00:00:01Z","position":3"#,
            (u64::MAX, Some(3), 1_000_000),
        ),
    ] {
        assert_eq!(event(rest).unwrap(), expected, "{rest}");
    }
    for (rest, named) in [
        (r#","created":9"#, "events[0].version"),
        (r#","version":1"#, "events[0].created"),
        (r#","version":null,"created":9"#, "events[0].version"),
        (r#","version":-1,"created":9"#, "events[0].version"),
        (r#","version":"1","created":9"#, "events[0].version"),
        (r#","version":1,"created":9,"position":1.0"#, "events[0].position"),
        (r#","version":1,"created":-9"#, "events[0].created"),
        (r#","version":1,"created":null"#, "events[0].created"),
        (r#","version":1,"created":"yesterday""#, "events[0].created"),
        (r#","version":1,"created":1e3"#, "events[0].created"),
        (r#","version":1,"created":9,"metadata_base64":"ew==""#, "events[0].metadata_base64"),
        (r#","version":1,"created":9,"metadata_base64":"e""#, "events[0].metadata_base64"),
        (r#","version":1,"created":9,"metadata":1,"metadata_base64":"MQ==""#, "events[0].metadata_base64"),
        (r#","version":1,"created":9,"metadata_base64":null"#, "events[0].metadata_base64"),
        (r#","version":1,"created":9,"metadata_base":"""#, "events[0].metadata_base"),
        (r#","version":1,"created":9,"version":1"#, "events[0].version"),
    ] {
        let problem = event(rest).expect_err(rest);
        assert_eq!((problem.kind, field(&problem)), (Kind::InvalidArgument, named), "{}", problem.detail);
    }
}

#[test]
fn every_refused_import_names_its_field() {
    let invalid = Kind::InvalidArgument;
    let place = r#""stream":"s","version":0,"created":0"#;
    let long = format!(r#"{{"events":[{{"version":"{}"}}]}}"#, "x".repeat(10_000));
    let over = vec![format!(r#"{{{place},"id":"i","type":"t","data":1}}"#); IMPORT_EVENTS_MAX + 1].join(",");
    let mark = |fields: &str| format!(r#"{{"marks":[{{{fields}}}]}}"#);
    let marks = vec![r#"{"stream":"s","source":"f","rows":1}"#; IMPORT_MARKS_MAX + 1].join(",");
    for (body, kind, named) in [
        ("{}".to_owned(), invalid, "events"),
        (r#"{"events":[]}"#.to_owned(), invalid, "events"),
        (r#"{"events":[{}]}"#.to_owned(), invalid, "events[0].stream"),
        (r#"{"events":[],"event":[]}"#.to_owned(), invalid, "event"),
        (format!(r#"{{"events":[{{{place},"type":"t","data":1}}]}}"#), invalid, "events[0].id"),
        (format!(r#"{{"events":[{{{place},"id":"i","data":1}}]}}"#), invalid, "events[0].type"),
        (format!(r#"{{"events":[{{{place},"id":"i","type":"t"}}]}}"#), invalid, "events[0].data"),
        (long, invalid, "events[0].version"),
        (format!(r#"{{"events":[{over}]}}"#), Kind::TooLarge, "events"),
        (r#"{"events":[],"marks":[]}"#.to_owned(), invalid, "events"),
        (r#"{"marks":[{}]}"#.to_owned(), invalid, "marks[0].stream"),
        (mark(r#""stream":"s","rows":1"#), invalid, "marks[0].source"),
        (mark(r#""stream":"s","source":"f""#), invalid, "marks[0].rows"),
        (mark(r#""stream":"s","source":"f","rows":0"#), invalid, "marks[0].rows"),
        (mark(r#""stream":"s","source":"f","rows":-1"#), invalid, "marks[0].rows"),
        (mark(r#""stream":"s","source":"f","rows":18446744073709551616"#), invalid, "marks[0].rows"),
        (mark(r#""stream":"s","source":"f","rows":1,"leading_rows":2"#), invalid, "marks[0].leading_rows"),
        (mark(r#""stream":"s","source":"f","rows":1,"leading_rows":"1""#), invalid, "marks[0].leading_rows"),
        (mark(r#""stream":"s","source":"","rows":1"#), invalid, "marks[0].source"),
        (mark(r#""stream":"s","source":"a\u0000b","rows":1"#), invalid, "marks[0].source"),
        (
            mark(&format!(r#""stream":"s","source":"{}","rows":1"#, "f".repeat(257))),
            invalid,
            "marks[0].source",
        ),
        (mark(r#""stream":"\n","source":"f","rows":1"#), invalid, "marks[0].stream"),
        (mark(r#""stream":"s","source":"f","rows":1,"row":1"#), invalid, "marks[0].row"),
        (format!(r#"{{"marks":[{marks}]}}"#), Kind::TooLarge, "marks"),
    ] {
        let problem = decode_import(body.as_bytes()).expect_err(named);
        assert_eq!((problem.kind, field(&problem)), (kind, named), "{}", problem.detail);
        assert!(problem.detail.len() < 600, "{}", problem.detail);
    }
}

#[test]
fn import_states_are_returned_for_many_streams() {
    let mut store = TestStore::default();
    let event = r#"{"stream":"a","version":0,"created":1,"id":"x","type":"t","data":1}"#;
    let body = format!(
        r#"{{"events":[{event}],"marks":[{{"stream":"a","source":"f","rows":1,"leading_rows":1}}]}}"#
    );
    assert_eq!(import(&mut store, &body).status, 200);
    assert_eq!(import(&mut store, r#"{"marks":[{"stream":"a","source":"g","rows":1}]}"#).status, 400);
    let event = r#"{"stream":"a","version":1,"created":1,"id":"y","type":"t","data":1}"#;
    let body = format!(r#"{{"events":[{event}],"marks":[{{"stream":"a","source":"g","rows":1}}]}}"#);
    assert_eq!(import(&mut store, &body).status, 200);
    let mut ask =
        |body: &str| Request::new("POST", "/v1/stores/main/import/states").body(body).send(&mut store).json();
    let info = json!({
        "stream": "a", "state": "live", "first_version": 0, "last_version": 1, "retention": {},
        "created": "1970-01-01T00:00:00.000001Z", "updated": "1970-01-01T00:00:00.000001Z",
    });
    let response = ask(r#"{"source":"f","streams":["a","b"]}"#);
    assert_eq!(response["states"][1], json!({"stream": "b", "rows": 0, "leading_rows": 0}));
    assert_eq!(
        (&response["states"][0]["rows"], &response["states"][0]["leading_rows"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(response["states"][0]["info"]["last_version"], info["last_version"]);
    assert_eq!(ask(r#"{"source":"g","streams":["a"]}"#)["states"][0]["rows"], json!(1));

    let invalid = Kind::InvalidArgument;
    let over = vec![r#""s""#; IMPORT_STATES_MAX + 1].join(",");
    for (body, kind, named) in [
        ("", Kind::MalformedBody, "body"),
        ("[]", invalid, "body"),
        ("{}", invalid, "source"),
        (r#"{"source":"f"}"#, invalid, "streams"),
        (r#"{"streams":["s"]}"#, invalid, "source"),
        (r#"{"source":"","streams":["s"]}"#, invalid, "source"),
        (r#"{"source":1,"streams":["s"]}"#, invalid, "source"),
        (r#"{"source":"f","streams":[]}"#, invalid, "streams"),
        (r#"{"source":"f","streams":"s"}"#, invalid, "streams"),
        (r#"{"source":"f","streams":["s",""]}"#, invalid, "streams[1]"),
        (r#"{"source":"f","streams":["a\u0000"]}"#, invalid, "streams[0]"),
        (r#"{"source":"f","streams":["s"],"stream":"s"}"#, invalid, "stream"),
        (&format!(r#"{{"source":"f","streams":[{over}]}}"#), Kind::TooLarge, "streams"),
    ] {
        let problem = decode_import_states_request(body.as_bytes()).expect_err(named);
        assert_eq!((problem.kind, field(&problem)), (kind, named), "{}", problem.detail);
    }
}

#[test]
fn refused_retentions_name_their_field() {
    for (body, named) in [
        ("", "body"),
        ("[]", "body"),
        ("null", "body"),
        (r#"{"max_count":0}"#, "max_count"),
        (r#"{"max_age_seconds":0}"#, "max_age_seconds"),
        (r#"{"max_count":-1}"#, "max_count"),
        (r#"{"max_count":1.0}"#, "max_count"),
        (r#"{"max_count":"1"}"#, "max_count"),
        (r#"{"max_count":18446744073709551616}"#, "max_count"),
        (r#"{"max_age":1}"#, "max_age"),
        (r#"{"truncate_before":1,"truncate_before":1}"#, "truncate_before"),
        (r#"{"max_count":1}}"#, "body"),
    ] {
        let problem = decode_retention(body.as_bytes()).expect_err(body);
        assert_eq!(field(&problem), named, "{body}: {}", problem.detail);
    }
}

#[test]
fn positions_of_an_import_follow_each_other() {
    let event = |version: u64, position: &str| {
        format!(
            r#"{{"stream":"s","version":{version},"created":1,"id":"{version}","type":"t","data":1{position}}}"#
        )
    };
    let body = |events: &[String]| format!(r#"{{"events":[{}]}}"#, events.join(","));
    let mut store = TestStore::default();
    let gaps = [event(0, r#","position":3"#), event(1, ""), event(2, r#","position":9"#)];
    let response = import(&mut store, &body(&gaps));
    assert_eq!((response.status, &response.json()["durable_position"]), (200, &json!(10)));
    let positions: Vec<u64> = store.events().iter().map(|event| event.position).collect();
    assert_eq!(positions, [3, 4, 9]);
    let late = import(&mut store, &body(&[event(3, ""), event(4, r#","position":12"#)]));
    assert_eq!((late.status, &late.json()["field"]), (400, &json!("events[0].position")));
}
