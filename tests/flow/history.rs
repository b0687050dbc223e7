//! Positions that clients keep while a store is restored from a backup are distinguished from those of its new history.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use exesdb_tests::{Client, Down, Host, folder, stderr};
use serde_json::{Value, json};

fn append(http: &Client, count: usize) {
    for _ in 0..count {
        http.append_one("s").expect(200);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The store's history, from a page.
fn history(http: &Client) -> String {
    let page = http.get("/v1/stores/main/events?count=1").expect(200);
    let history = page.json["history"].as_str().expect("a page names its history").to_owned();
    assert!(history.len() == 16 && history.bytes().all(|byte| byte.is_ascii_hexdigit()), "{history}");
    history
}

/// Restores the store of a stopped host from a backup.
fn put_back(down: &Down, backup: &Path, more: &[&str]) {
    std::fs::remove_dir_all(down.data().join("main")).expect("the store is closed");
    let restored = down.exesdb(&[&["restore", &text(backup)], more].concat());
    assert!(restored.status.success(), "{}", stderr(&restored));
}

fn conditional(http: &Client, after: u64, history: Option<&str>) -> exesdb_tests::Response {
    let mut condition = json!({ "query": [{ "types": ["never"] }], "after": after });
    if let Some(history) = history {
        condition["history"] = json!(history);
    }
    let body = json!({
        "appends": [{ "stream": "decided", "events": [{ "type": "t", "data": 1 }] }],
        "conditions": [condition],
    });
    http.post("/v1/stores/main/transactions", &body)
}

/// Checks the responses to a client that saw positions up to 19, when the store has 10 events again, and when it has new ones.
fn is_told(http: &Client, old: &str) {
    let sse = |id: &str| {
        let headers = [("accept", "text/event-stream"), ("last-event-id", id)];
        http.get_with("/v1/stores/main/events", &headers).expect_problem(409, "history-changed")
    };
    for filled in [false, true] {
        if filled {
            append(http, 20);
        }
        let new = history(http);
        assert_ne!(new, old);
        let end = if filled { 30 } else { 10 };
        let refused = http.get(&format!("/v1/stores/main/events?from=15&history={old}"));
        let refused = refused.expect_problem(409, "history-changed");
        assert_eq!((&refused.json["history"], &refused.json["end"]), (&json!(new), &json!(end)));
        assert!(refused.detail().contains("restored from a backup"), "{}", refused.detail());
        sse(&format!("14@{old}"));
        conditional(http, 14, Some(old)).expect_problem(409, "history-changed");
        // Positions that both histories share are valid.
        http.get(&format!("/v1/stores/main/events?from=10&history={old}")).expect(200);
        http.get("/v1/stores/main/events?from=15&direction=backward&count=1").expect(200);
        if !filled {
            // Without a history, only positions after the end are refused.
            http.get("/v1/stores/main/events?from=11").expect_problem(409, "history-changed");
            http.get("/v1/stores/main/events?from=10").expect(200);
            http.get("/v1/stores/main/events?from=15&tag=x").expect_problem(409, "history-changed");
            sse("14");
            conditional(http, 14, None).expect_problem(409, "history-changed");
            let follow = [("accept", "text/event-stream")];
            let beyond = http.get_with("/v1/stores/main/streams/s/events?from=15", &follow);
            assert_eq!(beyond.expect_problem(409, "history-changed").json["next_version"], json!(10));
        }
    }
    conditional(http, 9, Some(old)).expect(200);
}

#[test]
fn positions_from_before_a_restore_are_refused() {
    let host = Host::start();
    append(&host.http, 10);
    let folder = folder();
    let backup = folder.path().join("main.backup");
    host.ok(&["backup", &text(&backup)]);
    append(&host.http, 10);
    let old = history(&host.http);
    host.http.get(&format!("/v1/stores/main/events?from=20&history={old}")).expect(200);
    // A restart is not a restore.
    let host = host.stop().down.start();
    assert_eq!(history(&host.http), old);

    let down = host.stop().down;
    put_back(&down, &backup, &[]);
    let host = down.start();
    is_told(&host.http, &old);
    let read = host.exesdb(&["read", "--from", &format!("15@{old}")]);
    assert_eq!(read.status.code(), Some(1));
    assert!(stderr(&read).contains("restored from a backup"), "{}", stderr(&read));
    assert_eq!(host.json(&["read", "--json", "--from", &format!("10@{old}")]).len(), 21);
    let export = host.exesdb(&["export", "--from", &format!("15@{old}")]);
    assert_eq!(export.status.code(), Some(1));
    assert!(stderr(&export).contains("restored from a backup"), "{}", stderr(&export));
    // Every response with a position has its history.
    let new = json!(history(&host.http));
    let append = ["append", "s", "--type", "t", "--data", "1", "--json"];
    assert_eq!(host.json(&append)[0]["history"], new);
    let transaction = folder.path().join("transaction.json");
    std::fs::write(&transaction, r#"{"appends":[{"stream":"s","events":[{"type":"t","data":1}]}]}"#)
        .expect("the folder is there");
    assert_eq!(host.json(&["transact", &text(&transaction), "--json"])[0]["history"], new);
    let read = host.exesdb(&["read", "s", "--from", &format!("1@{old}")]);
    assert!(stderr(&read).contains("belongs to no history"), "{}", stderr(&read));
    assert!(host.stop().down.exesdb(&["doctor"]).status.success());
}

#[test]
fn positions_after_the_end_of_a_restore_are_refused() {
    let host = Host::start();
    append(&host.http, 20);
    let old = history(&host.http);
    let folder = folder();
    let backup = folder.path().join("main.backup");
    host.ok(&["backup", &text(&backup)]);
    let down = host.stop().down;
    put_back(&down, &backup, &["--up-to", "9"]);
    let host = down.start();
    is_told(&host.http, &old);
    let second = history(&host.http);
    // After a second restore, from a backup of the second history, positions of the first are still recognized.
    let backup = folder.path().join("second.backup");
    host.ok(&["backup", &text(&backup)]);
    let down = host.stop().down;
    put_back(&down, &backup, &["--up-to", "4"]);
    let host = down.start();
    for (from, of, status) in [(5, &old, 200), (6, &old, 409), (5, &second, 200), (6, &second, 409)] {
        host.http.get(&format!("/v1/stores/main/events?from={from}&history={of}")).expect(status);
    }
}

#[test]
fn a_follower_across_a_restore_gets_an_error() {
    let host = Host::start();
    append(&host.http, 3);
    let folder = folder();
    let backup = folder.path().join("main.backup");
    host.ok(&["backup", &text(&backup)]);
    append(&host.http, 2);
    let old = history(&host.http);
    let mut command = host.command();
    command.args(["follow", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follow = command.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for position in 0..5 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["position"], json!(position));
    }
    let down = host.stop().down;
    put_back(&down, &backup, &[]);
    let host = down.start();
    assert!(lines.next().is_none(), "nothing more is printed");
    assert_eq!(follow.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    follow.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("restored from a backup while it was followed"), "{said}");
    assert!(said.contains(&format!("(4@{old})")), "{said}");
    // A follower that was not past the end of the backup continues.
    let resumed =
        host.command().args(["follow", "--json", "--count", "1", "--from"]).arg(format!("2@{old}")).output();
    assert!(resumed.unwrap().status.success());
}

/// An append is answered with a position that is readable, so what was answered never has to be waited for on this host.
#[test]
fn a_read_up_to_a_position_that_the_store_has_not_given_is_refused() {
    let host = Host::start();
    append(&host.http, 2);
    let current = history(&host.http);
    for target in ["/v1/stores/main/events", "/v1/stores/main/streams/s/events"] {
        for accept in ["application/json", "application/x-ndjson"] {
            let read = |query: &str| host.http.get_with(&format!("{target}?{query}"), &[("accept", accept)]);
            read("at_least=1").expect(200);
            read(&format!("at_least=1&history={current}")).expect(200);
            read("at_least=0&history=0000000000000001").expect_problem(409, "history-changed");
            for beyond in [2, u64::MAX] {
                let refused = read(&format!("at_least={beyond}")).expect_problem(409, "history-changed");
                assert_eq!(
                    (&refused.json["history"], &refused.json["end"]),
                    (&json!(current), &json!(2)),
                    "{target}, {accept}, {beyond}"
                );
            }
        }
    }
    for number in 2..12 {
        let position = host.http.append_one(&format!("t-{}", number % 3)).expect(200).json["position"].take();
        let read =
            host.http.get(&format!("/v1/stores/main/events?from={position}&at_least={position}")).expect(200);
        assert_eq!((&read.json["events"][0]["position"], position), (&json!(number), json!(number)));
    }
}
