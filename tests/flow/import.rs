//! `exesdb import` of a log of cases: once, repeatedly, in other batches, and with mistakes in the file.
//!
//! `permits.csv` is a small log with every difficulty that a log can have. The large log of the measurements is not part of
//! the repository. Its test imports `../shared/data/receipt.csv`, and is reported as skipped where that file does not exist.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use exesdb_test_support::skip;
use exesdb_tests::{Host, NO_EVENTS, folder, root, stderr};
use serde_json::{Value, json};

const COLUMNS: [&str; 6] =
    ["--stream-by", "case:concept:name", "--type-by", "concept:name", "--time-by", "time:timestamp"];

fn permits() -> PathBuf {
    root().join("tests/flow/permits.csv")
}

/// The summary of an import without hidden and refused rows.
fn summary(rows: u64, added: u64, already_there: u64, streams: u64) -> Value {
    json!({
        "rows": rows, "added": added, "already_there": already_there, "hidden": 0, "refused": 0, "streams": streams,
    })
}

/// How many rows were added, already there, hidden and refused.
fn counts(summary: &Value) -> [u64; 4] {
    ["added", "already_there", "hidden", "refused"].map(|name| summary[name].as_u64().expect("a number"))
}

fn import(host: &Host, file: &Path, more: &[&str]) -> Value {
    let file = file.to_string_lossy();
    let arguments: Vec<&str> = ["import", &file, "--json"].iter().chain(more).copied().collect();
    host.json(&arguments).remove(0)
}

/// The time of an event's row.
fn time(event: &Value) -> &str {
    event["metadata"]["import"]["time"].as_str().expect("an imported event knows its row's time")
}

/// Checks a store into which a log was imported in the order of time.
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
    // Times are printed in UTC, with a varying number of digits, so they are compared without their `Z`.
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

    // A follower sees each event once, in order.
    let followed = host.json(&["follow", "--json", "--count", &rows.to_string()]);
    assert_eq!(followed, all);
}

#[test]
fn a_log_is_imported_once_in_the_order_of_time() {
    let host = Host::start();
    let first = import(&host, &permits(), &COLUMNS);
    assert_eq!(first, summary(30, 30, 0, 10));
    check(&host, 30, 10);
    // All columns are stored as text, with quotes and line breaks resolved.
    let events = host.http.read("permit-2");
    assert_eq!(events[0]["data"]["note"], "two lines:\nthe second");
    assert_eq!(host.http.read("permit-1")[1]["data"]["note"], "says \"yes\", mostly");
    assert_eq!(host.http.read("permit-6")[0]["data"]["case:deadline"], "");
    // Equal rows are separate events.
    assert_eq!(host.http.read("permit, with comma").len(), 4);
    assert_eq!(host.http.read_all()[0]["stream"], "permit-8");

    let before = host.http.read_all();
    let again = import(&host, &permits(), &COLUMNS);
    assert_eq!(again, summary(30, 0, 30, 10));
    let in_other_batches = import(&host, &permits(), &[&COLUMNS[..], &["--batch", "2"]].concat());
    assert_eq!(in_other_batches["added"], 0);
    assert_eq!(host.http.read_all(), before);
}

#[test]
fn a_file_that_has_grown_adds_only_new_rows() {
    let host = Host::start();
    let folder = folder();
    let text = std::fs::read_to_string(permits()).unwrap();
    let grown = folder.path().join("permits.csv");
    // Cut between two rows; one of the rows before the cut has two lines.
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
    std::fs::write(&file, (0..100).map(|number| line(number) + "\n").collect::<String>())
        .expect("the test's folder can be written");
    let by = ["--stream-by", "order", "--type-by", "kind"];
    assert_eq!(import(&host, &file, &by), summary(100, 100, 0, 7));
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
fn a_file_with_mistakes_is_not_sent() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("bad.csv");
    let good = "case:concept:name,concept:name,time:timestamp\na,t,2024-01-01T00:00:00Z\n";
    // text after the valid row, error
    let table: [(&[u8], &[&str]); 12] = [
        (b"b,\"t,2024-01-01T00:00:00Z\nc,t,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "never closed"]),
        (b"b,\"t\"x,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "text follows a closing quote"]),
        (b"b,t\"x,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "a quote stands inside"]),
        (b"b,t\0,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "NUL"]),
        (b"b,t,2024-01-01T00:00:00Z\rc,t,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "carriage return"]),
        (b"b,\xc3,2024-01-01T00:00:00Z\n", &["bad.csv:3:", "UTF-8"]),
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

const BY: [&str; 4] = ["--stream-by", "s", "--type-by", "t"];

/// Rows of streams that take turns, three each.
fn write(path: &Path, streams: &[&str]) {
    let rows = (0..3).flat_map(|turn| streams.iter().map(move |stream| format!("{stream},t,{turn}\n")));
    std::fs::write(path, std::iter::once("s,t,n\n".to_owned()).chain(rows).collect::<String>())
        .expect("the test's folder can be written");
}

#[test]
fn hidden_rows_are_counted_and_a_file_that_has_grown_adds_its_new_rows() {
    for scavenged in [false, true] {
        let host = Host::start();
        let folder = folder();
        let file = folder.path().join("f.csv");
        write(&file, &["deleted", "kept", "cut", "newest", "again"]);
        assert_eq!(counts(&import(&host, &file, &BY)), [15, 0, 0, 0]);
        host.ok(&["delete", "deleted"]);
        host.ok(&["retention", "cut", "--truncate-before", "2"]);
        host.ok(&["retention", "newest", "--max-count", "2"]);
        host.ok(&["delete", "again"]);
        host.http.append_one("again").expect(200);
        if scavenged {
            host.ok(&["scavenge"]);
        }
        let before = host.http.read_all();
        let by_stream = |host: &Host, stream: &str| host.http.read(stream).len();
        let again = import(&host, &file, &BY);
        assert_eq!(counts(&again), [0, 3 + 1 + 2, 3 + 2 + 1 + 3, 0], "{again}");
        assert_eq!(host.http.read_all(), before);

        let mut text = std::fs::read_to_string(&file).unwrap();
        text.push_str("deleted,t,3\nkept,t,3\ncut,t,3\nnewest,t,3\nnew,t,3\n");
        std::fs::write(&file, text).unwrap();
        let grown = import(&host, &file, &BY);
        assert_eq!(counts(&grown), [5, 6, 9, 0], "{grown}");
        let seen = ["deleted", "kept", "cut", "newest", "new"].map(|stream| by_stream(&host, stream));
        assert_eq!(seen, [1, 4, 2, 2, 1]);
        assert_eq!(host.http.read("deleted")[0]["version"], 3);
        // An option appends them again, at the end of their streams.
        let back = import(&host, &file, &[&BY[..], &["--add-hidden"]].concat());
        assert_eq!(back["hidden"], 0);
        assert!(back["added"].as_u64() > Some(0), "{back}");
    }
}

#[test]
fn a_refused_stream_does_not_stop_others_and_sets_the_exit_code() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("f.csv");
    write(&file, &["a", "dead", "b"]);
    host.http.append_one("dead").expect(200);
    host.ok(&["delete", "dead", "--tombstone"]);
    let path = file.to_string_lossy();
    for _ in 0..2 {
        // No row of `dead` was ever imported, so none is hidden.
        let output = host.exesdb(&[&["import", &path, "--json"][..], &BY].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("3 rows were not imported"), "{said}");
        assert!(said.contains("lines 3, 6, 9, stream dead: "), "{said}");
        assert!(!said.contains("goes on"), "{said}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["hidden"], &summary["refused"]), (&json!(0), &json!(3)), "{summary}");
        assert_eq!([host.http.read("a").len(), host.http.read("b").len()], [3, 3]);
    }
    let help = host.ok(&["import", "--help"]);
    assert!(help.contains("3 some") && help.contains("--source"), "{help}");
}

#[test]
fn equal_rows_are_separate_events_in_one_file_and_in_two() {
    let host = Host::start();
    let folder = folder();
    let (first, second) = (folder.path().join("1.csv"), folder.path().join("2.csv"));
    for file in [&first, &second] {
        std::fs::write(file, "s,t\nlog,tick\nlog,tick\n").unwrap();
    }
    assert_eq!(counts(&import(&host, &first, &BY)), [2, 0, 0, 0]);
    assert_eq!(counts(&import(&host, &second, &BY)), [2, 0, 0, 0]);
    for file in [&first, &second] {
        assert_eq!(counts(&import(&host, file, &BY)), [0, 2, 0, 0]);
    }
    assert_eq!(host.http.read("log").len(), 4);
    // `--source` identifies a renamed file.
    let renamed = folder.path().join("3.csv");
    std::fs::rename(&first, &renamed).unwrap();
    let source = [&BY[..], &["--source", "1.csv"]].concat();
    assert_eq!(counts(&import(&host, &renamed, &source)), [0, 2, 0, 0]);
    // Another client appends in between, and the file gets a row at its beginning.
    host.http.append_one("log").expect(200);
    std::fs::write(&renamed, "s,t\nlog,first\nlog,tick\nlog,tick\nlog,tick\n").unwrap();
    assert_eq!(counts(&import(&host, &renamed, &source)), [2, 2, 0, 0]);
    assert_eq!(host.http.read("log").len(), 7);
    // Stdin has no name.
    let output = host.exesdb(&[&["import", "-", "--format", "csv"][..], &BY].concat());
    assert!(stderr(&output).contains("give --source NAME"), "{}", stderr(&output));
}

#[test]
fn events_may_have_the_times_of_their_rows() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("f.csv");
    let text = "s,t,at\na,x,2099-01-02T00:00:00Z\na,x,2011-01-01T00:00:00.5+01:00\n";
    std::fs::write(&file, text).unwrap();
    let times = |file: &Path, more: &[&str]| {
        import(&host, file, &[&BY[..], &["--time-by", "at"], more].concat());
        host.http
            .read("a")
            .iter()
            .map(|event| event["created"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = ["2010-12-31T23:00:00.500000Z", "2099-01-02T00:00:00.000000Z"];
    assert_eq!(times(&file, &["--keep-times"]), expected);
    // A time far in the future does not affect later events.
    host.http.append_one("a").expect(200);
    assert!(host.http.read("a")[2]["created"].as_str() < Some("2090"));
    let early = folder.path().join("early.csv");
    std::fs::write(&early, "s,t,at\na,x,1969-01-01T00:00:00Z\n").unwrap();
    let early = early.to_string_lossy();
    let arguments = ["import", &early, "--time-by", "at", "--keep-times"];
    let output = host.exesdb(&[&arguments[..], &BY].concat());
    assert!(
        stderr(&output).contains("early.csv:2:") && stderr(&output).contains("1970"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_large_log_is_imported_once() {
    let log = root().join("../shared/data/receipt.csv");
    if !log.is_file() {
        skip("import of the large log", "`../shared/data/receipt.csv` does not exist");
        return;
    }
    let host = Host::start();
    let first = import(&host, &log, &COLUMNS);
    assert_eq!(first, summary(8_577, 8_577, 0, 1_434));
    check(&host, 8_577, 1_434);
    let again = import(&host, &log, &COLUMNS);
    assert_eq!(again, summary(8_577, 0, 8_577, 1_434));
    assert_eq!(host.http.read_all().len(), 8_577);
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn requests_that_were_sent_ahead_are_sent_again_when_others_write_and_parts_are_killed() {
    const STREAMS: usize = 30;
    const ROWS: usize = 6_000;
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("rows.ndjson");
    let row = |number: usize| format!("{{\"s\":\"s-{}\",\"n\":{number},\"k\":\"t\"}}\n", number % STREAMS);
    std::fs::write(&file, (0..ROWS).map(row).collect::<String>()).unwrap();
    let columns = ["--stream-by", "s", "--type-by", "k", "--batch", "20"];
    let summary = std::thread::scope(|scope| {
        let importing = scope.spawn(|| import(&host, &file, &columns));
        for (others, at_least) in [ROWS / 10, ROWS / 4, ROWS / 2].into_iter().enumerate() {
            exesdb_tests::eventually("some rows are there", || {
                (host.http.read_all().len() >= at_least).then_some(())
            });
            host.http.append_one(&format!("s-{}", 7 * others)).expect(200);
            host.ok(&["kill", "main/system/core-system/persistence-system/streams/writers/0"]);
        }
        importing.join().expect("the import succeeds")
    });
    assert_eq!(counts(&summary), [ROWS as u64, 0, 0, 0]);
    let events = host.http.read_all();
    assert_eq!(events.len(), ROWS + 3);
    for stream in 0..STREAMS {
        let of_stream = events.iter().filter(|event| event["stream"] == format!("s-{stream}"));
        let numbers: Vec<usize> =
            of_stream.filter_map(|event| usize::try_from(event["data"]["n"].as_u64()?).ok()).collect();
        let expected: Vec<usize> = (stream..ROWS).step_by(STREAMS).collect();
        assert_eq!(numbers, expected, "s-{stream}");
    }
}
