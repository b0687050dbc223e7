//! A hundred random kills a second over the whole tree, under append load.
//!
//! `EXESDB_STORM_SECONDS` says how long, 3 by default; the long form is 60. A store that is hit so hard gives up and is
//! parked, as its strategies say; its operator, who is this test, restarts it each time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use exesdb_tests::{Host, Load, NO_FAULTS, Random, eventually, faults};
use serde_json::{Value, json};

use crate::strategies::paths;

/// Time from one kill to the next.
const BETWEEN_KILLS: Duration = Duration::from_millis(10);

/// The control socket of a host, at the level of its lines.
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
        self.read.read_line(&mut line).expect("the host answers");
        serde_json::from_str(&line).expect("an answer is JSON")
    }

    fn tree(&mut self) -> Value {
        self.ask(&json!({ "request": "tree" }))["tree"].take()
    }
}

/// What each path is and whether it runs.
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
#[allow(clippy::print_stderr, reason = "how hard it blew, and the seed to try it again")]
fn a_storm_of_kills_leaves_the_tree_as_it_was_and_loses_nothing() {
    let seconds =
        std::env::var("EXESDB_STORM_SECONDS").map_or(3, |text| text.parse().expect("a number of seconds"));
    let host = Host::start();
    let mut control = Control::of(&host);
    let before = control.tree();
    let targets: Vec<String> = paths(&before).into_iter().filter(|path| *path != "host").collect();
    let load = Load::patient(&host.http, "storm", 4);
    load.go_on(10);

    let seed = Random::seed();
    let mut random = Random::new(seed);
    let (mut killed, mut refused, mut parked) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let target = &targets[usize::try_from(random.below(targets.len() as u64)).expect("an index")];
        match control.ask(&json!({ "request": "kill", "path": target, "reason": "killed" }))["response"]
            .as_str()
        {
            Some("killed") => killed += 1,
            // Just then it did not run: something above it was hit before.
            Some("error") => refused += 1,
            other => panic!("{target}: {other:?}"),
        }
        if (killed + refused).is_multiple_of(10) && is_parked(&control.tree(), "main") {
            parked += 1;
            let answer = control.ask(&json!({ "request": "restart", "path": "main" }));
            assert_eq!(answer["response"], "restarted", "{answer}");
        }
        std::thread::sleep(BETWEEN_KILLS);
    }
    eprintln!(
        "seed {seed}: {killed} kills, {refused} of what did not run, the store parked and restarted {parked} times"
    );
    assert!(killed > 0);

    eventually("the tree is as it was before the storm", || {
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
