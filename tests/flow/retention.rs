//! Retention and deletion: events are hidden immediately, and their space is reclaimed.

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
fn retention_hides_immediately_and_scavenging_changes_no_response() {
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
    // Hidden events stay hidden, even if a new limit would show them.
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
fn a_deleted_stream_can_begin_again_and_a_tombstone_is_final() {
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

/// The limits of a scavenge step: 1,000 events, 4 MiB, and the operations of a batch, of which tags need many.
#[test]
fn long_streams_are_scavenged_to_their_end() {
    let host = Host::start();
    let tags: Vec<String> = (0..32).map(|tag| format!("t:{tag}")).collect();
    let large = "x".repeat(320_000);
    let streams = [
        ("by-count-2000", 2_000, json!(1), 0),
        ("by-count-2001", 2_001, json!(1), 0),
        ("by-bytes", 40, json!(large), 0),
        ("by-tags", 1_250, json!(1), 32),
    ];
    for (stream, events, data, tagged) in &streams {
        let event = json!({ "type": "t", "data": data, "tags": tags[..*tagged] });
        let all = vec![event; *events];
        // Within the limits of one append.
        for part in all.chunks(if data.is_string() { 10 } else { 200 }) {
            host.http.append(stream, "any", part).expect(200);
        }
        host.ok(&["delete", stream]);
    }
    host.http.append_one("z-the-last").expect(200);
    host.ok(&["delete", "z-the-last"]);
    let steps = host.json(&["scavenge", "--json"]);
    let removed = steps
        .iter()
        .filter(|step| step["component"] == "streams")
        .filter_map(|step| step["removed"].as_u64());
    assert_eq!(removed.max(), Some(2_000 + 2_001 + 40 + 1_250 + 1));
    let down = host.stop().down;
    let output = down.exesdb(&["doctor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_truncate_point_beyond_the_end_hides_nothing_that_comes_later() {
    let host = Host::start();
    fill(&host, "q", 1);
    host.ok(&["retention", "q", "--truncate-before", "1000000"]);
    assert_eq!(host.json(&["retention", "q", "--show", "--json"])[0]["truncate_before"], 1);
    assert_eq!(host.http.read("q"), NO_EVENTS);
    fill(&host, "q", 1);
    assert_eq!(versions(&host.http.read("q")), [1]);
    host.ok(&["scavenge"]);
    assert_eq!(versions(&host.http.read("q")), [1]);
}

#[test]
fn the_id_of_a_deleted_event_is_new_scavenged_or_not() {
    let host = Host::start();
    let event = [json!({ "type": "t", "data": 1, "id": "the-id" })];
    for (stream, is_scavenged) in [("kept", false), ("removed", true)] {
        let first = host.http.append(stream, "any", &event).expect(200).json;
        assert_eq!(host.http.append(stream, "any", &event).expect(200).json, first);
        host.ok(&["delete", stream]);
        if is_scavenged {
            host.ok(&["scavenge"]);
        }
        let second = host.http.append(stream, "any", &event).expect(200).json;
        assert_eq!(second["first_version"], 1, "{stream}");
        assert_eq!(versions(&host.http.read(stream)), [1], "what is acknowledged is read: {stream}");
        assert_eq!(host.http.append(stream, "any", &event).expect(200).json, second);
    }
    let down = host.stop().down;
    let output = down.exesdb(&["doctor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn no_import_uses_up_the_versions_of_a_stream() {
    let host = Host::start();
    let import = |version: u64| {
        let event =
            json!({ "stream": "s", "version": version, "created": 1, "id": "i", "type": "t", "data": 1 });
        host.http.post("/v1/stores/main/import", &json!({ "events": [event] }))
    };
    for version in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let refused = import(version).expect_problem(400, "invalid-argument");
        assert_eq!(refused.json["field"], "events[0].version");
    }
    import((1 << 63) - 1).expect(200);
    assert_eq!(host.http.append_one("s").expect(200).json["first_version"], 1_u64 << 63);
}
