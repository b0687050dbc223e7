//! Pages of events.

use serde_json::{Value, json};

use crate::client::Request;
use crate::store::TestStore;

fn positions(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().expect("a page has events");
    events.iter().map(|event| event["position"].as_u64().expect("an event has a position")).collect()
}

#[test]
fn a_page_has_all_its_fields() {
    let mut store = TestStore::with(&["s"]);
    let response = Request::get("/v1/stores/main/streams/s/events").send(&mut store);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("exesdb-durable-position"), Some("1"));
    assert_eq!(
        response.json(),
        json!({
            "events": [{
                "stream": "s", "version": 0, "position": 0, "id": "id-0", "type": "added", "data": 0,
                "metadata": null, "tags": ["of:s"], "created": "1970-01-01T00:00:00.000000Z",
            }],
            "next": 1,
            "end": true,
            "history": "00000000000000aa",
        })
    );
}

#[test]
fn pages_continue_through_a_stream_and_the_store() {
    let mut store = TestStore::with(&["s", "t", "s", "s", "t"]);
    for (target, expected, next, end) in [
        ("/v1/stores/main/streams/s/events", vec![0, 2, 3], json!(3), true),
        ("/v1/stores/main/streams/s/events?count=2", vec![0, 2], json!(2), false),
        ("/v1/stores/main/streams/s/events?from=2", vec![3], json!(3), true),
        ("/v1/stores/main/streams/s/events?from=9", vec![], json!(9), true),
        ("/v1/stores/main/streams/s/events?direction=backward&count=1", vec![3], json!(1), false),
        ("/v1/stores/main/streams/s/events?direction=backward&from=1", vec![2, 0], json!(null), true),
        ("/v1/stores/main/events", vec![0, 1, 2, 3, 4], json!(5), true),
        ("/v1/stores/main/events?from=3&count=1", vec![3], json!(4), false),
        ("/v1/stores/main/events?direction=backward&count=2", vec![4, 3], json!(2), false),
    ] {
        let page = Request::get(target).send(&mut store).json();
        assert_eq!(
            (positions(&page), &page["next"], &page["end"]),
            (expected, &next, &json!(end)),
            "{target}"
        );
    }
    let empty = Request::get("/v1/stores/main/events").send(&mut TestStore::default()).json();
    assert_eq!(empty, json!({"events": [], "next": 0, "end": true, "history": "00000000000000aa"}));
    let missing = Request::get("/v1/stores/main/streams/u/events").send(&mut store);
    assert_eq!((missing.status, missing.problem().as_str()), (404, "stream-not-found"));
}

#[test]
fn appended_events_are_read_back() {
    let mut store = TestStore::default();
    let body = r#"{"events":[
        {"id":"1","type":"json","data":{"a" : [1.50, "\u00e9\n"]},"metadata":{"b":2}},
        {"id":"2","type":"bytes","data_base64":"/wA=","content_type":"application/octet-stream"},
        {"id":"3","type":"cloud","data_base64":"eyJhIjoxfQ==","content_type":"application/cloudevents+json"}
    ]}"#;
    assert_eq!(Request::append("s", body).send(&mut store).status, 200);
    let response = Request::get("/v1/stores/main/streams/s/events").send(&mut store);
    assert!(response.text().contains(r#""data":{"a" : [1.50, "\u00e9\n"]},"metadata":{"b":2}"#));
    let page = response.json();
    let events = page["events"].as_array().unwrap();
    assert_eq!(events[1]["data_base64"], json!("/wA="));
    assert_eq!(events[1]["content_type"], json!("application/octet-stream"));
    assert_eq!(events[1].get("data"), None);
    assert_eq!(events[2]["data"], json!({"a": 1}));
    assert_eq!(events[2]["content_type"], json!("application/cloudevents+json"));
    assert_eq!(events[2].get("data_base64"), None);
}

#[test]
fn filters_select_events() {
    let mut store = TestStore::with(&["a/1", "b/1", "a/2"]);
    store.add_with("b/2", |event| event.event_type = "removed".to_owned());
    store.add_with("a/1", |event| event.metadata = br#"{"$correlationId":"c-9"}"#.to_vec());
    for (query, expected) in [
        ("type=added", vec![0, 1, 2, 4]),
        ("type=added&type=removed&tag=of:b/2", vec![3]),
        ("tag=of:a/1&tag=of:b/2", vec![]),
        ("query=[{%22tags%22:[%22of:a/1%22]},{%22types%22:[%22removed%22]}]", vec![0, 3, 4]),
        ("stream_prefix=a/&stream_prefix=b/2", vec![0, 2, 3, 4]),
        ("correlation_id=c-9", vec![4]),
        ("causation_id=c-8", vec![]),
        ("stream_pattern=/2&type_pattern=remov", vec![3]),
        ("stream_prefix=b/&direction=backward", vec![3, 1]),
    ] {
        let page = Request::get(&format!("/v1/stores/main/events?{query}")).send(&mut store).json();
        assert_eq!((positions(&page), &page["end"]), (expected, &json!(true)), "{query}");
    }
}

#[test]
fn a_filtered_page_may_be_empty_before_the_end() {
    let mut store = TestStore::with(&["a", "a", "a", "b"]);
    store.scan_events = Some(2);
    let first = Request::get("/v1/stores/main/events?stream_prefix=b").send(&mut store).json();
    assert_eq!(first, json!({"events": [], "next": 2, "end": false, "history": "00000000000000aa"}));
    let second = Request::get("/v1/stores/main/events?stream_prefix=b&from=2").send(&mut store).json();
    assert_eq!((positions(&second), &second["end"]), (vec![3], &json!(true)));
}

#[test]
fn a_stream_with_a_tombstone_is_refused_everywhere() {
    let mut store = TestStore::with(&["s", "t"]);
    let delete = Request::new("DELETE", "/v1/stores/main/streams/s?tombstone=true");
    assert_eq!(delete.send(&mut store).status, 204);
    for (query, expected) in
        [("", json!(["t"])), ("?deleted=false", json!(["t"])), ("?deleted=true", json!(["s", "t"]))]
    {
        let listed = Request::get(&format!("/v1/stores/main/streams{query}")).send(&mut store).json();
        assert_eq!(listed, json!({"streams": expected, "more": false}), "{query}");
    }
    for request in [
        Request::get("/v1/stores/main/streams/s/events"),
        Request::get("/v1/stores/main/streams/s/events").header("accept", "application/x-ndjson"),
        Request::follow("/v1/stores/main/streams/s/events"),
        Request::append("s", r#"{"events":[{"type":"t","data":1}]}"#),
    ] {
        let response = request.send(&mut store);
        assert_eq!((response.status, response.problem().as_str()), (410, "stream-deleted"));
        assert_eq!(response.json()["stream"], json!("s"));
    }
    assert_eq!(delete.send(&mut store).status, 204, "the stream has its tombstone already");
    let soft = Request::new("DELETE", "/v1/stores/main/streams/s").send(&mut store);
    assert_eq!((soft.status, soft.problem().as_str()), (404, "stream-not-found"));
}

/// A client that has appended reads its own event, and one that knows more than the store learns that.
#[test]
fn a_read_waits_for_a_position_or_is_refused() {
    let mut store = TestStore::with(&["s", "t"]);
    for target in ["/v1/stores/main/events", "/v1/stores/main/streams/s/events"] {
        for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
            for (query, status) in [
                ("at_least=1", 200),
                ("at_least=1&history=00000000000000aa", 200),
                ("at_least=2", 409),
                ("at_least=0&history=00000000000000cc", 409),
                ("at_least=18446744073709551615", 409),
            ] {
                let request = Request::get(&format!("{target}?{query}")).header("accept", accept);
                let response = request.send(&mut store);
                assert_eq!(response.status, status, "{target}?{query} as {accept}: {}", response.text());
            }
        }
    }
}
