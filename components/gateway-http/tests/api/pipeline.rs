//! Appends that come one after the other on one connection.

use exesdb_gateway_http::limits::REQUEST_BYTES_MAX;
use exesdb_sdk::events::{EventData, pack};
use exesdb_sdk::steps::double::{Conditions, Delivery};
use exesdb_sdk::types::problem;
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::packed::framed;
use crate::store::TestStore;

fn lines(body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", "/v1/stores/main/append").header("content-type", "application/x-ndjson").body(body)
}

fn packed(body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", "/v1/stores/main/append")
        .header("content-type", "application/vnd.exesdb.packed")
        .body(body)
}

/// A line that appends an event with this number.
fn line(stream: &str, number: usize) -> String {
    format!(r#"{{"stream":"{stream}","events":[{{"id":"{number}","type":"t","data":{number}}}]}}"#) + "\n"
}

/// What each answer says: the last version, or the kind of the problem.
fn answers(response: &TestResponse) -> Vec<Value> {
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/x-ndjson")));
    assert!(response.is_whole);
    let answer = |line: Value| match line.get("type") {
        Some(kind) => json!(kind.as_str().and_then(|kind| kind.strip_prefix("urn:exesdb:problem:"))),
        None => {
            assert_eq!(line["history"], json!("00000000000000aa"));
            line["last_version"].clone()
        }
    };
    response.lines().into_iter().map(answer).collect()
}

/// The conditions under which answers must be the same: pieces of any size, outcomes in any order.
fn conditions() -> impl Iterator<Item = Conditions> {
    let deliveries = [Delivery::Together, Delivery::Alone, Delivery::Reversed];
    [1, 7, 50, 64 << 10].into_iter().flat_map(move |piece_bytes| {
        deliveries.into_iter().flat_map(move |delivery| {
            [(1 << 20, true), (0, true), (0, false)].into_iter().flat_map(
                move |(inline_body, outcomes_first)| {
                    [true, false].map(|says_length| Conditions {
                        inline_body,
                        piece_bytes,
                        says_length,
                        delivery,
                        outcomes_first,
                        ..Conditions::default()
                    })
                },
            )
        })
    })
}

#[test]
fn answers_come_in_the_order_of_the_appends() {
    let body: String = [
        line("a", 0),
        "\n \r\n".to_owned(),
        line("b", 1),
        r#"{"stream":"a","expected_version":7,"events":[{"type":"t","data":1}]}"#.to_owned() + "\n",
        line("a", 2),
        // The last line needs no end.
        line("b", 3).trim_end().to_owned(),
    ]
    .concat();
    for conditions in conditions() {
        let mut store = TestStore::default();
        let response = lines(body.as_str()).under(conditions).send(&mut store);
        let expected = [json!(0), json!(0), json!("wrong-expected-version"), json!(1), json!(1)];
        assert_eq!(answers(&response), expected, "{conditions:?}");
        let ids: Vec<String> = store.events().into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["0", "1", "2", "3"], "{conditions:?}");
    }
}

#[test]
fn packed_appends_are_answered() {
    let event = |id: usize| EventData {
        id: id.to_string(),
        event_type: "t".to_owned(),
        content_type: "a/b".to_owned(),
        data: vec![0xff; id],
        ..EventData::default()
    };
    let of = |stream: &str, ids: std::ops::Range<usize>| {
        pack(stream, &ids.map(event).collect::<Vec<_>>()).unwrap()
    };
    let body =
        [framed(1, 0, &of("a", 0..3)), framed(3, 9, &of("a", 3..4)), framed(0, 0, &of("b", 4..6))].concat();
    for conditions in conditions() {
        let mut store = TestStore::default();
        let response = packed(body.clone()).under(conditions).send(&mut store);
        let expected = [json!(2), json!("wrong-expected-version"), json!(1)];
        assert_eq!(answers(&response), expected, "{conditions:?}");
    }
    let cut = packed(&body[..body.len() - 1]).send(&mut TestStore::default());
    assert_eq!(answers(&cut), [json!(2), json!("wrong-expected-version"), json!("malformed-body")]);
}

/// A line that imports an event of this number at a version.
fn import_line(stream: &str, version: u64) -> String {
    let event = format!(
        r#"{{"stream":"{stream}","version":{version},"created":5,"id":"{stream}{version}","type":"t","data":1}}"#
    );
    format!(r#"{{"events":[{event}]}}"#) + "\n"
}

#[test]
fn imports_are_answered_in_order() {
    let body: String =
        [("a", 0), ("a", 1), ("a", 7), ("b", 0), ("a", 1)].map(|(at, it)| import_line(at, it)).concat();
    for conditions in conditions() {
        let mut store = TestStore::default();
        let request =
            Request::new("POST", "/v1/stores/main/import").header("content-type", "application/x-ndjson");
        let response = request.body(body.as_str()).under(conditions).send(&mut store);
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/x-ndjson")));
        let answers: Vec<Value> = response.lines();
        let counts = |index: usize| (answers[index]["added"].clone(), answers[index]["repeated"].clone());
        assert_eq!((answers.len(), counts(0), counts(1)), (5, (json!(1), json!(0)), (json!(1), json!(0))));
        assert_eq!(answers[2]["type"], json!("urn:exesdb:problem:wrong-expected-version"), "{conditions:?}");
        assert_eq!((counts(3), counts(4)), ((json!(1), json!(0)), (json!(0), json!(1))), "{conditions:?}");
        let ids: Vec<String> = store.events().into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["a0", "a1", "b0"], "{conditions:?}");
    }
}

#[test]
fn what_is_no_import_ends_a_pipeline_of_imports() {
    for wrong in ["{}", "[1]", r#"{"events":[{"stream":"a"}]}"#, "\u{1}"] {
        let body = [import_line("a", 0), wrong.to_owned() + "\n", import_line("a", 1)].concat();
        let mut store = TestStore::default();
        let request =
            Request::new("POST", "/v1/stores/main/import").header("content-type", "application/x-ndjson");
        let answers = request.body(body).send(&mut store).lines();
        assert_eq!((answers.len(), store.events().len()), (2, 1), "{wrong}: {answers:?}");
        assert!(answers[1]["status"].as_u64().is_some_and(|status| status >= 400), "{wrong}: {answers:?}");
        let detail = answers[1]["detail"].as_str().expect("it is a text");
        assert!(detail.starts_with("import 2 of the request: "), "{detail}");
    }
}

#[test]
fn a_body_may_end_with_the_last_append_that_a_step_makes() {
    for appends in [63, 64, 65, 128] {
        let body: String = (0..appends).map(|number| line("s", number)).collect();
        for piece_bytes in [50, 64 << 10] {
            let conditions = Conditions { inline_body: 0, piece_bytes, ..Conditions::default() };
            let response = lines(body.as_str()).under(conditions).send(&mut TestStore::default());
            assert_eq!(answers(&response).len(), appends, "{conditions:?}");
        }
    }
}

#[test]
fn many_appends_are_in_flight_and_few_steps_are_made() {
    let body: String = (0..1_000).map(|number| line("s", number)).collect();
    let mut store = TestStore::default();
    let response = lines(body).send(&mut store);
    let expected: Vec<Value> = (0..1_000).map(|version| json!(version)).collect();
    assert_eq!(answers(&response), expected);
    assert!(response.steps <= 30, "{} steps", response.steps);
}

#[test]
fn what_cannot_be_read_ends_the_response() {
    let good = line("s", 0);
    let long = format!("{good}{}", " ".repeat(REQUEST_BYTES_MAX + 1));
    for (bad, kind) in [
        ("{\n", "malformed-body"),
        ("\u{feff}{}\n", "malformed-body"),
        ("{}\n", "invalid-argument"),
        ("[]\n", "invalid-argument"),
        (r#"{"stream":"","events":[]}"#, "invalid-argument"),
        (r#"{"stream":"s","events":[{"type":"t","data":1}],"x":1}"#, "invalid-argument"),
    ] {
        for conditions in conditions() {
            let mut store = TestStore::default();
            let body = format!("{good}{bad}{}", line("s", 1));
            let response = lines(body).under(conditions).send(&mut store);
            // A line without its end is one with what follows.
            let kind = if bad.ends_with('\n') { kind } else { "malformed-body" };
            let found = answers(&response);
            assert_eq!(found.len(), 2, "{bad}");
            assert_eq!(found[0], json!(0), "{bad}");
            assert!(found[1] == json!(kind) || found[1] == json!("invalid-argument"), "{bad}: {found:?}");
            assert_eq!(store.end(), 1, "nothing after it is appended");
            let last = response.lines().remove(1);
            let detail = last["detail"].as_str().expect("it is a text");
            assert!(detail.starts_with("append 2 of the request: "), "{bad}: {detail}");
            assert!(detail.ends_with("; nothing after it was read"), "{bad}: {detail}");
        }
    }
    let response = lines(long).send(&mut TestStore::default());
    assert_eq!(answers(&response), [json!(0), json!("too-large")]);
}

#[test]
fn an_empty_body_has_no_answers() {
    for body in ["", "\n\n"] {
        for request in
            [lines(body), lines(body).under(Conditions { inline_body: 0, ..Conditions::default() })]
        {
            assert!(answers(&request.send(&mut TestStore::default())).is_empty(), "{body:?}");
        }
    }
    assert!(answers(&packed("").send(&mut TestStore::default())).is_empty());
}

#[test]
fn events_without_an_id_get_one_of_their_own() {
    let body = r#"{"stream":"s","events":[{"type":"t","data":1},{"type":"t","data":1}]}"#.to_owned() + "\n";
    let mut store = TestStore::default();
    for id in ["one", "two"] {
        let response = lines(body.repeat(3)).id(id).send(&mut store);
        assert_eq!(answers(&response).len(), 3);
    }
    let mut ids: Vec<String> = store.events().into_iter().map(|event| event.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 12);
}

#[test]
fn a_failing_store_answers_each_append() {
    let mut store = TestStore { failure: Some(problem("restarting", "soon")), ..TestStore::default() };
    let response = lines(line("s", 0) + &line("t", 1)).send(&mut store);
    assert_eq!(answers(&response), [json!("restarting"), json!("restarting")]);
}

#[test]
fn a_stop_of_the_host_ends_the_response_when_all_is_answered() {
    let body: String = (0..200).map(|number| line("s", number)).collect();
    for draining_after in 1..4 {
        let conditions = Conditions { draining_after, outcomes_first: true, ..Conditions::default() };
        let mut store = TestStore::default();
        let response = lines(body.as_str()).under(conditions).send(&mut store);
        let found = answers(&response);
        let (last, made) = found.split_last().unwrap();
        assert_eq!(last, &json!("restarting"));
        assert_eq!(made.len() as u64, store.end(), "all that was made is answered");
        assert!(made.len() < 200);
    }
}

#[test]
fn a_client_that_leaves_ends_the_request() {
    let body: String = (0..200).map(|number| line("s", number)).collect();
    let conditions = Conditions { writes: 1, outcomes_first: true, ..Conditions::default() };
    let response = lines(body).under(conditions).send(&mut TestStore::default());
    assert!(!response.is_whole);
}
