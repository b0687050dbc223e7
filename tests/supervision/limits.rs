//! Components that exceed a limit are stopped, and their neighbours are not affected.

use exesdb_tests::{Host, Load, NO_FAULTS, Response, eventually, faults};
use serde_json::json;

pub(crate) const MEMORY_MIB: u64 = 32;

#[test]
fn loops_and_excessive_memory_are_stopped_without_effect_on_neighbours() {
    let host = Host::with_probes(&format!(
        "writers = 2\n[store.limits]\ncall_cpu_ms = 300\nmemory_mib = {MEMORY_MIB}"
    ));
    let get = |path: &'static str| move |host: &Host| host.http.get(path);
    let append = |stream: &'static str| {
        move |host: &Host| host.http.append(stream, "any", &[json!({ "type": "t", "data": 1 })])
    };
    let table: [Excess; 5] = [
        (Box::new(append("probe-loop-1")), 500, "quarantined", "deadline"),
        (Box::new(append("probe-hungry-1")), 500, "quarantined", "memory-limit"),
        (Box::new(append("probe-stack-1")), 500, "quarantined", "trap"),
        (Box::new(get("/v1/stores/main/probe/loop")), 500, "internal", "deadline"),
        (Box::new(get("/v1/stores/main/probe/hungry")), 500, "internal", "memory-limit"),
    ];
    without_effect_on_neighbours(&host, &table, |host| {
        host.http.append_one("fine").expect(200);
        host.http.get("/v1/stores/main/streams").expect(200);
    });
    let tree = host.tree();
    let restarts = |id: &str| {
        let store = tree["children"].as_array().unwrap().iter().find(|child| child["id"] == id).unwrap();
        store.to_string().matches("\"last_exit\"").count()
    };
    assert_eq!(restarts("neighbour"), 0, "{tree:#}");
    assert!(restarts("main") > 0);
}

/// A call that exceeds a limit, several of which are made at once: with its status, problem, and the kind of the crash.
pub(crate) type Excess = (Box<dyn Fn(&Host) -> Response + Sync>, u16, &'static str, &'static str);

/// Has the components of `main`, which may have [`MEMORY_MIB`], exceed limits while the store `neighbour` serves, and checks that
/// `main` serves after each.
pub(crate) fn without_effect_on_neighbours(host: &Host, table: &[Excess], serves: impl Fn(&Host)) {
    let neighbour = Load::until_refused(&host.http.of("neighbour"), "load", 2);
    let follower = host.http.of("neighbour").follow("/v1/stores/neighbour/events", None);
    for (ask, status, problem, kind) in table {
        let (before, traps_before) = (neighbour.acknowledged(), host.traps().len());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| ask(host).expect_problem(*status, problem));
            }
        });
        let is_served = || neighbour.acknowledged() > before;
        if *kind == "deadline" {
            // It takes longer than any append.
            assert!(is_served(), "the neighbour was served meanwhile");
        }
        eventually("the neighbour is served", || is_served().then_some(()));
        let traps = host.traps().split_off(traps_before);
        assert!(traps.len() >= 2, "{traps:#?}");
        for trap in &traps {
            let detail = &trap["detail"];
            assert_eq!(detail["kind"], *kind, "{trap:#}");
            assert!(
                detail["memory_bytes"].as_u64().is_some_and(|bytes| bytes <= MEMORY_MIB << 20),
                "{trap:#}"
            );
            assert!(trap["path"].as_str().is_some_and(|path| path.starts_with("host/main/")), "{trap:#}");
        }
        // The same store still serves, too.
        serves(host);
    }
    let report = neighbour.finish();
    report.expect_no_refusal();
    let events = host.http.of("neighbour").read_all();
    assert_eq!(faults(&events, &report.appends), NO_FAULTS);
    assert_eq!(follower.take(events.len()), events);
}
