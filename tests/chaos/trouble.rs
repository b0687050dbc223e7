//! What is done to the host: its children are killed, its components trap, and its process is killed.

use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Control, Host, PATIENCE, runs};
use serde_json::Value;

/// Longest pause between two kills.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// An append to a stream whose id begins so makes the streams component of the tests trap.
const TRAP: &str = "probe-trap";

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: usize,
    pub(crate) traps: usize,
    pub(crate) deaths: usize,
    /// Restarts of what was parked, because there were too many kills.
    pub(crate) restarts: usize,
}

/// The paths of a tree, and whether each is parked.
fn nodes(node: &Value) -> Vec<(String, bool)> {
    let path = node["path"].as_str().expect("a node has a path").to_owned();
    let children = node["children"].as_array().into_iter().flatten();
    std::iter::once((path, node["state"] == "parked")).chain(children.flat_map(nodes)).collect()
}

/// Starts what is parked, as an operator would.
fn restart_parked(control: &mut Control, tree: &Value, tally: &mut Tally) {
    for (path, _) in nodes(tree).into_iter().filter(|(_, is_parked)| *is_parked) {
        // Something above it may have been restarted meanwhile.
        control.restart(&path);
        tally.restarts += 1;
    }
}

/// Kills children for a time, and in the middle the process, if `dies`.
pub(crate) fn storm(mut host: Host, time: Duration, dies: bool, random: &mut Rng, tally: &mut Tally) -> Host {
    let http = host.http.clone();
    let trapping = std::thread::spawn(move || http.append_one(TRAP).status);
    let begun = Instant::now();
    let mut control = Control::of(&host);
    let mut is_to_die = dies;
    while begun.elapsed() < time {
        if is_to_die && begun.elapsed() > time / 2 {
            is_to_die = false;
            host = host.crash_and_restart();
            control = Control::of(&host);
            tally.deaths += 1;
        }
        let tree = control.tree();
        restart_parked(&mut control, &tree, tally);
        let paths: Vec<String> = nodes(&tree).into_iter().map(|(path, _)| path).collect();
        // There are many emitters; every other kill is one of the rest of the tree.
        let is_emitter = random.bool();
        let of_kind = |path: &&String| path.contains("/emitters/") == is_emitter && *path != "host";
        let paths: Vec<&String> = paths.iter().filter(of_kind).collect();
        if !paths.is_empty() {
            tally.kills += usize::from(control.kill(paths[random.usize(..paths.len())]));
        }
        std::thread::sleep(time_below(random, PAUSE_MAX));
    }
    let status = trapping.join().expect("it does not panic");
    assert_ne!(status, 200, "an append that makes a component trap was acknowledged");
    tally.traps += 1;
    host
}

/// Waits until all of the tree runs, and restarts what is parked.
pub(crate) fn calm(host: &Host, tally: &mut Tally) {
    let mut control = Control::of(host);
    let until = Instant::now() + PATIENCE;
    loop {
        let tree = control.tree();
        if runs(&tree) {
            return;
        }
        restart_parked(&mut control, &tree, tally);
        assert!(Instant::now() < until, "the tree does not run again: {tree:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
