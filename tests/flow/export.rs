//! `exesdb export`, and `exesdb import` of its files: completely, repeatedly, in parts, and from incomplete files.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use exesdb_tests::{Host, folder, stderr};
use serde_json::{Value, json};

const STORES: &str =
    "[[store]]\nname = \"main\"\n\n[[store]]\nname = \"copy\"\n\n[[store]]\nname = \"again\"\n";

/// A store with everything that an export can contain.
fn filled() -> Host {
    let host = Host::with_config(STORES);
    let event = |id: &str, more: Value| {
        let mut event = json!({ "id": id, "type": "t", "data": { "id": id, "ü\n": [1, null, "\u{1F980}"] } });
        let (event_members, more) = (event.as_object_mut(), more.as_object().cloned());
        event_members.expect("an object").extend(more.expect("an object"));
        event
    };
    let tagged = json!({ "tags": ["k:1", "ä b"], "metadata": { "$correlationId": "c" } });
    let binary = json!({ "data_base64": "AP8=", "content_type": "application/octet-stream" });
    let mut raw = event("2", binary);
    raw.as_object_mut().expect("an object").remove("data");
    host.http.append("a/b ä", "any", &[event("1", tagged), raw]).expect(200);
    // More than the importer sends in one request.
    for batch in 0..3 {
        let events: Vec<Value> = (0..600).map(|n| event(&format!("{batch}-{n}"), json!({}))).collect();
        host.http.append("many", "any", &events).expect(200);
    }
    host.ok(&["retention", "many", "--max-count", "1200"]);
    host.http.append("again", "any", &[event("1", json!({})), event("2", json!({}))]).expect(200);
    host.ok(&["delete", "again"]);
    host.http.append("again", "any", &[event("3", json!({}))]).expect(200);
    for deleted in ["deleted", "tombstone"] {
        host.http.append(deleted, "any", &[event("1", json!({})), event("2", json!({}))]).expect(200);
    }
    host.ok(&["retention", "deleted", "--max-count", "7"]);
    host.ok(&["delete", "deleted"]);
    host.ok(&["delete", "tombstone", "--tombstone"]);
    let snapshot = |stream: &str, source: &str, state: &Value| {
        let path = format!("{}/snapshots/2?source={source}", host.http.stream(stream));
        host.http.put(&path, state).expect(204);
    };
    snapshot("many", "", &json!({ "data": { "n": 1.5 }, "metadata": [1] }));
    snapshot("many", "q", &json!({ "data_base64": "AAA=", "content_type": "x/y" }));
    // Of its second life.
    snapshot("again", "q", &json!({ "data": null }));
    host
}

/// The lines of an export of a store.
fn export(host: &Host, store: &str, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["export", "--store", store].iter().chain(more).copied().collect();
    host.ok(&arguments)
}

fn import(host: &Host, store: &str, file: &Path) -> Value {
    host.json(&["import", &file.to_string_lossy(), "--store", store, "--json"]).remove(0)
}

/// Imports from stdin.
fn pipe(host: &Host, store: &str, text: &str) -> Output {
    let mut import = host.command();
    import.args(["import", "-", "--store", store, "--json"]);
    let import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut import = import.spawn().expect("the host's binary runs");
    // The import may stop reading before the end.
    let _ = import.stdin.take().expect("a pipe").write_all(text.as_bytes());
    import.wait_with_output().expect("its output")
}

/// The lines, without the parts that differ in a copy: the positions of events, and the beginnings of streams of which it
/// never had the first event.
fn without_positions(export: &str) -> Vec<String> {
    let without = |line: &str| {
        if line.starts_with("{\"stream\":") {
            let mut line: Value = serde_json::from_str(line).expect("a line of an export");
            line["stream"].as_object_mut().expect("an object").remove("created");
            return line.to_string();
        }
        let Some((before, rest)) = line.split_once(",\"position\":") else { return line.to_owned() };
        format!("{before}{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    };
    export.lines().map(without).collect()
}

#[test]
fn an_import_restores_the_exported_store() {
    let host = filled();
    let folder = folder();
    let file = folder.path().join("main.ndjson");
    let summary = host.ok(&["export", &file.to_string_lossy(), "--json"]);
    assert_eq!(summary, "{\"events\":1203,\"streams\":4,\"snapshots\":3}\n");
    let first = std::fs::read_to_string(&file).unwrap();
    assert_eq!(first, export(&host, "main", &[]));

    let imported = import(&host, "copy", &file);
    let all = json!({ "events": 1203, "added": 1203, "already_there": 0, "hidden": 0, "refused": 0, "streams": 4, "streams_refused": 0, "snapshots": 3, "snapshots_refused": 0 });
    assert_eq!(imported, all);
    let second = export(&host, "copy", &[]);
    assert_eq!(without_positions(&second), without_positions(&first));
    // Hidden events left gaps, which the copy does not have: its export is imported byte for byte.
    assert_ne!(second, first);
    let file = folder.path().join("copy.ndjson");
    std::fs::write(&file, &second).unwrap();
    import(&host, "again", &file);
    assert_eq!(export(&host, "again", &[]), second);

    assert_eq!(host.ok(&["streams", "--store", "copy"]), "a/b ä\nagain\nmany\n");
    let all = host.ok(&["streams", "--deleted", "--store", "copy"]);
    assert_eq!(all, "a/b ä\nagain\ndeleted\nmany\ntombstone\n");

    // A repetition changes nothing.
    let again = import(&host, "copy", &file);
    assert_eq!((&again["added"], &again["already_there"]), (&json!(0), &json!(1203)));
    assert_eq!(export(&host, "copy", &[]), second);
    // The streams continue their versions.
    let response = host.http.of("copy").append_one("again").expect(200);
    assert_eq!(response.json["first_version"], 3);
    let info = host.http.get(&host.http.of("copy").stream("many")).expect(200);
    let (first, last) = (&info.json["first_version"], &info.json["last_version"]);
    assert_eq!((first, last), (&json!(600), &json!(1799)));
    let response = host.http.of("copy").append_one("deleted").expect(200);
    assert_eq!(response.json["first_version"], 2);
    host.http.of("copy").append_one("tombstone").expect_problem(410, "stream-deleted");
}

#[test]
fn data_and_metadata_are_exported_byte_for_byte() {
    let host = Host::with_config(STORES);
    // Data and metadata with white space that a line of JSON cannot hold or would not keep; and in base64.
    let contents = [
        ("{\r\n  \"a\" : \"\\n\"\n}\n", "ew0KICAiYSIgOiAiXG4iCn0K", "[\n]", "Wwpd"),
        (" 1.50\t", "IDEuNTAJ", " {\"b\" :\t1e400}", "IHsiYiIgOgkxZTQwMH0="),
        ("{ \"a\":1, \"a\":2 }", "eyAiYSI6MSwgImEiOjIgfQ==", "{\"c\" : null}", "eyJjIiA6IG51bGx9"),
        ("\n[]", "Cltd", "null", ""),
        ("null", "bnVsbA==", "1\r", "MQ0="),
    ];
    for (version, (_, data, _, metadata)) in contents.iter().enumerate() {
        let content =
            json!({ "data_base64": data, "content_type": "application/json", "metadata_base64": metadata });
        let path = format!("{}/snapshots/{version}?source=q", host.http.stream("s"));
        let mut event = content.clone();
        event["type"] = json!("t");
        host.http.append("s", "any", &[event]).expect(200);
        host.http.put(&path, &content).expect(204);
    }
    let first = export(&host, "main", &[]);
    assert!(pipe(&host, "copy", &first).status.success());
    assert_eq!(export(&host, "copy", &[]), first);
    // A page has the stored bytes.
    for store in ["main", "copy"] {
        let http = host.http.of(store);
        let events = http.get(&format!("{}/events", http.stream("s"))).expect(200).text;
        for (version, (data, _, metadata, _)) in contents.iter().enumerate() {
            let kept = format!(",\"data\":{data},\"metadata\":{metadata},");
            assert!(events.contains(&kept), "{kept:?} in {events:?}");
            let path = format!("{}/snapshots/{version}?source=q", http.stream("s"));
            let snapshot = http.get(&path).expect(200).text;
            assert!(snapshot.contains(&kept), "{kept:?} in {snapshot:?}");
        }
    }
}

#[test]
fn a_part_can_be_exported() {
    let host = filled();
    let events = |export: &str| export.lines().filter(|line| line.starts_with("{\"event\":")).count();
    let positions = |export: &str| -> Vec<u64> {
        let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["event"]["position"].as_u64()).collect()
    };
    let part = export(&host, "main", &["--from", "1", "--to", "605"]);
    assert_eq!(positions(&part), [1, 602, 603, 604, 605]);
    assert!(!part.contains("{\"snapshot\":") && !part.contains("{\"stream\":{"), "{part}");
    let part = export(&host, "main", &["--from", "1802"]);
    assert_eq!(events(&part), 1);
    assert!(part.contains("{\"snapshot\":") && part.contains("{\"stream\":{"), "{part}");
    let part = export(&host, "main", &["--stream-prefix", "a", "--stream-prefix", "ag"]);
    assert_eq!(events(&part), 3);
    assert!(part.ends_with("{\"end\":{\"events\":3,\"streams\":1,\"snapshots\":1}}\n"), "{part}");
    // A part begins where an earlier one ended.
    let early = export(&host, "main", &["--to", "1799"]);
    let late = export(&host, "main", &["--from", "1800"]);
    for part in [&early, &late] {
        assert!(pipe(&host, "copy", part).status.success());
    }
    assert_eq!(
        without_positions(&export(&host, "copy", &[])),
        without_positions(&export(&host, "main", &[]))
    );
}

#[test]
fn an_incomplete_file_is_detected_and_can_be_completed() {
    let host = filled();
    let folder = folder();
    let file = folder.path().join("main.ndjson");
    let whole = export(&host, "main", &[]);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();

    std::fs::write(&file, lines[..1_101].concat()).unwrap();
    let output = host.exesdb(&["import", &file.to_string_lossy(), "--store", "copy"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("cut off after line 1101") && said.contains("nothing was sent"), "{said}");
    assert_eq!(host.http.of("copy").read_all(), Vec::<Value>::new());

    // The same holds for a pipe.
    let output = pipe(&host, "copy", &lines[..1_101].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("cut off after line 1101") && said.contains("nothing was sent"), "{said}");
    assert_eq!(host.http.of("copy").read_all(), Vec::<Value>::new());
    // The complete file completes the part.
    let part: Vec<&str> = lines[..1_001].to_vec();
    let end = "{\"end\":{\"events\":1000,\"streams\":0,\"snapshots\":0}}\n";
    assert!(pipe(&host, "copy", &format!("{}{end}", part.concat())).status.success());
    assert_eq!(host.http.of("copy").read_all().len(), 1_000);
    std::fs::write(&file, &whole).unwrap();
    let imported = import(&host, "copy", &file);
    assert_eq!((&imported["added"], &imported["already_there"]), (&json!(203), &json!(1000)));
    assert_eq!(without_positions(&export(&host, "copy", &[])), without_positions(&whole));

    // Existing files and events are not replaced.
    let output = host.exesdb(&["export", &file.to_string_lossy()]);
    assert!(stderr(&output).contains("is there already"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    // One stream has another event: nothing is imported into it, and everything into the others.
    let again = host.http.of("again");
    for _ in 0..4 {
        again.append_one("again").expect(200);
    }
    let output = host.exesdb(&["import", &file.to_string_lossy(), "--store", "again"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let expected = "1 event, 1 retention and 1 snapshot were not imported";
    assert!(said.contains(expected) && said.contains("stream again"), "{said}");
    assert_eq!(again.read_all().len(), 4 + 1_202);
    // The options for columns are for other files, which need them.
    let columns = ["import", &file.to_string_lossy(), "--stream-by", "a", "--type-by", "b"];
    assert!(stderr(&host.exesdb(&columns)).contains("leave out --stream-by"));
    std::fs::write(&file, "{\"a\":1}\n").unwrap();
    let output = host.exesdb(&["import", &file.to_string_lossy()]);
    assert!(stderr(&output).contains("--stream-by and --type-by"), "{}", stderr(&output));
}

#[test]
fn streams_without_events_continue_their_versions() {
    let host = Host::with_config(STORES);
    let stream = |name: &str, state: &str, last: u64| {
        let updated = "2026-01-02T03:04:05.000006Z";
        let line =
            json!({ "stream": { "stream": name, "state": state, "last_version": last, "updated": updated } });
        format!("{line}\n")
    };
    let text = [
        "{\"exesdb_export\":1}\n",
        &stream("cut", "live", 4),
        &stream("deleted", "deleted", 5),
        &stream("tombstone", "tombstoned", 6),
        "{\"end\":{\"events\":0,\"streams\":3,\"snapshots\":0}}\n",
    ]
    .concat();
    for _ in 0..2 {
        let output = pipe(&host, "main", &text);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(host.http.read_all(), Vec::<Value>::new());
        let info = |name: &str| {
            let info = host.http.get(&host.http.stream(name)).expect(200).json;
            (info["state"].clone(), info["last_version"].clone(), info["updated"].clone())
        };
        let updated = json!("2026-01-02T03:04:05.000006Z");
        assert_eq!(info("cut"), (json!("live"), json!(4), updated.clone()));
        assert_eq!(info("deleted"), (json!("deleted"), json!(5), updated.clone()));
        assert_eq!(info("tombstone"), (json!("tombstoned"), json!(6), updated));
    }
    assert_eq!(host.http.append_one("cut").expect(200).json["first_version"], 5);
    assert_eq!(host.http.append_one("deleted").expect(200).json["first_version"], 6);
    host.http.append_one("tombstone").expect_problem(410, "stream-deleted");
}

#[test]
fn an_export_with_any_times_is_imported() {
    let host =
        Host::with_config(&format!("{STORES}\n[[store]]\nname = \"late\"\n\n[[store]]\nname = \"later\"\n"));
    let event = |version: u64, created: &str| {
        let event = json!({
            "stream": "s", "version": version, "position": version, "id": version.to_string(), "type": "t",
            "data": version, "created": created,
        });
        format!("{{\"event\":{event}}}\n")
    };
    let times = ["2099-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000001Z", "2026-01-01T00:00:00.000000Z"];
    let events: String = (0..).zip(times).map(|(version, created)| event(version, created)).collect();
    let snapshot = "{\"snapshot\":{\"stream\":\"s\",\"version\":1,\"data\":1,\"created\":\"2098-01-01T00:00:00.000000Z\"}}\n";
    let text = format!(
        "{{\"exesdb_export\":1}}\n{events}{snapshot}{{\"end\":{{\"events\":3,\"streams\":0,\"snapshots\":1}}}}\n"
    );
    for _ in 0..2 {
        let output = pipe(&host, "main", &text);
        assert!(output.status.success(), "{}", stderr(&output));
        let read = host.http.read("s");
        assert_eq!(read.iter().map(|event| event["created"].as_str().unwrap()).collect::<Vec<_>>(), times);
    }
    // From there into another store.
    let output = pipe(&host, "copy", &export(&host, "main", &[]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(export(&host, "copy", &[]), export(&host, "main", &[]));
    // Also with an event that is too old for its stream, between others that are not.
    host.ok(&["retention", "s", "--max-age", "3650d"]);
    for (scavenged, store) in [(false, "late"), (true, "later")] {
        if scavenged {
            host.ok(&["scavenge"]);
        }
        for _ in 0..2 {
            let output = pipe(&host, store, &export(&host, "main", &[]));
            assert!(output.status.success(), "{}", stderr(&output));
            let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&summary["events"], &summary["refused"]), (&json!(2), &json!(0)));
            let versions = |http: &exesdb_tests::Client| -> Vec<u64> {
                http.read("s").iter().map(|event| event["version"].as_u64().unwrap()).collect()
            };
            assert_eq!((versions(&host.http), versions(&host.http.of(store))), (vec![0, 2], vec![0, 2]));
            host.ok(&["scavenge", "--store", store]);
        }
    }
    // Events that were deleted here stay deleted, and count as present.
    host.ok(&["delete", "s"]);
    let output = pipe(&host, "main", &text);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["added"], &summary["hidden"]), (&json!(0), &json!(3)), "{}", stderr(&output));
}

#[test]
fn an_interrupted_export_or_backup_leaves_no_file() {
    let host = filled();
    let folder = folder();
    for signal in ["INT", "TERM", "KILL"] {
        for what in [&["export"][..], &["backup"]] {
            let file = folder.path().join("half");
            let mut child = host.command();
            child.args(what).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
            // The host is paused, so that the command cannot end before the signal.
            host.signal("STOP");
            let mut child = child.spawn().expect("the host's binary runs");
            std::thread::sleep(std::time::Duration::from_millis(300));
            let kill =
                std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            let ended = child.wait().expect("it is our child");
            host.signal("CONT");
            assert!(kill.expect("there is a kill").success() && !ended.success(), "{what:?}");
            let left: Vec<_> = folder.path().read_dir().expect("the folder is there").collect();
            assert!(left.is_empty(), "{what:?} {signal}: {left:?}");
        }
    }
}
