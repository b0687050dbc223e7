//! `exesdb kill` on every path of the tree, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use exesdb_tests::{
    Host, Load, NO_FAULTS, after, eventually, faults, last_seq, path_of, paths, restarted, runs,
};
use serde_json::{Value, json};

/// How often each path started or ended.
type Counts = BTreeMap<String, usize>;

fn count(events: &[Value], kinds: [&str; 2]) -> Counts {
    let mut counts = Counts::new();
    for event in events.iter().filter(|event| kinds.iter().any(|kind| event["kind"] == *kind)) {
        *counts.entry(path_of(event).to_owned()).or_default() += 1;
    }
    counts
}

fn once_each(paths: &BTreeSet<String>) -> Counts {
    paths.iter().map(|path| (path.clone(), 1)).collect()
}

#[test]
fn the_tree_has_the_strategies_of_the_layered_supervision() {
    let host = Host::start();
    let tree = host.tree();
    let strategies: BTreeMap<String, Value> = nodes(&tree)
        .into_iter()
        .filter(|node| node["kind"] == "supervisor")
        .map(|node| (path_of(node).to_owned(), node["strategy"].clone()))
        .collect();
    let expected = [
        ("host", "one_for_one"),
        ("host/main", "rest_for_one"),
        ("host/main/system", "rest_for_one"),
        ("host/main/system/core-system", "one_for_all"),
        ("host/main/system/core-system/persistence-system", "one_for_one"),
        ("host/main/system/core-system/persistence-system/snapshots", "one_for_one"),
        ("host/main/system/core-system/persistence-system/streams", "one_for_one"),
        ("host/main/system/core-system/persistence-system/streams/readers", "one_for_one"),
        ("host/main/system/core-system/persistence-system/streams/writers", "one_for_one"),
        ("host/main/system/core-system/persistence-system/subscriptions", "one_for_one"),
        ("host/main/system/core-system/store-system", "rest_for_one"),
        ("host/main/system/emitter-system", "one_for_one"),
        ("host/main/system/emitter-system/0", "rest_for_one"),
        ("host/main/system/emitter-system/0/emitters", "simple_one_for_one"),
        ("host/main/system/emitter-system/1", "rest_for_one"),
        ("host/main/system/emitter-system/1/emitters", "simple_one_for_one"),
        ("host/main/system/gateway-system", "one_for_one"),
        ("host/main/system/gateway-system/gateway-workers", "one_for_one"),
    ];
    let expected = expected.map(|(path, strategy)| (path.to_owned(), json!(strategy)));
    assert_eq!(strategies, expected.into_iter().collect());
    let order = |path: &str| {
        let node = nodes(&tree).into_iter().find(|node| node["path"] == path).expect("the tree has it");
        node["children"].as_array().unwrap().iter().map(|child| child["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(order("host/main"), [json!("components"), json!("system")]);
    assert_eq!(
        order("host/main/system"),
        [json!("core-system"), json!("emitter-system"), json!("gateway-system")]
    );
    assert_eq!(order("host/main/system/core-system"), [json!("store-system"), json!("persistence-system")]);
    assert_eq!(order("host/main/system/core-system/store-system"), [json!("store"), json!("store-cluster")]);
    assert_eq!(order("host/main/system/gateway-system"), [json!("gateway-workers"), json!("pubsub")]);
    assert_eq!(order("host/main/system/gateway-system/gateway-workers").len(), 3);
}

fn nodes(node: &Value) -> Vec<&Value> {
    let children = node["children"].as_array().into_iter().flatten();
    std::iter::once(node).chain(children.flat_map(nodes)).collect()
}

#[test]
fn a_kill_restarts_what_the_strategies_say_and_loses_nothing() {
    let host = Host::with_config("[[store]]\nname = \"main\"\n\n[[store]]\nname = \"neighbour\"\n");
    let load = Load::patient(&host.http, "load", 4);
    let neighbour = Load::until_refused(&host.http.of("neighbour"), "load", 2);
    let mut follow = host.command();
    follow.args(["follow", "--json", "--retry-for", "60"]);
    let follow = follow.stdout(Stdio::piped()).spawn().expect("the binary can be run");

    // The neighbour must not be affected; the root comes last.
    let tree = host.tree();
    let mut killed = Vec::new();
    for path in paths(&tree).iter().filter(|path| !path.starts_with("host/neighbour") && *path != "host") {
        load.go_on(5);
        let expected = restarted(&host.tree(), path);
        assert!(expected.contains(path), "{path}");
        let mark = last_seq(&host.events());
        host.ok(&["kill", path]);
        let is_back = || {
            let events = after(&host.events(), mark);
            let back = count(&events, ["started", "sup_started"]);
            expected.iter().all(|path| back.contains_key(path)).then_some(())
        };
        eventually(&format!("after a kill of {path} all is back that should"), is_back);
        eventually("the tree runs", || runs(&host.tree()).then_some(()));
        load.go_on(5);
        let events = after(&host.events(), mark);
        assert_eq!(count(&events, ["started", "sup_started"]), once_each(&expected), "restarted with {path}");
        assert_eq!(
            count(&events, ["terminated", "sup_terminated"]),
            once_each(&expected),
            "ended with {path}"
        );
        for kind in ["trap", "gave_up", "parked", "start_failed", "sup_start_failed", "missed"] {
            assert!(events.iter().all(|event| event["kind"] != kind), "{path}: {events:#?}");
        }
        let own = events.iter().find(|event| {
            path_of(event) == path && event["kind"].as_str().is_some_and(|kind| kind.ends_with("terminated"))
        });
        assert_eq!(own.map(|event| &event["detail"]["reason"]), Some(&json!("killed")), "{path}");
        killed.push(path.clone());
    }
    assert_eq!(killed.len(), 33, "{killed:#?}");
    assert_eq!(host.tree()["restarts"], 0);
    let report = neighbour.finish();
    report.expect_no_refusal();
    assert_eq!(faults(&host.http.of("neighbour").read_all(), &report.appends), NO_FAULTS);

    // A kill of the root ends the host, with an error.
    let output = host.exesdb(&["kill", "host"]);
    assert!(output.status.success(), "{}", exesdb_tests::stderr(&output));
    let stopped = host.ended();
    let log = stopped.log.join("\n");
    assert_eq!(stopped.status.code(), Some(1), "{log}");
    assert!(log.contains("the supervision tree ended by itself (killed)"), "{log}");
    let report = load.finish();
    let passing = |status: u16, problem: &str| status == 0 || (status == 503 && !problem.is_empty());
    let strange: Vec<_> =
        report.refusals.iter().filter(|response| !passing(response.status, response.problem())).collect();
    assert!(strange.is_empty(), "{strange:#?}");

    let host = stopped.down.start();
    let mut appends = report.appends;
    for append in &mut appends {
        append.send(&host.http).expect(200);
    }
    let events = host.http.read_all();
    assert_eq!(faults(&events, &appends), NO_FAULTS);

    // The followers saw each event once, in order.
    let followed = lines(follow, events.len());
    assert_eq!(followed, events);
}

/// Parses the first lines that a command prints, and ends it.
fn lines(mut command: std::process::Child, count: usize) -> Vec<Value> {
    let output = std::io::BufReader::new(command.stdout.take().expect("stdout was piped"));
    let lines = std::io::BufRead::lines(output).take(count).map_while(Result::ok);
    let parsed = lines.map(|line| serde_json::from_str(&line).expect("a line is JSON")).collect();
    command.kill().expect("the command can be ended");
    command.wait().expect("it was our child");
    parsed
}
