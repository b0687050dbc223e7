//! `kill -9` of the host, and of the import, while a file is imported.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use exesdb_test_support::{number, random, time_below};
use exesdb_tests::{Host, eventually, folder};
use serde_json::{Value, json};

/// Rows of each stream.
const ROWS_PER_STREAM: usize = 7;
const STREAMS: usize = 600;
const ROWS: usize = ROWS_PER_STREAM * STREAMS;

/// The number of imports, unless `EXESDB_IMPORT_ROUNDS` is set. The host is killed three times in each.
const ROUNDS: u64 = 3;

/// Longest time from the first event to a kill: about the duration of an undisturbed import.
const LATEST: Duration = Duration::from_millis(400);

/// Writes a file whose streams take turns.
fn write_file(path: &Path) {
    let mut text = String::from("case,activity,number\n");
    for turn in 0..ROWS_PER_STREAM {
        for stream in 0..STREAMS {
            writeln!(text, "case-{stream},\"step {turn}, said \"\"so\"\"\",{turn}")
                .expect("a string can be written");
        }
    }
    std::fs::write(path, text).expect("the test's folder can be written");
}

fn import(host: &Host, file: &Path) -> Child {
    let mut import = host.command();
    import.arg("import").arg(file).args([
        "--stream-by",
        "case",
        "--type-by",
        "activity",
        "--json",
        "--retry-for",
        "60",
    ]);
    import.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary can be run")
}

fn summary(mut import: Child) -> Value {
    let status = eventually("the import ends", || import.try_wait().expect("it is our child"));
    assert!(status.success(), "the import failed");
    serde_json::from_reader(import.stdout.take().expect("stdout was piped")).expect("the summary is JSON")
}

/// The number of rows of one request of the importer, which are added atomically.
const BATCH: usize = 1_000;

/// Checks that the store contains the first rows of the file, in order and in whole requests, and returns their number.
#[track_caller]
fn check_whole(host: &Host) -> usize {
    let events = host.http.read_all();
    for (row, event) in events.iter().enumerate() {
        let (turn, stream) = (row / STREAMS, row % STREAMS);
        assert_eq!(event["position"], row, "positions are dense");
        assert_eq!(event["stream"], format!("case-{stream}"), "{event}");
        assert_eq!(event["version"], turn, "{event}");
        assert_eq!(event["data"]["number"], turn.to_string(), "{event}");
    }
    let rows = events.len();
    assert!(rows == ROWS || rows.is_multiple_of(BATCH), "{rows} rows are no whole requests");
    rows
}

fn wait_for_first_event(host: &Host) {
    eventually("the import begins", || {
        host.http.get("/v1/stores/main/events?count=1").json["events"].get(0).cloned()
    });
}

#[test]
fn an_import_survives_the_end_of_its_host() {
    let mut random = random();
    let folder = folder();
    let file = folder.path().join("cases.csv");
    write_file(&file);
    for _ in 0..number("EXESDB_IMPORT_ROUNDS", ROUNDS) {
        let mut host = Host::start();
        let running = import(&host, &file);
        wait_for_first_event(&host);
        let mut before = 0;
        for _ in 0..3 {
            std::thread::sleep(time_below(&mut random, LATEST));
            host = host.crash_and_restart();
            // No stored event may be lost.
            let after = check_whole(&host);
            assert!(after >= before, "{after} after {before}");
            before = after;
        }
        let summary = summary(running);
        assert_eq!((&summary["rows"], &summary["streams"]), (&json!(ROWS), &json!(STREAMS)));
        // This holds although responses were lost with the host.
        assert_eq!((&summary["added"], &summary["already_there"]), (&json!(ROWS), &json!(0)));
        assert_eq!(check_whole(&host), ROWS);
        let again = self::summary(import(&host, &file));
        assert_eq!((&again["added"], &again["already_there"]), (&json!(0), &json!(ROWS)));
        assert_eq!(check_whole(&host), ROWS);
    }
}

#[test]
fn an_import_that_was_killed_is_completed_by_the_next() {
    let mut random = random();
    let folder = folder();
    let file = folder.path().join("cases.csv");
    write_file(&file);
    let host = Host::start();
    for _ in 0..3 {
        let mut running = import(&host, &file);
        wait_for_first_event(&host);
        std::thread::sleep(time_below(&mut random, LATEST));
        // It may have ended already.
        drop(running.kill());
        running.wait().expect("it was our child");
    }
    // Requests of the killed import may still be on their way, so the store is checked after the next import.
    let summary = summary(import(&host, &file));
    assert_eq!(summary["rows"], ROWS);
    assert_eq!(check_whole(&host), ROWS);
    assert_eq!(self::summary(import(&host, &file))["added"], 0);
    // Rows are counted in the same commit that adds them, whichever import sends them.
    for stream in 0..STREAMS {
        host.http.delete(&host.http.stream(&format!("case-{stream}"))).expect(204);
    }
    let hidden = self::summary(import(&host, &file));
    assert_eq!((&hidden["added"], &hidden["hidden"]), (&json!(0), &json!(ROWS)));
    let mut text = std::fs::read_to_string(&file).expect("the test wrote it");
    text.push_str("case-0,new,7\ncase-1,new,7\n");
    std::fs::write(&file, text).expect("the test's folder can be written");
    let grown = self::summary(import(&host, &file));
    assert_eq!((&grown["added"], &grown["hidden"]), (&json!(2), &json!(ROWS)));
}
