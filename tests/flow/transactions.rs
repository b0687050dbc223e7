//! Atomic appends to several streams, and append conditions.

use exesdb_tests::Host;
use serde_json::{Value, json};

const TRANSACTIONS: &str = "/v1/stores/main/transactions";

fn event(id: &str, kind: &str, tags: &[&str]) -> Value {
    json!({ "id": id, "type": kind, "tags": tags, "data": { "id": id } })
}

#[test]
fn several_streams_are_appended_to_all_or_none() {
    let host = Host::start();
    let transfer = |id: &str, from: Value, to: Value| {
        json!({ "appends": [
            { "stream": "account-a", "expected_version": from, "events": [event(&format!("{id}-out"), "withdrawn", &[])] },
            { "stream": "account-b", "expected_version": to, "events": [event(&format!("{id}-in"), "deposited", &[])] },
        ] })
    };
    let first = transfer("t1", json!("no_stream"), json!("no_stream"));
    let response = host.http.post(TRANSACTIONS, &first).expect(200).json;
    assert_eq!(response["results"][0]["position"], 0);
    assert_eq!(response["results"][1]["position"], 1);
    // A repetition gets the same result.
    assert_eq!(host.http.post(TRANSACTIONS, &first).expect(200).json, response);
    // One of two expected versions does not hold, so nothing is appended.
    let refused = host.http.post(TRANSACTIONS, &transfer("t2", json!(0), json!(7)));
    let problem = refused.expect_problem(409, "wrong-expected-version").json;
    assert_eq!((&problem["stream"], &problem["actual_version"]), (&json!("account-b"), &json!(0)));
    assert_eq!(host.http.read_all().len(), 2);
    // A stream of which only the version is checked.
    let mut checked = transfer("t3", json!(0), json!(0));
    checked["checks"] = json!([{ "stream": "frozen", "expected_version": "no_stream" }]);
    host.http.post(TRANSACTIONS, &checked).expect(200);
    host.http.append_one("frozen").expect(200);
    let mut checked = transfer("t4", json!(1), json!(1));
    checked["checks"] = json!([{ "stream": "frozen", "expected_version": "no_stream" }]);
    host.http.post(TRANSACTIONS, &checked).expect_problem(409, "wrong-expected-version");
    let host = host.crash_and_restart();
    assert_eq!(host.http.read("account-a").len(), 2);
    assert_eq!(host.http.read("account-b").len(), 2);
}

/// Many clients want the last seats of a course, and exactly as many as there are seats get one: each reads the
/// subscriptions, and subscribes under the condition that none was added since.
#[test]
fn a_condition_holds_against_everybody_who_appends_at_the_same_time() {
    const SEATS: usize = 5;
    const STUDENTS: usize = 4;
    const TRIES: usize = 40;
    let host = Host::start();
    let subscribe = |student: usize| {
        let http = host.http.of("main");
        let query = json!([{ "types": ["subscribed"], "tags": ["course:c1"] }]);
        let path = format!("/v1/stores/main/events?query={}", exesdb_tests::encoded(&query.to_string()));
        let mut taken = 0;
        for number in 0..TRIES {
            let page = http.get(&path).expect(200).json;
            let subscribed = page["events"].as_array().unwrap();
            if subscribed.len() >= SEATS {
                break;
            }
            let mut condition = json!({ "query": query });
            if let Some(last) = subscribed.last() {
                condition["after"] = last["position"].clone();
            }
            let id = format!("s{student}-{number}");
            let body = json!({
                "appends": [{
                    "stream": format!("student-{student}"), "expected_version": "any",
                    "events": [event(&id, "subscribed", &["course:c1", &format!("student:{student}")])],
                }],
                "conditions": [condition],
            });
            let response = http.post(TRANSACTIONS, &body);
            if response.status == 200 {
                taken += 1;
            } else {
                response.expect_problem(409, "condition-failed");
            }
        }
        taken
    };
    let taken: usize = std::thread::scope(|scope| {
        let students: Vec<_> = (0..STUDENTS).map(|student| scope.spawn(move || subscribe(student))).collect();
        students.into_iter().map(|student| student.join().expect("no student fails")).sum()
    });
    assert_eq!(taken, SEATS);
    assert_eq!(
        host.http.get("/v1/stores/main/events?tag=course:c1").expect(200).json["events"]
            .as_array()
            .unwrap()
            .len(),
        SEATS
    );
}

#[test]
fn an_invalid_transaction_is_refused_with_the_field() {
    let host = Host::start();
    let append = json!({ "stream": "s", "expected_version": "any", "events": [event("1", "t", &[])] });
    let too_many: Vec<_> = (0..101)
        .map(|number| json!({ "stream": format!("s{number}"), "expected_version": "any", "events": [event("1", "t", &[])] }))
        .collect();
    for (body, field) in [
        (json!({}), "appends"),
        (json!({ "appends": [] }), "appends"),
        (json!({ "appends": [append, append] }), "appends[1].stream"),
        (json!({ "appends": [append], "conditions": [{ "query": [] }] }), "conditions[0].query"),
        (
            json!({ "appends": [append], "checks": [{ "stream": "s", "expected_version": "any" }] }),
            "checks[0].stream",
        ),
        (json!({ "appends": [append], "surprise": 1 }), "surprise"),
        (json!({ "appends": too_many }), "appends"),
    ] {
        let response = host.http.post(TRANSACTIONS, &body);
        assert!((400..500).contains(&response.status), "{body}: {}", response.text);
        let named = response.json["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{field} should be named: {}", response.text);
    }
    assert_eq!(host.http.read_all().len(), 0);
}
