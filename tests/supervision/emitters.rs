//! Dispatchers of durable subscriptions that trap, loop, or break their contract, and what becomes of their subscriptions. Others
//! go on.

use exesdb_tests::{Host, Response, eventually, probe};
use serde_json::{Value, json};

/// A host whose subscriptions component misbehaves for subscriptions of some names.
fn host() -> Host {
    Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n[store.components]\nsubscriptions = {:?}\n\
         [store.limits.subscriptions]\ncall_cpu_ms = 200\n",
        probe("subscriptions-probe")
    ))
}

fn path(host: &Host, rest: &str) -> String {
    format!("{}/subscriptions/{rest}", host.http.path())
}

fn create(host: &Host, name: &str, settings: &Value) {
    host.http.put(&path(host, name), &json!({ "settings": settings })).expect(201);
}

fn append(host: &Host, kinds: &[&str]) {
    let events: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind, "data": 1 })).collect();
    host.http.append("a", "any", &events).expect(200);
}

fn info(host: &Host, name: &str) -> Value {
    host.http.get(&path(host, name)).expect(200).json
}

fn batch(host: &Host, name: &str) -> Response {
    host.http.get(&path(host, &format!("{name}/events?wait_ms=500")))
}

/// Asks for a batch as a consumer that acknowledges it and leaves. Returns the places; none while an emitter is being restarted.
fn ask(host: &Host, name: &str) -> Vec<u64> {
    let batch = batch(host, name);
    if batch.status != 200 {
        return Vec::new();
    }
    let events = batch.json["events"].as_array().expect("a list").clone();
    let places: Vec<u64> =
        events.iter().map(|event| event["delivery"]["place"].as_u64().expect("a number")).collect();
    let words = json!({ "consumer": batch.json["consumer"], "ack": places, "leave": true });
    let settled = host.http.post(&path(host, &format!("{name}/settlements")), &words);
    if settled.status == 200 { places } else { Vec::new() }
}

/// Takes and acknowledges, until so many different events were acknowledged. Returns their places.
fn take(host: &Host, name: &str, count: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    eventually("all events are delivered", || {
        taken.extend(ask(host, name));
        taken.sort_unstable();
        taken.dedup();
        (taken.len() >= count).then_some(())
    });
    taken
}

/// The reason for which a subscription halts. It has a consumer until then.
fn halted(host: &Host, name: &str) -> String {
    eventually("it halts", || {
        drop(ask(host, name));
        let info = info(host, name);
        (info["state"] == "halted").then(|| info["reason"].as_str().expect("a reason").to_owned())
    })
}

#[test]
fn an_event_that_ends_two_instances_alone_is_parked_with_the_crash() {
    let host = host();
    let kinds = ["fine", "fine", "poison", "fine", "fine", "poison"];
    append(&host, &kinds);
    for (name, crash) in [("trap", "as it was told"), ("probe-loop", "`call_cpu_ms`")] {
        create(&host, name, &json!({}));
        assert_eq!(take(&host, name, 4), [0, 1, 3, 4], "{name}");
        let parked = eventually("both are parked", || {
            // Nothing is read while no consumer asks, and what was acknowledged before a crash may come again.
            drop(ask(&host, name));
            let parked =
                host.http.get(&path(&host, &format!("{name}/parked"))).expect(200).json["parked"].clone();
            (parked.as_array()?.len() == 2).then_some(parked)
        });
        assert_eq!((&parked[0]["place"], &parked[1]["place"]), (&json!(2), &json!(5)), "{name}");
        let reason = parked[0]["reason"].as_str().expect("a reason");
        assert!(reason.contains(crash) && reason.contains("incident"), "{name}: {reason}");
        eventually("its checkpoint is at the end", || {
            drop(ask(&host, name));
            (info(&host, name)["checkpoint"] == kinds.len()).then_some(())
        });
    }
}

#[test]
fn an_event_that_ends_two_instances_alone_halts_if_its_subscription_says_so() {
    let host = host();
    append(&host, &["fine", "poison", "fine"]);
    create(&host, "trap", &json!({ "poison": "halt" }));
    let reason = halted(&host, "trap");
    assert!(reason.contains("place 1") && reason.contains("as it was told"), "{reason}");
    assert_eq!(info(&host, "trap")["parked"], 0);
    // It has to go on before the poison.
    assert!(info(&host, "trap")["checkpoint"].as_u64().expect("a number") <= 1);
}

#[test]
fn a_component_that_ends_with_every_event_does_not_park_all_of_them() {
    let host = host();
    append(&host, &["fine"; 30]);
    create(&host, "probe-broken", &json!({}));
    create(&host, "fine", &json!({}));
    let reason = halted(&host, "probe-broken");
    assert!(reason.contains("like the 3 before it"), "{reason}");
    assert_eq!(info(&host, "probe-broken")["parked"], 3);
    assert_eq!(take(&host, "fine", 30).len(), 30);
}

#[test]
fn a_dispatcher_that_breaks_its_contract_halts_its_subscription_and_no_other() {
    let host = host();
    create(&host, "fine", &json!({}));
    let misdeeds = [
        ("probe-ahead", "a dispatcher reads"),
        ("probe-much", "a dispatcher reads"),
        ("probe-two-reads", "a dispatcher reads while a read is open"),
        ("probe-nobody", "to a consumer that is not there"),
        ("probe-flood", "more than a consumer's window"),
        ("probe-two-stores", "a dispatcher stores while a store is open"),
        ("probe-foreign", "a dispatcher stores what is not its own"),
        ("probe-epoch", "a dispatcher stores what is not its own"),
        ("probe-count", "counts 1 words of consumers, and had 0"),
    ];
    append(&host, &["fine"; 3]);
    for (name, _) in misdeeds {
        create(&host, name, &json!({ "poison": "halt" }));
    }
    for (name, breach) in misdeeds {
        let reason = halted(&host, name);
        assert!(reason.contains(breach), "{name}: {reason}");
        // A request gets the reason.
        let refused = host.http.get(&path(&host, &format!("{name}/events")));
        assert!(refused.expect_problem(409, "subscription-halted").detail().contains(breach), "{name}");
    }
    assert_eq!(take(&host, "fine", 3), [0, 1, 2]);
    assert!(host.traps().iter().all(|trap| trap["detail"]["component"] == "subscriptions"));
}
