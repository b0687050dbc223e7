//! A process that is killed while it founds a cluster, or joins one, and starts again.
//!
//! The tests run this binary again as the process that is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exesdb_node::ClusterId;
use exesdb_node::genesis::{Founded, Founding, GenesisOptions, init};
use exesdb_node::identity::{Opened, is_cluster_member};
use exesdb_node::join::{Begun, JoinAnswer, Joining, Signed, answer};
use exesdb_node::registry::Registry;
use exesdb_storage::{Replica, Store};
use nodes::{addresses, append, founding, genesis_options, log_options, storage_options};

const DIR: &str = "EXESDB_NODE_CRASH_DIR";
/// Number of steps after which the process kills itself.
const STEPS: &str = "EXESDB_NODE_CRASH_STEPS";
const CLUSTER: ClusterId = ClusterId(7);

fn asked() -> Founding {
    founding("n1", &["x", "y"], true)
}

/// Runs a test of this file as a process of its own. Returns whether it ended by itself.
fn run(test: &str, dir: &Path, steps: usize) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored"]).env(DIR, dir).env(STEPS, steps.to_string());
    command.output().unwrap().status.success()
}

fn from_environment() -> Option<(std::path::PathBuf, usize)> {
    let dir = std::env::var_os(DIR)?;
    Some((dir.into(), std::env::var(STEPS).unwrap().parse().unwrap()))
}

#[test]
#[ignore = "it is the process that is killed"]
fn found_and_be_killed() {
    let Some((dir, steps)) = from_environment() else { return };
    let done = AtomicUsize::new(0);
    let on_step = move |_: &_| {
        if done.fetch_add(1, Ordering::SeqCst) == steps {
            std::process::abort();
        }
    };
    init(&dir, &asked(), &GenesisOptions { on_step: Some(Arc::new(on_step)), ..genesis_options() }).unwrap();
}

fn single(dir: &Path) {
    let store = Store::open(&dir.join("x"), storage_options()).unwrap();
    for event in 0..10 {
        store.commit_blocking(append(&event.to_string())).unwrap();
    }
}

fn assert_founded(dir: &Path) {
    let opened = Opened::open(dir, log_options()).unwrap();
    let open = |group| {
        let path = opened.replica(opened.identity.place(group).unwrap()).unwrap();
        Replica::open(&path, storage_options()).unwrap()
    };
    let registry = Registry::read(&open(1).reader().snapshot()).unwrap();
    assert_eq!((registry.cluster(), registry.revision()), (opened.identity.cluster, 1));
    assert_eq!(registry.nodes[&1].incarnation, opened.identity.incarnation);
    assert_eq!((open(2).head().next_position, open(3).head().next_position), (10, 0));
    assert!(dir.join("x.single/data").exists());
    for left in ["$cluster/founding.json", "x.adopting"] {
        assert!(!dir.join(left).exists(), "{left}");
    }
}

#[test]
fn founding_goes_on_after_a_kill_at_any_step() {
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        single(dir.path());
        let is_done = run("found_and_be_killed", dir.path(), steps);
        // From the plan on no other host may open the stores.
        assert_eq!(is_cluster_member(dir.path()), steps > 0, "{steps}");
        let founded = init(dir.path(), &asked(), &genesis_options()).unwrap();
        assert_founded(dir.path());
        if is_done {
            assert!(matches!(founded, Founded::Before(_)));
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 8, "log, plan, $cluster, x copied, aside and there, y, member");
}

#[test]
fn founding_ends_although_each_process_comes_one_step_further_only() {
    let dir = tempfile::tempdir().unwrap();
    single(dir.path());
    let kills = (0..100).take_while(|steps| !run("found_and_be_killed", dir.path(), *steps)).count();
    assert!(kills >= 6, "{kills}");
    assert_founded(dir.path());
}

fn answered(joining: &Joining) -> (exesdb_node::join::JoinRequest, JoinAnswer) {
    let request = joining.request(CLUSTER, "n2".into(), addresses("n2"), None, String::new());
    let first = exesdb_node::registry::NewNode {
        name: "n1".into(),
        addresses: addresses("n1"),
        zone: None,
        incarnation: exesdb_node::Incarnation(1),
    };
    let registry = Registry::found(CLUSTER, &first, &asked().stores).unwrap().after;
    let registry = registry.register_node(&request.node).unwrap().unwrap().after;
    let answer = answer(&registry, "n2", Signed::default()).unwrap();
    (request, answer)
}

fn begin(dir: &Path) -> Begun {
    Joining::begin(dir, CLUSTER, "n2", log_options()).unwrap()
}

#[test]
#[ignore = "it is the process that is killed"]
fn join_and_be_killed() {
    let Some((dir, steps)) = from_environment() else { return };
    let Begun::Joining(joining) = begin(&dir) else { panic!("it has joined before") };
    if steps == 0 {
        std::process::abort();
    }
    let (request, answer) = answered(&joining);
    joining.accept(&request, &answer).unwrap();
    std::process::abort();
}

#[test]
fn joining_goes_on_after_a_kill_with_the_log_that_it_asked_with() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!run("join_and_be_killed", dir.path(), 0));
    let Begun::Joining(joining) = begin(dir.path()) else { panic!("nothing was joined") };
    let (request, _) = answered(&joining);
    drop(joining);
    assert!(!is_cluster_member(dir.path()));
    assert!(!run("join_and_be_killed", dir.path(), 1));
    assert!(is_cluster_member(dir.path()));
    let Begun::Before(identity) = begin(dir.path()) else { panic!("it has joined") };
    assert_eq!(identity.incarnation, request.node.incarnation);
    let opened = Opened::open(dir.path(), log_options()).unwrap();
    assert_eq!(opened.identity, identity);
    for place in &identity.replicas {
        let path = opened.replica(place).unwrap();
        assert!(!path.join("data").exists(), "it begins with a snapshot");
    }
}
