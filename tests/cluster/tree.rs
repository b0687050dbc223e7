//! The supervision tree of a node: its shape, and what restarts when each of its children is killed under load.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use exesdb_test_support::{number, random};
use exesdb_tests::{Control, after, last_seq, path_of, paths, restarted, runs};
use serde_json::{Value, json};

use crate::judge;
use crate::load::Load;
use crate::nodes::{Nodes, within};

const CLIENTS: usize = 3;

/// Appends before and after each kill.
const BETWEEN: u64 = 5;

const SYSTEM: &str = "host/stores/main/system";
const EMITTERS: &str = "host/stores/main/system/leadership-system/emitter-system";

/// Restarts that supervisors allow within so many seconds, by the last parts of their paths; the others have [`OTHERS`]. As
/// docs/architecture.md lists them.
const ALLOWED: [(&str, usize, u64); 10] = [
    ("host", 3, 60),
    ("node-system", 3, 60),
    ("stores", 1_000, 10),
    ("main", 3, 60),
    ("core-system", 3, 60),
    ("store-system", 5, 30),
    ("persistence-system", 10, 60),
    ("leadership-system", 10, 60),
    ("emitter-system", 10, 60),
    ("gateway-system", 15, 60),
];
const OTHERS: (usize, u64) = (3, 5);

/// The times of kills, so that no supervisor has more of them than it allows.
#[derive(Default)]
struct Pace(BTreeMap<(usize, String), Vec<Instant>>);

impl Pace {
    /// How long it takes until a child of a node may be killed.
    fn left(&mut self, node: usize, path: &str) -> Duration {
        let (parent, _) = path.rsplit_once('/').expect("the root is not killed");
        let id = parent.rsplit('/').next().unwrap_or_default();
        let allowed = ALLOWED.iter().find(|(known, ..)| *known == id);
        let (most, seconds) = allowed.map_or(OTHERS, |(_, most, seconds)| (*most, *seconds));
        let period = Duration::from_secs(seconds + 1);
        let kills = self.0.entry((node, parent.to_owned())).or_default();
        kills.retain(|at| at.elapsed() < period);
        let nth_last = kills.len().checked_sub(most).map(|index| kills[index]);
        nth_last.map_or(Duration::ZERO, |at| period.saturating_sub(at.elapsed()))
    }

    fn note(&mut self, node: usize, path: &str) {
        let (parent, _) = path.rsplit_once('/').expect("the root is not killed");
        self.0.entry((node, parent.to_owned())).or_default().push(Instant::now());
    }
}

fn tree(nodes: &Nodes, node: usize) -> Value {
    nodes.json(node, &["tree", "--json"]).remove(0)
}

fn events(nodes: &Nodes, node: usize) -> Vec<Value> {
    nodes.json(node, &["events", "--json"])
}

/// The paths of what has started, in order.
fn started(events: &[Value]) -> Vec<&str> {
    let is_start = |event: &&Value| ["started", "sup_started"].iter().any(|kind| event["kind"] == *kind);
    events.iter().filter(is_start).map(path_of).collect()
}

/// Whether a path is below another one.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// The children of the store's `system` that have started, in order.
fn system_children<'a>(started: &[&'a str]) -> Vec<&'a str> {
    let child = |path: &&'a str| path.strip_prefix(SYSTEM)?.strip_prefix('/').filter(|id| !id.contains('/'));
    started.iter().filter_map(child).collect()
}

/// Kills a child of the node that leads, and checks what restarts.
fn kill_one(nodes: &Nodes, path: &str, pace: &mut Pace) {
    let (node, before) = loop {
        let (node, tree) = within(&format!("the leader has {path}"), || {
            let leader = nodes.leader();
            let tree = tree(nodes, leader);
            (runs(&tree) && paths(&tree).iter().any(|found| found == path)).then_some((leader, tree))
        });
        let left = pace.left(node, path);
        if left.is_zero() {
            break (node, tree);
        }
        // Another node may lead afterwards.
        std::thread::sleep(left);
    };
    pace.note(node, path);
    let expected = restarted(&before, path);
    let mark = last_seq(&events(nodes, node));
    assert!(Control::at(&nodes.data(node)).kill(path), "{path} ran");
    // What only a leader has comes back where somebody leads.
    let surely: BTreeSet<&str> =
        expected.iter().map(String::as_str).filter(|path| !is_below(path, EMITTERS)).collect();
    within(&format!("after a kill of {path} all is back that should"), || {
        let events = after(&events(nodes, node), mark);
        let back: BTreeSet<&str> = started(&events).into_iter().collect();
        let is_back = surely.iter().all(|path| back.contains(path)) && runs(&tree(nodes, node));
        is_back.then_some(())
    });
    nodes.redundant();
    let events = after(&events(nodes, node), mark);
    let back = started(&events);
    // A node's own parts take along what is made of them; all others what their supervisors' strategies say.
    if !is_below(path, "host/node-system") {
        let more: Vec<&str> = back
            .iter()
            .copied()
            .filter(|path| !expected.contains(*path) && !is_below(path, EMITTERS))
            .collect();
        assert!(more.is_empty(), "restarted with {path}, and should not: {more:?}");
    }
    let of_system = system_children(&back);
    if let Some(last) = of_system.last() {
        assert_eq!(*last, "gateway-system", "with {path}: {of_system:?}");
    }
    let bad = ["trap", "gave_up", "parked", "missed"];
    let wrong: Vec<&Value> =
        events.iter().filter(|event| bad.iter().any(|kind| event["kind"] == *kind)).collect();
    assert!(wrong.is_empty(), "with {path}: {wrong:#?}");
}

#[test]
fn a_kill_of_any_child_restarts_what_the_strategies_say_and_loses_nothing() {
    let rounds = number("EXESDB_CLUSTER_TREE_ROUNDS", 1);
    let mut random = random();
    let nodes = Nodes::start(3);
    let load = Load::start(&nodes, CLIENTS, &mut random);
    let mut pace = Pace::default();
    let leader = nodes.leader();
    let all = within("the leader's children run", || {
        let all = paths(&tree(&nodes, leader));
        all.iter().any(|path| is_below(path, EMITTERS)).then_some(all)
    });
    for _ in 0..rounds {
        for path in all.iter().filter(|path| *path != "host") {
            load.go_on(BETWEEN);
            kill_one(&nodes, path, &mut pace);
            load.go_on(BETWEEN);
        }
    }
    println!("{} children were killed {rounds} times", all.len() - 1);
    judge(&nodes, load);
}

#[test]
fn the_tree_of_a_node_has_the_order_and_strategies_of_the_layered_supervision() {
    let nodes = Nodes::start(3);
    let leader = nodes.leader();
    let of_leader = within("the leader's children run", || {
        let tree = tree(&nodes, leader);
        paths(&tree).iter().any(|path| is_below(path, EMITTERS)).then_some(tree)
    });
    for (path, strategy, children) in [
        ("host", "rest_for_one", vec!["node-system", "stores", "listener"]),
        ("host/node-system", "rest_for_one", vec!["raft-log", "peers", "$cluster"]),
        ("host/stores", "one_for_one", vec!["main"]),
        ("host/stores/main", "rest_for_one", vec!["components", "system"]),
        (
            SYSTEM,
            "rest_for_one",
            vec!["core-system", "discovery", "leadership-system", "cluster-system", "gateway-system"],
        ),
        ("host/stores/main/system/core-system", "one_for_all", vec!["store-system", "persistence-system"]),
        ("host/stores/main/system/core-system/store-system", "rest_for_one", vec!["store", "store-cluster"]),
        (
            "host/stores/main/system/leadership-system",
            "rest_for_one",
            vec!["leader-system", "emitter-system"],
        ),
        ("host/stores/main/system/cluster-system", "one_for_one", vec!["store-coordinator", "node-monitor"]),
    ] {
        let node = find(&of_leader, path).unwrap_or_else(|| panic!("there is no {path}"));
        assert_eq!(node["strategy"], strategy, "{path}");
        let found: Vec<&Value> =
            node["children"].as_array().into_iter().flatten().map(|child| &child["id"]).collect();
        assert_eq!(json!(found), json!(children), "{path}");
    }
    for node in 0..nodes.len() {
        // Everything that has started since its process began.
        let events = events(&nodes, node);
        let order = system_children(&started(&events));
        assert_eq!(order.last(), Some(&"gateway-system"), "{}: {order:?}", nodes.name(node));
        // What only a leader has, no other node runs.
        let has_emitters = paths(&tree(&nodes, node)).iter().any(|path| is_below(path, EMITTERS));
        assert_eq!(has_emitters, node == leader, "{}", nodes.name(node));
    }
}

/// A node of the tree.
fn find<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    if tree["path"] == path {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| find(child, path))
}
