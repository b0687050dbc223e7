//! Durable subscriptions: created, consumed, settled, parked, replayed, paused; over restarts and crashes of the host.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use exesdb_tests::{Client, Host, eventually};
use serde_json::{Value, json};

/// A subscription of the store `main`.
struct Subscription<'a> {
    http: &'a Client,
    path: String,
}

impl<'a> Subscription<'a> {
    fn create(http: &'a Client, name: &str, new: &Value) -> Self {
        let path = format!("{}/subscriptions/{}", http.path(), exesdb_tests::encoded(name));
        assert_eq!(http.put(&path, new).expect(201).json, json!({ "created": true }));
        Self { http, path }
    }

    /// A batch, with the consumer that has it.
    fn batch(&self, query: &str) -> (u64, Vec<Value>) {
        let batch = self.http.get(&format!("{}/events?{query}", self.path)).expect(200).json;
        let consumer = batch["consumer"].as_u64().expect("a consumer has a number");
        (consumer, batch["events"].as_array().expect("a list").clone())
    }

    fn settle(&self, settlement: &Value) -> Value {
        self.http.post(&format!("{}/settlements", self.path), settlement).expect(200).json
    }

    fn info(&self) -> Value {
        self.http.get(&self.path).expect(200).json
    }

    /// Takes and acknowledges, until so many different events were acknowledged.
    fn take_all(&self, count: usize) -> BTreeSet<(String, u64)> {
        let mut taken = BTreeSet::new();
        let mut consumer = None;
        eventually("all events are delivered", || {
            let query = match consumer {
                None => "wait_ms=500".to_owned(),
                Some(consumer) => format!("wait_ms=500&consumer={consumer}"),
            };
            let (id, events) = self.batch(&query);
            consumer = Some(id);
            self.settle(&json!({ "consumer": id, "ack": places(&events) }));
            taken.extend(events.iter().map(|event| {
                (
                    event["stream"].as_str().expect("a name").to_owned(),
                    event["version"].as_u64().expect("a number"),
                )
            }));
            (taken.len() >= count).then_some(())
        });
        taken
    }
}

fn places(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["delivery"]["place"].as_u64().expect("a number")).collect()
}

fn versions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["version"].as_u64().expect("a number")).collect()
}

#[test]
fn what_is_acknowledged_is_not_delivered_again() {
    let host = Host::start();
    host.http.append_many("a", 5).expect(200);
    let subscription = Subscription::create(&host.http, "a/b", &json!({ "selector": { "stream": "a" } }));
    let (consumer, events) = subscription.batch("wait_ms=10000&window=3");
    assert_eq!((versions(&events), places(&events)), (vec![0, 1, 2], vec![0, 1, 2]));
    let settled = subscription.settle(&json!({ "consumer": consumer, "ack": [0, 1, 2, 77] }));
    assert_eq!(settled, json!({ "acknowledged": 3, "refused": 0 }));
    let (same, events) = subscription.batch(&format!("wait_ms=10000&window=3&consumer={consumer}"));
    assert_eq!((same, versions(&events)), (consumer, vec![3, 4]));
    subscription.settle(&json!({ "consumer": consumer, "ack": [3, 4], "leave": true }));
    eventually("the checkpoint is stored", || (subscription.info()["checkpoint"] == 5).then_some(()));
    let info = subscription.info();
    assert_eq!(info["lag"], json!({ "events": 0, "ms": 0 }));
    assert_eq!(info["emitter"]["acknowledged"], 5);

    // Live, and after a restart.
    host.http.append_one("a").expect(200);
    let (_, events) = subscription.batch("wait_ms=10000");
    assert_eq!((versions(&events), &events[0]["delivery"]["earlier"]), (vec![5], &json!(0)));
    let path = subscription.path.clone();
    let host = host.crash_and_restart();
    let subscription = Subscription { http: &host.http, path };
    let (consumer, events) = subscription.batch("wait_ms=10000");
    assert_eq!(versions(&events), [5], "it was not acknowledged");
    subscription.settle(&json!({ "consumer": consumer, "ack": [5] }));
}

#[test]
fn selectors_select() {
    let host = Host::start();
    for (stream, kind, country, tag) in [
        ("order-1", "placed", "BE", "x"),
        ("order-2", "placed", "NL", "y"),
        ("order-2", "paid", "BE", "x"),
        ("invoice-1", "sent", "BE", "y"),
    ] {
        let event = json!({ "type": kind, "data": { "to": { "country": country } }, "tags": [tag] });
        host.http.append(stream, "any", &[event]).expect(200);
    }
    let cases = [
        ("all", json!({}), 4),
        ("stream", json!({ "stream": "order-2" }), 2),
        ("types", json!({ "query": [{ "types": ["placed", "sent"] }] }), 3),
        ("tag", json!({ "query": [{ "tags": ["y"] }] }), 2),
        ("regex", json!({ "type_pattern": "^p" }), 3),
        ("prefix", json!({ "stream_prefixes": ["order-"] }), 3),
        ("payload", json!({ "pattern": { "data": { "to": { "country": "BE" } } } }), 3),
        ("record", json!({ "pattern": { "type": "placed", "tags": ["x"] } }), 1),
        ("both", json!({ "stream": "order-2", "pattern": { "data": { "to": { "country": "BE" } } } }), 1),
    ];
    for (name, selector, count) in cases {
        let subscription = Subscription::create(&host.http, name, &json!({ "selector": selector }));
        let (_, events) = subscription.batch("wait_ms=10000");
        assert_eq!(events.len(), count, "{name}");
        assert_eq!(subscription.info()["selector"], selector, "{name}");
    }
    let late = Subscription::create(&host.http, "late", &json!({ "from": "end" }));
    let (consumer, events) = late.batch("wait_ms=200");
    assert_eq!(events.len(), 0);
    host.http.append_one("order-9").expect(200);
    assert_eq!(late.batch(&format!("wait_ms=10000&consumer={consumer}")).1.len(), 1);
    let names: Vec<Value> = host
        .http
        .get(&format!("{}/subscriptions?count=3", host.http.path()))
        .expect(200)
        .json["subscriptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subscription| subscription["name"].clone())
        .collect();
    assert_eq!(names, ["all", "both", "late"]);
}

#[test]
fn what_is_refused_is_retried_parked_or_skipped() {
    let host = Host::start();
    host.http.append_many("a", 4).expect(200);
    let settings = json!({ "ack_timeout_ms": 60_000, "retries_max": 1 });
    let subscription = Subscription::create(
        &host.http,
        "s",
        &json!({ "selector": { "stream": "a" }, "settings": settings }),
    );
    let (consumer, events) = subscription.batch("wait_ms=10000");
    assert_eq!(versions(&events), [0, 1, 2, 3]);
    let words =
        json!({ "consumer": consumer, "retry": [0], "park": [1], "reason": "why", "skip": [2], "ack": [3] });
    assert_eq!(subscription.settle(&words), json!({ "acknowledged": 1, "refused": 3 }));
    let next = |wait: &str| subscription.batch(&format!("{wait}&consumer={consumer}")).1;
    let again = next("wait_ms=10000");
    assert_eq!((versions(&again), &again[0]["delivery"]["earlier"]), (vec![0], &json!(1)));
    subscription.settle(&json!({ "consumer": consumer, "retry": [0] }));
    let parked = || subscription.http.get(&format!("{}/parked", subscription.path)).expect(200).json;
    eventually("both are parked", || (parked()["parked"].as_array()?.len() == 2).then_some(()));
    assert_eq!(parked()["parked"][1]["reason"], "why");
    assert_eq!(parked()["parked"][0]["deliveries"], 2);

    let replayed = host.http.post(&format!("{}/parked/replay?from=1", subscription.path), &json!({}));
    assert_eq!(replayed.expect(200).json, json!({ "count": 1 }));
    assert_eq!(versions(&next("wait_ms=10000")), [1]);
    subscription.settle(&json!({ "consumer": consumer, "ack": [1] }));
    eventually("it is not parked any more", || (parked()["parked"].as_array()?.len() == 1).then_some(()));
    assert_eq!(host.http.delete(&format!("{}/parked", subscription.path)).expect(200).json["count"], 1);
    eventually("the checkpoint is at the end", || (subscription.info()["checkpoint"] == 4).then_some(()));
    assert_eq!(subscription.info()["parked"], 0);
}

#[test]
fn a_consumer_gets_nothing_while_its_client_asks_for_nothing() {
    let host = Host::start();
    let settings = json!({ "ack_timeout_ms": 600_000 });
    let subscription = Subscription::create(&host.http, "s", &json!({ "settings": settings }));
    let (idle, events) = subscription.batch("wait_ms=100");
    assert_eq!(events.len(), 0);
    host.http.append_many("a", 4).expect(200);
    let (other, events) = subscription.batch("wait_ms=10000&window=10");
    assert_eq!(versions(&events), [0, 1, 2, 3], "none of them waits for a client that has gone");
    subscription.settle(&json!({ "consumer": other, "ack": places(&events), "leave": true }));
    host.http.append_one("a").expect(200);
    assert_eq!(versions(&subscription.batch(&format!("wait_ms=10000&consumer={idle}")).1), [4]);
}

#[test]
fn a_consumer_may_name_events_by_their_ids() {
    let host = Host::start();
    host.http.append_many("a", 3).expect(200);
    let subscription = Subscription::create(&host.http, "s", &json!({}));
    let created = subscription.info()["created"].as_str().expect("a time").to_owned();
    assert!(created.starts_with("20") && created.ends_with('Z'), "{created}");
    let (consumer, events) = subscription.batch("wait_ms=10000&by_id=true");
    let ids: Vec<&Value> = events.iter().map(|event| &event["id"]).collect();
    let by_place = json!({ "consumer": consumer, "ack": ["unheard"], "park": [ids[1]], "reason": "why" });
    assert_eq!(subscription.settle(&by_place), json!({ "acknowledged": 0, "refused": 1 }));
    let mixed = json!({ "consumer": consumer, "ack": [ids[0], 2] });
    let refused = host.http.post(&format!("{}/settlements", subscription.path), &mixed);
    assert!(refused.expect_problem(400, "invalid-argument").detail().contains("a list of places"));
    let rest = json!({ "consumer": consumer, "ack": [ids[0], ids[2]] });
    assert_eq!(subscription.settle(&rest), json!({ "acknowledged": 2, "refused": 0 }));
    eventually("the checkpoint is at the end", || (subscription.info()["checkpoint"] == 3).then_some(()));
}

#[test]
fn events_of_a_consumer_that_dies_go_to_others() {
    let host = Host::start();
    host.http.append_many("a", 3).expect(200);
    let settings = json!({ "ack_timeout_ms": 200, "retries_max": 100 });
    let subscription = Subscription::create(&host.http, "s", &json!({ "settings": settings }));
    let (silent, events) = subscription.batch("wait_ms=10000&window=2");
    assert_eq!(events.len(), 2);
    let taken = subscription.take_all(3);
    assert_eq!(taken.len(), 3);
    eventually("the silent consumer is cut off", || {
        let response = host.http.get(&format!("{}/events?consumer={silent}", subscription.path));
        (response.status == 404).then(|| response.expect_problem(404, "consumer-not-found"))
    });
}

#[test]
fn a_halted_subscription_says_so_until_it_is_resumed() {
    let host = Host::start();
    host.http.append_many("a", 2).expect(200);
    let subscription =
        Subscription::create(&host.http, "s", &json!({ "settings": { "ack_timeout_ms": 500 } }));
    let (consumer, events) = subscription.batch("wait_ms=10000");
    let stop = json!({ "consumer": consumer, "stop": [places(&events)[0]], "reason": "no template" });
    subscription.settle(&stop);
    eventually("it has halted", || (subscription.info()["state"] == "halted").then_some(()));
    assert_eq!(subscription.info()["reason"], "no template");
    let refused = host.http.get(&format!("{}/events", subscription.path));
    assert!(refused.expect_problem(409, "subscription-halted").detail().contains("no template"));
    host.http.post(&format!("{}/resume", subscription.path), &json!({})).expect(204);
    assert_eq!(subscription.take_all(2).len(), 2);

    host.http.post(&format!("{}/pause", subscription.path), &json!({})).expect(204);
    host.http.append_one("a").expect(200);
    let (consumer, events) = subscription.batch("wait_ms=300");
    assert_eq!(events.len(), 0);
    subscription.settle(&json!({ "consumer": consumer, "leave": true }));
    host.http.post(&format!("{}/resume", subscription.path), &json!({})).expect(204);
    assert_eq!(subscription.take_all(1).len(), 1);
}

#[test]
fn mistakes_are_explained() {
    let host = Host::start();
    let path = |rest: &str| format!("{}/subscriptions/{rest}", host.http.path());
    let put = |body: &Value| host.http.put(&path("s"), body);
    host.http.get(&path("s")).expect_problem(404, "subscription-not-found");
    host.http.get(&path("s/events")).expect_problem(404, "subscription-not-found");
    let settled = host.http.post(&path("s/settlements"), &json!({ "consumer": 3, "ack": [1] }));
    settled.expect_problem(404, "subscription-not-found");
    host.http.delete(&path("s")).expect_problem(404, "subscription-not-found");
    for (body, field) in [
        (json!({ "selector": { "unheard": 1 } }), "unheard"),
        (json!({ "selector": { "stream": "a", "type_pattern": "b" } }), "selector"),
        (json!({ "selector": { "type_pattern": "(" } }), "type_pattern"),
        (json!({ "selector": { "pattern": [] } }), "pattern"),
        (json!({ "settings": { "retries_max": 1_001 } }), "retries"),
        (json!({ "settings": { "strategy": "best" } }), "best"),
        (json!({ "from": -1 }), "from"),
        (json!({ "name": "other" }), "name"),
        (json!([]), "object"),
    ] {
        let refused = put(&body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
        assert!(refused.text.contains(field), "{body}: {}", refused.text);
    }
    put(&json!({ "from": 7 })).expect_problem(409, "history-changed");
    put(&json!({})).expect(201);
    assert_eq!(put(&json!({})).expect(200).json, json!({ "created": false }));
    put(&json!({ "settings": { "retries_max": 3 } })).expect_problem(409, "subscription-exists");
    host.http.get(&path("s/events?consumer=3")).expect_problem(404, "consumer-not-found");
    host.http.get(&path("s/events?wait_ms=99999")).expect_problem(400, "invalid-argument");
    let settled = host.http.post(&path("s/settlements"), &json!({ "consumer": 3, "ack": [1] }));
    assert_eq!(settled.expect(200).json, json!({ "acknowledged": 0, "refused": 0 }));
    let many: Vec<u64> = (0..10_001).collect();
    host.http
        .post(&path("s/settlements"), &json!({ "consumer": 3, "ack": many }))
        .expect_problem(400, "invalid-argument");
    host.http.delete(&path("s")).expect(204);
    host.http.get(&path("s")).expect_problem(404, "subscription-not-found");
}

#[test]
fn a_store_has_only_so_many_subscriptions() {
    let host = Host::with_config("[[store]]\nname = \"main\"\nsubscriptions_max = 2\n");
    let put = |name: &str| host.http.put(&format!("{}/subscriptions/{name}", host.http.path()), &json!({}));
    put("a").expect(201);
    put("b").expect(201);
    assert!(put("c").expect_problem(413, "too-large").detail().contains("subscriptions_max"));
    put("a").expect(200);
    host.http.delete(&format!("{}/subscriptions/a", host.http.path())).expect(204);
    put("c").expect(201);
}

#[test]
fn restarts_of_any_layer_lose_no_event() {
    let host = Host::start();
    let settings = json!({ "ack_timeout_ms": 500, "retries_max": 1_000 });
    let subscription = Subscription::create(&host.http, "s", &json!({ "settings": settings }));
    let partition = eventually("it has an emitter", || {
        ["0", "1"].into_iter().find(|partition| {
            let path = format!("main/system/emitter-system/{partition}/emitters/s");
            host.exesdb(&["kill", &path]).status.success()
        })
    });
    let layers = [
        format!("emitter-system/{partition}/emitters/s"),
        format!("emitter-system/{partition}/roster"),
        format!("emitter-system/{partition}/emitters"),
        format!("emitter-system/{partition}"),
        "emitter-system".to_owned(),
        "core-system/persistence-system/subscriptions/0".to_owned(),
        "core-system/persistence-system/subscriptions".to_owned(),
        "core-system/persistence-system/streams/readers/0".to_owned(),
        "core-system/store-system/store".to_owned(),
        "gateway-system".to_owned(),
    ];
    let (mut appended, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for layer in layers {
        let before = taken.len();
        let append = eventually("an append is made", || {
            let response = host.http.append_many("a", 5);
            (response.status == 200).then_some(response)
        });
        let last = append.json["last_version"].as_u64().unwrap();
        appended.extend(last - 4..=last);
        // Some are in flight at a consumer that is never heard of again.
        drop(host.http.get(&format!("{}/events?window=2&wait_ms=300", subscription.path)));
        let path = format!("main/system/{layer}");
        eventually("it is killed", || host.exesdb(&["kill", &path]).status.success().then_some(()));
        eventually("all events are delivered", || {
            let response = host.http.get(&format!("{}/events?wait_ms=300", subscription.path));
            if response.status != 200 {
                return None;
            }
            let events = response.json["events"].as_array().unwrap().clone();
            let words =
                json!({ "consumer": response.json["consumer"], "ack": places(&events), "leave": true });
            // A restart may be in the way; then they are delivered again.
            if host.http.post(&format!("{}/settlements", subscription.path), &words).status == 200 {
                taken.extend(versions(&events));
            }
            (taken.is_superset(&appended)).then_some(())
        });
        assert!(taken.len() > before, "{layer}");
    }
    assert_eq!(taken, appended);
}

#[test]
fn a_slow_reader_of_the_command_gets_each_event_once() {
    const EVENTS: u64 = 16;
    let host = Host::start();
    // A pipe holds hardly more than one of them.
    let event = json!({ "type": "t", "data": "x".repeat(40_000) });
    for _ in 0..EVENTS {
        host.http.append("a", "any", std::slice::from_ref(&event)).expect(200);
    }
    let create =
        ["subscription", "create", "s", "--stream", "$all", "--ack-timeout", "4000", "--retries", "0"];
    host.ok(&create);
    let subscription =
        Subscription { http: &host.http, path: format!("{}/subscriptions/s", host.http.path()) };
    assert_eq!(subscription.info()["selector"], json!({}), "`$all` is the whole store");
    let said = exesdb_tests::stderr(&host.exesdb(&["subscription", "update", "s"]));
    assert!(said.contains("give a setting"), "{said}");
    let mut command = host.command();
    command.args(["consume", "s", "--json", "--count", "16"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut versions = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("it is a pipe")).lines() {
        let event: Value = serde_json::from_str(&line.expect("a line")).expect("an event");
        versions.push(event["version"].as_u64().expect("a number"));
        // All of them take longer than the subscription gives a consumer for one.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert!(child.wait().expect("it ends").success());
    assert_eq!(versions, (0..EVENTS).collect::<Vec<u64>>());
    eventually("all are settled", || (subscription.info()["checkpoint"] == EVENTS).then_some(()));
    assert_eq!(subscription.info()["parked"], 0);
}

/// Runs `exesdb consume`, and returns the versions of what it prints.
fn consumed(host: &Host, arguments: &[&str]) -> Vec<u64> {
    let arguments = [&["consume"], arguments, &["--json", "--idle-for", "1"]].concat();
    versions(&host.json(&arguments))
}

#[test]
fn the_command_line_consumes_what_it_has_created() {
    let host = Host::start();
    host.http.append_many("a", 12).expect(200);
    let said = host.ok(&["subscription", "create", "s", "--stream", "a", "--from", "2"]);
    assert!(said.contains("created"), "{said}");
    let said = host.ok(&["subscription", "create", "s", "--stream", "a", "--from", "2"]);
    assert!(said.contains("already"), "{said}");
    assert_eq!(consumed(&host, &["s", "--count", "3"]), [2, 3, 4]);
    assert_eq!(consumed(&host, &["s"]), (5..12).collect::<Vec<u64>>());
    assert_eq!(consumed(&host, &["s"]), [0_u64; 0]);
    let host = host.crash_and_restart();
    host.http.append_one("a").expect(200);
    assert_eq!(consumed(&host, &["s"]), [12]);
    host.ok(&["subscription", "pause", "s"]);
    assert!(host.ok(&["subscription", "list"]).contains("s  paused  at 13, 0 parked"));
    host.ok(&["subscription", "resume", "s"]);
    host.ok(&["subscription", "update", "s", "--retries", "0"]);
    assert!(host.ok(&["subscription", "info", "s"]).contains("\"retries_max\": 0"));
    host.http.append_one("a").expect(200);
    let (consumer, events) =
        Subscription { http: &host.http, path: format!("{}/subscriptions/s", host.http.path()) }
            .batch("wait_ms=10000");
    let path = format!("{}/subscriptions/s/settlements", host.http.path());
    let park = json!({ "consumer": consumer, "park": places(&events), "reason": "why", "leave": true });
    host.http.post(&path, &park).expect(200);
    eventually("it is parked", || {
        host.ok(&["subscription", "parked", "s"]).contains("13  delivered 1 times: why").then_some(())
    });
    assert!(host.ok(&["subscription", "replay", "s"]).contains("1 parked events"));
    assert_eq!(consumed(&host, &["s"]), [13]);
    host.ok(&["subscription", "delete", "s"]);
    let refused = host.exesdb(&["consume", "s"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = exesdb_tests::stderr(&refused);
    assert!(said.contains("there is no durable subscription"), "{said}");
}
