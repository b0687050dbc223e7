//! Data that was damaged while no host ran: the doctor's findings, the responses to clients, and what is still readable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use exesdb_tests::{Down, Host, eventually, folder, stderr};
use serde_json::{Value, json};

/// Events of the large store, in requests of this many.
const EVENTS: u64 = 4_000;
const REQUEST: u64 = 500;

/// The tables of the store `main`, the largest first.
fn tables(down: &Down) -> Vec<PathBuf> {
    let mut tables = Vec::new();
    for keyspace in std::fs::read_dir(down.data().join("main/data/keyspaces")).unwrap() {
        let Ok(files) = std::fs::read_dir(keyspace.unwrap().path().join("tables")) else { continue };
        tables.extend(files.map(|file| file.unwrap().path()));
    }
    tables.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    tables
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp can be run").success());
}

/// Asserts that a message has no words that only the engine's authors understand.
fn is_plain(text: &str) {
    for word in ["Fjall", "ChecksumMismatch", "LsmTree", "Storage("] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_doctor_names_each_table_whose_data_is_damaged() {
    let host = Host::start();
    for number in 0..5 {
        host.http.append_one(&format!("s-{number}")).expect(200);
    }
    let down = host.stop().down;
    let (store, whole) = (down.data().join("main"), down.data().with_file_name("whole"));
    copy(&store, &whole);
    let tables = tables(&down);
    assert!(tables.len() > 5, "{tables:?}");
    let mut at_open = 0;
    for table in &tables {
        std::fs::remove_dir_all(&store).unwrap();
        copy(&whole, &store);
        overwrite(table, 40, b"\xff\xfe\xfd\xfc");
        let output = down.exesdb(&["doctor"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let named = format!("{}: its data is damaged: the block at byte 0 ", table.display());
        assert!(said.contains(&named), "{} is not named: {said}", table.display());
        is_plain(&said);
        if said.contains("does not open") {
            at_open += 1;
        } else {
            assert!(said.contains("cannot be made whole from other data"), "{said}");
            assert!(!said.contains("repairs what can be"), "{said}");
        }
    }
    assert!((1..tables.len()).contains(&at_open), "{at_open} of {} keep it from opening", tables.len());
}

/// A stopped host with many events, some of them in the middle damaged.
fn large_store() -> Down {
    let host = Host::start();
    let filler = "x".repeat(900);
    for first in (0..EVENTS).step_by(REQUEST as usize) {
        let event = |number| json!({ "id": format!("{number}"), "type": "t", "data": filler });
        let events: Vec<Value> = (first..first + REQUEST).map(event).collect();
        host.http.append("s", "any", &events).expect(200);
    }
    let down = host.stop().down;
    let table = tables(&down).remove(0);
    let length = table.metadata().unwrap().len();
    assert!(length > 1_000_000, "{} has {length} bytes", table.display());
    overwrite(&table, length / 2, b"\0\xff\0\xff\0\xff\0\xff\0");
    down
}

#[test]
fn events_before_and_after_damage_are_exported_as_the_doctor_says() {
    let down = large_store();
    let output = down.exesdb(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    is_plain(&said);
    let commands: Vec<Vec<&str>> = said
        .lines()
        .filter_map(|line| line.strip_prefix("  exesdb "))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(commands.len(), 2, "{said}");

    let host = down.start();
    let exports = folder();
    let mut exported: BTreeSet<u64> = BTreeSet::new();
    for command in &commands {
        let output = host.command().args(command).current_dir(&exports).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        let text = std::fs::read_to_string(exports.path().join(command[1])).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let positions: Vec<u64> = lines.filter_map(|line| line["event"]["position"].as_u64()).collect();
        assert!(positions.len() > 1_000, "{command:?}: {}", positions.len());
        exported.extend(positions);
    }
    let lost = EVENTS - exported.len() as u64;
    assert!((1..100).contains(&lost), "{lost} events are lost");
}

#[test]
fn clients_get_a_sentence_about_damage_and_do_not_retry() {
    let host = large_store().start();
    let mut from = 0;
    let refused = loop {
        let page = host.http.get(&format!("/v1/stores/main/events?from={from}&count=500"));
        if page.status != 200 {
            break page.expect_problem(500, "damaged");
        }
        assert_ne!(page.json["end"], true, "all of it can be read");
        from = page.json["next"].as_u64().unwrap();
    };
    let detail = refused.detail();
    is_plain(detail);
    assert!(detail.contains("the store's data is damaged") && detail.contains("exesdb doctor"), "{detail}");
    let (_, incident) = detail.split_once("incident ").expect("it names the incident");
    let incident = incident.split(' ').next().unwrap();
    // The engine's message is in the log, under the incident's id.
    let logged =
        eventually("the incident is logged", || host.log().into_iter().find(|line| line.contains(incident)));
    assert!(logged.contains("ChecksumMismatch") && logged.contains("storage.log"), "{logged}");

    // `--retry-for` is for a host that comes back. If it applied to damage, this test would take as long.
    let output = host.exesdb(&["export", "--retry-for", "3600"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--to and --from export what is before and after"), "{said}");
    is_plain(&said);
}
