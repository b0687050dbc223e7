//! What the host may bring: bodies in pieces, and events that no step waits for.

use exesdb_gateway_http::HttpGateway;
use exesdb_gateway_http::limits::REQUEST_BYTES_MAX;
use exesdb_sdk::steps::double::Conditions;
use exesdb_sdk::steps::{
    Answer, Called, Event, Gateway, Horizon, Outcome, Piece, Reply, Request as StepRequest, RequestBody, Step,
};
use exesdb_sdk::steps::{Caller, Header};
use serde_json::json;

use crate::client::Request;
use crate::store::TestStore;

#[test]
fn bodies_may_come_in_pieces() {
    let conditions =
        [(true, 1), (false, 1), (true, 64 << 10), (false, 64 << 10)].map(|(says_length, piece_bytes)| {
            Conditions { inline_body: 0, says_length, piece_bytes, ..Conditions::default() }
        });
    for conditions in conditions {
        let mut store = TestStore::default();
        for (method, target, body, status) in [
            ("POST", "streams/s/events", r#"{"events":[{"type":"t","data":1}]}"#, 200),
            (
                "POST",
                "transactions",
                r#"{"appends":[{"stream":"s","events":[{"type":"t","data":1,"id":"x"}]}]}"#,
                200,
            ),
            (
                "POST",
                "import",
                r#"{"events":[{"stream":"i","version":0,"created":1,"id":"x","type":"t","data":1}]}"#,
                200,
            ),
            ("POST", "import/states", r#"{"source":"f","streams":["s"]}"#, 200),
            ("PUT", "streams/s/retention", r#"{"max_count":3}"#, 204),
            ("PUT", "streams/s/snapshots/1", r#"{"data":1}"#, 204),
            ("POST", "streams/s/events", "{", 400),
        ] {
            let request = Request::new(method, &format!("/v1/stores/main/{target}")).body(body);
            let response = request.under(conditions).send(&mut store);
            assert_eq!(response.status, status, "{target}: {}", response.text());
        }
        assert_eq!(store.end(), 3);
        let long = Request::append("s", vec![b' '; REQUEST_BYTES_MAX + 1]).under(conditions).send(&mut store);
        assert_eq!((long.status, &long.json()["limit"]), (413, &json!(REQUEST_BYTES_MAX)));
        let most = Request::append("s", vec![b' '; REQUEST_BYTES_MAX]).under(conditions).send(&mut store);
        assert_eq!((most.status, most.problem().as_str()), (400, "malformed-body"));
    }
}

#[test]
fn the_same_request_made_again_has_the_same_ids() {
    let append = Request::append("s", r#"{"events":[{"type":"t","data":1}]}"#);
    let mut store = TestStore::default();
    assert_eq!(append.send(&mut store).body, append.send(&mut store).body);
    assert_eq!(store.end(), 1);
    assert_eq!(append.id("another").send(&mut store).json()["last_version"], json!(1));
}

fn request(method: &str, path: &str, body: &str) -> StepRequest {
    StepRequest {
        id: "r".to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        headers: vec![Header { name: "content-type".to_owned(), value: b"application/json".to_vec() }],
        body: RequestBody::Whole(body.as_bytes().to_vec()),
        store: "main".to_owned(),
        mount: "http".to_owned(),
        caller: Caller { identity: None, scopes: Vec::new() },
        traceparent: None,
        fields: Vec::new(),
    }
}

/// An outcome of another call than the one that was made, and none at all.
#[test]
fn unexpected_events_are_an_internal_problem() {
    let horizon = Horizon { history_id: 1, end: 0 };
    let named: Outcome = Ok(Answer { reply: Reply::Named(Vec::new()), horizon });
    let called = |outcomes: Vec<Outcome>| {
        let called = |outcome| Called { id: 0, context: Vec::new(), outcome };
        Event::Called(outcomes.into_iter().map(called).collect())
    };
    for (method, path, body) in [
        ("GET", "/v1/stores/main/streams", ""),
        ("GET", "/v1/stores/main/events", ""),
        ("POST", "/v1/stores/main/streams/s/events", r#"{"events":[{"type":"t","data":1}]}"#),
        ("PUT", "/v1/stores/main/streams/s/snapshots/1", r#"{"data":1}"#),
    ] {
        for event in [
            called(vec![named.clone()]),
            called(Vec::new()),
            called(vec![named.clone(), named.clone()]),
            Event::Body(Piece { bytes: Vec::new(), trailers: None }),
            Event::Timer(1),
            Event::Failed(exesdb_sdk::types::Error::NotFound),
            Event::Draining(1),
        ] {
            let step = HttpGateway::begin(request(method, path, body));
            let Step::Pending(pending) = step else { panic!("{path}: {step:?}") };
            match HttpGateway::resume(pending.into_state(), event.clone()) {
                Step::Respond(response) => assert_eq!(response.head.status, 500, "{path}: {event:?}"),
                other => panic!("{path}: {event:?}: {other:?}"),
            }
        }
    }
}
