//! Positions of another history are refused if they mean something else in the current one, and accepted otherwise.

use exesdb_sdk::types::Deletion;
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

const ALL: &str = "/v1/stores/main/events";
const STREAM: &str = "/v1/stores/main/streams/s/events";
const NOW: &str = "00000000000000aa";
const OLD: &str = "00000000000000bb";
const UNKNOWN: &str = "00000000000000cc";

/// Six events; the old history was left at 3.
fn store() -> TestStore {
    TestStore { left_at: 3, ..TestStore::with(&["s", "t", "s", "t", "s", "t"]) }
}

/// Whether a request was refused because of its history; otherwise it must have succeeded.
fn is_refused(response: &TestResponse, what: &str) -> bool {
    if response.status == 409 {
        assert_eq!(response.problem(), "history-changed", "{what}");
        let problem = response.json();
        assert_eq!((&problem["history"], &problem["end"]), (&json!(NOW), &json!(6)), "{what}");
        return true;
    }
    assert_eq!(response.status, 200, "{what}: {}", response.text());
    assert_eq!(response.header("exesdb-history"), Some(NOW), "{what}");
    false
}

#[test]
fn reads_from_left_histories_are_refused() {
    for (query, refused) in [
        ("", false),
        ("from=6", false),
        ("from=7", true),
        ("from=18446744073709551615", true),
        ("from=7&direction=backward", false),
        (&format!("from=6&history={NOW}"), false),
        (&format!("from=7&history={NOW}"), true),
        (&format!("from=3&history={OLD}"), false),
        (&format!("from=4&history={OLD}"), true),
        (&format!("history={OLD}"), false),
        (&format!("from=0&history={UNKNOWN}"), true),
        (&format!("history={UNKNOWN}"), true),
        (&format!("from=2&direction=backward&history={OLD}"), false),
        (&format!("from=3&direction=backward&history={OLD}"), true),
        (&format!("from=99&direction=backward&history={NOW}"), false),
        (&format!("from=7&stream_prefix=s&history={NOW}"), true),
    ] {
        for accept in ["application/json", "application/x-ndjson", "application/vnd.exesdb.packed"] {
            let response =
                Request::get(&format!("{ALL}?{query}")).header("accept", accept).send(&mut store());
            assert_eq!(is_refused(&response, query), refused, "{query} as {accept}");
        }
    }
    for bad in ["x", "aa", "00000000000000ag"] {
        let response = Request::get(&format!("{ALL}?from=0&history={bad}")).send(&mut store());
        assert_eq!((response.status, response.json()["field"].as_str()), (400, Some("history")));
    }
}

#[test]
fn followers_from_left_histories_are_refused() {
    for (target, last_event_id, refused) in [
        (format!("{ALL}?from=6"), "".to_owned(), false),
        (format!("{ALL}?from=7"), "".to_owned(), true),
        (format!("{ALL}?from=4&history={OLD}"), "".to_owned(), true),
        (format!("{ALL}?tag=x&from=7"), "".to_owned(), true),
        (format!("{ALL}?from=end"), "".to_owned(), false),
        (ALL.to_owned(), "5".to_owned(), false),
        (ALL.to_owned(), "6".to_owned(), true),
        (ALL.to_owned(), "18446744073709551615".to_owned(), true),
        (ALL.to_owned(), format!("5@{NOW}"), false),
        (ALL.to_owned(), format!("2@{OLD}"), false),
        (ALL.to_owned(), format!("3@{OLD}"), true),
        (ALL.to_owned(), format!("0@{UNKNOWN}"), true),
        (STREAM.to_owned(), "5".to_owned(), false),
        (STREAM.to_owned(), "6".to_owned(), true),
        (STREAM.to_owned(), format!("3@{OLD}"), true),
        // A follower can wait for a stream's next version, but not for a later one.
        (format!("{STREAM}?from=3"), "".to_owned(), false),
        (format!("{STREAM}?from=4"), "".to_owned(), true),
        (format!("{STREAM}?from=18446744073709551615"), "".to_owned(), true),
        ("/v1/stores/main/streams/new/events?from=0".to_owned(), "".to_owned(), false),
        ("/v1/stores/main/streams/new/events?from=1".to_owned(), "".to_owned(), true),
    ] {
        let response =
            Request::follow(&target).header("last-event-id", last_event_id.as_str()).send(&mut store());
        assert_eq!(is_refused(&response, &target), refused, "{target} after {last_event_id:?}");
    }
    for bad in ["5@", "5@x", "@00000000000000aa", "x@00000000000000aa"] {
        let response = Request::follow(ALL).header("last-event-id", bad).send(&mut store());
        assert_eq!(
            (response.status, response.json()["field"].as_str()),
            (400, Some("last-event-id")),
            "{bad}"
        );
    }
}

#[test]
fn a_deleted_stream_is_followed_from_its_next_version() {
    for (from, refused) in [(0, false), (3, false), (4, true)] {
        let mut store = store();
        store.delete("s", Deletion::Soft);
        let response = Request::follow(&format!("{STREAM}?from={from}")).send(&mut store);
        assert_eq!(is_refused(&response, "deleted"), refused, "{from}");
        if refused {
            assert_eq!(response.json()["next_version"], json!(3));
        }
    }
}

#[test]
fn conditions_from_left_histories_are_refused() {
    for (after, history, refused) in [
        (json!(null), json!(null), false),
        (json!(5), json!(null), false),
        (json!(6), json!(null), true),
        (json!(u64::MAX), json!(null), true),
        (json!(5), json!(NOW), false),
        (json!(2), json!(OLD), false),
        (json!(3), json!(OLD), true),
        (json!(0), json!(UNKNOWN), true),
    ] {
        let condition = json!({"query": [{"types": ["never"]}], "after": after, "history": history});
        let first = json!({"query": [{"types": ["never"]}]});
        let body = json!({
            "appends": [{"stream": "new", "events": [{"type": "a", "data": 1}]}],
            "conditions": [first, condition],
        });
        let response =
            Request::new("POST", "/v1/stores/main/transactions").body(body.to_string()).send(&mut store());
        assert_eq!(is_refused(&response, &body.to_string()), refused, "{body}");
        if refused {
            assert!(response.text().contains("conditions[1].after: "), "{}", response.text());
        }
    }
    for (condition, field) in [
        (json!({"query": [{"types": ["never"]}], "history": NOW}), "conditions[0].history"),
        (json!({"query": [{"types": ["never"]}], "after": 1, "history": "x"}), "conditions[0].history"),
    ] {
        let body = json!({
            "appends": [{"stream": "new", "events": [{"type": "a", "data": 1}]}],
            "conditions": [condition],
        });
        let response =
            Request::new("POST", "/v1/stores/main/transactions").body(body.to_string()).send(&mut store());
        assert_eq!((response.status, response.json()["field"].as_str()), (400, Some(field)), "{body}");
    }
}

#[test]
fn positions_are_returned_with_their_history() {
    let transaction = r#"{"appends":[{"stream":"n","events":[{"type":"a","data":1}]}]}"#;
    let import = r#"{"events":[{"stream":"i","version":0,"created":1,"id":"x","type":"t","data":1}]}"#;
    for request in [
        Request::get(ALL),
        Request::get(STREAM),
        Request::append("s", r#"{"events":[{"type":"a","data":1}]}"#),
        Request::new("POST", "/v1/stores/main/transactions").body(transaction),
        Request::new("POST", "/v1/stores/main/import").body(import),
    ] {
        let response = request.send(&mut store());
        let body: Value = response.json();
        assert_eq!(body["history"], json!(NOW), "{body}");
        assert_eq!(response.header("exesdb-history"), Some(NOW));
    }
    let followed = Request::follow(&format!("{ALL}?from=5")).send(&mut store());
    assert!(followed.text().contains(&format!("id: 5@{NOW}\n")), "{}", followed.text());
}
