//! Events that are kept no longer: hidden at once, and reclaimed.

use exesdb_tests::{Host, NO_EVENTS};
use serde_json::{Value, json};

fn versions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["version"].as_u64().expect("a number")).collect()
}

fn fill(host: &Host, stream: &str, events: u64) {
    for number in 0..events {
        host.http.append(stream, "any", &[json!({ "type": "t", "data": number })]).expect(200);
    }
}

#[test]
fn retention_hides_at_once_and_scavenging_changes_no_answer() {
    let host = Host::start();
    fill(&host, "s", 10);
    fill(&host, "other", 3);
    let retention = format!("{}/retention", host.http.stream("s"));
    host.http.put(&retention, &json!({ "truncate_before": 4 })).expect(204);
    assert_eq!(versions(&host.http.read("s")), [4, 5, 6, 7, 8, 9]);
    host.http.put(&retention, &json!({ "max_count": 3 })).expect(204);
    assert_eq!(versions(&host.http.read("s")), [7, 8, 9]);
    fill(&host, "s", 1);
    assert_eq!(versions(&host.http.read("s")), [8, 9, 10]);
    // What is hidden stays so, also where a new limit would show it.
    host.http.put(&retention, &json!({})).expect(204);
    assert_eq!(versions(&host.http.read("s")), [8, 9, 10]);
    let info = host.http.get(&host.http.stream("s")).expect(200).json;
    assert_eq!((&info["first_version"], &info["last_version"]), (&json!(8), &json!(10)));
    let before = host.http.read_all();
    assert_eq!(before.len(), 6);
    host.ok(&["scavenge"]);
    assert_eq!(host.http.read_all(), before);
    let host = host.crash_and_restart();
    assert_eq!(host.http.read_all(), before);
    fill(&host, "s", 1);
    assert_eq!(versions(&host.http.read("s")), [8, 9, 10, 11]);
    host.http.get(&host.http.stream("nobody")).expect_problem(404, "stream-not-found");
    host.http.put(&retention, &json!({ "max_count": 0 })).expect(400);
}

#[test]
fn a_deleted_stream_begins_again_and_a_tombstone_is_the_end() {
    let host = Host::start();
    fill(&host, "s", 3);
    let stream = host.http.stream("s");
    host.http.delete(&format!("{stream}?expected_version=9")).expect_problem(409, "wrong-expected-version");
    host.http.delete(&format!("{stream}?expected_version=2")).expect(204);
    host.http.get(&format!("{stream}/events")).expect_problem(404, "stream-not-found");
    assert_eq!(host.http.get(&stream).expect(200).json["state"], "deleted");
    assert_eq!(host.http.read_all(), NO_EVENTS);
    assert_eq!(host.http.get("/v1/stores/main/streams").expect(200).json["streams"], json!([]));
    host.http.delete(&stream).expect_problem(404, "stream-not-found");
    let begun = host.http.append("s", "no_stream", &[json!({ "type": "t", "data": 1 })]).expect(200).json;
    assert_eq!(begun["first_version"], 3, "it goes on counting");
    assert_eq!(versions(&host.http.read("s")), [3]);

    host.http.delete(&format!("{stream}?tombstone=true")).expect(204);
    host.http.get(&format!("{stream}/events")).expect_problem(410, "stream-deleted");
    host.http.append_one("s").expect_problem(410, "stream-deleted");
    let host = host.crash_and_restart();
    host.ok(&["scavenge"]);
    host.http.append_one("s").expect_problem(410, "stream-deleted");
    assert_eq!(host.http.get(&stream).expect(200).json["state"], "tombstoned");
}
