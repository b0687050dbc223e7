//! Appends: expected versions, batches, and appends that are sent again.

use std::io::{BufRead as _, BufReader, Write as _};

use exesdb_tests::{Append, Client, Connection, Host, Load, NO_FAULTS, Outcome, disorder, faults};
use serde_json::{Value, json};

fn events(ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "id": id, "type": "t", "data": { "id": id } })).collect()
}

#[test]
fn versions_and_positions_count_from_zero() {
    let host = Host::start();
    let response = |stream: &str, ids: &[&str]| {
        let mut response = host.http.append(stream, "any", &events(ids)).expect(200).json;
        let history = response.as_object_mut().and_then(|response| response.remove("history"));
        assert!(history.is_some_and(|history| history.is_string()), "the position's history is named");
        response
    };
    assert_eq!(response("a", &["1"]), json!({ "first_version": 0, "last_version": 0, "position": 0 }));
    assert_eq!(
        response("b", &["2", "3", "4"]),
        json!({ "first_version": 0, "last_version": 2, "position": 3 })
    );
    assert_eq!(response("a", &["5"]), json!({ "first_version": 1, "last_version": 1, "position": 4 }));
    let all = host.http.read_all();
    let order: Vec<_> =
        all.iter().map(|event| (&event["position"], &event["stream"], &event["version"])).collect();
    let expected = [(0, "a", 0), (1, "b", 0), (2, "b", 1), (3, "b", 2), (4, "a", 1)];
    let expected =
        expected.map(|(position, stream, version)| (json!(position), json!(stream), json!(version)));
    assert_eq!(order, expected.iter().map(|(p, s, v)| (p, s, v)).collect::<Vec<_>>());
}

#[test]
fn an_event_is_read_as_it_was_sent() {
    let host = Host::start();
    let table = [
        json!({ "id": "i", "type": "t", "data": { "b": 1.50, "a": [null, true, "ä\u{1f600}\u{0}"] }, "metadata": { "m": 1 } }),
        json!({ "id": "j", "type": "Ein Typ/ä", "data": null }),
        json!({ "id": "k", "type": "t", "data": "" }),
        json!({ "id": "l", "type": "t", "data": [], "metadata": "text" }),
        json!({ "id": "m", "type": "t", "data_base64": "AAH/", "content_type": "application/octet-stream" }),
        json!({ "id": "n", "type": "t", "data_base64": "", "content_type": "text/plain; charset=utf-8" }),
    ];
    host.http.append("s", "no_stream", &table).expect(200);
    for (read, sent) in host.http.read("s").iter().zip(&table) {
        for field in ["id", "type", "data", "data_base64", "content_type", "metadata"] {
            assert_eq!(read[field], sent[field], "{field} of {sent}");
        }
        assert!(read["created"].as_str().is_some_and(|created| created.ends_with('Z')), "{read}");
    }
    // JSON is stored byte for byte, including numbers that a parser would round.
    let raw = br#"{"events":[{"type":"t","data":{"z":1.0e2,  "a":12345678901234567890123}}]}"#;
    host.http.post_bytes("/v1/stores/main/streams/raw/events", "application/json", raw).expect(200);
    let text = host.http.get("/v1/stores/main/streams/raw/events").expect(200).text;
    assert!(text.contains(r#""data":{"z":1.0e2,  "a":12345678901234567890123}"#), "{text}");
    // An event without an id gets one.
    let page: Value = serde_json::from_str(&text).unwrap();
    assert!(page["events"][0]["id"].as_str().is_some_and(|id| !id.is_empty()), "{page}");
}

#[test]
fn an_append_needs_the_expected_version() {
    let host = Host::start();
    host.http.append("three", "any", &events(&["x", "y", "z"])).expect(200);
    // stream, expected version, and either the first version or the actual version
    let table: [(&str, Value, Result<u64, Value>); 14] = [
        ("new-1", json!("any"), Ok(0)),
        ("new-2", json!("no_stream"), Ok(0)),
        ("new-3", json!("stream_exists"), Err(json!(null))),
        ("new-3", json!(0), Err(json!(null))),
        ("new-3", json!(u64::MAX), Err(json!(null))),
        ("three", json!("no_stream"), Err(json!(2))),
        ("three", json!(0), Err(json!(2))),
        ("three", json!(1), Err(json!(2))),
        ("three", json!(3), Err(json!(2))),
        ("three", json!(u64::MAX), Err(json!(2))),
        ("three", json!(2), Ok(3)),
        ("three", json!("stream_exists"), Ok(4)),
        ("three", json!("any"), Ok(5)),
        ("three", json!(4), Err(json!(5))),
    ];
    let mut appended = 3;
    for (number, (stream, expected, outcome)) in table.into_iter().enumerate() {
        let response = host.http.append(stream, expected.clone(), &events(&[&format!("e{number}")]));
        match outcome {
            Ok(first_version) => {
                let response = response.expect(200);
                assert_eq!(response.json["first_version"], first_version, "{stream} {expected}");
                appended += 1;
            }
            Err(actual) => {
                let response = response.expect_problem(409, "wrong-expected-version");
                assert_eq!(response.json.get("actual_version"), Some(&actual), "{stream} {expected}");
            }
        }
    }
    assert_eq!(host.http.read_all().len(), appended, "what was refused left nothing");
    let body = json!({ "events": events(&["without"]) });
    host.http.post("/v1/stores/main/streams/three/events", &body).expect(200);
}

#[test]
fn a_repeated_append_gets_the_first_result() {
    let host = Host::start();
    let batch = events(&["1", "2", "3"]);
    let first = host.http.append("s", "no_stream", &batch).expect(200).json;
    host.http.append("s", 2, &events(&["4"])).expect(200);
    // This holds after later appends, even if the expected version no longer holds.
    for expected in [json!("no_stream"), json!("any"), json!("stream_exists")] {
        assert_eq!(host.http.append("s", expected.clone(), &batch).expect(200).json, first, "{expected}");
    }
    assert_eq!(host.http.read("s").len(), 4);
    // The same ids in another stream are other events.
    assert_eq!(host.http.append("t", "no_stream", &batch).expect(200).json["position"], 6);
}

#[test]
fn an_append_of_known_and_new_ids_conflicts() {
    let host = Host::start();
    host.http.append("s", "any", &events(&["1", "2"])).expect(200);
    host.http.append("s", "any", &events(&["3"])).expect(200);
    let table: [&[&str]; 6] =
        [&["1", "new"], &["new", "2"], &["2", "1"], &["1", "3"], &["2", "new", "3"], &["new", "1", "2"]];
    for ids in table {
        host.http.append("s", "any", &events(ids)).expect_problem(409, "event-id-conflict");
    }
    let twice = host.http.append("s", "any", &events(&["same", "same"]));
    assert!((400..500).contains(&twice.status), "{}", twice.text);
    let ids: Vec<_> = host.http.read("s").iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, [json!("1"), json!("2"), json!("3")], "what was refused left nothing");
}

#[test]
fn one_of_several_appends_at_the_same_expected_version_wins() {
    const RIVALS: usize = 8;
    const ROUNDS: u64 = 20;
    let host = Host::start();
    host.http.append("s", "no_stream", &events(&["start"])).expect(200);
    let rival = |index: usize| {
        let http: Client = host.http.clone();
        std::thread::spawn(move || {
            let mut won = 0;
            for round in 0..ROUNDS {
                let response = http.append("s", round, &events(&[&format!("{index}-{round}")]));
                match response.status {
                    200 => won += 1,
                    _ => {
                        let response = response.expect_problem(409, "wrong-expected-version");
                        assert!(response.json["actual_version"].as_u64() >= Some(0), "{}", response.text);
                    }
                }
                // The next round begins when the stream has its version.
                exesdb_tests::eventually("somebody wins the round", || {
                    let last = http.get(&http.stream("s")).expect(200).json["last_version"].as_u64();
                    (last > Some(round)).then_some(())
                });
            }
            won
        })
    };
    let rivals: Vec<_> = (0..RIVALS).map(rival).collect();
    let won: u64 = rivals.into_iter().map(|rival| rival.join().unwrap()).sum();
    assert_eq!(won, ROUNDS);
    assert_eq!(host.http.read("s").len() as u64, ROUNDS + 1);
}

/// Each line is complete when it has come, however long it is: nothing more is needed to answer it.
#[test]
fn a_pipeline_answers_each_append_although_its_writer_waits_for_the_answer() {
    let host = Host::start();
    let mut connection = BufReader::new(host.http.connect());
    let head = "POST /v1/stores/main/append HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.get_mut().write_all(head.as_bytes()).expect("the host reads");
    next_line(&mut connection, "HTTP/1.1 200");
    for (version, bytes) in [10, 200_000, 300_000, 1_000_000, 10, 900_000].into_iter().enumerate() {
        let data = "x".repeat(bytes);
        let line = format!("{{\"stream\":\"s\",\"events\":[{{\"type\":\"t\",\"data\":\"{data}\"}}]}}\n");
        let out = connection.get_mut();
        out.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).expect("the host reads");
        let answer: Value =
            serde_json::from_str(&next_line(&mut connection, "{")).expect("an answer is a line of JSON");
        assert_eq!(answer["last_version"], version, "{answer}");
    }
    connection.get_mut().write_all(b"0\r\n\r\n").expect("the host reads");
    assert_eq!(host.http.read("s").len(), 6);
}

/// The pipelines of the tests of recovery, on a host to which nothing happens.
#[test]
fn appends_of_pipelines_are_all_answered_and_stored_in_their_order() {
    let host = Host::start();
    let load = Load::piped(&host.http, "piped", 4, 1);
    load.go_on(400);
    let report = load.finish();
    report.expect_no_refusal();
    assert_eq!(report.violations, NO_FAULTS);
    let appends: Vec<Append> = report.pipelines.iter().flatten().cloned().collect();
    assert!(appends.iter().all(|append| matches!(append.outcome, Outcome::Acknowledged { .. })));
    let events = host.http.read_all();
    assert_eq!(faults(&events, &appends), NO_FAULTS);
    assert_eq!(disorder(&events, &report.pipelines), NO_FAULTS);
}

/// The next line that begins like this.
pub(crate) fn next_line(connection: &mut BufReader<Connection>, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(connection.read_line(&mut line).expect("the host answers in time") > 0, "it was the end");
        if line.starts_with(start) {
            return line;
        }
    }
}
