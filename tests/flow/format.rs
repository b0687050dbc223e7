//! Stores of earlier versions are opened, read completely and appended to.
//!
//! There is one folder per version of the storage format. It never changes once that version was released; a new version
//! gets another folder. `format-2` has two stores of the shipped host and components: `killed`, whose entries are only in
//! the journal, and `closed`, the same store after it was started again, scavenged (so that it has removed events), appended
//! to once and stopped. The folder also has an export of each, and a backup of the second. These stores have every kind of
//! entry: tags, both ids of the index of metadata, binary data, an append of many events, a transaction, streams with
//! retention, deleted streams, deleted streams that began again, tombstones, and snapshots with and without a source. The
//! third store, `gaps`, was filled by imports that left positions empty, and killed.

use std::path::{Path, PathBuf};

use exesdb_tests::{Down, Host, eventually, root, stderr};
use serde_json::{Value, json};

const CONFIG: &str = "[[store]]\nname = \"main\"\n[store.settings.streams]\nindex-correlation = true\n";

fn kept(name: &str) -> PathBuf {
    root().join("tests/flow/format-2").join(name)
}

/// Copies a store, and creates the empty folders, which version control does not keep.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied)?;
        } else {
            std::fs::copy(&path, &copied)?;
        }
    }
    // A store that only has a journal has no tables yet.
    if from.join("current").exists() {
        std::fs::create_dir_all(to.join("tables"))?;
    }
    Ok(())
}

/// A line of an export in the form of that version: it lacked the beginning of a stream and of its present life, and always
/// had the version from which on events are kept.
fn as_before(line: &str) -> String {
    let mut line = line.to_owned() + "\n";
    if !line.starts_with("{\"stream\":") {
        return line;
    }
    for member in ["life_begins", "created"] {
        if let Some(at) = line.find(&format!(",\"{member}\":")) {
            let end = line[at + 1..].find(',').expect("another member follows");
            line.replace_range(at..at + 1 + end, "");
        }
    }
    let parsed: Value = serde_json::from_str(&line).expect("a line of a stream");
    if parsed["stream"]["retention"]["truncate_before"].is_null() {
        let kept = format!(",\"truncate_before\":{}}}}}}}\n", parsed["stream"]["first_version"]);
        line = line.replace("}}}\n", &kept);
    }
    line
}

/// Compares a host's store with its export, and appends to it. Its positions end before `end`.
fn goes_on(host: &Host, exported: &str, end: u64) {
    let export = host.ok(&["export", "-"]);
    let as_then: String = export.lines().map(as_before).collect();
    assert_eq!(as_then, std::fs::read_to_string(kept(exported)).expect("it is kept"));
    let found = |arguments: &[&str]| host.json(&[&["read", "--json"], arguments].concat()).len();
    assert_eq!(found(&["--tag", "customer:7"]), 3, "by tag");
    assert_eq!(found(&["--type", "counted", "--tag", "mod:0"]), 9, "by tag and type");
    // The tombstone holds, the deleted stream continues its versions, and existing ids are known.
    host.http.append_one("tombstone").expect_problem(410, "stream-deleted");
    assert_eq!(host.http.append_one("deleted").expect(200).json["first_version"], 2);
    let known = [json!({ "id": "many-39", "type": "counted", "data": { "n": 39 } })];
    assert_eq!(host.http.append("many", "any", &known).expect(200).json["last_version"], 39);
    let conflict = [json!({ "id": "tx-1", "type": "moved", "data": 1 }), json!({ "type": "t", "data": 1 })];
    host.http.append("x", "any", &conflict).expect_problem(409, "event-id-conflict");
    assert_eq!(host.http.append_one("many").expect(200).json["position"], end + 1);
}

fn is_sound(down: &Down) {
    let output = eventually("the host has let go of its data", || {
        let output = down.exesdb(&["doctor"]);
        (!stderr(&output).contains("open elsewhere")).then_some(output)
    });
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", stderr(&output));
}

#[test]
fn a_store_of_format_2_that_was_killed_is_opened() {
    let down = Down::new(Some(CONFIG));
    copy(&kept("killed"), &down.data().join("main")).unwrap();
    let host = down.start();
    goes_on(&host, "killed.ndjson", 55);
    is_sound(&host.stop().down);
}

#[test]
fn a_store_of_format_2_that_was_closed_is_opened() {
    let down = Down::new(Some(CONFIG));
    copy(&kept("closed"), &down.data().join("main")).unwrap();
    is_sound(&down);
    let host = down.start();
    goes_on(&host, "closed.ndjson", 56);
    is_sound(&host.stop().down);
}

#[test]
fn a_store_of_format_2_with_gaps_is_opened() {
    let down = Down::new(Some(CONFIG));
    copy(&kept("gaps"), &down.data().join("main")).unwrap();
    is_sound(&down);
    let host = down.start();
    assert_eq!(host.ok(&["export", "-"]), std::fs::read_to_string(kept("gaps.ndjson")).expect("it is kept"));
    assert_eq!(host.http.append_one("a").expect(200).json["position"], 20_005);
    is_sound(&host.stop().down);
}

#[test]
fn a_backup_of_format_2_is_restored() {
    let down = Down::new(Some(CONFIG));
    let restored = down.exesdb(&["restore", &kept("main.backup").to_string_lossy()]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    let host = down.start();
    goes_on(&host, "closed.ndjson", 56);
    is_sound(&host.stop().down);
}
