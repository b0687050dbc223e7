//! Consumers of durable subscriptions: how many there may be, and which of them gets an event.

use exesdb_tests::{Consumer, Host, eventually};
use serde_json::{Value, json};

/// What the emitter of a subscription knows of its consumers.
fn known(host: &Host, name: &str) -> Vec<Value> {
    host.http.described(name)["emitter"]["consumers"].as_array().cloned().unwrap_or_default()
}

/// Waits until an emitter knows these consumers and no others.
fn are_known(host: &Host, name: &str, consumers: &[&Consumer]) {
    eventually("the emitter knows the consumers", || {
        let known = known(host, name);
        let numbers = known.iter().map(|consumer| consumer["consumer"].clone());
        numbers.eq(consumers.iter().map(|consumer| json!(consumer.number))).then_some(())
    });
}

fn create(host: &Host, name: &str, settings: Value) {
    host.http.put(&host.http.subscription(name), &json!({ "settings": settings })).expect(201);
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["position"].as_u64().expect("a number")).collect()
}

#[test]
fn one_consumer_more_than_there_may_be_is_turned_away() {
    let host = Host::start();
    create(&host, "s", json!({ "consumers_max": 2 }));
    let (first, second) = (host.http.consume("s", 5), host.http.consume("s", 5));
    are_known(&host, "s", &[&first, &second]);

    // The stream has begun, so that its last message is the answer.
    let end = host.http.consume("s", 5).end();
    assert_eq!(end["type"], "urn:exesdb:problem:too-many-consumers", "{end}");
    assert_eq!(end["status"], 409, "{end}");
    let batch = host.http.get(&format!("{}/events?wait_ms=10000", host.http.subscription("s")));
    let refused = batch.expect_problem(409, "too-many-consumers");
    assert!(refused.detail().contains("2 consumers (consumers_max)"), "{}", refused.text);
    are_known(&host, "s", &[&first, &second]);

    drop(first);
    are_known(&host, "s", &[&second]);
    let mut third = host.http.consume("s", 5);
    are_known(&host, "s", &[&second, &third]);
    host.http.append_many("a", 2).expect(200);
    assert_eq!(third.take(1).len(), 1, "each of two gets one of two");
}

/// The children of a node of the tree that is found by these ids.
fn children<'a>(tree: &'a Value, ids: &[&str]) -> &'a Vec<Value> {
    let mut node = tree;
    for id in ids {
        let children = node["children"].as_array().expect("it has children");
        let child = children.iter().find(|child| child["id"] == *id);
        node = child.unwrap_or_else(|| panic!("there is no {id} in {node:#}"));
    }
    node["children"].as_array().expect("it has children")
}

fn id(node: &Value) -> String {
    node["id"].as_str().expect("a node has an id").to_owned()
}

#[test]
fn a_store_has_as_many_supervisors_of_emitters_as_its_configuration_says() {
    const SYSTEM: [&str; 3] = ["main", "system", "emitter-system"];
    let names: Vec<String> = (10..30).map(|number| format!("s{number}")).collect();
    for size in [1_usize, 5] {
        let config = format!("[[store]]\nname = \"main\"\nemitter_pool_size = {size}\n");
        let host = Host::with_config(&config);
        names.iter().for_each(|name| create(&host, name, json!({})));
        host.http.append_many("a", 3).expect(200);
        for name in &names {
            let mut consumer = host.http.consume(name, 10);
            let events = consumer.take(3);
            assert_eq!(positions(&events), [0, 1, 2], "{name}");
            consumer.acknowledge(&events);
        }
        let tree = host.tree();
        let partitions: Vec<String> = children(&tree, &SYSTEM).iter().map(id).collect();
        assert_eq!(partitions, (0..size).map(|index| index.to_string()).collect::<Vec<_>>());
        let emitters = partitions.iter().map(|partition| {
            let [main, system, emitters] = SYSTEM;
            let node = children(&tree, &[main, system, emitters, partition.as_str(), "emitters"]);
            node.iter().map(id).collect::<Vec<String>>()
        });
        let emitters: Vec<Vec<String>> = emitters.collect();
        let mut all: Vec<String> = emitters.concat();
        all.sort_unstable();
        assert_eq!(all, names, "each subscription has one emitter");
        // Twenty names are spread over all of them.
        assert!(emitters.iter().all(|emitters| !emitters.is_empty()), "{emitters:?}");
    }
}

/// Appends so many events to one stream, at once.
fn append(host: &Host, count: usize) {
    host.http.append_many("a", count).expect(200);
}

#[test]
fn with_round_robin_consumers_get_one_event_after_the_other() {
    let host = Host::start();
    create(&host, "s", json!({ "strategy": "round_robin" }));
    let (mut one, mut other) = (host.http.consume("s", 4), host.http.consume("s", 4));
    are_known(&host, "s", &[&one, &other]);
    // At once, and one by one.
    append(&host, 4);
    (0..4).for_each(|_| append(&host, 1));
    let (of_one, of_other) = (one.take(4), other.take(4));
    let mut taken = [positions(&of_one), positions(&of_other)];
    taken.sort();
    assert_eq!(taken, [vec![0, 2, 4, 6], vec![1, 3, 5, 7]], "they take turns");

    // One whose window is full is passed over, and gets its turn when there is room.
    append(&host, 3);
    one.acknowledge(&of_one[..2]);
    assert_eq!(positions(&one.take(2)), [8, 9]);
    other.acknowledge(&of_other[..1]);
    assert_eq!(positions(&other.take(1)), [10]);
}

#[test]
fn with_dispatch_to_single_one_consumer_gets_everything_until_its_window_is_full() {
    let host = Host::start();
    create(&host, "s", json!({ "strategy": "dispatch_to_single" }));
    let (mut one, mut other) = (host.http.consume("s", 3), host.http.consume("s", 3));
    are_known(&host, "s", &[&one, &other]);
    append(&host, 1);
    // Which of them is the one, nobody promises.
    let chosen = eventually("the event is delivered", || {
        known(&host, "s").into_iter().find(|consumer| consumer["in_flight"] == 1)
    });
    if chosen["consumer"] == other.number {
        std::mem::swap(&mut one, &mut other);
    }
    let first = one.take(1);
    assert_eq!(positions(&first), [0]);
    one.acknowledge(&first);
    for position in 1..5 {
        append(&host, 1);
        let events = one.take(1);
        assert_eq!(positions(&events), [position], "it has room again");
        one.acknowledge(&events);
    }
    // Nothing is acknowledged from here on.
    append(&host, 5);
    assert_eq!(positions(&one.take(3)), [5, 6, 7]);
    let rest = other.take(2);
    assert_eq!(positions(&rest), [8, 9], "it had nothing before");
    // Now it is the one that gets everything until its window is full.
    append(&host, 1);
    assert_eq!(positions(&other.take(1)), [10]);
}
