//! Streams, lists and batches at sizes around the bounds of every internal step. Every hidden event is removed, every
//! visible event is read, and the streams after a large one are processed, too.

use exesdb_tests::{Client, Host};
use serde_json::{Value, json};

/// Most events of one append.
const APPEND_EVENTS_MAX: u64 = 1_000;

/// Sizes around the bounds: pages and steps of scavenging have 1,000 events, and two steps in a row may end in one
/// stream.
const EVENTS: [u64; 9] = [1, 999, 1_000, 1_001, 1_999, 2_000, 2_001, 3_000, 3_001];

/// Numbers of streams and snapshots around the bounds: a step of scavenging looks at 500 streams, a page of a list has
/// 1,000.
const STREAMS: [u64; 6] = [499, 500, 501, 999, 1_000, 1_001];

fn append(http: &Client, stream: &str, count: u64, event: impl Fn() -> Value) {
    for begin in (0..count).step_by(usize::try_from(APPEND_EVENTS_MAX).expect("it is small")) {
        let events: Vec<Value> = (begin..count.min(begin + APPEND_EVENTS_MAX)).map(|_| event()).collect();
        // Large events are sent in as many requests as their bytes need.
        let bytes = events.first().map_or(0, |event| event.to_string().len()) * events.len();
        for part in events.chunks(events.len().div_ceil(bytes / (4 << 20) + 1)) {
            http.append(stream, "any", part).expect(200);
        }
    }
}

fn small() -> Value {
    json!({ "type": "t", "data": 1 })
}

/// How much one scavenging removed, in both components together.
fn scavenge(host: &Host) -> u64 {
    let steps = host.json(&["scavenge", "--json"]);
    let removed = |component: &str| {
        let of = |step: &&Value| step["response"] == "scavenged" && step["component"] == component;
        steps.iter().rev().find(of).and_then(|step| step["removed"].as_u64()).expect("each component tells")
    };
    removed("streams") + removed("snapshots")
}

/// Scavenges, and checks that exactly this much is removed, that a second time removes nothing, and that reads do not change.
fn scavenge_removes(host: &Host, hidden: u64, what: &str) {
    let before = host.http.read_all();
    assert_eq!(scavenge(host), hidden, "{what}");
    assert_eq!(host.http.read_all(), before, "{what}");
    assert_eq!(scavenge(host), 0, "{what}: the second time");
}

fn doctor_finds_nothing(host: Host) {
    let output = host.stop().down.exesdb(&["doctor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn hidden_events_are_removed_at_every_size() {
    let host = Host::start();
    for size in EVENTS {
        let (large, after) = (format!("n{size}-large"), format!("n{size}-z"));
        append(&host.http, &large, size, small);
        append(&host.http, &after, 2, small);
        host.http.delete(&host.http.stream(&large)).expect(204);
        host.ok(&["retention", &after, "--max-count", "1"]);
        scavenge_removes(&host, size + 1, &format!("{size} events of a deleted stream"));
        assert_eq!(host.http.append_one(&large).expect(200).json["first_version"], size);

        let kept = format!("n{size}-kept");
        append(&host.http, &kept, size + 3, small);
        host.ok(&["retention", &kept, "--truncate-before", &size.to_string()]);
        scavenge_removes(&host, size, &format!("{size} events before a truncate point"));
        assert_eq!(host.http.read(&kept).len(), 3);
    }
    doctor_finds_nothing(host);
}

#[test]
fn hidden_events_are_removed_whatever_ends_a_step() {
    // The number of events, and the event: the bounds are the events and bytes of a step, and the operations of a batch.
    let large = || json!({ "type": "t", "data": "x".repeat(320_000) });
    let tagged =
        || json!({ "type": "t", "data": 1, "tags": (0..32).map(|n| format!("t:{n}")).collect::<Vec<_>>() });
    let host = Host::start();
    let cases: [(&str, u64, &dyn Fn() -> Value); 4] = [
        ("bytes", 40, &large),
        ("bytes-of-one-step", 13, &large),
        ("tags", 1_250, &tagged),
        ("tags-twice", 2_500, &tagged),
    ];
    for (name, count, event) in cases {
        for _ in 0..count.div_ceil(100) {
            // In parts, because the bytes and operations of a request are limited, too.
            let part: Vec<Value> = (0..100.min(count)).map(|_| event()).collect();
            for events in part.chunks(if name.starts_with("bytes") { 10 } else { 100 }) {
                host.http.append(name, "any", events).expect(200);
            }
        }
        append(&host.http, &format!("{name}-z"), 2, small);
        let hidden = host.http.read(name).len() as u64;
        assert!(hidden >= count, "{name}: {hidden} events");
        host.ok(&["retention", &format!("{name}-z"), "--max-count", "1"]);
        host.http.delete(&host.http.stream(name)).expect(204);
        scavenge_removes(&host, hidden + 1, name);
    }
    doctor_finds_nothing(host);
}

#[test]
fn many_streams_and_snapshots_are_listed_and_removed_at_every_size() {
    let host = Host::start();
    for size in STREAMS {
        let prefix = format!("n{size}-");
        for number in 0..size {
            host.http.append_one(&format!("{prefix}{number:04}")).expect(200);
        }
        let pages = format!("{}/streams?prefix={prefix}&count=1000", host.http.path());
        let page = host.http.get(&pages).expect(200).json;
        assert_eq!(page["streams"].as_array().expect("a list").len() as u64, size.min(1_000));
        assert_eq!(host.ok(&["streams", "--prefix", &prefix]).lines().count() as u64, size);

        // The same number of snapshots, each of another stream, and one stream with a snapshot of every second event.
        let many = format!("{prefix}many");
        append(&host.http, &many, size, small);
        for version in 0..size {
            let of_many = format!("{}/snapshots/{version}", host.http.stream(&many));
            host.http.put(&of_many, &json!({ "data": version })).expect(204);
        }
        let listed = host.ok(&["snapshot", "list", &many, "--json"]).lines().count();
        assert_eq!(listed as u64, size, "snapshots of one stream");

        for number in 0..size {
            host.http.delete(&host.http.stream(&format!("{prefix}{number:04}"))).expect(204);
        }
        scavenge_removes(&host, size, &format!("{size} deleted streams"));
        host.http.delete(&host.http.stream(&many)).expect(204);
        // The events and the snapshots of the stream.
        scavenge_removes(&host, 2 * size, &format!("{size} snapshots of a deleted stream"));
        assert_eq!(host.ok(&["streams", "--prefix", &prefix]), "");
        assert_eq!(host.ok(&["streams", "--prefix", &prefix, "--deleted"]).lines().count() as u64, size + 1);
    }
    doctor_finds_nothing(host);
}

#[test]
fn pages_of_every_size_give_every_event_once() {
    let host = Host::start();
    for size in EVENTS {
        let stream = format!("n{size}");
        append(&host.http, &stream, size, small);
        let read = host.http.read(&stream);
        assert_eq!(read.len() as u64, size);
        assert!(
            read.iter().zip(0..).all(|(event, version)| event["version"] == version),
            "{size} events in order"
        );
        let lines = host.ok(&["read", &stream, "--json"]).lines().count();
        assert_eq!(lines as u64, size, "read by the command");
        let backward = host.ok(&["read", &stream, "--direction", "backward", "--json"]).lines().count();
        assert_eq!(backward as u64, size, "read backward");
        // The same events again, as one import for each page.
        let export = host.ok(&["export", "--stream-prefix", &stream]);
        assert!(export.lines().filter(|line| line.contains("\"version\"")).count() as u64 >= size);
    }
    let events: u64 = EVENTS.iter().sum();
    assert_eq!(host.http.read_all().len() as u64, events);
}
