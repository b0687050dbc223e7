//! A hundred random kills per second all over the tree, under append load, for `EXESDB_STORM_SECONDS` (default: 3).
//!
//! So many kills exceed the restart intensities, and the store is parked. The test restarts it each time, as an operator
//! would.

use std::time::{Duration, Instant};

use exesdb_test_support::{number, random};
use exesdb_tests::{Control, Host, Load, NO_FAULTS, eventually, faults, paths};
use serde_json::Value;

/// The interval between two kills.
const BETWEEN_KILLS: Duration = Duration::from_millis(10);

/// The path, strategy and state of each node.
fn shape(node: &Value) -> Vec<(Value, Value, Value)> {
    let children = node["children"].as_array().into_iter().flatten();
    let own = (node["path"].clone(), node["strategy"].clone(), node["state"].clone());
    std::iter::once(own).chain(children.flat_map(shape)).collect()
}

fn is_parked(tree: &Value, store: &str) -> bool {
    let children = tree["children"].as_array().into_iter().flatten();
    children.into_iter().any(|child| child["id"] == store && child["state"] == "parked")
}

#[test]
fn a_storm_of_kills_leaves_the_tree_as_it_was_and_loses_nothing() {
    let seconds = number("EXESDB_STORM_SECONDS", 3);
    let host = Host::start();
    let mut control = Control::of(&host);
    let before = control.tree();
    let targets: Vec<String> = paths(&before).into_iter().filter(|path| *path != "host").collect();
    let load = Load::patient(&host.http, "storm", 4);
    load.go_on(10);

    let mut random = random();
    let (mut killed, mut refused, mut parked) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let target = &targets[random.usize(..targets.len())];
        if control.kill(target) {
            killed += 1;
        } else {
            refused += 1;
        }
        if (killed + refused).is_multiple_of(10) && is_parked(&control.tree(), "main") {
            parked += 1;
            let response = control.restart("main");
            assert_eq!(response["response"], "restarted", "{response}");
        }
        std::thread::sleep(BETWEEN_KILLS);
    }
    println!(
        "{killed} kills, {refused} of children that were not running, {parked} restarts of the parked store"
    );
    assert!(killed > 0);

    eventually("the tree is the same as before the storm", || {
        let tree = control.tree();
        if is_parked(&tree, "main") {
            control.restart("main");
        }
        (shape(&tree) == shape(&before)).then_some(())
    });
    load.go_on(10);
    let report = load.finish();
    assert_eq!(faults(&host.http.read_all(), &report.appends), NO_FAULTS);
}
