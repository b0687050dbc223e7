//! Topics: what listeners hear, what is dropped for slow ones, and what a store says about itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use exesdb_tests::{Host, NO_EVENTS, encoded, eventually, probe, stderr};
use serde_json::{Value, json};

/// A listener that lags by more positions than the first number skips to the newest events, and reads as many of them as the second.
const LAG_MAX: u64 = 4_096;
const KEPT: u64 = 256;

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["position"].as_u64().expect("a position is a number")).collect()
}

#[test]
fn each_topic_of_events_is_heard_from_now_on() {
    let host = Host::start();
    let append = |stream: &str, kind: &str, country: &str, tag: &str| {
        let event = json!({ "type": kind, "data": { "to": { "country": country } }, "tags": [tag] });
        host.http.append(stream, "any", &[event]).expect(200);
    };
    append("order/1", "paid", "BE", "x");
    let topics = [
        ("$all", vec![1, 2, 3, 4, 5]),
        ("stream:order/1", vec![2, 5]),
        ("type:paid", vec![3, 5]),
        ("tag:x", vec![1, 5]),
        (r#"pattern:{"data":{"to":{"country":"BE"}}}"#, vec![4, 5]),
        (r#"pattern:{"type":"paid","tags":["x"]}"#, vec![5]),
        ("stream:later", vec![]),
    ];
    let listeners = topics.map(|(topic, expected)| (host.http.listen(topic), topic, expected));
    for (listener, topic, _) in &listeners {
        // The stream has one event so far, and the store too; the other stream has none.
        assert_eq!(listener.from, Some(u64::from(*topic != "stream:later")), "{topic}");
    }
    append("order/2", "sent", "NL", "x");
    append("order/1", "sent", "NL", "y");
    append("order/2", "paid", "NL", "y");
    append("order/2", "sent", "BE", "y");
    // The last one belongs to all but one of them, so that what comes before it is all there was.
    append("order/1", "paid", "BE", "x");
    for (listener, topic, expected) in &listeners {
        assert_eq!(positions(&listener.take("event", expected.len())), *expected, "{topic}");
    }
    host.http.append_one("later").expect(200);
    let (later, ..) = &listeners[6];
    let event = later.take("event", 1).remove(0);
    assert_eq!((&event["stream"], &event["version"]), (&json!("later"), &json!(0)));
}

/// A request of a topic. With HTTP/1.0 the body of the response has no chunks.
fn request(host: &Host, topic: &str) -> exesdb_tests::Connection {
    let mut connection = host.http.connect();
    let path = format!("{}/topics/{}", host.http.path(), encoded(topic));
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("the host reads");
    connection
}

/// The data of each message of a part of an event stream, and whether it says what was dropped.
fn messages(text: &str) -> Vec<(bool, Value)> {
    let message = |message: &str| {
        let data = message.lines().find_map(|line| line.strip_prefix("data: "))?;
        let is_dropped = message.lines().any(|line| line == "event: dropped");
        Some((is_dropped, serde_json::from_str(data).expect("data is JSON")))
    };
    text.split("\n\n").filter_map(message).collect()
}

#[test]
fn a_listener_that_does_not_read_is_told_what_it_has_missed() {
    // More than the buffers of sockets and a window of pages can hold, 40 MiB in all, so that more than the limit is left over.
    const EVENTS: u64 = 10_000;
    const DATA_BYTES: usize = 4 << 10;
    let host = Host::start();
    let topics = ["$all", "stream:s", "type:t"];
    let mut slow = topics.map(|topic| request(&host, topic));
    let mut begun = [0; 4_096];
    for connection in &mut slow {
        let mut head = String::new();
        while !head.ends_with("\n\n") {
            let bytes = connection.read(&mut begun).expect("it begins");
            assert!(bytes > 0, "{head}");
            head.push_str(&String::from_utf8_lossy(&begun[..bytes]));
        }
        assert!(head.contains("event: topic\n"), "{head}");
    }
    let other = host.http.listen("$all");
    let events = vec![json!({ "type": "t", "data": "x".repeat(DATA_BYTES) }); 100];
    for _ in 0..EVENTS / 100 {
        host.http.append("s", "any", &events).expect(200);
    }
    let mut dropped_in_all = 0;
    for (mut connection, topic) in slow.into_iter().zip(topics) {
        let (mut text, mut buffer) = (String::new(), vec![0; 1 << 20]);
        let last = format!("\"position\":{},", EVENTS - 1);
        while !(text.contains(&last) && text.ends_with("\n\n")) {
            let bytes = connection.read(&mut buffer).expect("it goes on");
            assert!(bytes > 0, "{topic} ended");
            text.push_str(std::str::from_utf8(&buffer[..bytes]).expect("the events are ASCII"));
        }
        let (mut next, mut dropped) = (0, 0);
        for (is_dropped, data) in messages(&text) {
            if is_dropped {
                let (from, until) = (data["from"].as_u64().unwrap(), data["until"].as_u64().unwrap());
                assert_eq!((from, &data["events"]), (next, &json!(until - from)), "{topic}");
                assert!(until - from > LAG_MAX - KEPT, "{topic}: {data}");
                dropped += until - from;
                next = until;
            } else {
                assert_eq!(data["position"], next, "{topic}: each event is heard or said to be dropped");
                next += 1;
            }
        }
        assert_eq!(next, EVENTS, "{topic}");
        assert!(dropped > 0, "{topic}: nothing was dropped for who did not read");
        dropped_in_all += dropped;
    }
    // The listener that reads got every event, or a message about what was dropped.
    let (mut next, mut heard) = (0, 0);
    while next < EVENTS {
        let (kind, data) = other.next().expect("it goes on");
        if kind == "dropped" {
            assert_eq!(data["from"], next);
            next = data["until"].as_u64().unwrap();
        } else {
            assert_eq!((kind.as_str(), &data["position"]), ("event", &json!(next)));
            (next, heard) = (next + 1, heard + 1);
        }
    }
    assert!(heard > 0);
    let figures = host.http.listen("$metrics").take("record", 1).remove(0);
    assert!(figures["detail"]["dropped"].as_u64().expect("a number") >= dropped_in_all, "{figures}");
}

#[test]
fn kills_and_subscriptions_are_heard() {
    let host = Host::start();
    let [lifecycle, alerts, subscriptions, health, metrics] =
        ["$lifecycle", "$alerts", "$subscriptions", "$health", "$metrics"]
            .map(|topic| host.http.listen(topic));
    assert_eq!(lifecycle.from, None);

    let child = "host/main/system/core-system/persistence-system/snapshots/0";
    host.ok(&["kill", child]);
    let is = |record: &Value, kind: &str| record["kind"] == kind && record["path"] == child;
    let ended = lifecycle.record(|record| is(record, "terminated"));
    assert_eq!(ended["detail"]["reason"], "killed", "{ended}");
    lifecycle.record(|record| is(record, "started"));

    let path = format!("{}/subscriptions/s", host.http.path());
    host.http.put(&path, &json!({})).expect(201);
    host.http.patch(&path, &json!({ "retries_max": 3 })).expect(204);
    host.http.post(&format!("{path}/pause"), &json!({})).expect(204);
    host.http.post(&format!("{path}/resume"), &json!({})).expect(204);
    host.http.append_one("a").expect(200);
    let batch = host.http.get(&format!("{path}/events?wait_ms=10000")).expect(200).json;
    let stop = json!({ "consumer": batch["consumer"], "stop": [0], "reason": "no template" });
    host.http.post(&format!("{path}/settlements"), &stop).expect(200);
    let halted = alerts.record(|record| record["detail"]["is"] == "halted");
    assert_eq!(
        (&halted["detail"]["name"], &halted["detail"]["reason"]),
        (&json!("s"), &json!("no template"))
    );
    host.http.delete(&path).expect(204);
    let said = subscriptions.take("record", 6);
    let is: Vec<_> = said.iter().map(|record| record["detail"]["is"].as_str().unwrap_or_default()).collect();
    assert_eq!(is, ["created", "updated", "paused", "resumed", "halted", "removed"]);

    let figures = metrics.take("record", 1).remove(0);
    assert_eq!(figures["kind"], "metrics");
    let detail = &figures["detail"];
    assert_eq!((&detail["listeners"], &detail["followers"]), (&json!(5), &json!(0)));
    assert_eq!(detail["subscriptions"], json!({ "active": 0, "paused": 0, "halted": 0 }));
    assert_eq!(detail["next_position"], 0, "there was no event yet");
    let later = metrics.take("record", 1).remove(0);
    assert_eq!(later["detail"]["next_position"], 1);
    assert!(later["detail"]["positions_per_second"].is_u64(), "{later}");

    let state = health.take("record", 1).remove(0);
    assert_eq!(state["detail"], json!({ "ready": true, "trouble": null, "degraded": null }));
}

#[test]
fn crashes_are_heard_without_what_the_guest_printed() {
    let config = format!(
        "[[store]]\nname = \"main\"\n[store.components]\nsnapshots = {:?}\n",
        probe("snapshots-probe")
    );
    let host = Host::with_config(&config);
    host.http.append_one("poison").expect(200);
    let (alerts, health) = (host.http.listen("$alerts"), host.http.listen("$health"));
    assert_eq!(health.take("record", 1)[0]["detail"]["degraded"], Value::Null);
    let over = Arc::new(AtomicBool::new(false));
    let crashing = {
        let (http, over) = (host.http.clone(), over.clone());
        std::thread::spawn(move || {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (content_type, metadata) = ("application/x-probe-trap", json!({ "number": number }));
                let body =
                    json!({ "content_type": content_type, "data_base64": "AA==", "metadata": metadata });
                http.put("/v1/stores/main/streams/poison/snapshots/0", &body);
            }
        })
    };
    let trap = alerts.record(|record| record["kind"] == "trap");
    let detail = trap["detail"].as_object().expect("a record has details");
    assert_eq!((&detail["component"], &detail["kind"]), (&json!("snapshots"), &json!("trap")), "{trap}");
    assert!(detail["incident"].is_string(), "{trap}");
    for hidden in ["reason", "stderr", "backtrace", "place"] {
        assert!(!detail.contains_key(hidden), "{trap}");
    }
    alerts.record(|record| record["kind"] == "quarantined");
    alerts.record(|record| record["kind"] == "breaker" && record["detail"]["is"] == "open");
    let degraded = health.record(|record| record["detail"]["degraded"].is_string());
    assert_eq!(degraded["detail"]["ready"], true);
    over.store(true, Ordering::Relaxed);
    crashing.join().expect("no call failed");
}

#[test]
fn hostile_topics_are_refused_with_what_there_is() {
    let host = Host::start();
    let deep = format!("pattern:{{\"data\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let many = format!("pattern:{{\"tags\":[{}\"a\"]}}", "\"a\",".repeat(100));
    for (topic, expected) in [
        ("%20".to_owned(), "there are `$all`"),
        (encoded("$everything"), "there is no topic `$everything`"),
        (encoded("orders"), "`stream:NAME`"),
        (encoded("stream:"), "its name is empty"),
        (encoded("type:"), "its name is empty"),
        (encoded("tag:"), "its name is empty"),
        (encoded("stream:a\u{0}"), "control character"),
        (encoded(&format!("stream:{}", "x".repeat(257))), "it may have 256"),
        (encoded(&format!("tag:{}", "x".repeat(257))), "it may have 256"),
        (encoded(&"x".repeat(5_000)), "it may have 4104"),
        (encoded("pattern:"), "no JSON object"),
        (encoded("pattern:{"), "no JSON object"),
        (encoded("pattern:[]"), "no JSON object"),
        (encoded(r#"pattern:{"kind":1}"#), "has the member `kind`"),
        (encoded(&deep), "no JSON object"),
        (encoded(&many), "items in arrays"),
        ("%ff".to_owned(), "UTF-8"),
        ("%2".to_owned(), "hexadecimal"),
    ] {
        let response = host
            .http
            .get_with(&format!("{}/topics/{topic}", host.http.path()), &[("accept", "text/event-stream")]);
        let response = response.expect_problem(400, "invalid-argument");
        assert_eq!(response.json["field"], "topic", "{}", response.text);
        assert!(response.detail().contains(expected), "{topic}: {}", response.text);
    }
    let path = format!("{}/topics/$all", host.http.path());
    let only_json = host.http.get_with(&path, &[("accept", "application/json")]);
    only_json.expect_problem(406, "not-acceptable");
    host.http.get(&format!("{path}?from=0")).expect_problem(400, "invalid-argument");
    host.http.append_one("s").expect(200);
    host.http.delete(&format!("{}?tombstone=true", host.http.stream("s"))).expect(204);
    host.http
        .get_with(&format!("{}/topics/stream%3As", host.http.path()), &[("accept", "text/event-stream")])
        .expect_problem(410, "stream-deleted");
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn the_command_prints_what_it_hears_and_goes_on_after_a_restart() {
    let host = Host::start();
    let health = host.ok(&["listen", "$health", "--count", "1"]);
    assert!(health.contains("health  ") && health.contains("ready=true"), "{health}");

    let mut command = host.command();
    command.args(["listen", "tag:new", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listening = command.spawn().expect("the binary can be run");
    let printed = BufReader::new(listening.stdout.take().expect("it was piped")).lines();
    let (sender, heard) = mpsc::channel::<Value>();
    let printing = std::thread::spawn(move || {
        for line in printed {
            let event = serde_json::from_str(&line.expect("a line")).expect("each line is JSON");
            sender.send(event).expect("the test goes on");
        }
    });
    // It begins some time after the command was started, or the host; what is appended before is not heard.
    let appended_until_heard = |host: &Host, data: &str| {
        eventually("it is heard", || {
            host.http.append("s", "any", &[json!({ "type": "t", "data": "other" })]).expect(200);
            host.http
                .append("s", "any", &[json!({ "type": "t", "data": data, "tags": ["new"] })])
                .expect(200);
            let heard: Vec<Value> = heard.try_iter().collect();
            assert!(heard.iter().all(|event| event["tags"] == json!(["new"])), "{heard:?}");
            heard.iter().any(|event| event["data"] == data).then_some(())
        });
    };
    appended_until_heard(&host, "before");
    let host = host.crash_and_restart();
    appended_until_heard(&host, "after");
    drop(heard);
    listening.kill().expect("it runs");
    let output = listening.wait_with_output().expect("it ends");
    let said = stderr(&output);
    assert!(said.contains("listening again; what happened in between was not heard"), "{said}");
    // It may have had a line for nobody.
    drop(printing.join());

    let refused = host.exesdb(&["listen", "$nothing", "--url", &host.url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("there is no topic `$nothing`"), "{}", stderr(&refused));
}
