//! Events that a maximum age hides between visible ones, because times do not ascend with versions: in stores that were
//! restored up to a position, and in copies.

use exesdb_tests::{Client, Down, Host, folder, stderr};
use serde_json::{Value, json};

/// The history of a store. `s+` appends a visible event to the stream `s`, `s-` one that is too old, and `s!` deletes the
/// stream. Positions count the events. `plain` has no maximum age.
///
/// The streams are interleaved so that a hidden event of one has the only free position before an event of another.
const LOG: &str = "wide+ narrow+ narrow- plain+ narrow+ plain+ wide- wide+ \
    middle+ middle- middle- middle+ \
    start- start- plain+ start+ start+ \
    end+ end+ end- plain+ end- \
    both- both+ both- both+ plain+ both- \
    gone- gone- \
    again+ again+ again! again- plain+ again+ again- again+ again- \
    cross+ other+ other- cross- cross- other- other+ cross+ \
    late- plain+ late+";

/// The number of events that scavenging removes from each stream: the hidden ones before the first visible one.
const SCAVENGED: [(&str, u64); 5] = [("start", 2), ("both", 1), ("gone", 2), ("again", 3), ("late", 1)];

/// The number of events of `again` that its deletion hides, scavenged or not.
const DELETED: u64 = 2;

/// A store is restored up to every position that is a multiple of this, and up to the last: each restore takes seconds.
const UP_TO_STEP: usize = 7;

const STORES: &str = "[[store]]\nname = \"main\"\n[[store]]\nname = \"copy\"\n";

/// Creates the store, and returns the stream of each position.
fn fill(host: &Host) -> Vec<&'static str> {
    let mut events = Vec::new();
    for step in LOG.split_whitespace() {
        let (stream, what) = step.split_at(step.len() - 1);
        if what == "!" {
            host.http.delete(&host.http.stream(stream)).expect(204);
            continue;
        }
        let version = reached(&events, stream);
        let created = if what == "-" { "2020-01-02T03:04:05Z" } else { "2099-01-02T03:04:05Z" };
        let event = json!({
            "stream": stream, "version": version, "created": created, "id": format!("{stream}-{version}"), "type": "t",
            "data": { "at": events.len() },
        });
        host.http.post("/v1/stores/main/import", &json!({ "events": [event] })).expect(200);
        events.push(stream);
    }
    for stream in names(&events).into_iter().filter(|stream| *stream != "plain") {
        let path = format!("{}/retention", host.http.stream(stream));
        host.http.put(&path, &json!({ "max_age_seconds": 7 * 24 * 3_600 })).expect(204);
    }
    events
}

/// The number of events of a stream.
fn reached(events: &[&str], stream: &str) -> u64 {
    events.iter().filter(|of| **of == stream).count() as u64
}

fn names<'a>(events: &[&'a str]) -> Vec<&'a str> {
    let mut names = events.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

/// The last version of a stream in a store that was restored up to the last of these events; `None` before its first.
fn last_version(events: &[&str], stream: &str, scavenged: bool) -> Option<u64> {
    let gone = SCAVENGED.iter().find(|(of, _)| scavenged && *of == stream).map_or(0, |(_, gone)| *gone);
    let gone = if stream == "again" { gone.max(DELETED) } else { gone };
    match reached(events, stream) {
        0 => None,
        // It is unknown how many of the removed events came later.
        reached => Some(reached.max(gone) - 1),
    }
}

/// Appends an event to a stream, and returns its version.
fn append(http: &Client, stream: &str) -> u64 {
    let event = json!({ "id": format!("new-{stream}"), "type": "t", "data": 1 });
    let appended = http.append(stream, "any", &[event]).expect(200);
    appended.json["first_version"].as_u64().expect("a version")
}

/// The events, without their positions.
fn unplaced(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        event.as_object_mut().expect("an object").remove("position");
    }
    events
}

fn position(event: &Value) -> u64 {
    event["position"].as_u64().expect("a position")
}

fn last_position(events: &[Value]) -> u64 {
    events.last().map_or(0, position)
}

/// Copies `main` into the empty store `copy` and compares the two, before and after appending to each of the streams.
fn compare_with_a_copy(host: &Host, streams: &[&str], case: &str) {
    let file = folder();
    let file = file.path().join("main.ndjson").to_string_lossy().into_owned();
    host.ok(&["export", &file]);
    let copy = host.http.of("copy");
    // The second import changes nothing.
    for _ in 0..2 {
        host.ok(&["import", &file, "--store", "copy"]);
        assert_eq!(unplaced(&copy.read_all()), unplaced(&host.http.read_all()), "{case}");
    }
    for stream in streams {
        let updated = |http: &Client| http.get(&http.stream(stream)).expect(200).json["updated"].take();
        assert_eq!(updated(&copy), updated(&host.http), "{case}, {stream}");
        assert_eq!(append(&copy, stream), append(&host.http, stream), "{case}, {stream}");
    }
    // Both got the same appends, at different times.
    let without_times = |events: &[Value]| -> Vec<Value> {
        let mut events = unplaced(events);
        for event in &mut events {
            event.as_object_mut().expect("an object").remove("created");
        }
        events
    };
    assert_eq!(without_times(&copy.read_all()), without_times(&host.http.read_all()), "{case}");
}

#[test]
fn a_store_restored_up_to_a_position_keeps_the_places_of_hidden_events() {
    let host = Host::start();
    let folder = folder();
    let events = fill(&host);
    let visible = host.http.read_all();
    for scavenged in [false, true] {
        if scavenged {
            host.ok(&["scavenge"]);
        }
        let file = folder.path().join(format!("{scavenged}.backup")).to_string_lossy().into_owned();
        host.ok(&["backup", &file]);
        for last in (0..events.len()).step_by(UP_TO_STEP).chain([events.len() - 1]) {
            let case = format!("up to {last}, scavenged: {scavenged}");
            let down = Down::new(Some(STORES));
            let restored = down.exesdb(&["restore", &file, "--up-to", &last.to_string()]);
            assert!(restored.status.success(), "{case}: {}", stderr(&restored));
            let host = down.start();
            let wanted: Vec<Value> =
                visible.iter().filter(|event| position(event) <= last as u64).cloned().collect();
            assert_eq!(host.http.read_all(), wanted, "{case}");
            let mut streams = Vec::new();
            for stream in names(&events) {
                let info = host.http.get(&host.http.stream(stream));
                let wanted = last_version(&events[..=last], stream, scavenged);
                assert_eq!(info.json["last_version"].as_u64(), wanted, "{case}, {stream}: {}", info.text);
                streams.extend(wanted.map(|_| stream));
            }
            compare_with_a_copy(&host, &streams, &case);

            // Appends continue after its last event, and hidden events can be removed.
            let there = host.http.read_all();
            assert_eq!(there.len(), wanted.len() + streams.len(), "{case}");
            assert!(there.is_sorted_by_key(position), "{case}");
            assert!(position(&there[wanted.len()]) > last_position(&wanted), "{case}");
            if last == events.len() - 1 {
                host.ok(&["scavenge"]);
                assert_eq!(host.http.read_all(), there, "{case}");
            }
            let down = host.stop().down;
            for store in ["main", "copy"] {
                let examined = down.exesdb(&["doctor", "--store", store]);
                let said = String::from_utf8_lossy(&examined.stdout);
                assert!(examined.status.success(), "{case}, {store}: {said}");
            }
        }
    }
}

#[test]
fn a_copy_continues_its_versions_after_hidden_events() {
    for scavenged in [false, true] {
        let host = Host::with_config(STORES);
        let events = fill(&host);
        if scavenged {
            host.ok(&["scavenge"]);
        }
        compare_with_a_copy(&host, &names(&events), &format!("scavenged: {scavenged}"));
    }
}

#[test]
fn a_copy_accepts_events_after_hidden_ones() {
    let host = Host::with_config(STORES);
    let folder = folder();
    let events = fill(&host);
    for (round, name) in ["first", "second"].into_iter().enumerate() {
        if round > 0 {
            for stream in names(&events) {
                append(&host.http, stream);
            }
        }
        let file = folder.path().join(name).to_string_lossy().into_owned();
        host.ok(&["export", &file]);
        host.ok(&["import", &file, "--store", "copy"]);
        assert_eq!(unplaced(&host.http.of("copy").read_all()), unplaced(&host.http.read_all()), "{name}");
    }
}
