//! What a host says about durable subscriptions.

use exesdb_tests::{Host, eventually};
use serde_json::{Value, json};

#[test]
fn a_subscription_of_a_stream_with_a_tombstone_is_described() {
    let host = Host::start();
    host.http.append_many("a", 2).expect(200);
    for name in ["served", "idle"] {
        let new = json!({ "selector": { "stream": "a" } });
        host.http.put(&host.http.subscription(name), &new).expect(201);
    }
    let mut consumer = host.http.consume("served", 10);
    let events = consumer.take(2);
    consumer.acknowledge(&events);
    eventually("the checkpoint is stored", || {
        (host.http.described("served")["checkpoint"] == 2).then_some(())
    });
    assert_eq!(host.http.described("idle")["lag"]["events"], 2);
    host.http.delete(&format!("{}?tombstone=true", host.http.stream("a"))).expect(204);

    let no_lag = json!({ "events": 0, "ms": 0 });
    let state = |name: &str| {
        let described = host.http.described(name);
        assert_eq!(described["lag"], no_lag, "{name}: nothing more can be delivered");
        described["state"].clone()
    };
    // Nothing is read for one without a consumer, so it does not know.
    assert_eq!(state("idle"), "active");
    assert_eq!(consumer.end()["type"], "urn:exesdb:problem:subscription-halted");
    assert_eq!(state("served"), "halted");
    assert_eq!(host.http.described("served")["checkpoint"], 2);
    let end = host.http.consume("idle", 10).end();
    assert_eq!(end["type"], "urn:exesdb:problem:subscription-halted");
    assert_eq!(state("idle"), "halted");
    let info = host.ok(&["subscription", "info", "idle"]);
    let info: Value = serde_json::from_str(&info).expect("it is JSON");
    assert_eq!((&info["state"], &info["lag"]), (&json!("halted"), &no_lag));
    assert!(info["reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{info:#}");
}
