//! What is checked in a data directory, and what is said about it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::fs;
use std::path::Path;

use exesdb_node::ClusterId;
use exesdb_node::genesis::{Founded, GenesisError, init};
use exesdb_node::identity::{Opened, StartError, is_cluster_member};
use exesdb_node::join::{JoinError, Joining};
use exesdb_node::registry::{Refused, Registry};
use exesdb_storage::{Replica, Store};
use nodes::{append, founding, genesis_options, log_options, storage_options};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn found(path: &Path) {
    init(path, &founding("n1", &["x"], false), &genesis_options()).unwrap();
}

fn open(path: &Path) -> StartError {
    Opened::open(path, log_options()).err().expect("it is refused")
}

/// A store that belongs to no cluster, with some events.
fn single(path: &Path, events: u32) {
    let store = Store::open(path, storage_options()).unwrap();
    for event in 0..events {
        store.commit_blocking(append(&event.to_string())).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_was_founded_opens_with_its_registry_and_an_empty_store() {
    let dir = dir();
    assert!(!is_cluster_member(dir.path()));
    found(dir.path());
    assert!(is_cluster_member(dir.path()));
    let opened = Opened::open(dir.path(), log_options()).unwrap();
    assert_eq!((opened.identity.node, &*opened.identity.name), (1, "n1"));
    let places: Vec<_> =
        opened.identity.replicas.iter().map(|place| (place.group, &*place.store, place.replica)).collect();
    assert_eq!(places, [(1, "$cluster", 1), (2, "x", 2)]);
    let cluster = opened.replica(opened.identity.place(1).unwrap()).unwrap();
    let replica = Replica::open(&cluster, storage_options()).unwrap();
    let registry = Registry::read(&replica.reader().snapshot()).unwrap();
    assert_eq!(
        (registry.cluster(), registry.stores[&2].config.as_str()),
        (opened.identity.cluster, "[[store]]")
    );
    assert_eq!(registry.nodes[&1].incarnation, opened.identity.incarnation);
    let store = opened.replica(opened.identity.place(2).unwrap()).unwrap();
    assert_eq!(Replica::open(&store, storage_options()).unwrap().head().next_position, 0);
}

#[test]
fn founding_again_changes_nothing_and_another_node_is_refused() {
    let dir = dir();
    found(dir.path());
    let identity = Opened::open(dir.path(), log_options()).unwrap().identity;
    let again = init(dir.path(), &founding("n1", &["x"], false), &genesis_options()).unwrap();
    assert_eq!(again, Founded::Before(identity));
    let other = init(dir.path(), &founding("n2", &["x"], false), &genesis_options());
    assert!(matches!(other, Err(GenesisError::Member { name, .. }) if name == "n1"));
}

#[test]
fn a_directory_that_belongs_to_no_cluster_is_refused_with_what_to_do() {
    let dir = dir();
    let missing = open(&dir.path().join("missing"));
    assert!(matches!(missing, StartError::NoMember { .. }));
    assert!(!dir.path().join("missing").exists(), "nothing is created");
    assert!(matches!(open(dir.path()), StartError::NoMember { .. }));
    single(&dir.path().join("x"), 0);
    let stores = open(dir.path());
    assert!(stores.to_string().contains("(x): run `exesdb cluster init --adopt`"), "{stores}");
    assert!(!is_cluster_member(dir.path()), "it is still a host's of its own");
}

#[test]
fn a_directory_is_used_by_one_process() {
    let dir = dir();
    found(dir.path());
    let opened = Opened::open(dir.path(), log_options()).unwrap();
    assert!(matches!(open(dir.path()), StartError::Locked { .. }));
    let again = init(dir.path(), &founding("n1", &["x"], false), &genesis_options());
    assert!(matches!(again, Err(GenesisError::Folder(StartError::Locked { .. }))));
    drop(opened);
    assert!(Opened::open(dir.path(), log_options()).is_ok());
}

#[test]
fn a_log_that_is_gone_or_another_one_is_refused() {
    let (one, other) = (dir(), dir());
    found(one.path());
    found(other.path());
    let log = one.path().join("$log");
    fs::remove_dir_all(&log).unwrap();
    assert!(matches!(open(one.path()), StartError::LogMissing { .. }));
    assert!(!log.exists(), "no other log is made");
    copy(&other.path().join("$log"), &log);
    let refused = open(one.path());
    assert!(
        matches!(refused, StartError::OtherLog { registered, found, .. } if registered != found),
        "{refused}"
    );
}

#[test]
fn an_identity_that_is_malformed_is_refused() {
    let dir = dir();
    found(dir.path());
    let file = dir.path().join("$cluster/node.json");
    let good = fs::read_to_string(&file).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replace(from, to)
    };
    for hostile in [
        String::new(),
        good[..good.len() - 3].to_owned(),
        "[".repeat(1_000_000),
        replaced("\"version\": 1", "\"version\": 2"),
        replaced("\"name\": \"n1\"", "\"name\": \"../n1\""),
        replaced("\"store\": \"x\"", "\"store\": \"../x\""),
        replaced("\"replica\": 2", "\"replica\": 1"),
        replaced("\"version\": 1,", "\"version\": 1, \"more\": 1,"),
    ] {
        fs::write(&file, hostile).unwrap();
        assert!(matches!(open(dir.path()), StartError::Malformed { .. }));
        let joining = Joining::begin(dir.path(), ClusterId(7), "n2", log_options());
        assert!(matches!(joining.err(), Some(JoinError::Folder(StartError::Malformed { .. }))));
    }
    fs::write(&file, good).unwrap();
    assert!(Opened::open(dir.path(), log_options()).is_ok());
}

#[test]
fn a_store_of_its_own_where_a_replica_should_be_is_refused() {
    let dir = dir();
    found(dir.path());
    fs::remove_dir_all(dir.path().join("x")).unwrap();
    single(&dir.path().join("x"), 1);
    let opened = Opened::open(dir.path(), log_options()).unwrap();
    let refused = opened.replica(opened.identity.place(2).unwrap()).err().unwrap();
    assert!(matches!(refused, StartError::NoReplica { replica: 2, .. }), "{refused}");
}

#[test]
fn stores_are_adopted_with_everything_in_them_and_kept_aside() {
    let dir = dir();
    single(&dir.path().join("x"), 20);
    let digest = |path: &Path| {
        let store = Store::open(path, storage_options()).unwrap();
        let summary = store.snapshot().dump(&mut std::io::sink(), &mut |_| {});
        summary.map(|summary| (summary.head, summary.keyspaces)).unwrap()
    };
    let before = digest(&dir.path().join("x"));
    init(dir.path(), &founding("n1", &["x", "y"], true), &genesis_options()).unwrap();
    let opened = Opened::open(dir.path(), log_options()).unwrap();
    let path = opened.replica(opened.identity.place(2).unwrap()).unwrap();
    let snapshot = Replica::open(&path, storage_options()).unwrap().reader().snapshot();
    assert_eq!(snapshot.head(), before.0);
    assert_eq!(snapshot.next_position(), 20);
    drop(snapshot);
    assert_eq!(digest(&dir.path().join("x.single")), before);
    assert!(!dir.path().join("x.adopting").exists());
}

#[test]
fn stores_that_nobody_adopts_stay_as_they_are() {
    let dir = dir();
    single(&dir.path().join("x"), 1);
    single(&dir.path().join("z"), 1);
    for (asked, left) in [
        (founding("n1", &["x", "z"], false), vec!["x", "z"]),
        (founding("n1", &["x"], true), vec!["z"]),
        (founding("n1", &["y"], true), vec!["x", "z"]),
    ] {
        let refused = init(dir.path(), &asked, &genesis_options()).err().unwrap();
        assert!(matches!(&refused, GenesisError::Stores { stores, .. } if *stores == left), "{refused}");
    }
    let joining = Joining::begin(dir.path(), ClusterId(7), "n2", log_options());
    assert!(matches!(joining.err(), Some(JoinError::NotEmpty { stores, .. }) if stores == ["x", "z"]));
    assert!(!is_cluster_member(dir.path()));
    assert!(!dir.path().join("$log").exists());
    // Something is where an adopted store would be kept.
    fs::create_dir(dir.path().join("x.single")).unwrap();
    let refused = init(dir.path(), &founding("n1", &["x", "z"], true), &genesis_options()).err().unwrap();
    assert!(matches!(refused, GenesisError::InTheWay { .. }), "{refused}");
    fs::remove_dir(dir.path().join("x.single")).unwrap();
    let plan = founding("n1", &["x"], true);
    let refused = init(dir.path(), &plan, &genesis_options()).err().unwrap();
    assert!(matches!(refused, GenesisError::OtherPlan { .. }), "{refused}");
    assert!(matches!(open(dir.path()), StartError::Founding { .. }));
    let joining = Joining::begin(dir.path(), ClusterId(7), "n2", log_options());
    assert!(matches!(joining.err(), Some(JoinError::Folder(StartError::Founding { .. }))));
    init(dir.path(), &founding("n1", &["x", "z"], true), &genesis_options()).unwrap();
}

#[test]
fn a_store_that_is_open_elsewhere_is_not_adopted() {
    let dir = dir();
    let store = Store::open(&dir.path().join("x"), storage_options()).unwrap();
    let asked = founding("n1", &["x"], true);
    assert!(matches!(init(dir.path(), &asked, &genesis_options()), Err(GenesisError::Open(_))));
    drop(store);
    init(dir.path(), &asked, &genesis_options()).unwrap();
}

#[test]
fn what_is_not_possible_is_refused_before_anything_is_made() {
    let dir = dir();
    let path = dir.path().join("data");
    let refused = init(&path, &founding("../n1", &["x"], false), &genesis_options());
    assert!(matches!(refused, Err(GenesisError::Refused(Refused::Invalid(_)))));
    let refused = init(&path, &founding("n1", &["x", "x"], false), &genesis_options());
    assert!(matches!(refused, Err(GenesisError::Refused(Refused::StoreExists { .. }))));
    assert!(!path.exists());
}

#[test]
fn a_replica_of_another_cluster_is_refused() {
    let dir = dir();
    found(dir.path());
    fs::remove_file(dir.path().join("$cluster/node.json")).unwrap();
    assert!(is_cluster_member(dir.path()));
    let of_cluster = init(dir.path(), &founding("n1", &["x"], false), &genesis_options());
    assert!(matches!(of_cluster, Err(GenesisError::OtherReplica { .. })));
    let joining = Joining::begin(dir.path(), ClusterId(7), "n2", log_options());
    assert!(matches!(joining.err(), Some(JoinError::NotEmpty { stores, .. }) if stores == ["x", "$cluster"]));
    fs::remove_dir_all(dir.path().join("$cluster")).unwrap();
    let of_store = init(dir.path(), &founding("n1", &["x"], true), &genesis_options());
    assert!(matches!(of_store, Err(GenesisError::OtherReplica { .. })), "it is not adopted");
}
