//! Traps in a persistence component: which instance restarts, and what its callers are told.

use std::collections::BTreeSet;

use exesdb_tests::{Host, Load, NO_FAULTS, Response, after, faults, last_seq, of_kind, path_of};
use serde_json::{Value, json};

const WRITERS: &str = "host/main/system/core-system/persistence-system/streams/writers/";

fn append(host: &Host, stream: &str, id: &str) -> Response {
    host.http.append(stream, "any", &[json!({ "id": id, "type": "t", "data": 1 })])
}

/// Checks that one writer restarted once per trap and nothing else did, and returns the traps.
#[track_caller]
fn traps_of_one_writer(host: &Host, mark: Option<u64>) -> Vec<Value> {
    // A trap is reported before its caller gets the result; the restart may come after that.
    let events = exesdb_tests::eventually("the writer is started again", || {
        let events = after(&host.events(), mark);
        (of_kind(&events, "started").len() == of_kind(&events, "trap").len()).then_some(events)
    });
    let traps = of_kind(&events, "trap");
    let kinds = ["trap", "terminated", "started", "restarting", "quarantined"];
    let told = kinds.iter().flat_map(|kind| of_kind(&events, kind));
    let concerned: BTreeSet<&str> = told.map(path_of).filter(|path| !path.ends_with("/writers")).collect();
    assert!(concerned.len() == 1 && concerned.iter().all(|path| path.starts_with(WRITERS)), "{events:#?}");
    for kind in ["terminated", "restarting"] {
        assert_eq!(of_kind(&events, kind).len(), traps.len(), "{kind}: {events:#?}");
    }
    let others = events.iter().filter(|event| !kinds.iter().any(|kind| event["kind"] == *kind));
    assert_eq!(others.count(), 0, "{events:#?}");
    for trap in &traps {
        let detail = &trap["detail"];
        let text = |field: &str| detail[field].as_str().unwrap_or_default();
        let reason = format!("error:{}: {}", text("kind"), text("reason"));
        let ended = of_kind(&events, "terminated");
        assert!(ended.iter().any(|event| event["detail"]["reason"] == *reason), "{reason}: {ended:#?}");
        let has_backtrace = detail["backtrace"].as_array().is_some_and(|frames| !frames.is_empty());
        assert!(has_backtrace && detail["component"] == "streams", "{trap:#}");
    }
    traps.into_iter().cloned().collect()
}

#[test]
fn a_trap_restarts_only_its_instance() {
    let host = Host::with_probes("");
    let load = Load::until_refused(&host.http, "load", 4);
    let neighbour = Load::until_refused(&host.http.of("neighbour"), "load", 1);
    let follower = host.http.follow("/v1/stores/main/events", None);
    // stream, kind of the crash, text of its reason
    let table = [
        ("probe-trap-1", "trap", "the probe traps, as it was told"),
        // The stack of a Rust guest is at the bottom of its memory, so an overflow is an access out of bounds.
        ("probe-stack-1", "trap", "out of bounds memory access"),
    ];
    for (stream, kind, reason) in table {
        load.go_on(20);
        // Nothing was written, so it is tried again. The second time alone is the last.
        let mark = last_seq(&host.events());
        append(&host, stream, "poison").expect_problem(500, "quarantined");
        let traps = traps_of_one_writer(&host, mark);
        assert!((2..=5).contains(&traps.len()), "{traps:#?}");
        for trap in &traps {
            assert_eq!(trap["detail"]["kind"], kind, "{trap:#}");
            assert!(trap["detail"]["reason"].as_str().unwrap().contains(reason), "{trap:#}");
        }
        // After that, the request reaches no instance.
        let mark = last_seq(&host.events());
        append(&host, stream, "poison").expect_problem(500, "quarantined");
        assert_eq!(of_kind(&after(&host.events(), mark), "trap").len(), 0);
        // Another request for the same stream is counted separately; reads do not trap.
        let mark = last_seq(&host.events());
        append(&host, stream, "other").expect_problem(500, "quarantined");
        assert_ne!(of_kind(&after(&host.events(), mark), "trap").len(), 0);
        host.http
            .get(&format!("{}/events", host.http.stream(stream)))
            .expect_problem(404, "stream-not-found");
        load.go_on(20);
    }
    let report = load.finish();
    report.expect_no_refusal();
    let events = host.http.read_all();
    assert_eq!(faults(&events, &report.appends), NO_FAULTS);
    assert_eq!(follower.take(events.len()), events, "a follower notices nothing");
    let report = neighbour.finish();
    report.expect_no_refusal();
    let tree = host.tree();
    assert!(tree["children"].as_array().unwrap().iter().all(|child| child["restarts"] == 0), "{tree:#}");
}
