//! A streams component that exports only what it must. What it lacks is refused with the name of the interface, and the store does
//! everything else.

use exesdb_tests::{Host, NO_EVENTS, Response, probe, stderr};
use serde_json::json;

/// A host whose streams component has no interface but those without which it is not loaded.
fn host() -> Host {
    Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n[store.components]\nstreams = {:?}\n",
        probe("bare-streams")
    ))
}

/// The sentence about a missing interface.
fn lacks(interface: &str) -> String {
    format!("the store's component does not export exesdb:store/{interface}@0.2.0, which this needs")
}

#[track_caller]
fn refused(response: Response, interface: &str) {
    let response = response.expect_problem(501, "unsupported");
    assert!(response.detail().contains(&lacks(interface)), "{}", response.text);
}

#[test]
fn what_a_component_lacks_is_refused_by_name_and_the_rest_goes_on() {
    let host = host();
    let event = json!({ "type": "t", "data": 1, "tags": ["k:v"] });
    for version in 0..3 {
        let appended = host.http.append("s", "any", std::slice::from_ref(&event)).expect(200);
        assert_eq!(appended.json["last_version"], version);
    }
    let (store, stream) = (host.http.path(), host.http.stream("s"));
    let get = |path: &str| host.http.get(&format!("{store}/{path}"));
    // More often than a pool has workers, so that each has said it and goes on.
    for _ in 0..4 {
        for filter in ["type=t", "tag=k%3Av", "stream_prefix=s"] {
            refused(get(&format!("events?{filter}")), "stream-filters");
        }
        let lines = [("accept", "application/x-ndjson")];
        refused(host.http.get_with(&format!("{store}/events?type=t"), &lines), "stream-filters");
        refused(get("streams"), "stream-listing");
        refused(host.http.get(&stream), "stream-listing");
        let states = json!({ "source": "rows.csv", "streams": ["s"] });
        refused(host.http.post(&format!("{store}/import/states"), &states), "stream-import");
        // Changes, about which a writer decides.
        let imported =
            json!({ "stream": "new", "version": 0, "created": 5, "id": "i", "type": "t", "data": 1 });
        let import = json!({ "events": [imported] });
        refused(host.http.post(&format!("{store}/import"), &import), "stream-import");
        refused(
            host.http.put(&format!("{stream}/retention"), &json!({ "max_count": 1 })),
            "stream-retention",
        );
        refused(host.http.delete(&stream), "stream-deletion");
        refused(host.http.delete(&format!("{stream}?tombstone=true")), "stream-deletion");
    }
    // Nothing of it was done, and everything else is.
    assert_eq!((host.http.read("s").len(), host.http.read_all().len()), (3, 3));
    assert_eq!(get("events?direction=backward&count=1").expect(200).json["events"][0]["position"], 2);
    let conditional = json!({
        "appends": [{ "stream": "t", "expected_version": "no_stream", "events": [event] }],
        "conditions": [{ "query": [{ "tags": ["k:v"] }], "after": 2 }],
    });
    host.http.post(&format!("{store}/transactions"), &conditional).expect(200);
    host.http.put(&format!("{stream}/snapshots/2"), &json!({ "data": 1 })).expect(204);
    host.http.get(&format!("{stream}/snapshots/latest")).expect(200);
    assert_eq!(host.http.follow(&format!("{store}/events"), None).take(4).len(), 4);
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn the_operator_is_told_what_a_component_lacks() {
    let host = host();
    host.http.append_one("s").expect(200);
    for command in ["export", "streams"] {
        let output = host.exesdb(&[command]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains(&lacks("stream-listing")), "{command}: {said}");
    }
    let scavenge = host.exesdb(&["scavenge"]);
    let (done, said) = (String::from_utf8_lossy(&scavenge.stdout), stderr(&scavenge));
    assert_eq!(scavenge.status.code(), Some(1), "{said}");
    assert!(
        said.contains("what streams hides was not removed") && said.contains(&lacks("maintenance")),
        "{said}"
    );
    assert!(done.contains("snapshots: ") && done.contains("keyspaces rewritten"), "{done}");
    assert!(!done.contains("nothing of what was deleted is left"), "{done}");
    host.ok(&["compact"]);
    assert_eq!(host.traps(), NO_EVENTS);
    let config = host.data().with_file_name("exesdb.toml");
    let doctor = host.stop().down.exesdb(&["doctor", "--config", &config.to_string_lossy()]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(0), "{said}{}", stderr(&doctor));
    assert!(said.contains(&format!("streams: not examined: {}", lacks("maintenance"))), "{said}");
    assert!(said.contains("subscriptions: ") && said.contains("in what was examined"), "{said}");
}
