//! What a host says about durable subscriptions: of a stream that is gone for good, and the options that a program keeps with one.

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

/// Checks that a subscription has this selector, and these options among its settings, where it is described and listed.
#[track_caller]
fn is_kept(host: &Host, selector: &Value, options: &Value) {
    let list = host.http.get(&format!("{}/subscriptions", host.http.path())).expect(200).json;
    for shown in [&host.http.described("s"), &list["subscriptions"][0]] {
        assert_eq!(&shown["selector"], selector, "{shown:#}");
        assert_eq!(&shown["settings"]["options"], options, "{shown:#}");
    }
}

#[test]
fn options_are_kept_with_a_subscription() {
    let host = Host::start();
    let path = host.http.subscription("s");
    let selector = json!({ "query": [{ "types": ["t"] }], "options": { "by": "a test" } });
    let options = json!({ "label": "\u{e9}", "empty": "" });
    let new = json!({ "selector": selector, "settings": { "options": options } });
    assert_eq!(host.http.put(&path, &new).expect(201).json, json!({ "created": true }));
    assert_eq!(host.http.put(&path, &new).expect(200).json, json!({ "created": false }));
    is_kept(&host, &selector, &options);
    let other = json!({ "selector": selector, "settings": { "options": { "label": "e" } } });
    host.http.put(&path, &other).expect_problem(409, "subscription-exists");

    // Those that a component does not know filter nothing.
    host.http.append_one("a").expect(200);
    let mut consumer = host.http.consume("s", 10);
    let events = consumer.take(1);
    consumer.acknowledge(&events);
    consumer.settle(&json!({ "leave": true }));

    host.http.patch(&path, &json!({ "retries_max": 3 })).expect(204);
    is_kept(&host, &selector, &options);
    let options = json!({ "other": "1" });
    host.http.patch(&path, &json!({ "options": options })).expect(204);
    is_kept(&host, &selector, &options);
    let host = host.crash_and_restart();
    is_kept(&host, &selector, &options);
    host.http.patch(&path, &json!({ "options": {} })).expect(204);
    is_kept(&host, &selector, &Value::Null);
}

#[test]
fn an_option_that_has_to_be_understood_is_refused() {
    let host = Host::start();
    let path = host.http.subscription("s");
    for new in [
        json!({ "settings": { "options": { "a": "1", "!x": "2" } } }),
        json!({ "selector": { "options": { "!x": "2" } } }),
        json!({ "selector": { "query": [{ "tags": ["t"] }], "options": { "!x": "2" } } }),
    ] {
        let refused = host.http.put(&path, &new).expect_problem(501, "unsupported");
        assert!(refused.detail().contains("`!x`"), "{new}: {}", refused.text);
        host.http.get(&path).expect_problem(404, "subscription-not-found");
    }
    host.http.put(&path, &json!({ "settings": { "options": { "x!": "1" } } })).expect(201);
    let refused = host.http.patch(&path, &json!({ "options": { "!x": "2" } }));
    refused.expect_problem(501, "unsupported");
    is_kept(&host, &json!({}), &json!({ "x!": "1" }));
    // One stream has no filter, and so no options of one.
    let of_stream = json!({ "selector": { "stream": "a", "options": { "x": "2" } } });
    let refused = host.http.put(&host.http.subscription("t"), &of_stream);
    assert_eq!(refused.expect_problem(400, "invalid-argument").json["field"], "selector");
}
