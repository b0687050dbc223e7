//! A hundred random kills per second all over the tree, under append load, for `EXESDB_STORM_SECONDS` (default: 3).
//!
//! So many kills exceed the restart intensities, and the store is parked. The test restarts it each time, as an operator
//! would.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use exesdb_test_support::{number, random};
use exesdb_tests::{Host, Load, NO_FAULTS, eventually, faults};
use serde_json::{Value, json};

use crate::strategies::paths;

/// The interval between two kills.
const BETWEEN_KILLS: Duration = Duration::from_millis(10);

/// A connection to a host's control socket that sends and receives lines.
struct Control {
    write: UnixStream,
    read: BufReader<UnixStream>,
}

impl Control {
    fn of(host: &Host) -> Self {
        let write =
            UnixStream::connect(host.data().join("control.sock")).expect("the host has a control socket");
        let read = BufReader::new(write.try_clone().expect("a socket has two ends"));
        let mut control = Self { write, read };
        let host = control.ask(&json!({ "exesdb": "0.1.0", "control": 1 }));
        assert_eq!(host["control"], 1, "{host}");
        control
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.write, "{request}").expect("the host reads requests");
        let mut line = String::new();
        self.read.read_line(&mut line).expect("the host responds");
        serde_json::from_str(&line).expect("a response is JSON")
    }

    fn tree(&mut self) -> Value {
        self.ask(&json!({ "request": "tree" }))["tree"].take()
    }
}

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
        match control.ask(&json!({ "request": "kill", "path": target, "reason": "killed" }))["response"]
            .as_str()
        {
            Some("killed") => killed += 1,
            // The child was not running, because of a kill above it.
            Some("error") => refused += 1,
            other => panic!("{target}: {other:?}"),
        }
        if (killed + refused).is_multiple_of(10) && is_parked(&control.tree(), "main") {
            parked += 1;
            let response = control.ask(&json!({ "request": "restart", "path": "main" }));
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
            control.ask(&json!({ "request": "restart", "path": "main" }));
        }
        (shape(&tree) == shape(&before)).then_some(())
    });
    load.go_on(10);
    let report = load.finish();
    assert_eq!(faults(&host.http.read_all(), &report.appends), NO_FAULTS);
}
