//! The event log of stores of format 2: every event, removed event and gap is there, chained as before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs;
use std::path::{Path, PathBuf};

use exesdb_packed::{Envelope, Frames, Record};
use exesdb_storage::{Direction, LogRead, Options, Slice, Snapshot, Store};
use scratch::copy_folder;

/// Opens a copy of a store that the software of format 2 left.
fn open(name: &str) -> (tempfile::TempDir, Store) {
    let kept: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../tests/flow/format-2", name].iter().collect();
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&kept, dir.path());
    empty_folders(&kept.join("data/keyspaces"), &dir.path().join("data/keyspaces"));
    let is_json = |bytes: &[u8]| bytes.starts_with(b"{") || bytes.first().is_some_and(u8::is_ascii_digit);
    let store = Store::open(dir.path(), Options { is_json, ..Options::default() }).unwrap();
    (dir, store)
}

/// Creates the empty folders, which version control does not keep: keyspaces without tables.
fn empty_folders(kept: &Path, copied: &Path) {
    for keyspace in fs::read_dir(kept).unwrap() {
        fs::create_dir_all(copied.join(keyspace.unwrap().file_name()).join("tables")).unwrap();
    }
}

/// A position with what stands there, as text.
type Line = (u64, String);

fn lines(frames: &[u8]) -> Vec<Line> {
    let line = |frame: Result<exesdb_packed::Frame<'_>, _>| {
        let frame = frame.unwrap();
        let text = match frame.record {
            Record::Event(envelope) => {
                let event = Envelope::read(envelope).unwrap();
                format!(
                    "{}@{} {} {:?}",
                    event.stream_id,
                    event.version,
                    event.event_type,
                    event.data_is_json()
                )
            }
            Record::Removed { .. } => "removed".to_owned(),
            Record::Gap { positions } => format!("gap of {positions}"),
        };
        (frame.position, text)
    };
    Frames::new(frames).map(line).collect()
}

/// The whole log, in pages of so many frames.
fn log(snapshot: &Snapshot, from: Option<u64>, direction: Direction, limit: usize) -> Vec<Line> {
    let mut read = LogRead { from, direction, limit, max_bytes: usize::MAX };
    let mut all = Vec::new();
    loop {
        let page = snapshot.log_read(&read).unwrap();
        all.extend(lines(&page.frames));
        if page.next.is_none() {
            return all;
        }
        read.from = page.next;
    }
}

/// Reads the log in both directions and in pages of every size: it has every position once.
fn whole(snapshot: &Snapshot) -> Vec<Line> {
    let whole = log(snapshot, None, Direction::Forward, usize::MAX);
    for limit in 1..4 {
        assert_eq!(log(snapshot, None, Direction::Forward, limit), whole);
        let mut backward = log(snapshot, None, Direction::Backward, limit);
        backward.reverse();
        assert_eq!(backward, whole);
    }
    for (position, text) in &whole {
        assert_eq!(lines(&snapshot.log_get(&[*position], 1).unwrap()), [(*position, text.clone())]);
    }
    whole
}

/// Number and kinds of an export's events, which are the visible ones.
fn exported(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/flow/format-2").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| line.starts_with("{\"event\"")).map(str::to_owned).collect()
}

/// The old formula over the old records: the chain up to the end.
fn chained(snapshot: &Snapshot) -> u64 {
    let entries: Vec<(Vec<u8>, Vec<u8>)> = scratch::all_of(snapshot, "streams", "events");
    entries.iter().fold(0, |link, (key, value)| {
        let stored = u64::from_be_bytes(value[1..9].try_into().unwrap());
        if value[0] == 2 {
            assert_eq!(exesdb_storage::chain(link, key, value, 1), stored);
        }
        stored
    })
}

#[test]
fn the_log_of_a_killed_store_has_all_its_events() {
    let (_dir, store) = open("killed");
    let snapshot = store.snapshot();
    let log = whole(&snapshot);
    let positions: Vec<u64> = log.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (0..snapshot.next_position()).collect::<Vec<_>>());
    assert!(log.iter().all(|(_, text)| text.contains('@')), "nothing was removed yet: {log:?}");
    assert_eq!(chained(&snapshot), snapshot.head().chain);
    for line in exported("killed.ndjson") {
        let found = log.iter().any(|(position, text)| {
            line.contains(&format!("\"position\":{position},"))
                && line.contains(&format!("\"type\":\"{}\"", text.split(' ').rev().nth(1).unwrap()))
        });
        assert!(found, "{line}");
    }
}

#[test]
fn the_log_of_a_scavenged_store_has_marks_of_removed_events() {
    let (_dir, store) = open("closed");
    let snapshot = store.snapshot();
    let log = whole(&snapshot);
    assert_eq!(log.len() as u64, snapshot.next_position());
    let removed = log.iter().filter(|(_, text)| text == "removed").count();
    assert!(removed > 0 && removed < log.len());
    assert_eq!(chained(&snapshot), snapshot.head().chain);
    assert!(log.len() - removed >= exported("closed.ndjson").len());
}

#[test]
fn the_log_of_a_store_with_imports_has_gaps() {
    let (_dir, store) = open("gaps");
    let snapshot = store.snapshot();
    let expected = [
        (0, "gap of 5"),
        (5, "a@0 t true"),
        (6, "a@1 t true"),
        (7, "gap of 13"),
        (20, "b@3 t true"),
        (21, "c@0 t true"),
        // A long gap was written in parts.
        (22, "gap of 10000"),
        (10_022, "gap of 9978"),
        (20_000, "a@2 t true"),
        (20_001, "gap of 1"),
        (20_002, "a@3 t true"),
        (20_003, "b@4 t true"),
        (20_004, "c@1 u false"),
    ];
    let expected = expected.map(|(position, text)| (position, text.to_owned()));
    assert_eq!(whole(&snapshot), expected);
    assert_eq!(chained(&snapshot), snapshot.head().chain);
    // From within a gap the rest of it comes first, in both directions.
    let forward = log(&snapshot, Some(30), Direction::Forward, 2);
    assert_eq!(forward[0], (30, "gap of 9992".to_owned()));
    assert_eq!(forward[1..], expected[7..]);
    let backward = log(&snapshot, Some(30), Direction::Backward, 2);
    assert_eq!(backward[0], (22, "gap of 9".to_owned()));
    assert_eq!(backward[1], expected[5]);
    assert_eq!(
        lines(&snapshot.log_get(&[30, 5], usize::MAX).unwrap()),
        [forward[0].clone(), expected[1].clone()]
    );
}

/// A hole that no import left is damage, not a gap.
#[test]
fn a_missing_record_is_damage() {
    let (_dir, store) = open("gaps");
    let snapshot = store.snapshot();
    let key: Slice = 20_u64.to_be_bytes().into();
    drop(snapshot);
    let batch = scratch::batch(
        vec![],
        vec![exesdb_storage::Operation::Delete { keyspace: "events".into(), key: key.to_vec() }],
        0,
    );
    let commit = exesdb_storage::Commit {
        owner: "streams".into(),
        batches: vec![batch],
        ..exesdb_storage::Commit::default()
    };
    store.commit_blocking(commit).unwrap().remove(0).unwrap();
    let snapshot = store.snapshot();
    for (direction, from) in [(Direction::Forward, 7), (Direction::Backward, 21)] {
        let read = LogRead { from: Some(from), direction, limit: usize::MAX, max_bytes: usize::MAX };
        let error = snapshot.log_read(&read).unwrap_err().to_string();
        assert!(error.contains("the event log is damaged at position 20: its record is missing"), "{error}");
    }
}
