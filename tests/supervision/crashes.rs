//! How a crash is reported: in the log, in the telemetry, and to the client.

use exesdb_tests::{Host, Response, eventually};
use serde_json::{Value, json};

/// The warnings of crashes in the log.
fn warnings(host: &Host) -> Vec<Value> {
    let records = host.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    records.filter(|record| record["level"] == "WARN" && !record["incident"].is_null()).collect()
}

fn append(host: &Host, stream: &str) -> Response {
    host.http.append(stream, "any", &[json!({ "type": "t", "data": 1 })])
}

#[test]
fn each_crash_is_one_warning_and_the_client_is_told_the_limit() {
    let host = Host::with_probes(
        "writers = 1\n[store.limits]\ncall_cpu_ms = 200\nmemory_mib = 16\n\
         [store.limits.gateway]\ncall_cpu_ms = 300\ncall_wall_ms = 700\nmemory_mib = 8",
    );
    let probe = |name: &str| host.http.get(&format!("/v1/stores/main/probe/{name}"));
    // call, component, kind, text for the client, the log and the telemetry
    let table: [(&dyn Fn() -> Response, &str, &str, &str); 8] = [
        (&|| probe("loop"), "gateway", "deadline", "used its 300 ms of CPU (`call_cpu_ms`)"),
        (
            &|| probe("hungry"),
            "gateway",
            "memory-limit",
            "needed more than its 8 MiB of memory (`memory_mib`)",
        ),
        (&|| probe("handles"), "gateway", "handle-limit", "held the 1,000 handles that an instance may have"),
        (&|| probe("sleep"), "gateway", "timeout", "took more than its 700 ms (`call_wall_ms`)"),
        (&|| probe("exit"), "gateway", "exit", "ended itself"),
        (&|| probe("trap"), "gateway", "trap", "trapped"),
        (&|| append(&host, "probe-loop"), "streams", "deadline", "used its 200 ms of CPU (`call_cpu_ms`)"),
        (
            &|| append(&host, "probe-hungry"),
            "streams",
            "memory-limit",
            "needed more than its 16 MiB of memory (`memory_mib`)",
        ),
    ];
    let mut crashes = 0;
    for (ask, component, kind, said) in &table {
        let response = ask();
        // What ends an instance is tried once more, and the client gets the second crash.
        crashes += 2;
        check_last(&host, crashes, &response, (component, kind, said));
    }
    assert_eq!(warnings(&host).len(), crashes, "one for each");
}

/// Checks what is told about the last of so many crashes: the component, the kind, and a text for the client, the log and the
/// telemetry.
pub(crate) fn check_last(
    host: &Host,
    crashes: usize,
    response: &Response,
    (component, kind, said): (&str, &str, &str),
) {
    assert!(response.status == 500 || response.status == 503, "{kind}: {}", response.text);
    assert!(response.detail().contains(said), "{kind}: {}", response.text);
    let warning = eventually("the crash is in the log", || warnings(host).get(crashes - 1).cloned());
    assert_eq!((&warning["component"], &warning["kind"]), (&json!(component), &json!(kind)), "{warning:#}");
    let incident = warning["incident"].as_str().expect("an incident has an id");
    assert!(response.text.contains(incident), "{} is not in {}", incident, response.text);
    if kind != "exit" && kind != "trap" {
        let limit = warning["limit"].as_str().unwrap_or_default();
        assert!(
            limit.contains(said)
                && warning["reason"].as_str().is_some_and(|reason| reason.starts_with(limit)),
            "{warning:#}"
        );
    }
    let trap = host.traps().pop().expect("it is in the telemetry");
    let detail = &trap["detail"];
    assert_eq!((&detail["incident"], &detail["reason"]), (&warning["incident"], &warning["reason"]));
    assert_eq!((&detail["sha256"], &warning["store"]), (&warning["sha256"], &json!("main")));
}

#[test]
fn a_crash_has_its_source_line_and_the_last_output() {
    let host = Host::with_probes("");
    host.http.get("/v1/stores/main/probe/trap").expect_problem(500, "internal");
    host.http.get("/v1/stores/main/probe/print-and-trap").expect_problem(500, "internal");
    let told = eventually("all are in the log", || Some(warnings(&host)).filter(|told| told.len() == 4));
    let place = told[0]["place"].as_str().unwrap_or_default();
    assert!(place.starts_with("tests/guests/gateway-probe/src/lib.rs:"), "{:#}", told[0]);
    assert!(told[0]["reason"].as_str().unwrap().contains("the probe traps, as it was told"), "{:#}", told[0]);
    let words = "Traceback (most recent call last):\nRuntimeError: as it was told";
    // Each of the two requests has ended two instances.
    assert_eq!(told[2]["stderr"], words, "{:#}", told[2]);
    let traps = host.traps();
    let lines: Vec<&str> = words.lines().collect();
    assert_eq!(traps[2]["detail"]["stderr"], json!(lines), "{:#}", traps[2]);
    assert_eq!(traps[0]["detail"]["stderr"], json!([]), "the output of another call");
}

#[test]
fn requests_that_sleep_give_their_instances_back() {
    give_sleepers_back("gateway-probe", "call_wall_ms", "/v1/stores/main/streams");
}

/// Has requests sleep on all instances of a gateway, until a limit ends them. It serves a path afterwards.
pub(crate) fn give_sleepers_back(gateway: &str, limit: &str, served: &str) {
    let host = Host::with_gateway(
        gateway,
        &format!("gateway_pool_size = 1\n[store.limits]\n{limit} = 500\ngateway_instances_per_worker = 8"),
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let response = host.http.get("/v1/stores/main/probe/sleep");
                assert!(response.detail().contains(&format!("`{limit}`")), "{}", response.text);
            });
        }
        eventually("others are served again", || (host.http.get(served).status == 200).then_some(()));
    });
}

#[test]
fn component_digests_are_in_the_tree_and_in_the_health_check() {
    let host = Host::with_probes("");
    let ready = host.http.get("/health/ready").expect(200).json;
    let tree = host.tree();
    let loaded = host.json(&["events", "--json", "--kind", "loaded"]);
    for store in ["main", "neighbour"] {
        for (role, path) in [
            ("streams", "system/core-system/persistence-system/streams/writers"),
            ("streams", "system/core-system/persistence-system/streams/readers"),
            ("snapshots", "system/core-system/persistence-system/snapshots"),
            ("gateway", "system/gateway-system/gateway-workers"),
        ] {
            let path = format!("host/{store}/{path}");
            let node = find(&tree, &path).expect("the tree has it");
            let digest = &ready["components"][store][role];
            assert!(digest.as_str().is_some_and(|digest| digest.len() == 64), "{ready:#}");
            assert_eq!(&node["detail"]["sha256"], digest, "{path}");
            let is_told = loaded.iter().any(|event| event["detail"]["sha256"] == *digest);
            assert!(is_told, "{loaded:#?}");
        }
    }
    let components = &ready["components"];
    assert_ne!(components["main"]["gateway"], components["neighbour"]["gateway"]);
    assert_eq!(components["main"]["snapshots"], components["neighbour"]["snapshots"]);
}

fn find<'a>(node: &'a Value, path: &str) -> Option<&'a Value> {
    if node["path"] == path {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, path))
}
