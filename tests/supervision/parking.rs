//! A store whose component cannot be loaded is parked; other stores are not affected.

use std::path::Path;

use std::process::Command;

use exesdb_tests::{Host, eventually, folder, root};
use serde_json::Value;

fn config(component: &Path) -> String {
    format!(
        "[[store]]\nname = \"good\"\n\n[[store]]\nname = \"bad\"\n[store.components]\nsnapshots = {component:?}\n"
    )
}

fn good_component() -> Vec<u8> {
    std::fs::read(root().join("target/components/snapshots.wasm")).expect("the components are built")
}

fn store(host: &Host, name: &str) -> Value {
    let tree = host.tree();
    let stores = tree["children"].as_array().expect("a host has children");
    stores.iter().find(|child| child["id"] == name).expect("the store is in the tree").clone()
}

/// Checks that the store `bad` is parked with this text in the reason, and that `good` serves.
#[track_caller]
fn bad_is_parked(host: &Host, reason: &str) {
    let bad = store(host, "bad");
    let said = bad["note"].as_str().unwrap_or_default();
    assert!(bad["state"] == "parked" && said.contains(reason), "{reason}: {bad}");
    let ready = host.http.get("/health/ready").expect(503).json;
    let trouble = ready["stores"]["bad"].as_str().unwrap_or_default();
    assert!(trouble.contains(reason) && trouble.contains("exesdb restart bad"), "{reason}: {ready}");
    assert_eq!(ready["stores"]["good"], "ready");
    host.http.of("good").append_one("s").expect(200);
    let refused = host.http.of("bad").append_one("s").expect_problem(503, "restarting");
    assert!(refused.detail().contains(reason), "{reason}: {}", refused.detail());
}

#[test]
fn a_store_with_an_unloadable_component_is_parked_until_it_is_repaired() {
    let folder = folder();
    let file = folder.path().join("snapshots.wasm");
    let streams = std::fs::read(root().join("target/components/streams.wasm")).unwrap();
    // content of the file, text of the reason
    let table: [(Option<&[u8]>, &str); 4] = [
        (None, "there is no such file"),
        (Some(b"this is no component"), "is not a WebAssembly component"),
        (Some(&good_component()[..10_000]), "is not a WebAssembly component"),
        (Some(&streams), "is a streams component and cannot be the snapshots"),
    ];
    let host = Host::with_config(&config(&file));
    bad_is_parked(&host, "exesdb.toml:7:");
    for (content, reason) in table {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let restarted = host.exesdb(&["restart", "bad"]);
        assert!(!restarted.status.success(), "{reason}");
        bad_is_parked(&host, reason);
    }
    // what replaces the file, text of the reason
    let kinds: [(&dyn Fn(), &str); 4] = [
        (&|| std::fs::create_dir(&file).unwrap(), "is not a file"),
        (&|| std::os::unix::fs::symlink("nowhere.wasm", &file).unwrap(), "it is a link to nowhere.wasm"),
        (&|| std::os::unix::fs::symlink("/dev/null", &file).unwrap(), "links out of a component's folder"),
        // Opening a pipe would wait for a writer.
        (&|| assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()), "is not a file"),
    ];
    for (make, reason) in kinds {
        std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir(&file)).unwrap();
        make();
        let restarted = host.exesdb(&["restart", "bad"]);
        assert!(!restarted.status.success(), "{reason}");
        bad_is_parked(&host, reason);
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, good_component()).unwrap();
    host.ok(&["restart", "bad"]);
    host.http.of("bad").append_one("s").expect(200);
    host.http.get("/health/ready").expect(200);
}

#[test]
fn a_file_that_is_damaged_later_parks_its_store_at_the_next_load() {
    let folder = folder();
    let file = folder.path().join("snapshots.wasm");
    std::fs::write(&file, good_component()).unwrap();
    let host = Host::with_config(&config(&file));
    host.http.of("bad").append_one("s").expect(200);
    std::fs::write(&file, b"broken").unwrap();
    // Running instances continue with the loaded component.
    host.ok(&["kill", "bad/system/gateway-system"]);
    eventually("the gateway is back", || (host.http.of("bad").append_one("s").status == 200).then_some(()));
    host.ok(&["kill", "bad/components"]);
    eventually("the store is parked", || (store(&host, "bad")["state"] == "parked").then_some(()));
    bad_is_parked(&host, "is not a WebAssembly component");
    std::fs::write(&file, good_component()).unwrap();
    host.ok(&["restart", "bad"]);
    assert_eq!(host.http.of("bad").read("s").len(), 2);
}
