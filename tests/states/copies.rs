//! A stream reads the same after a restart, in a store that was restored from a backup, and in a copy that was made by
//! an export and an import.

use exesdb_tests::{Client, Down, Host, folder, stderr};
use serde_json::{Value, json};

use crate::operation::{Subject, all_snapshots, perform};
use crate::state::{GAP, State};

/// The reads that are compared.
const OPERATIONS: [&str; 6] = [
    "read",
    "read backward",
    "read the store by tag",
    "information",
    "list with deleted streams",
    "get its latest snapshot",
];

/// The results of the reads of every stream.
fn results(host: &Host, store: &str) -> Vec<String> {
    let http: Client = host.http.of(store);
    let mut results = Vec::new();
    for state in State::ALL {
        let stream = state.name().replace(' ', "-");
        let subject = Subject { host, http: &http, store, stream, state };
        for operation in OPERATIONS {
            results.push(format!("{}, {operation}: {}", state.name(), perform(&subject, operation)));
        }
    }
    let mut snapshots: Vec<String> = all_snapshots(&http)
        .iter()
        .map(|info| format!("{} {} {}", info["stream"], info["version"], info["size"]))
        .collect();
    snapshots.sort();
    results.extend(snapshots);
    results
}

#[test]
fn a_stream_in_any_state_reads_the_same_in_every_copy() {
    for scavenged in [false, true] {
        let folder = folder();
        let [backup, export] = ["main.backup", "main.ndjson"].map(|name| {
            let file = folder.path().join(format!("{scavenged}-{name}"));
            file.to_str().expect("the test's folder has a plain name").to_owned()
        });
        let host = Host::with_config("[[store]]\nname = \"main\"\n[[store]]\nname = \"copy\"\n");
        for state in State::ALL {
            state.bring_about(&host.http, &state.name().replace(' ', "-"));
        }
        if scavenged {
            host.ok(&["scavenge"]);
        }
        let original = results(&host, "main");
        host.ok(&["export", &export]);
        host.ok(&["backup", &backup]);

        let host = host.crash_and_restart();
        assert_eq!(results(&host, "main"), original, "after a restart, scavenged: {scavenged}");
        host.ok(&["import", &export, "--store", "copy"]);
        assert_eq!(results(&host, "copy"), original, "imported, scavenged: {scavenged}");

        let down = host.stop().down;
        std::fs::remove_dir_all(down.data().join("main")).expect("the store is closed");
        let restored = down.exesdb(&["restore", &backup]);
        assert!(restored.status.success(), "{}", stderr(&restored));
        let host = down.start();
        assert_eq!(results(&host, "main"), original, "restored, scavenged: {scavenged}");
    }
}

/// The expected reads of a stream in a store that was restored up to the stream's second event: its information, the next
/// version, its snapshots and its retention. The first two of the events that age hides are known until they are scavenged.
fn part(state: State, scavenged: bool) -> (&'static str, &'static str, &'static str, Value) {
    match state {
        State::Never => ("missing", "+0", "none", Value::Null),
        State::Live => ("live 0..1", "+2", "none", json!({})),
        State::Truncated => ("live -..2", "+3", "2", json!({ "truncate_before": 3 })),
        State::Counted => ("live -..3", "+4", "2", json!({ "max_count": 2, "truncate_before": 4 })),
        State::Aged | State::Emptied if !scavenged => {
            ("live -..1", "+2", "none", json!({ "max_age_seconds": 604_800 }))
        }
        State::Aged => ("live -..2", "+3", "2", json!({ "max_age_seconds": 604_800, "truncate_before": 3 })),
        State::Emptied => {
            ("live -..5", "+6", "5,2", json!({ "max_age_seconds": 604_800, "truncate_before": 6 }))
        }
        State::Deleted => ("deleted -..5", "+6", "none", json!({ "truncate_before": 6 })),
        // The new beginning came after that position.
        State::BegunAgain => ("deleted -..5", "+6", "none", json!({ "truncate_before": 6 })),
        State::Tombstoned => ("tombstoned -..5", "gone", "none", json!({ "truncate_before": 6 })),
        State::Imported => ("live 10..11", "+12", "none", json!({ "truncate_before": 10 })),
    }
}

/// Checks a store that was restored up to the second event of the stream in this state. Earlier streams are unchanged;
/// later ones do not exist.
fn compare_part(host: &Host, original: &[String], reached: State, scavenged: bool) {
    let case = format!("up to the second event of {}, scavenged: {scavenged}", reached.name());
    let mut is_later = false;
    let (wanted_information, wanted_next, wanted_snapshots, wanted_limits) = part(reached, scavenged);
    for state in State::ALL {
        let stream = state.name().replace(' ', "-");
        let subject = Subject { host, http: &host.http, store: "main", stream: stream.clone(), state };
        let case = format!("{case}, {}", state.name());
        if state == reached {
            is_later = true;
            assert_eq!(perform(&subject, "information"), wanted_information, "{case}");
            assert_eq!(perform(&subject, "list its snapshots"), wanted_snapshots, "{case}");
            assert_eq!(perform(&subject, "list with deleted streams"), "yes", "{case}");
            let limits = host.http.get(&host.http.stream(&stream)).expect(200).json["retention"].take();
            assert_eq!(limits, wanted_limits, "{case}");
            let event = json!({ "id": "new", "type": "t", "data": 1 });
            let appended = host.http.append(&stream, "any", &[event]);
            let next = match appended.status {
                200 => format!("+{}", appended.json["first_version"]),
                410 => "gone".to_owned(),
                _ => panic!("{case}: {} {}", appended.status, appended.text),
            };
            assert_eq!(next, wanted_next, "{case}");
        } else if is_later {
            assert_eq!(perform(&subject, "information"), "missing", "{case}");
            assert_eq!(perform(&subject, "list with deleted streams"), "no", "{case}");
        } else {
            for operation in OPERATIONS {
                let result = format!("{}, {operation}: {}", state.name(), perform(&subject, operation));
                assert!(original.contains(&result), "{case}: {result}");
            }
        }
    }
}

#[test]
fn a_stream_in_any_state_goes_on_counting_in_a_store_restored_up_to_one_of_its_positions() {
    let folder = folder();
    let host = Host::start();
    let states: Vec<State> = State::ALL.into_iter().filter(|state| *state != State::Never).collect();
    let mut seconds = Vec::new();
    for state in &states {
        let page = host.http.get("/v1/stores/main/events?count=1000").expect(200);
        let first = page.json["next"].as_u64().expect("a position");
        // An imported stream has gaps between the positions of its events.
        seconds.push(first + 1 + if *state == State::Imported { GAP } else { 0 });
        state.bring_about(&host.http, &state.name().replace(' ', "-"));
    }
    let original = results(&host, "main");
    for scavenged in [false, true] {
        if scavenged {
            host.ok(&["scavenge"]);
        }
        let file = folder.path().join(format!("{scavenged}.backup")).to_string_lossy().into_owned();
        host.ok(&["backup", &file]);
        for (state, second) in states.iter().zip(&seconds) {
            let case = format!("up to the second event of {}, scavenged: {scavenged}", state.name());
            let down = Down::new(None);
            let restored = down.exesdb(&["restore", &file, "--up-to", &second.to_string()]);
            assert!(restored.status.success(), "{case}: {}", stderr(&restored));
            let host = down.start();
            compare_part(&host, &original, *state, scavenged);
            let examined = host.stop().down.exesdb(&["doctor"]);
            assert!(examined.status.success(), "{case}: {}", String::from_utf8_lossy(&examined.stdout));
        }
    }
}
