//! Verifying the log finds what was tampered with, whatever the length of its steps, and goes on after it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs;
use std::path::{Path, PathBuf};

use exesdb_packed::{EventParts, push_event, push_gap};
use exesdb_storage::{
    Batch, Commit, LogFinding, LogPlace, LogVerification, Options, ReadError, Snapshot, Store, chain,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use scratch::{OWNER, copy_folder, flip, incompressible};

const LINK: std::ops::Range<usize> = 1..9;
const LINK_AT: u32 = 1;

fn event(out: &mut Vec<u8>, id: &str, data: &[u8]) {
    let no_tags: &[&str] = &[];
    let parts = EventParts {
        flags: 0,
        version: 3,
        created: 0,
        stream_id: "s",
        id,
        event_type: "t",
        content_type: "c",
        tags: no_tags,
        data,
        metadata: b"",
    };
    push_event(out, 0, &parts).unwrap();
}

fn commit(store: &Store, batch: Batch) {
    let commit = Commit { owner: OWNER.into(), batches: vec![batch], time: 1, ..Commit::default() };
    store.commit_blocking(commit).unwrap().remove(0).unwrap();
}

/// A closed store with events at 0, 1, 5 and 7, a gap from 2 to 4, and a removed event at 6.
fn stored() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut log = Vec::new();
    event(&mut log, "a", b"data");
    event(&mut log, "b", b"data");
    push_gap(&mut log, 0, 3);
    commit(&store, Batch { log, ..Batch::default() });
    let mut log = Vec::new();
    for id in ["c", "d", "e"] {
        event(&mut log, id, b"data");
    }
    commit(&store, Batch { log, ..Batch::default() });
    commit(&store, Batch { removes: vec![6], ..Batch::default() });
    dir
}

/// The whole verification, in steps of at most so many records.
fn in_steps(snapshot: &Snapshot, limit: usize) -> LogVerification {
    let mut whole = LogVerification::default();
    let mut from = None;
    loop {
        let LogVerification { next, examined, findings, found } =
            snapshot.verify_log(from.as_ref(), limit).unwrap();
        assert!(examined <= (limit as u64).saturating_add(1), "{examined} in a step of {limit}");
        whole.examined += examined;
        whole.found += found;
        whole.findings.extend(findings);
        if next.is_none() {
            return whole;
        }
        assert_ne!(next, from, "the step ended where it began");
        from = next;
    }
}

/// The whole verification, which is the same in steps of any length.
#[track_caller]
fn verified(snapshot: &Snapshot) -> LogVerification {
    let whole = in_steps(snapshot, usize::MAX);
    for limit in 1..10 {
        assert_eq!(in_steps(snapshot, limit), whole, "in steps of {limit}");
    }
    whole
}

/// The findings after a change to a keyspace of a closed store.
#[track_caller]
fn found(dir: &Path, keyspace: &str, tamper: impl Fn(&Keyspace)) -> Vec<String> {
    {
        let database = Database::builder(dir.join("data")).open().unwrap();
        let keyspace = database.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
        tamper(&keyspace);
        database.persist(PersistMode::SyncAll).unwrap();
    }
    let store = Store::open(dir, Options::default()).unwrap();
    let whole = verified(&store.snapshot());
    assert_eq!(whole.found, whole.findings.len() as u64);
    whole.findings.iter().map(|LogFinding { place, what }| format!("{place}: {what}")).collect()
}

#[track_caller]
fn are(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} instead of {expected:?}");
    }
}

fn key(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

fn get(log: &Keyspace, position: u64) -> Vec<u8> {
    log.get(key(position)).unwrap().unwrap().to_vec()
}

fn link(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[LINK].try_into().unwrap())
}

/// Writes the link that is right for the record after another one.
fn relink(log: &Keyspace, before: u64, position: u64, mut value: Vec<u8>) -> Vec<u8> {
    let right = chain(link(&get(log, before)), &key(position), &value, LINK_AT);
    value[LINK].copy_from_slice(&right.to_be_bytes());
    value
}

const NOT_THAT: &str = "its link of the hash chain is not that of its content after the record before";

#[test]
fn a_sound_log_has_no_findings() {
    let dir = stored();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let whole = verified(&store.snapshot());
    assert_eq!((whole.found, whole.examined), (0, 6), "{whole:?}");
    let empty = tempfile::tempdir().unwrap();
    let empty = Store::open(empty.path(), Options::default()).unwrap();
    assert_eq!(verified(&empty.snapshot()), LogVerification::default());
    assert!(matches!(empty.snapshot().verify_log(None, 0), Err(ReadError::Invalid(_))));
    let snapshot = store.snapshot();
    drop(store);
    assert_eq!(snapshot.verify_log(None, 1), Err(ReadError::Closed));
}

#[test]
fn a_verification_goes_on_in_a_store_that_went_on() {
    let dir = stored();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let before = store.snapshot();
    let next = before.verify_log(None, 3).unwrap().next;
    let mut log = Vec::new();
    event(&mut log, "f", b"data");
    commit(&store, Batch { log, removes: vec![7], ..Batch::default() });
    let rest = store.snapshot().verify_log(next.as_ref(), 100).unwrap();
    assert_eq!((rest.next.as_ref(), rest.examined, rest.found), (None, 4, 0), "{rest:?}");
    // A cursor from beyond the end of the other store ends, too.
    let mut from = None;
    while let Some(next) = store.snapshot().verify_log(from.as_ref(), 1).unwrap().next {
        from = Some(next);
        before.verify_log(from.as_ref(), 1).unwrap();
    }
}

#[test]
fn missing_records_are_found() {
    are(
        &found(stored().path(), "storage.log", |log| log.remove(key(1)).unwrap()),
        &["position 1: no record is here, and no gap: events are lost", &format!("position 2: {NOT_THAT}")],
    );
    are(
        &found(stored().path(), "storage.log", |log| log.remove(key(2)).unwrap()),
        &[
            "positions 2 to 4: no record is here, and no gap",
            &format!("position 5: version 3 of stream `s`: {NOT_THAT}"),
        ],
    );
    are(
        &found(stored().path(), "storage.log", |log| log.remove(key(7)).unwrap()),
        &[
            "position 7: no record is here",
            "position 7: the hash chain of the store does not end with this record",
        ],
    );
    are(
        &found(stored().path(), "storage.log", |log| {
            for position in 0..8 {
                log.remove(key(position)).unwrap();
            }
        }),
        &["positions 0 to 7: no record is here", "position 7: the hash chain of the store does not end"],
    );
}

#[test]
fn records_with_another_content_are_found() {
    let change = |log: &Keyspace, position: u64| {
        let mut value = get(log, position);
        *value.last_mut().unwrap() ^= 1;
        value
    };
    are(
        &found(stored().path(), "storage.log", |log| log.insert(key(1), change(log, 1)).unwrap()),
        &[&format!("position 1: version 3 of stream `s`: {NOT_THAT}")],
    );
    // With the link of the new content the next record is the one that does not follow.
    are(
        &found(stored().path(), "storage.log", |log| {
            log.insert(key(1), relink(log, 0, 1, change(log, 1))).unwrap();
        }),
        &[&format!("position 2: {NOT_THAT}")],
    );
    // After the last record there is the head.
    are(
        &found(stored().path(), "storage.log", |log| {
            log.insert(key(7), relink(log, 6, 7, change(log, 7))).unwrap();
        }),
        &["position 7: the hash chain of the store does not end with this record"],
    );
    // Two records changed places.
    are(
        &found(stored().path(), "storage.log", |log| {
            let (one, two) = (get(log, 0), get(log, 1));
            log.insert(key(0), two).unwrap();
            log.insert(key(1), one).unwrap();
        }),
        &[
            &format!("position 0: version 3 of stream `s`: {NOT_THAT}"),
            &format!("position 1: version 3 of stream `s`: {NOT_THAT}"),
            &format!("position 2: {NOT_THAT}"),
        ],
    );
    // The link of a removed event is checked by the next one.
    are(
        &found(stored().path(), "storage.log", |log| log.insert(key(6), change(log, 6)).unwrap()),
        &[&format!("position 7: version 3 of stream `s`: {NOT_THAT}")],
    );
    // A removed event in place of an event is nothing that the chain shows; the stream's head does.
    are(
        &found(stored().path(), "storage.log", |log| {
            let removed = [&[3][..], &get(log, 1)[LINK]].concat();
            log.insert(key(1), removed).unwrap();
        }),
        &[],
    );
}

#[test]
fn malformed_records_are_found_and_hide_nothing_else() {
    let malformed: [(&[u8], &str); 6] = [
        (b"\x04123", "the record has no link"),
        (b"\x0412345678", "the envelope ends too early"),
        (b"\x0312345678x", "the record has a wrong length"),
        (b"\x0512345678\0\0\0\0\0\0\0\0", "the record is a gap of no positions"),
        (b"\x0912345678", "the record has an unknown kind"),
        (b"", "the record has no link"),
    ];
    for (value, what) in malformed {
        are(
            &found(stored().path(), "storage.log", |log| {
                log.insert(key(1), value).unwrap();
                log.remove(key(5)).unwrap();
            }),
            &[
                &format!("position 1: the record cannot be read: {what}"),
                // The link at 2 cannot be checked, and neither can that at 6; that at 7 can.
                "position 5: no record is here",
            ],
        );
        are(
            &found(stored().path(), "storage.log", |log| log.insert(key(7), value).unwrap()),
            &[&format!("position 7: the record cannot be read: {what}")],
        );
    }
}

#[test]
fn gaps_of_other_lengths_are_found() {
    let gap = |positions: u64| [&[5, 0, 0, 0, 0, 0, 0, 0, 0][..], &positions.to_be_bytes()].concat();
    let replace =
        |positions: u64| move |log: &Keyspace| log.insert(key(2), relink(log, 1, 2, gap(positions))).unwrap();
    let not_that = format!("position 5: version 3 of stream `s`: {NOT_THAT}");
    are(
        &found(stored().path(), "storage.log", replace(2)),
        &["position 4: no record is here, and no gap", &not_that],
    );
    let hidden = "a record is here, and a gap before it says that there is none";
    are(&found(stored().path(), "storage.log", replace(4)), &[&format!("position 5: {hidden}"), &not_that]);
    for positions in [7, u64::MAX, u64::MAX - 1] {
        are(
            &found(stored().path(), "storage.log", replace(positions)),
            &[
                "position 2: the gap ends after the log",
                &format!("position 5: {hidden}"),
                &not_that,
                &format!("position 6: {hidden}"),
                &format!("position 7: {hidden}"),
            ],
        );
    }
}

#[test]
fn entries_that_are_no_records_are_found() {
    let keys: [&[u8]; 4] = [b"\0", b"\0\0\0\0\0\0\0\x02x", b"\0\0\0\0\0\0\0\x07\0", b"zzzzzzzzzzzz"];
    let tamper = |log: &Keyspace| {
        for key in keys {
            log.insert(key, b"").unwrap();
        }
        for position in [8, u64::MAX] {
            log.insert(key(position), get(log, 0)).unwrap();
        }
    };
    let after = "the record is after the end of the log, which is position 8; no commit wrote it";
    are(
        &found(stored().path(), "storage.log", tamper),
        &[
            "storage.log at key \"\\x00\": the key is no position",
            "storage.log at key \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02x\": the key is no position",
            "storage.log at key \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x07\\x00\": the key is no position",
            &format!("position 8: {after}"),
            "storage.log at key \"zzzzzzzzzzzz\": the key is no position",
            &format!("position 18446744073709551615: {after}"),
        ],
    );
}

#[test]
fn a_step_lists_a_hundred_findings_and_counts_the_others() {
    let dir = stored();
    {
        let database = Database::builder(dir.path().join("data")).open().unwrap();
        let log = database.keyspace("storage.log", KeyspaceCreateOptions::default).unwrap();
        for other in 8..158 {
            log.insert(key(other), b"").unwrap();
        }
        database.persist(PersistMode::SyncAll).unwrap();
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let step = store.snapshot().verify_log(None, usize::MAX).unwrap();
    assert_eq!((step.found, step.findings.len(), step.examined), (150, 100, 156));
    assert_eq!(in_steps(&store.snapshot(), 50).findings.len(), 150);
}

/// The largest table of a store.
fn largest_table(dir: &Path) -> PathBuf {
    let mut tables = Vec::new();
    for keyspace in fs::read_dir(dir.join("data/keyspaces")).unwrap() {
        let Ok(files) = fs::read_dir(keyspace.unwrap().path().join("tables")) else { continue };
        tables.extend(files.map(|file| file.unwrap().path()));
    }
    tables.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn damaged_blocks_are_found_and_everything_between_them_is_verified() {
    const EVENTS: u64 = 6_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    for part in (0..EVENTS).collect::<Vec<_>>().chunks(1_000) {
        let mut log = Vec::new();
        for position in part {
            event(&mut log, "i", &incompressible(*position, 500));
        }
        commit(&store, Batch { log, ..Batch::default() });
    }
    store.compact(&mut |_| {}).unwrap();
    assert_eq!(in_steps(&store.snapshot(), 700).found, 0);
    drop(store);
    let table = largest_table(dir.path());
    let bytes = table.metadata().unwrap().len();
    assert!(bytes > EVENTS * 500, "{bytes}");
    let damaged = [bytes / 3, bytes / 2];
    for at in damaged {
        flip(&table, at);
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    for limit in [700, usize::MAX] {
        let whole = in_steps(&store.snapshot(), limit);
        assert_eq!(whole.found, 2, "{:?}", whole.findings);
        let mut unread = 0;
        for (finding, at) in whole.findings.iter().zip(damaged) {
            assert!(finding.what.contains("what is here cannot be read: a block of a table"), "{finding:?}");
            let LogPlace::Positions { first, last } = finding.place else { panic!("{finding:?}") };
            let near = EVENTS * at / bytes;
            assert!(
                first + 100 > near && last < near + 100 && first <= last,
                "{first} to {last}, not {near}"
            );
            unread += last - first + 1;
        }
        assert!(unread < 100, "{unread}");
        assert_eq!(whole.examined, EVENTS - unread, "all others were looked at");
    }
}

/// A copy of a store that the software of format 2 left.
fn kept(name: &str) -> tempfile::TempDir {
    let kept: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../tests/flow/format-2", name].iter().collect();
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&kept, dir.path());
    // Version control keeps no empty folders: keyspaces without tables.
    for keyspace in fs::read_dir(kept.join("data/keyspaces")).unwrap() {
        let copied = dir.path().join("data/keyspaces").join(keyspace.unwrap().file_name());
        fs::create_dir_all(copied.join("tables")).unwrap();
    }
    // What a killed process left is flushed, so that the engine opens it, too.
    drop(Store::open(dir.path(), Options::default()).unwrap());
    dir
}

#[test]
fn sound_logs_of_format_2_have_no_findings() {
    for name in ["killed", "closed", "gaps"] {
        let dir = kept(name);
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let whole = verified(&store.snapshot());
        assert_eq!(whole.found, 0, "{name}: {:?}", whole.findings);
        assert!(whole.examined > 5, "{name}: {}", whole.examined);
        // And when they have gone on in format 3.
        let mut log = Vec::new();
        event(&mut log, "new", b"data");
        push_gap(&mut log, 0, 3);
        commit(
            &store,
            Batch { log, removes: vec![store.snapshot().next_position() - 1], ..Batch::default() },
        );
        let gone_on = verified(&store.snapshot());
        assert_eq!(
            (gone_on.found, gone_on.examined),
            (0, whole.examined + 2),
            "{name}: {:?}",
            gone_on.findings
        );
    }
}

/// The log has events at 5, 6, 20, 21, 20,000 and from 20,002 to 20,004, and gaps between them.
#[test]
fn tampering_with_a_log_of_format_2_is_found() {
    let events = "streams.events";
    are(
        &found(kept("gaps").path(), events, |log| log.remove(key(20)).unwrap()),
        &["position 20: no record is here, and no gap", "position 21: version 0 of stream `c`: its link"],
    );
    are(
        &found(kept("gaps").path(), events, |log| {
            let mut value = get(log, 21);
            let at = value.len() - 3;
            value[at] ^= 1;
            log.insert(key(21), value).unwrap();
        }),
        &["position 21"],
    );
    are(
        &found(kept("gaps").path(), events, |log| {
            let value = get(log, 6);
            log.insert(key(6), &value[..value.len() - 1]).unwrap();
        }),
        &["position 6: the record cannot be read: an event of format 2 ends too early"],
    );
    let gaps = "streams.gaps";
    are(
        &found(kept("gaps").path(), gaps, |gaps| gaps.remove(key(7)).unwrap()),
        &["positions 7 to 19: no record is here, and no gap"],
    );
    are(
        &found(kept("gaps").path(), gaps, |gaps| gaps.remove(key(10_022)).unwrap()),
        &["positions 10022 to 19999: no record is here, and no gap"],
    );
    are(
        &found(kept("gaps").path(), gaps, |gaps| gaps.insert(key(7), key(19)).unwrap()),
        &["position 19: no record is here, and no gap"],
    );
    let place =
        |first: u8| format!("streams.gaps at key \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x{first:02x}\"");
    are(
        &found(kept("gaps").path(), gaps, |gaps| gaps.insert(key(7), key(21)).unwrap()),
        &[
            "positions 7 to 19: no record is here, and no gap",
            &format!("{}: there are records among its positions, which it says were left empty", place(7)),
        ],
    );
    are(
        &found(kept("gaps").path(), gaps, |gaps| {
            gaps.insert(key(5), key(6)).unwrap();
            gaps.insert(key(6), key(6)).unwrap();
            gaps.insert(b"x", b"").unwrap();
            gaps.insert(key(20_010), key(20_011)).unwrap();
        }),
        &[
            &format!("{}: there are records from its first position on", place(5)),
            &format!("{}: it is no range of positions", place(6)),
            "N*\": the gap ends after the log",
            "streams.gaps at key \"x\": it is no range of positions",
        ],
    );
}
