//! Durable subscriptions: what they deliver as an event stream and in batches, and what a consumer says about it.

use exesdb_sdk::steps::Call;
use exesdb_sdk::steps::double::{Page, Supply};
use exesdb_sdk::types::{Error, invalid, problem};
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::host::delivered;
use crate::openapi::{assert_documented, document};
use crate::store::TestStore;

const EVENTS: &str = "/v1/stores/main/subscriptions/in%20voices/events";
const SETTLEMENTS: &str = "/v1/stores/main/subscriptions/in%20voices/settlements";

/// The messages of an event stream, which is as documented.
fn messages(response: &TestResponse) -> Vec<&str> {
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/event-stream")));
    assert_documented(&document(), "GET", EVENTS, response);
    response.text().split_terminator("\n\n").collect()
}

/// What a message says besides its kind.
fn data<'a>(message: &'a str, before: &str) -> &'a str {
    message.strip_prefix(before).unwrap_or_else(|| panic!("{message} does not begin with {before}"))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

/// The payload of the feed that was asked first.
fn payload(store: &TestStore) -> Value {
    let (feed, _) = store.asked.first().expect("a feed was asked");
    assert_eq!(feed.name, "subscriptions/consume");
    serde_json::from_slice(&feed.payload).expect("it is JSON")
}

#[test]
fn a_consumer_is_told_its_number_and_gets_events_with_their_deliveries() {
    let mut store = TestStore::with(&["s", "t", "s"]);
    store.supplies = [
        Supply::Page(delivered(&store, 17, &[])),
        Supply::Page(delivered(&store, 17, &[(0, 0), (2, 3)])),
        Supply::Later(31_000),
        Supply::Page(delivered(&store, 17, &[(1, 0)])),
    ]
    .into();
    let response = Request::follow(&format!("{EVENTS}?window=7")).send(&mut store);
    let messages = messages(&response);
    assert_eq!(messages.len(), 7, "{messages:?}");
    assert_eq!(messages[0], "event: consumer\ndata: {\"consumer\":17}");
    for (message, place, stream, earlier) in [(1, 0, "s", 0), (2, 2, "s", 3), (5, 1, "t", 0)] {
        let event = value(data(messages[message], "data: "));
        assert_eq!((&event["position"], &event["stream"]), (&json!(place), &json!(stream)));
        assert_eq!(event["delivery"], json!({"place": place, "earlier": earlier}));
    }
    // Two comments in 31 seconds without events.
    assert_eq!(messages[3..5], [": ", ": "]);
    let end = value(data(messages[6], "event: end\ndata: "));
    assert_eq!(end["type"], "urn:exesdb:problem:restarting");
    assert_eq!(
        payload(&store),
        json!({"name": "in voices", "consumer": null, "window": 7, "wait_ms": null, "by_id": false})
    );
    // The feed itself bounds what is in flight.
    assert!(store.asked.iter().all(|(_, most)| *most == 1_000), "{:?}", store.asked);
}

#[test]
fn a_batch_has_at_most_a_window_of_events() {
    let mut store = TestStore::with(&["s", "t", "s"]);
    store.supplies = [Supply::Last(delivered(&store, 17, &[(0, 0), (2, 1)]))].into();
    let target = format!("{EVENTS}?window=2&wait_ms=30000&consumer=17&by_id=true");
    let response = Request::get(&target).send(&mut store);
    assert_documented(&document(), "GET", EVENTS, &response);
    let batch = response.json();
    assert_eq!((response.status, &batch["consumer"]), (200, &json!(17)));
    let events = batch["events"].as_array().expect("a list");
    assert_eq!(
        events.iter().map(|event| event["delivery"].clone()).collect::<Vec<_>>(),
        [json!({"place": 0, "earlier": 0}), json!({"place": 2, "earlier": 1})]
    );
    assert_eq!(
        payload(&store),
        json!({"name": "in voices", "consumer": 17, "window": 2, "wait_ms": 30_000, "by_id": true})
    );
    assert_eq!(store.asked.iter().map(|(_, most)| *most).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_batch_may_come_late_and_without_events() {
    let mut store = TestStore::default();
    let page = delivered(&store, 3, &[]);
    store.supplies.extend([Supply::Later(30_000), Supply::Last(page)]);
    let response = Request::get(EVENTS).send(&mut store);
    assert_documented(&document(), "GET", EVENTS, &response);
    assert_eq!(response.text(), r#"{"consumer":3,"events":[]}"#);
    // Without `wait_ms`, the host does not wait; without `window`, it is 100.
    assert_eq!((&payload(&store)["wait_ms"], store.asked[0].1), (&json!(0), 100));
}

#[test]
fn a_feed_that_fails_at_first_is_a_problem() {
    for (error, status, kind) in [
        (Error::NotFound, 404, "subscription-not-found"),
        (problem("overloaded", "it has its 100 consumers"), 503, "overloaded"),
        (problem("unsupported", "there are no subscriptions"), 501, "unsupported"),
    ] {
        for accept in ["text/event-stream", "application/json"] {
            let mut store = TestStore::supplying([Supply::End(Some(error.clone()))]);
            let response = Request::get(EVENTS).header("accept", accept).send(&mut store);
            assert_documented(&document(), "GET", EVENTS, &response);
            assert_eq!((response.status, response.problem().as_str()), (status, kind), "{accept}");
        }
    }
    // Before anything was sent, notes that the gateway does not understand are its own failure.
    for notes in ["", "{}", r#"{"consumer":-1,"places":[],"earlier":[]}"#] {
        let mut store = TestStore::supplying([Supply::Page(Page { notes: notes.into(), ..Page::default() })]);
        let response = Request::follow(EVENTS).send(&mut store);
        assert_eq!((response.status, response.problem().as_str()), (500, "internal"), "{notes}");
    }
}

#[test]
fn a_feed_that_ends_later_says_why_in_the_last_message() {
    for (end, kind, status) in [
        (Supply::End(Some(problem("overloaded", "it took nothing"))), "overloaded", 503),
        (Supply::End(Some(Error::NotFound)), "subscription-not-found", 404),
        (Supply::End(None), "restarting", 503),
        (Supply::Stopping, "restarting", 503),
    ] {
        let mut store = TestStore::with(&["s"]);
        store.supplies = [Supply::Page(delivered(&store, 1, &[])), end].into();
        let response = Request::follow(EVENTS).send(&mut store);
        let messages = messages(&response);
        let reason = value(data(messages.last().expect("a last message"), "event: end\ndata: "));
        assert_eq!(reason["type"], format!("urn:exesdb:problem:{kind}"));
        assert_eq!((reason["status"].as_u64(), messages.len()), (Some(status), 2));
    }
    let mut store = TestStore::with(&["s"]);
    store.supplies = [Supply::Page(delivered(&store, 1, &[])), Supply::Later(20_000), Supply::Left].into();
    let response = Request::follow(EVENTS).send(&mut store);
    assert_eq!((response.is_whole, response.text().ends_with("\n\n: \n\n")), (false, true));
}

#[test]
fn a_settlement_is_a_call_with_the_name_of_the_subscription() {
    let mut store = TestStore::default();
    let body = json!({
        "consumer": 17, "ack": [41, 42], "retry": ["a"], "park": [43], "skip": [], "stop": [],
        "reason": "no template", "leave": true,
    });
    let response = Request::new("POST", SETTLEMENTS).body(body.to_string()).send(&mut store);
    assert_documented(&document(), "POST", SETTLEMENTS, &response);
    assert_eq!((response.status, response.json()), (200, json!({"acknowledged": 2, "refused": 1})));
    let [Call::Named(call)] = store.calls.as_slice() else { panic!("{:?}", store.calls) };
    let mut expected = body;
    expected["name"] = json!("in voices");
    assert_eq!(call.name, "subscriptions/settle");
    assert_eq!(serde_json::from_slice::<Value>(&call.payload).unwrap(), expected);
}

#[test]
fn a_refused_settlement_is_a_problem_of_its_body() {
    for (body, failure, status, kind, field) in [
        ("[]", None, 400, "malformed-body", "body"),
        ("", None, 400, "malformed-body", "body"),
        (r#"{"consumer":1,"name":"x"}"#, None, 400, "invalid-argument", "name"),
        ("{}", Some(invalid("payload", "missing field `consumer`")), 400, "invalid-argument", "body"),
        (
            r#"{"consumer":1}"#,
            Some(invalid("reason", "has 1025 bytes; it may have 1024")),
            400,
            "invalid-argument",
            "reason",
        ),
        (r#"{"consumer":1}"#, Some(Error::NotFound), 404, "subscription-not-found", ""),
    ] {
        let mut store = TestStore { failure, ..TestStore::default() };
        let response = Request::new("POST", SETTLEMENTS).body(body).send(&mut store);
        assert_documented(&document(), "POST", SETTLEMENTS, &response);
        assert_eq!((response.status, response.problem().as_str()), (status, kind), "{body}");
        let named = response.json()["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(named, field, "{body}: {}", response.text());
    }
}
