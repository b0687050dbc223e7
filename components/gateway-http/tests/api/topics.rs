//! Topics: what happens from now on, as an event stream.

use exesdb_sdk::steps::double::{Page, Supply};
use exesdb_sdk::types::{Error, invalid, problem};
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::host::{begun, heard, noted};
use crate::openapi::{assert_documented, document};
use crate::store::TestStore;

fn listen(topic: &str, store: &mut TestStore) -> TestResponse {
    let target = format!("/v1/stores/main/topics/{topic}");
    let response = Request::follow(&target).send(store);
    assert_documented(&document(), "GET", &target, &response);
    response
}

#[test]
fn a_topic_says_where_it_begins_and_what_was_dropped() {
    let mut store = TestStore::with(&["s", "s", "t", "s"]);
    let dropped = json!({"dropped": {"from": 1, "until": 3, "events": 2}});
    let Supply::Page(mut after) = heard(&store, 3..4) else { panic!("a page") };
    after.notes = dropped.to_string().into_bytes();
    store.supplies = [
        begun("$all", Some(0)),
        heard(&store, 0..1),
        Supply::Later(15_000),
        Supply::Page(after),
        Supply::Later(14_999),
    ]
    .into();
    let response = listen("%24all", &mut store);
    let messages: Vec<&str> = response.text().split_terminator("\n\n").collect();
    let [topic, first, comment, notice, last, end] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(*topic, "event: topic\ndata: {\"from\":0,\"topic\":\"$all\"}");
    assert_eq!(*comment, ": ");
    assert_eq!(*notice, "event: dropped\ndata: {\"events\":2,\"from\":1,\"until\":3}");
    for (message, position) in [(first, 0), (last, 3)] {
        let event: Value = serde_json::from_str(message.strip_prefix("data: ").expect("an event")).unwrap();
        assert_eq!(event["position"], json!(position));
    }
    assert!(end.starts_with("event: end\ndata: {\"type\":\"urn:exesdb:problem:restarting\""), "{end}");
    let (feed, most) = &store.asked[0];
    assert_eq!((feed.name.as_str(), *most), ("topics/follow", 1_000));
    assert_eq!(feed.payload, br#"{"topic":"$all"}"#);
}

#[test]
fn a_comment_comes_in_every_fifteen_seconds_also_among_events() {
    let mut store = TestStore::with(&["s"; 6]);
    store.supplies = [begun("stream:s", Some(0))].into();
    for position in 0..6 {
        store.supplies.push_back(Supply::Later(10_000));
        store.supplies.push_back(heard(&store, position..position + 1));
    }
    let response = listen("stream:s", &mut store);
    let kinds: String = response
        .text()
        .split_terminator("\n\n")
        .map(|message| message.chars().next().expect("a message"))
        .collect();
    // At 15, 30, 45 and 60 seconds; a timer that is due at the time of an event comes before it.
    assert_eq!(kinds, "ed:d:dd:d:de");
}

#[test]
fn records_of_the_store_are_messages() {
    let record = json!({"at_us": 1, "kind": "health", "path": "store/main", "detail": {"ready": true}});
    let mut store =
        TestStore::supplying([begun("$health", None), noted(&json!({"records": [record, record]}))]);
    let response = listen("%24health", &mut store);
    assert_eq!(response.text().matches("event: record\ndata: {").count(), 2);
    assert!(
        response.text().starts_with("event: topic\ndata: {\"topic\":\"$health\"}\n\n"),
        "{}",
        response.text()
    );
}

#[test]
fn a_topic_that_cannot_be_listened_to_is_a_problem() {
    for (error, status, kind) in [
        (invalid("topic", "is `x`; it must be one of ..."), 400, "invalid-argument"),
        (problem("overloaded", "the store has its 1,024 listeners"), 503, "overloaded"),
        (Error::StreamDeleted("s".to_owned()), 410, "stream-deleted"),
    ] {
        let mut store = TestStore::supplying([Supply::End(Some(error))]);
        let response = listen("stream:s", &mut store);
        assert_eq!((response.status, response.problem().as_str()), (status, kind));
    }
    let mut store = TestStore::default();
    let json = Request::get("/v1/stores/main/topics/x").header("accept", "application/json");
    let response = json.send(&mut store);
    assert_eq!((response.status, store.asked.len()), (406, 0));
    store.supplies = [Supply::Page(Page::default())].into();
    assert_eq!(listen("x", &mut store).problem(), "internal", "notes are JSON");
}

#[test]
fn a_topic_that_ends_says_why() {
    for (end, kind) in [
        (Supply::End(Some(Error::StreamDeleted("s".to_owned()))), "stream-deleted"),
        (Supply::End(Some(problem("overloaded", "too slow"))), "overloaded"),
        (Supply::End(None), "restarting"),
    ] {
        let mut store = TestStore::supplying([begun("stream:s", Some(0)), end]);
        let response = listen("stream:s", &mut store);
        let last = response.text().trim_end().rsplit("\n\n").next().expect("a last message");
        assert!(
            last.starts_with(&format!("event: end\ndata: {{\"type\":\"urn:exesdb:problem:{kind}\"")),
            "{last}"
        );
        assert!(response.is_whole);
    }
}
