//! What a file or another node gives is a claim: no bytes may do harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::collections::BTreeMap;

use exesdb_node::identity::DataFolder;
use exesdb_node::join::{JoinRequest, decide};
use exesdb_node::registry::{NewNode, NewStore, Registry};
use exesdb_node::status::{ClusterStatus, NodeReport};
use exesdb_node::{ClusterId, Incarnation};
use nodes::addresses;

fn registry() -> Registry {
    let incarnation = Incarnation(1);
    let node = NewNode { name: "n1".into(), addresses: addresses("n1"), zone: None, incarnation };
    let store = NewStore { name: "orders".into(), config: String::new(), voters: 3 };
    Registry::found(ClusterId(7), &node, &[store]).unwrap().after
}

#[test]
fn fuzzed_identities_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(dir.path()).unwrap();
    let mut accepted = 0;
    exesdb_fuzz::fuzz_file("identities", &dir.path().join("$cluster/node.json"), |_| {
        if let Ok(Some(identity)) = folder.identity() {
            for place in &identity.replicas {
                let path = folder.replica(place);
                assert!(path.starts_with(dir.path()) && !path.to_str().unwrap().contains(".."), "{path:?}");
            }
            accepted += 1;
        }
    });
    assert!(accepted > 0, "every input was refused");
}

#[test]
fn fuzzed_requests_to_join_are_decided_on_or_refused() {
    let registry = registry();
    let (mut decided, mut refused) = (0, 0);
    exesdb_fuzz::fuzz("join-requests", |bytes| {
        let Ok(request) = serde_json::from_slice::<JoinRequest>(bytes) else { return };
        match decide(&registry, &request) {
            Ok(_) => decided += 1,
            Err(_) => refused += 1,
        }
    });
    assert!(decided > 0 && refused > 0, "{decided} were decided on, and {refused} refused");
}

#[test]
fn fuzzed_reports_of_nodes_make_a_status() {
    let registry = registry();
    let mut shown = 0;
    exesdb_fuzz::fuzz("node-reports", |bytes| {
        let Ok(report) = serde_json::from_slice::<NodeReport>(bytes) else { return };
        let status = ClusterStatus::of(&registry, &BTreeMap::from([(1, report)]));
        assert_eq!((status.nodes.len(), status.stores.len()), (1, 2));
        assert!(status.exit_code() > 0, "one node has no redundancy");
        shown += 1;
    });
    assert!(shown > 0, "every input was refused");
}
