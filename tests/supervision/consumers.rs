//! What counts against an event of a durable subscription: that its consumer's client goes away, and not that the host or a part of
//! it is restarted.

use exesdb_tests::{Consumer, Host, after, eventually, last_seq, path_of, paths, runs};
use serde_json::{Value, json};

const NAME: &str = "s";

/// Consumers, and the events that each of them holds.
const CONSUMERS: usize = 3;
const HELD: usize = 2;
const EVENTS: usize = CONSUMERS * HELD;

/// A subscription whose events are parked as soon as something counts against them, and whose consumers may take as long as they
/// like.
fn subscribe(host: &Host) {
    let settings = json!({ "retries_max": 0, "ack_timeout_ms": 3_600_000 });
    host.http.put(&host.http.subscription(NAME), &json!({ "settings": settings })).expect(201);
    host.http.append_many("a", EVENTS).expect(200);
}

/// Consumers that hold all events.
fn holders(host: &Host) -> Vec<Consumer> {
    let window = u32::try_from(HELD).expect("it is small");
    let mut consumers: Vec<Consumer> = (0..CONSUMERS).map(|_| host.http.consume(NAME, window)).collect();
    let held: Vec<Value> = consumers.iter_mut().flat_map(|consumer| consumer.take(HELD)).collect();
    assert_eq!(places(&held), (0..EVENTS as u64).collect::<Vec<_>>());
    consumers
}

/// The places of events, in their order.
fn places(events: &[Value]) -> Vec<u64> {
    let places = events.iter().map(|event| event["delivery"]["place"].as_u64().expect("a number"));
    let mut places: Vec<u64> = places.collect();
    places.sort_unstable();
    places
}

/// Another consumer gets every event, each of which was delivered so often before. Nothing is parked.
#[track_caller]
fn come_again(host: &Host, earlier: u64) {
    let mut consumer = eventually("the gateway serves", || host.http.try_consume(NAME, 100).ok());
    let events = consumer.take(EVENTS);
    assert_eq!(places(&events), (0..EVENTS as u64).collect::<Vec<_>>());
    for event in &events {
        assert_eq!(event["delivery"]["earlier"], earlier, "{event}");
    }
    consumer.acknowledge(&events);
    eventually("everything is settled", || (host.http.described(NAME)["checkpoint"] == EVENTS).then_some(()));
    assert_eq!(host.http.described(NAME)["parked"], 0);
    consumer.settle(&json!({ "leave": true }));
}

/// Kills a part of the host, and waits until that has ended and everything runs again.
fn kill(host: &Host, path: &str) {
    let mark = last_seq(&host.events());
    host.ok(&["kill", path]);
    eventually(&format!("{path} runs again"), || {
        let events = after(&host.events(), mark);
        let is_back = |event: &Value| {
            path_of(event) == path && (event["kind"] == "started" || event["kind"] == "sup_started")
        };
        (events.iter().any(is_back) && runs(&host.tree())).then_some(())
    });
}

#[test]
fn a_stop_of_the_host_counts_against_no_event() {
    let host = Host::start();
    subscribe(&host);
    let consumers = holders(&host);
    host.signal("TERM");
    for consumer in consumers {
        // Each closes its connection as soon as it is told.
        assert_eq!(consumer.end()["type"], "urn:exesdb:problem:restarting");
    }
    let stopped = host.ended();
    assert!(stopped.status.success(), "{}", stopped.log.join("\n"));
    let host = stopped.down.start();
    // Deliveries are counted by the emitter, which is another one.
    come_again(&host, 0);
}

#[test]
fn a_crash_of_the_host_counts_against_no_event() {
    let host = Host::start();
    subscribe(&host);
    let consumers = holders(&host);
    let host = host.crash_and_restart();
    assert!(consumers.into_iter().all(|consumer| consumer.end() == Value::Null), "nobody says why");
    come_again(&host, 0);
}

#[test]
fn a_restart_of_the_gateway_counts_against_no_event() {
    let host = Host::start();
    subscribe(&host);
    let consumers = holders(&host);
    kill(&host, "host/main/system/gateway-system");
    for consumer in consumers {
        consumer.end();
    }
    // The emitter is the same, and each event was delivered once before.
    come_again(&host, 1);
}

#[test]
fn a_restart_of_a_gateway_worker_counts_against_no_event() {
    let host = Host::start();
    subscribe(&host);
    let consumers = holders(&host);
    let workers: Vec<String> =
        paths(&host.tree()).into_iter().filter(|path| path.contains("/gateway-workers/")).collect();
    assert!(!workers.is_empty());
    // Each consumer is with one of them. What goes back finds no room at the others.
    for worker in &workers {
        kill(&host, worker);
    }
    for consumer in consumers {
        consumer.end();
    }
    come_again(&host, 1);
}

#[test]
fn a_restart_of_an_emitter_counts_against_no_event_and_ends_no_consumer() {
    let host = Host::start();
    subscribe(&host);
    let mut consumers = holders(&host);
    let emitter = paths(&host.tree()).into_iter().find(|path| path.ends_with(&format!("/emitters/{NAME}")));
    kill(&host, &emitter.expect("an active subscription has an emitter"));
    let again: Vec<Value> = consumers.iter_mut().flat_map(|consumer| consumer.take(HELD)).collect();
    assert_eq!(places(&again), (0..EVENTS as u64).collect::<Vec<_>>());
    assert!(again.iter().all(|event| event["delivery"]["earlier"] == 0), "{again:#?}");
    for consumer in &consumers {
        consumer.settle(&json!({ "leave": true }));
    }
    come_again(&host, 1);
}

#[test]
fn a_client_that_goes_away_counts_against_the_first_event_that_it_held() {
    let host = Host::start();
    subscribe(&host);
    drop(holders(&host));
    eventually("the first event of each is parked", || {
        (host.http.described(NAME)["parked"] == CONSUMERS).then_some(())
    });
    let path = format!("{}/parked", host.http.subscription(NAME));
    let parked = host.http.get(&path).expect(200).json["parked"].as_array().expect("a list").clone();
    for parked in &parked {
        assert_eq!(parked["deliveries"], 1, "{parked}");
        assert!(parked["reason"].as_str().is_some_and(|reason| reason.contains("failed")), "{parked}");
    }
    // It had not begun the others.
    let mut consumer = host.http.consume(NAME, 100);
    let others = consumer.take(EVENTS - CONSUMERS);
    assert!(others.iter().all(|event| event["delivery"]["earlier"] == 1), "{others:#?}");
    let parked: Vec<u64> = parked.iter().map(|parked| parked["place"].as_u64().expect("a number")).collect();
    assert!(places(&others).iter().all(|place| !parked.contains(place)), "{parked:?}, {others:#?}");
    consumer.acknowledge(&others);
    eventually("everything is settled", || (host.http.described(NAME)["checkpoint"] == EVENTS).then_some(()));
    assert_eq!(host.http.described(NAME)["parked"], CONSUMERS);
}

#[test]
fn a_client_that_leaves_before_it_goes_away_counts_against_no_event() {
    let host = Host::start();
    subscribe(&host);
    let consumers = holders(&host);
    for consumer in &consumers {
        consumer.settle(&json!({ "leave": true }));
    }
    drop(consumers);
    come_again(&host, 1);
}
