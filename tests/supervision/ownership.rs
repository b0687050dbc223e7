//! Stored state belongs to the component that wrote it: another component does not start on it.

use exesdb_tests::{Down, Host, eventually, probe, stderr};
use serde_json::{Value, json};

/// A configuration with this component for snapshots.
fn configure(down: &Down, snapshots: &str) {
    let text = format!("[[store]]\nname = \"main\"\n[store.components]\nsnapshots = {snapshots:?}\n");
    std::fs::write(config(down), text).expect("the test's folder can be written");
}

fn config(down: &Down) -> std::path::PathBuf {
    down.data().with_file_name("exesdb.toml")
}

const SNAPSHOT: &str = "/v1/stores/main/streams/s/snapshots/0";

fn put(host: &Host) -> u16 {
    host.http.append_one("s").expect(200);
    host.http.put(SNAPSHOT, &json!({ "content_type": "text/plain", "data_base64": "AA==" })).status
}

fn find<'a>(node: &'a Value, id: &str) -> Option<&'a Value> {
    if node["id"] == id {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, id))
}

#[test]
fn a_role_with_state_of_another_component_does_not_start_and_says_why() {
    let down = Down::new(Some(""));
    configure(&down, "builtin:snapshots");
    let host = down.start();
    assert!(put(&host) < 300);
    let down = host.stop().down;
    configure(&down, &probe("snapshots-probe").to_string_lossy());
    let host = down.start();
    let sentence = "kept by the component snapshots (state version 1)";
    // Only the snapshots are unavailable.
    host.http.append_one("s").expect(200);
    // Each worker of the pool, including those that never started.
    for _ in 0..4 {
        let list = host.http.get("/v1/stores/main/snapshots").expect_problem(503, "unavailable");
        assert!(list.detail().contains(sentence), "{}", list.text);
        let scavenged = host.exesdb(&["scavenge"]);
        assert!(stderr(&scavenged).contains(sentence), "{}", stderr(&scavenged));
    }
    let refused = host.http.get(SNAPSHOT).expect_problem(503, "unavailable");
    assert!(
        refused.detail().contains(sentence) && refused.detail().contains("nothing is damaged"),
        "{}",
        refused.text
    );
    let ready = host.http.get("/health/ready").expect(200).json;
    assert!(ready["stores"]["main"].as_str().unwrap().contains(sentence), "{ready}");
    let tree = host.tree();
    let role = find(&tree, "snapshots").unwrap();
    assert!(role["state"] == "parked" && role["last_exit"].as_str().unwrap().contains(sentence), "{role:#}");
    // A backup says which components it is for.
    let backup = host.data().with_file_name("main.backup");
    let said = host.ok(&["backup", &backup.to_string_lossy()]);
    assert!(said.contains(&format!("its snapshots are {sentence}")), "{said}");
    let down = host.stop().down;
    let doctor = down.exesdb(&["doctor", "--config", &config(&down).to_string_lossy()]);
    let complaint = stderr(&doctor);
    assert_eq!(doctor.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(sentence) && !complaint.contains("delete"), "{complaint}");
    let restored = down.exesdb(&["restore", &backup.to_string_lossy(), "--store", "copy"]);
    let said = String::from_utf8(restored.stdout.clone()).unwrap();
    assert!(restored.status.success() && said.contains(sentence), "{said}{}", stderr(&restored));
    // Nothing was lost.
    configure(&down, "builtin:snapshots");
    let host = down.start();
    host.http.get(SNAPSHOT).expect(200);
}

#[test]
fn a_component_without_state_can_be_replaced_and_a_rebuilt_one_keeps_its_state() {
    let down = Down::new(Some(""));
    configure(&down, "builtin:snapshots");
    let host = down.start();
    host.http.append_one("s").expect(200);
    let down = host.stop().down;
    let file = down.data().with_file_name("probe.wasm");
    let mut component = std::fs::read(probe("snapshots-probe")).unwrap();
    std::fs::write(&file, &component).unwrap();
    configure(&down, &file.to_string_lossy());
    let host = down.start();
    assert!(put(&host) < 300);
    // Another build of it: one more custom section, empty.
    component.extend([0, 5, 4, b'm', b'o', b'r', b'e']);
    std::fs::write(&file, &component).unwrap();
    host.ok(&["kill", "main/components"]);
    eventually("the store is back", || (host.http.get(SNAPSHOT).status == 200).then_some(()));
    let loaded = host.json(&["events", "--json", "--kind", "loaded"]);
    let builds: std::collections::BTreeSet<&str> = loaded
        .iter()
        .filter(|event| event["detail"]["component"] == "snapshots")
        .filter_map(|event| event["detail"]["sha256"].as_str())
        .collect();
    assert_eq!(builds.len(), 2, "{loaded:#?}");
    // The builtin component is another one.
    let down = host.stop().down;
    configure(&down, "builtin:snapshots");
    let host = down.start();
    let refused = host.http.get(SNAPSHOT).expect_problem(503, "unavailable");
    assert!(refused.detail().contains("snapshots-probe (state version 7)"), "{}", refused.text);
}
