//! WASI for components: all of its interfaces exist, most are empty or denied, and output goes to the log.

use exesdb_tests::{Host, eventually};
use serde_json::{Value, json};

/// The log records of components of the store `main`.
fn records(host: &Host) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str::<Value>(line).ok();
    let records = host.log().iter().filter_map(parse).collect::<Vec<_>>();
    records.into_iter().filter(|record| record["target"] == "guest" && record["store"] == "main").collect()
}

#[test]
fn denied_calls_of_a_gateway_return_errors() {
    let host = Host::with_probes("");
    check_denials(&host);
}

/// Checks what the gateway of `main` gets for everything that a component may not use.
pub(crate) fn check_denials(host: &Host) {
    let response = host.http.get("/v1/stores/main/probe/denied").expect(200);
    let lines: Vec<&str> = response.text.lines().collect();
    let expected = [
        "files: 0",
        "environment: []",
        "arguments: []",
        "tcp: Some(ErrorCode { code: 1, name: \"access-denied\"",
        "udp: Some(ErrorCode { code: 1, name: \"access-denied\"",
        "names: Some(ErrorCode { code: ",
        "request: Ok(Some(Ok(Err(ErrorCode::HttpRequestDenied",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}, not {expected}");
    }
    assert_eq!(host.traps().len(), 0);
}

#[test]
fn a_persistence_component_has_wasi_with_nothing_in_it() {
    let host = Host::with_probes("");
    let event = json!({ "type": "t", "data": 1 });
    host.http.append("probe-wasi", "any", &[event]).expect(200);
    let printed = eventually("what it printed is in the log", || {
        records(&host).into_iter().find(|record| record["component"] == "streams")
    });
    assert!(printed["message"].as_str().unwrap().starts_with("the time is 1"), "{printed:#}");
    assert_eq!((&printed["level"], &printed["fields"]), (&json!("INFO"), &json!("output=stdout")));
    assert!(printed["trace"].as_str().is_some_and(|trace| trace.len() == 32), "{printed:#}");
}

#[test]
fn output_of_a_component_is_logged_line_by_line() {
    let host = Host::with_probes("");
    host.http.get("/v1/stores/main/probe/print").expect(200);
    // Both outputs, each line when it ended.
    let expected = [
        ("INFO", "stdout", "first line".to_owned()),
        ("INFO", "stdout", "second line".to_owned()),
        ("INFO", "stdout", "half a line".to_owned()),
        ("ERROR", "stderr", "an error".to_owned()),
        ("ERROR", "stderr", "forged\\r{\"level\": \"INFO\"}".to_owned()),
        ("INFO", "stdout", format!("without an end{}", "x".repeat(4_096 - 14))),
        ("INFO", "stdout", "x".repeat(4_096)),
        ("INFO", "stdout", "x".repeat(10_000 + 14 - 2 * 4_096)),
    ];
    let found = eventually("all lines are in the log", || {
        let records = records(&host);
        (records.len() >= expected.len()).then_some(records)
    });
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (record, (level, output, message)) in found.iter().zip(&expected) {
        assert_eq!((&record["level"], &record["message"]), (&json!(level), &json!(message)), "{record:#}");
        assert_eq!(record["fields"], format!("output={output}"), "{record:#}");
        assert_eq!(record["component"], "gateway", "{record:#}");
    }
}

#[test]
fn an_invalid_header_is_named() {
    let host = Host::with_probes("");
    host.http.get("/v1/stores/main/probe/bad-header").expect_problem(500, "internal");
    let trap = host.traps().pop().expect("it breaks the contract");
    let reason = trap["detail"]["reason"].as_str().expect("there is a reason");
    assert!(reason.contains("the header `x-bad` has a value that HTTP does not allow"), "{trap:#}");
}
