//! A stream reads the same after a restart, in a store that was restored from a backup, and in a copy that was made by
//! an export and an import.

use exesdb_tests::{Client, Host, folder};

use crate::operation::{Subject, all_snapshots, perform};
use crate::state::State;

/// What is compared of each stream.
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
        assert!(restored.status.success(), "{}", exesdb_tests::stderr(&restored));
        let host = down.start();
        assert_eq!(results(&host, "main"), original, "restored, scavenged: {scavenged}");
    }
}
