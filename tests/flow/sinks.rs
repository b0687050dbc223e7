//! Sinks: webhooks to a receiver on loopback, lines in a file, and a sink that misbehaves; over restarts and crashes.

mod receiver;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use exesdb_tests::{Down, Host, eventually, folder, of_kind, probe};
use serde_json::{Value, json};

use self::receiver::{Receiver, Request};

/// The path of the sink `s` in the tree.
const SINK: &str = "main/system/emitter-system/sinks/s";

/// A configuration with the sink `s`, which takes the subscription `s`.
fn config(component: &str, keys: &str, settings: &str) -> String {
    format!(
        "[[store]]\nname = \"main\"\n[store.sinks.s]\ncomponent = {component:?}\nsubscription = \"s\"\n{keys}\n\
         [store.sinks.s.settings]\n{settings}\n"
    )
}

/// A configuration of a webhook that may send requests to the receiver.
fn webhook(receiver: &Receiver, settings: &str) -> String {
    let address = receiver.address;
    let url = format!("url = \"http://{address}/hook?x=1\"\n{settings}");
    config("builtin:webhook", &format!("allowed_hosts = [\"{address}\"]"), &url)
}

/// A configuration of a file in this directory.
fn ndjson_file(directory: &Path, settings: &str) -> String {
    config("builtin:ndjson-file", &format!("directory = {directory:?}"), settings)
}

/// Creates the subscription `s` with these settings.
fn subscribe(host: &Host, settings: Value) {
    let path = format!("{}/subscriptions/s", host.http.path());
    host.http.put(&path, &json!({ "settings": settings })).expect(201);
}

fn info(host: &Host) -> Value {
    host.http.get(&format!("{}/subscriptions/s", host.http.path())).expect(200).json
}

fn parked(host: &Host) -> Vec<Value> {
    let parked = host.http.get(&format!("{}/subscriptions/s/parked", host.http.path())).expect(200).json;
    parked["parked"].as_array().expect("a list").clone()
}

fn resume(host: &Host) {
    host.http.post(&format!("{}/subscriptions/s/resume", host.http.path()), &json!({})).expect(204);
}

/// Waits until everything up to this place was acknowledged or parked.
fn settled(host: &Host, checkpoint: u64) {
    eventually("everything is settled", || (info(host)["checkpoint"] == checkpoint).then_some(()));
}

/// Appends an event of this type.
fn append(host: &Host, kind: &str) {
    host.http.append("a", "any", &[json!({ "type": kind, "data": kind })]).expect(200);
}

/// What the sink was, one after the other.
fn changes(host: &Host) -> Vec<String> {
    let events = host.json(&["events", "--json", "--kind", "sink"]);
    of_kind(&events, "sink")
        .iter()
        .map(|event| event["detail"]["is"].as_str().expect("a word").to_owned())
        .collect()
}

/// Numbers without those that were there before: what is repeated is left out.
fn first_times(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    numbers.into_iter().filter(|number| seen.insert(*number)).collect()
}

fn positions(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(|request| request.json()["position"].as_u64().expect("a number")).collect()
}

#[test]
fn a_webhook_gets_each_event_in_a_signed_request() {
    let receiver = Receiver::start();
    let settings = "secret = \"key\"\nheaders = \"authorization: Bearer x\"";
    let host = Host::with_config(&webhook(&receiver, settings));
    host.http.append_many("a", 3).expect(200);
    let waits = || changes(&host).contains(&"waiting".to_owned()).then_some(());
    eventually("it waits for its subscription", waits);
    let tree = host.ok(&["tree"]);
    assert!(tree.contains("waits: there is no durable subscription s yet"), "{tree}");

    subscribe(&host, json!({}));
    settled(&host, 3);
    let requests = receiver.requests();
    let events = host.http.read_all();
    assert_eq!(requests.len(), 3);
    for (request, event) in requests.iter().zip(&events) {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?x=1"));
        assert_eq!(&request.json(), event, "the form of the HTTP API");
        assert_eq!(request.header("exesdb-event-id"), event["id"].as_str());
        assert_eq!(request.header("exesdb-subscription"), Some("s"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), Some("Bearer x"));
        let time = request.header("exesdb-timestamp").expect("it has a time");
        let expected = format!("t={time},v1={}", request.signature("key", time));
        assert_eq!(request.header("exesdb-signature"), Some(expected.as_str()));
    }
    assert_eq!(info(&host)["emitter"]["consumers"].as_array().map(Vec::len), Some(1), "the sink is one");
    assert_eq!(changes(&host), ["waiting", "serving"]);
    let mut tree = host.tree();
    let sinks = ["main", "system", "emitter-system", "sinks"].iter().fold(&mut tree, |node, id| {
        let mut children = node["children"].as_array_mut().expect("it has children").iter_mut();
        children.find(|child| child["id"] == *id).expect("the tree has it")
    });
    assert_eq!((&sinks["strategy"], &sinks["children"][0]["id"]), (&json!("one_for_one"), &json!("s")));
    let detail = &sinks["children"][0]["detail"];
    assert_eq!((&detail["subscription"], &detail["is"]), (&json!("s"), &json!("serving")));
    assert_eq!(detail["component"], "builtin:webhook");
    let health = host.http.get("/health/ready").expect(200).json;
    assert!(health["components"]["main"]["sinks.s"].is_string(), "{health}");

    // Live, and several in one request.
    append(&host, "t");
    settled(&host, 4);
    assert_eq!(receiver.requests().len(), 4);
    host.ok(&["subscription", "pause", "s"]);
    eventually("it says that it waits", || {
        host.ok(&["tree"]).contains("the subscription s is paused").then_some(())
    });
    append(&host, "t");
    host.ok(&["subscription", "resume", "s"]);
    settled(&host, 5);
}

#[test]
fn several_events_in_one_request_are_an_array() {
    let receiver = Receiver::start();
    let host = Host::with_config(&webhook(&receiver, "events_per_request = 4"));
    host.http.append_many("a", 10).expect(200);
    subscribe(&host, json!({}));
    settled(&host, 10);
    let bodies: Vec<Value> = receiver.requests().iter().map(Request::json).collect();
    let arrays: Vec<&Value> = bodies.iter().flat_map(|body| body.as_array().expect("an array")).collect();
    assert_eq!(arrays.len(), 10);
    assert!(bodies.len() < 10, "{}", bodies.len());
}

#[test]
fn a_receiver_that_is_down_gets_everything_when_it_is_back() {
    let receiver = Receiver::start();
    let host = Host::with_config(&webhook(&receiver, ""));
    subscribe(&host, json!({ "retries_max": 0 }));
    append(&host, "t");
    settled(&host, 1);
    let down = receiver.stop();
    host.http.append_many("a", 20).expect(200);
    eventually("the breaker opens", || changes(&host).contains(&"open".to_owned()).then_some(()));
    let tree = host.ok(&["tree"]);
    assert!(tree.contains("the receiver is unavailable, the breaker is open"), "{tree}");
    // It is there, and does not want anything yet.
    let receiver = down.start();
    receiver.respond(|_| 503);
    eventually("it is asked", || (!receiver.requests().is_empty()).then_some(()));
    receiver.respond(|_| 204);
    settled(&host, 21);
    let taken: Vec<Request> =
        receiver.requests().into_iter().filter(|request| request.status == 204).collect();
    assert_eq!(positions(&taken), (1..21).collect::<Vec<_>>(), "in order, and none is lost");
    assert_eq!(parked(&host).len(), 0, "no event is to blame");
    let changes = changes(&host);
    assert_eq!(changes, ["waiting", "serving", "unavailable", "open", "serving"]);
    let said = host.log().iter().filter(|line| line.contains("a sink does not deliver")).count();
    assert_eq!(said, 3, "once for each change");
}

#[test]
fn an_event_that_fails_is_parked_after_its_retries_and_others_follow() {
    let receiver = Receiver::start();
    receiver.respond(|request| if request.json()["type"] == "bad" { 500 } else { 204 });
    let host = Host::with_config(&webhook(&receiver, ""));
    subscribe(&host, json!({ "retries_max": 2 }));
    for kind in ["t", "bad", "t"] {
        append(&host, kind);
    }
    settled(&host, 3);
    assert_eq!(positions(&receiver.requests()), [0, 1, 1, 1, 2], "the one after it waits");
    assert!(changes(&host).contains(&"retrying".to_owned()), "the tree says why nothing comes");
    let parked = parked(&host);
    let reason = parked[0]["reason"].as_str().expect("a text");
    assert_eq!((parked.len(), &parked[0]["place"]), (1, &json!(1)));
    assert!(reason.starts_with("it failed 3 times: http://") && reason.ends_with("status 500"), "{reason}");
    // It is delivered once more when the receiver is mended.
    receiver.respond(|_| 204);
    assert!(host.ok(&["subscription", "replay", "s"]).contains("1 parked events"));
    eventually("it is not parked any more", || (info(&host)["parked"] == 0).then_some(()));
    assert_eq!(positions(&receiver.requests()).last(), Some(&1));
}

#[test]
fn a_rejected_event_is_parked_at_once_or_halts_the_subscription() {
    for poison in ["park", "halt"] {
        let receiver = Receiver::start();
        receiver.respond(|request| if request.json()["type"] == "bad" { 422 } else { 204 });
        let host = Host::with_config(&webhook(&receiver, ""));
        subscribe(&host, json!({ "poison": poison }));
        for kind in ["t", "bad", "t"] {
            append(&host, kind);
        }
        if poison == "park" {
            settled(&host, 3);
            assert_eq!(positions(&receiver.requests()), [0, 1, 2], "once each");
            assert!(parked(&host)[0]["reason"].as_str().is_some_and(|why| why.ends_with("status 422")));
            continue;
        }
        eventually("it halts", || (info(&host)["state"] == "halted").then_some(()));
        let info_reason = info(&host)["reason"].clone();
        let reason = info_reason.as_str().expect("a text");
        assert!(reason.starts_with("it was rejected: http://") && reason.ends_with("status 422"), "{reason}");
        assert_eq!(positions(&receiver.requests()), [0, 1]);
        let log = host.log().join("\n");
        assert!(log.contains("a sink halts its subscription"), "{log}");
        receiver.respond(|_| 204);
        resume(&host);
        settled(&host, 3);
        assert_eq!(positions(&receiver.requests()), [0, 1, 1, 2]);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let (receiver, target) = (Receiver::start(), Receiver::start());
    receiver.respond(|_| 307);
    receiver.redirect_to(&format!("http://{}/", target.address));
    let host = Host::with_config(&webhook(&receiver, ""));
    subscribe(&host, json!({}));
    append(&host, "t");
    eventually("it halts", || (info(&host)["state"] == "halted").then_some(()));
    assert!(info(&host)["reason"].as_str().is_some_and(|why| why.contains("redirects are not followed")));
    assert!(target.requests().is_empty());
}

#[test]
fn kills_of_the_sink_and_of_the_host_lose_nothing() {
    const EVENTS: u64 = 120;
    let receiver = Receiver::start();
    receiver.take_ms(3);
    let host = Host::with_config(&webhook(&receiver, ""));
    subscribe(&host, json!({ "ack_timeout_ms": 60_000 }));
    for _ in 0..EVENTS / 10 {
        host.http.append_many("a", 10).expect(200);
    }
    for count in [20, 40] {
        eventually("some arrive", || (receiver.requests().len() >= count).then_some(()));
        host.ok(&["kill", SINK]);
    }
    eventually("some arrive", || (receiver.requests().len() >= 60).then_some(()));
    host.ok(&["kill", "main/system/emitter-system"]);
    eventually("some arrive", || (receiver.requests().len() >= 80).then_some(()));
    let host = host.crash_and_restart();
    settled(&host, EVENTS);
    let arrived = first_times(positions(&receiver.requests()));
    assert_eq!(arrived, (0..EVENTS).collect::<Vec<_>>(), "each at least once, in order");
    assert_eq!(parked(&host).len(), 0);
}

/// The lines of a file.
fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the file can be read");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

fn positions_of(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["position"].as_u64().expect("a number")).collect()
}

#[test]
fn a_file_has_each_event_as_a_line_also_after_crashes() {
    let directory = folder();
    let file = directory.path().join("log.ndjson");
    let mut host = Host::with_config(&ndjson_file(directory.path(), "file = \"log.ndjson\""));
    host.http.append_many("a", 5).expect(200);
    subscribe(&host, json!({}));
    settled(&host, 5);
    let exported = host.json(&["export", "-"]);
    let exported: Vec<Value> = exported.iter().filter_map(|line| line.get("event").cloned()).collect();
    assert_eq!(lines(&file), exported, "the form of exports");

    for round in 1..4_u64 {
        host.http.append_many("a", 300).expect(200);
        eventually("it writes", || {
            std::fs::metadata(&file).is_ok_and(|found| found.len() > round * 100).then_some(())
        });
        let down = host.crash();
        // As a power failure in the middle of a write would leave it.
        let mut text = std::fs::read_to_string(&file).expect("the file can be read");
        write!(text, "{{\"stream\":\"a\",\"torn\":{round}").expect("a String takes all");
        std::fs::write(&file, text).expect("the file can be written");
        host = down.start();
    }
    settled(&host, 905);
    let lines = lines(&file);
    assert_eq!(first_times(positions_of(&lines)), (0..905).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line.get("torn").is_none()));
}

#[test]
fn a_file_is_rotated_by_its_size() {
    let directory = folder();
    let host = Host::with_config(&ndjson_file(directory.path(), "rotate_bytes = 2000"));
    subscribe(&host, json!({}));
    for count in 1..=10_u64 {
        host.http.append_many("a", 5).expect(200);
        settled(&host, count * 5);
    }
    let mut files: Vec<_> = std::fs::read_dir(directory.path())
        .expect("the directory can be read")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    // The file itself has the shortest name, and the last events.
    files.sort_by_key(|file| (file.extension().is_some_and(|ending| ending == "ndjson"), file.clone()));
    assert!(files.len() > 2, "{files:?}");
    assert!(files.iter().all(|file| std::fs::metadata(file).expect("a file").len() <= 2_000), "{files:?}");
    let lines: Vec<Value> = files.iter().flat_map(|file| lines(file)).collect();
    assert_eq!(positions_of(&lines), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_misbehaves_harms_neither_other_events_nor_other_sinks() {
    let directory = folder();
    let config = format!(
        "{}\n[store.sinks.neighbour]\ncomponent = \"builtin:ndjson-file\"\nsubscription = \"neighbour\"\n\
         directory = {:?}\n[store.limits.sink]\ncall_cpu_ms = 200\n",
        config(&probe("sink-probe").to_string_lossy(), "", ""),
        directory.path(),
    );
    let host = Host::with_config(&config);
    host.http.put(&format!("{}/subscriptions/neighbour", host.http.path()), &json!({})).expect(201);
    // type, a part of the reason for which it is parked
    let table = [
        ("trap", "the probe traps, as the event says"),
        ("beyond", "broke the contract: a sink has done 4294967295 of 1 events"),
        ("loop", "used its 200 ms of CPU (`call_cpu_ms`)"),
        ("long-reason", "broke the contract: a sink gives a reason of 1025 bytes"),
        ("nothing", "broke the contract: a sink has done no event"),
        ("reject", "it was rejected: no\\nlevel=error forged"),
    ];
    for (kind, _) in table {
        append(&host, "t");
        append(&host, kind);
    }
    append(&host, "t");
    subscribe(&host, json!({}));
    let last = 2 * table.len() as u64 + 1;
    settled(&host, last);
    let parked = parked(&host);
    assert_eq!(parked.len(), table.len(), "{parked:#?}");
    for ((kind, part), parked) in table.iter().zip(&parked) {
        let reason = parked["reason"].as_str().expect("a text");
        assert!(reason.contains(part), "{kind}: {reason}");
        if *kind != "reject" {
            assert!(
                reason.contains("ended 2 instances of the sink") && reason.contains("incident"),
                "{reason}"
            );
        }
    }
    let taken = |position: u64| {
        host.log().iter().any(|line| line.contains(&format!("the probe took {position} of s")))
    };
    for position in (0..last).step_by(2) {
        eventually("the others are taken", || taken(position).then_some(()));
    }
    // Its siblings, and the tree above it.
    eventually("the neighbour has everything", || {
        let file = directory.path().join("events.ndjson");
        file.exists().then(|| lines(&file)).filter(|lines| lines.len() as u64 == last)
    });
    let gave_up = ["gave_up", "parked"].map(|kind| host.json(&["events", "--json", "--kind", kind]));
    assert!(gave_up.iter().all(Vec::is_empty), "{gave_up:#?}");
}

#[test]
fn a_sink_that_is_broken_or_crashes_by_itself_halts_its_subscription() {
    // type and policy, a part of the reason
    for (kind, part) in [
        ("broken", "the sink cannot deliver: the probe is broken"),
        ("trap", "the event at place 1 ended 2 instances of the sink"),
    ] {
        let host = Host::with_config(&config(&probe("sink-probe").to_string_lossy(), "", ""));
        subscribe(&host, json!({ "poison": "halt" }));
        append(&host, "t");
        append(&host, kind);
        eventually("it halts", || (info(&host)["state"] == "halted").then_some(()));
        let halted = info(&host);
        assert!(halted["reason"].as_str().is_some_and(|reason| reason.contains(part)), "{halted:#?}");
        assert_eq!(halted["checkpoint"], 1, "what was done is acknowledged");
        eventually("the tree says so", || host.ok(&["tree"]).contains("has halted").then_some(()));
    }
}

#[test]
fn a_sink_has_its_directory_and_nothing_outside_of_it() {
    let outer = folder();
    let granted = outer.path().join("granted");
    std::fs::create_dir_all(granted.join("inside")).expect("the test's folder can be written");
    std::os::unix::fs::symlink("../outside", granted.join("link")).expect("a link");
    std::os::unix::fs::symlink("..", granted.join("folder-link")).expect("a link");
    let component = probe("sink-probe");
    let host =
        Host::with_config(&config(&component.to_string_lossy(), &format!("directory = {granted:?}"), ""));
    subscribe(&host, json!({}));
    append(&host, "write");
    settled(&host, 1);
    let log = || host.log().join("\n");
    eventually("it has tried everything", || log().contains("own-link").then_some(()));
    assert!(log().contains("write within: Ok(20)"), "{}", log());
    for path in ["../outside", "/outside", "inside/../../outside", "link", "folder-link/outside"] {
        assert!(log().contains(&format!("write {path}: Err(")), "{path}\n{}", log());
    }
    assert!(log().contains("write own-link: Err("), "{}", log());
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(outer.path()), BTreeSet::from(["granted".to_owned()]));
    assert!(names(&granted).contains("within"));
}

#[test]
fn a_sink_reaches_the_hosts_that_it_was_granted_and_no_others() {
    let receiver = Receiver::start();
    let allowed = format!("allowed_hosts = [\"{}\"]", receiver.address);
    let host = Host::with_config(&config(&probe("sink-probe").to_string_lossy(), &allowed, ""));
    subscribe(&host, json!({}));
    let event = json!({ "type": "call", "data": receiver.address.to_string() });
    host.http.append("a", "any", &[event]).expect(200);
    settled(&host, 1);
    let log = || host.log().join("\n");
    eventually("it has tried everything", || log().contains("call over TLS").then_some(()));
    assert!(log().contains(&format!("call {}:PORT: status 204", receiver.address.ip())), "{}", log());
    let denied = log().matches("HttpRequestDenied").count();
    assert_eq!(denied, 2, "by name, and with a user that looks like a host: {}", log());
    assert!(log().contains("call over TLS: Some(Ok(Err(ErrorCode::HttpProtocolError"), "{}", log());
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn mistakes_are_reported_with_their_line() {
    let streams = "the streams component";
    // keys and settings of the sink, line, parts of the message
    let table: [(&str, &str, &str, u32, &[&str]); 17] = [
        ("builtin:ndjson-file", "directory = \"nowhere\"", "", 6, &["nowhere", "create it"]),
        ("builtin:ndjson-file", "directory = \"exesdb.toml\"", "", 6, &["is not a directory"]),
        ("builtin:ndjson-file", "directory = \"data\"", "", 6, &["the data directory", "name another one"]),
        ("builtin:ndjson-file", "directory = \".\"", "", 6, &["the data directory", "name another one"]),
        ("builtin:webhook", "", "urls = \"x\"", 8, &["no setting `urls`", "`url` (a text in quotes"]),
        ("builtin:webhook", "", "timeout_ms = \"5\"", 8, &["timeout_ms is \"5\"", "a whole number"]),
        ("builtin:webhook", "", "", 4, &["the sink s cannot start", "`url` is \"\"; it must be an http URL"]),
        ("builtin:webhook", "", "url = \"https://a.org\"", 4, &["requests over TLS"]),
        (
            "builtin:webhook",
            "allowed_hosts = [\"a.org:1\", \"localhost\"]",
            "url = \"http://a.org\"",
            4,
            &["add \"a.org\" to `allowed_hosts`"],
        ),
        ("builtin:ndjson-file", "", "", 4, &["it was granted no directory; set `directory`"]),
        ("builtin:ndjson-file", "directory = \"/usr\"", "file = \"../x\"", 4, &["a file's name"]),
        ("PROBE", "allowed_hosts = [\"refuse.test\"]", "", 4, &["the sink s cannot start: no\\nlevel=error"]),
        (
            "PROBE",
            "allowed_hosts = [\"trap.test\"]",
            "",
            4,
            &["ended while it checked", "traps in its check"],
        ),
        ("PROBE", "allowed_hosts = [\"long.test\"]", "", 4, &["a reason of 1025 bytes"]),
        ("missing.wasm", "", "", 4, &["missing.wasm", "no such file"]),
        ("PROBE", "", "x = 1", 8, &["the sink component has no setting `x`; it declares no settings"]),
        ("STREAMS", "", "", 4, &["is a streams component and cannot be the sink"]),
    ];
    for (component, keys, settings, line, parts) in table {
        let component = match component {
            "PROBE" => probe("sink-probe").to_string_lossy().into_owned(),
            "STREAMS" => probe("streams-probe").to_string_lossy().into_owned(),
            other => other.to_owned(),
        };
        let said = Down::new(Some(&config(&component, keys, settings))).refused();
        assert!(said.contains(&format!("exesdb.toml:{line}:")), "{component} {keys} {settings}\n{said}");
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }
    let sink = probe("sink-probe");
    let elsewhere = format!("[[store]]\nname = \"main\"\n[store.components]\nsnapshots = {sink:?}\n");
    let said = Down::new(Some(&elsewhere)).refused();
    assert!(said.contains("is a sink component") && said.contains("[store.sinks.NAME]"), "{streams}: {said}");
}
