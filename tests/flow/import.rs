//! `exesdb import` of a log of cases: once, again, in other batches, and what is wrong with a file.
//!
//! `permits.csv` is a small log with all that makes one difficult. The large log that the project is measured by is
//! not part of the repository: where it lies beside it, in `../shared/data/receipt.csv`, it is imported as well.
#![allow(clippy::print_stderr)] // says when the large log is not there

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use exesdb_tests::{Host, NO_EVENTS, folder, root, stderr};
use serde_json::{Value, json};

const COLUMNS: [&str; 6] =
    ["--stream-by", "case:concept:name", "--type-by", "concept:name", "--time-by", "time:timestamp"];

fn permits() -> PathBuf {
    root().join("tests/flow/permits.csv")
}

fn import(host: &Host, file: &Path, more: &[&str]) -> Value {
    let file = file.to_string_lossy();
    let arguments: Vec<&str> = ["import", &file, "--json"].iter().chain(more).copied().collect();
    host.json(&arguments).remove(0)
}

/// The time of the row that an event was made of.
fn time(event: &Value) -> &str {
    event["metadata"]["import"]["time"].as_str().expect("an imported event knows its row's time")
}

/// What holds for a store into which a log was imported in the order of time.
fn check(host: &Host, rows: usize, streams: usize) {
    let all = host.http.read_all();
    assert_eq!(all.len(), rows);
    let mut cases: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (position, event) in all.iter().enumerate() {
        assert_eq!(event["position"], position);
        assert_eq!(event["stream"], event["data"]["case:concept:name"]);
        assert_eq!(event["type"], event["data"]["concept:name"]);
        cases.entry(event["stream"].as_str().expect("a stream has a name")).or_default().push(event);
    }
    // Times are printed in UTC with the same number of digits or fewer, so they are compared without their `Z`.
    let times: Vec<&str> = all.iter().map(|event| time(event).trim_end_matches('Z')).collect();
    assert!(times.is_sorted(), "the whole store is in the order of time");
    let ids: HashSet<&str> = all.iter().map(|event| event["id"].as_str().expect("an id is text")).collect();
    assert_eq!(ids.len(), rows);

    assert_eq!(cases.len(), streams);
    for (name, events) in &cases {
        let read = host.http.read(name);
        assert_eq!(read.iter().collect::<Vec<_>>(), *events, "{name}");
        assert!(read.iter().enumerate().all(|(version, event)| event["version"] == version), "{name}");
    }
    let listed = host.json(&["streams", "--json"]);
    assert_eq!(listed, cases.keys().map(|name| json!(name)).collect::<Vec<_>>());

    // Following sees each once, in order.
    let followed = host.json(&["follow", "--json", "--count", &rows.to_string()]);
    assert_eq!(followed, all);
}

#[test]
fn a_log_is_imported_once_in_the_order_of_time() {
    let host = Host::start();
    let first = import(&host, &permits(), &COLUMNS);
    assert_eq!(first, json!({ "rows": 30, "added": 30, "already_there": 0, "streams": 10 }));
    check(&host, 30, 10);
    // All columns are kept as text, quotes and line breaks resolved.
    let events = host.http.read("permit-2");
    assert_eq!(events[0]["data"]["note"], "two lines:\nthe second");
    assert_eq!(host.http.read("permit-1")[1]["data"]["note"], "says \"yes\", mostly");
    assert_eq!(host.http.read("permit-6")[0]["data"]["case:deadline"], "");
    // Rows that are equal in everything are events of their own.
    assert_eq!(host.http.read("permit, with comma").len(), 4);
    assert_eq!(host.http.read_all()[0]["stream"], "permit-8");

    let before = host.http.read_all();
    let again = import(&host, &permits(), &COLUMNS);
    assert_eq!(again, json!({ "rows": 30, "added": 0, "already_there": 30, "streams": 10 }));
    let in_other_batches =
        import(&host, &permits(), &[&COLUMNS[..], &["--batch", "2", "--concurrency", "4"]].concat());
    assert_eq!(in_other_batches["added"], 0);
    assert_eq!(host.http.read_all(), before);
}

#[test]
fn a_file_that_has_grown_adds_what_is_new() {
    let host = Host::start();
    let folder = folder();
    let text = std::fs::read_to_string(permits()).unwrap();
    let grown = folder.path().join("permits.csv");
    // Cut between two rows; one of the rows before it has two lines.
    let rows: Vec<&str> = text.split_inclusive('\n').collect();
    std::fs::write(&grown, rows[..18].concat()).unwrap();
    let first = import(&host, &grown, &COLUMNS);
    assert_eq!((&first["rows"], &first["added"]), (&json!(16), &json!(16)));
    std::fs::write(&grown, &text).unwrap();
    let second = import(&host, &grown, &COLUMNS);
    assert_eq!((&second["added"], &second["already_there"]), (&json!(14), &json!(16)));
    let ids: HashSet<String> = host.http.read_all().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 30);
}

#[test]
fn lines_of_json_are_imported_too() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("orders.ndjson");
    let line = |number: u32| {
        json!({ "order": format!("o-{}", number % 7), "kind": "placed", "n": number }).to_string()
    };
    std::fs::write(&file, (0..100).map(|number| line(number) + "\n").collect::<String>()).unwrap();
    let by = ["--stream-by", "order", "--type-by", "kind"];
    assert_eq!(
        import(&host, &file, &by),
        json!({ "rows": 100, "added": 100, "already_there": 0, "streams": 7 })
    );
    assert_eq!(import(&host, &file, &by)["added"], 0);
    let numbers: Vec<_> =
        host.http.read("o-3").iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(
        numbers,
        (0..100).filter(|number| number % 7 == 3).collect::<Vec<u64>>(),
        "in the file's order"
    );
}

#[test]
fn of_a_file_with_faults_nothing_is_sent() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("bad.csv");
    let good = "case:concept:name,concept:name,time:timestamp\na,t,2024-01-01T00:00:00Z\n";
    // what follows the good row, what is said
    let table: [(&[u8], &[&str]); 6] = [
        (b"b,t\n", &["bad.csv:3:"]),
        (b"b,t,yesterday\n", &["bad.csv:3:", "time:timestamp", "yesterday"]),
        (b",t,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "case:concept:name is empty"]),
        (b"b,t,2024-01-01T00:00:00Z\nb\x01,t,2024-01-01T00:00:00Z\n", &["bad.csv:4:", "control character"]),
        (b"\xff,t,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "UTF-8"]),
        (b"b,t,2024-01-01T00:00:00Z,more\n", &["bad.csv:3:"]),
    ];
    for (rest, parts) in table {
        std::fs::write(&file, [good.as_bytes(), rest].concat()).unwrap();
        let arguments: Vec<&str> =
            ["import", file.to_str().unwrap()].iter().chain(&COLUMNS).copied().collect();
        let output = host.exesdb(&arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing was sent"), "{said}");
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }
    std::fs::write(&file, good).unwrap();
    let output =
        host.exesdb(&["import", file.to_str().unwrap(), "--stream-by", "case", "--type-by", "concept:name"]);
    let said = stderr(&output);
    assert!(said.contains("--stream-by") && said.contains("case:concept:name"), "{said}");
    assert_eq!(host.http.read_all().len(), 0);
}

#[test]
fn the_large_log_is_imported_where_it_is_there() {
    let log = root().join("../shared/data/receipt.csv");
    if !log.is_file() {
        eprintln!("SKIPPED: there is no {}, so only the small log was imported", log.display());
        return;
    }
    let host = Host::start();
    let first = import(&host, &log, &COLUMNS);
    assert_eq!(first, json!({ "rows": 8_577, "added": 8_577, "already_there": 0, "streams": 1_434 }));
    check(&host, 8_577, 1_434);
    let again = import(&host, &log, &COLUMNS);
    assert_eq!(again, json!({ "rows": 8_577, "added": 0, "already_there": 8_577, "streams": 1_434 }));
    assert_eq!(host.http.read_all().len(), 8_577);
    assert_eq!(host.traps(), NO_EVENTS);
}
