//! Verification finds every kind of damage, reports it, and repairs what the snapshots determine.

#[path = "driver/mod.rs"]
mod driver;

use driver::{record, verify};
use exesdb_sdk::maintenance::Finding;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::snapshots::{SnapshotData, SnapshotId};
use exesdb_sdk::types::Error;
use exesdb_snapshots::layout::{INFOS, SNAPSHOTS, SOURCES, key_by_source, key_by_stream};
use exesdb_snapshots::maintenance::{STEP_ENTRIES, scavenge};

fn id(stream_id: &str, source_id: &str, version: u64) -> SnapshotId {
    SnapshotId { stream_id: stream_id.into(), source_id: source_id.into(), version }
}

fn record_sized(store: &MemoryStore, place: &SnapshotId, size: usize) {
    let data = SnapshotData { content_type: "c/t".into(), data: vec![7; size], metadata: Vec::new() };
    record(store, 5, place, &data).expect("it is valid");
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for place in [id("a", "", 1), id("a", "s", 1), id("a", "s", 2), id("b", "s", 1), id("b", "t", u64::MAX)] {
        record_sized(&store, &place, 3);
    }
    store
}

/// Runs all steps. Returns the number of examined entries, the named findings, and the number of all findings.
fn walk(store: &MemoryStore, repair: bool) -> (u64, Vec<Finding>, u64) {
    let (mut examined, mut findings, mut found) = (0, Vec::new(), 0);
    let mut from = None;
    for _ in 0..1_000 {
        let step = verify(store, from.as_ref(), repair).expect("the storage works");
        examined += step.examined;
        findings.extend(step.findings);
        found += step.found;
        match step.next {
            Some(next) => {
                assert!(next.len() <= 4_096 && from.as_ref() != Some(&next), "{next:?}");
                from = Some(next);
            }
            None => return (examined, findings, found),
        }
    }
    panic!("the walk does not end");
}

fn everything(store: &MemoryStore) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    [SNAPSHOTS, INFOS, SOURCES].map(|keyspace| store.entries(keyspace)).into()
}

/// Checks that there is one finding with these words, that nothing changes without `repair`, and that `repair` restores
/// everything.
fn assert_found_and_repaired(damage: impl Fn(&MemoryStore), keyspace: &str, words: &str) {
    let store = store();
    let whole = everything(&store);
    damage(&store);
    let damaged = everything(&store);
    let (_, findings, found) = walk(&store, false);
    assert_eq!((findings.len(), found), (1, 1), "{findings:?}");
    assert!(findings[0].place.contains(keyspace) && findings[0].problem.contains(words), "{findings:?}");
    assert!(!findings[0].is_repaired);
    assert_eq!(everything(&store), damaged, "{words}");
    let (_, findings, _) = walk(&store, true);
    assert!(findings.len() == 1 && findings[0].is_repaired, "{findings:?}");
    assert_eq!(everything(&store), whole, "{words}");
    assert_eq!(walk(&store, false).2, 0);
}

#[test]
fn an_undamaged_store_has_no_findings() {
    assert_eq!(walk(&MemoryStore::new(), true), (0, Vec::new(), 0));
    let store = store();
    let whole = everything(&store);
    let (examined, findings, found) = walk(&store, true);
    assert_eq!((examined, findings, found), (10, Vec::new(), 0));
    assert_eq!(everything(&store), whole);
}

#[test]
fn missing_and_wrong_derived_entries_are_repaired() {
    let place = id("a", "s", 2);
    let (by_stream, by_source) = (key_by_stream(&place), key_by_source(&place));
    assert_found_and_repaired(|store| store.remove(INFOS, &by_stream), "`infos`", "missing");
    assert_found_and_repaired(|store| store.remove(SOURCES, &by_source), "`sources`", "missing");
    assert_found_and_repaired(|store| store.overwrite(INFOS, &by_stream, b"\x09"), "`infos`", "does not say");
    assert_found_and_repaired(|store| store.overwrite(SOURCES, &by_source, b""), "`sources`", "does not say");
    let last = key_by_stream(&id("b", "t", u64::MAX));
    assert_found_and_repaired(|store| store.remove(INFOS, &last), "`infos`", "missing");
}

#[test]
fn orphaned_derived_entries_are_removed() {
    let value = &store().entries(INFOS)[0].1.clone();
    for place in [id("a", "s", 3), id("", "", 0), id("z", "z", 0)] {
        let by_stream = key_by_stream(&place);
        assert_found_and_repaired(
            |store| store.overwrite(INFOS, &by_stream, value),
            "`infos`",
            "no such snapshot",
        );
        let by_source = key_by_source(&place);
        assert_found_and_repaired(
            |store| store.overwrite(SOURCES, &by_source, value),
            "`sources`",
            "no such snapshot",
        );
    }
    assert_found_and_repaired(
        |store| store.overwrite(INFOS, &[0xff; 4_096], value),
        "`infos`",
        "no such snapshot",
    );
    assert_found_and_repaired(
        |store| store.overwrite(SOURCES, b"odd", value),
        "`sources`",
        "lists by source fail",
    );
}

#[test]
fn orphaned_entries_in_both_keyspaces_are_removed() {
    let store = store();
    store.remove(SNAPSHOTS, &key_by_stream(&id("a", "s", 2)));
    let (_, findings, _) = walk(&store, true);
    assert!(findings.len() == 2 && findings.iter().all(|finding| finding.is_repaired), "{findings:?}");
    assert_eq!(walk(&store, false).2, 0);
    assert_eq!(everything(&store).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn damaged_snapshots_are_reported_only() {
    let store = store();
    let place = key_by_stream(&id("a", "s", 2));
    store.overwrite(SNAPSHOTS, &place, b"\x09");
    store.overwrite(SNAPSHOTS, b"odd", b"");
    let damaged = everything(&store);
    for repair in [false, true] {
        let (_, findings, found) = walk(&store, repair);
        assert_eq!(found, 2, "{findings:?}");
        assert!(
            findings[0].problem.contains("format is 9") && findings[1].place.contains("odd"),
            "{findings:?}"
        );
        assert!(findings.iter().all(|finding| !finding.is_repaired));
        assert_eq!(everything(&store), damaged);
    }
}

#[test]
fn a_run_of_many_steps_examines_every_entry_once() {
    let store = MemoryStore::new();
    let many = u64::from(STEP_ENTRIES) + 500;
    for version in 0..many {
        record_sized(&store, &id("a", "s", version), 1);
    }
    // Only a few of these fit into a step.
    for version in 0..5 {
        record_sized(&store, &id("b", "s", version), 900_000);
    }
    assert_eq!(walk(&store, false).0, 2 * (many + 5));
    let whole = everything(&store);
    for (key, _) in store.entries(INFOS) {
        store.remove(INFOS, &key);
    }
    let (_, findings, found) = walk(&store, true);
    assert_eq!(found, many + 5);
    assert!(findings.len() < 1_000, "{}", findings.len());
    assert_eq!(everything(&store), whole);
    for (key, _) in store.entries(SNAPSHOTS) {
        store.remove(SNAPSHOTS, &key);
    }
    assert_eq!(walk(&store, true).2, 2 * (many + 5));
    assert_eq!(walk(&store, false), (0, Vec::new(), 0));
}

#[test]
fn keys_too_long_for_a_cursor_do_not_stop_a_run() {
    let store = store();
    for last in 0..=255 {
        let mut key = vec![0xfe; 4_096];
        key[0] = last;
        store.overwrite(SOURCES, &key, b"");
        store.overwrite(INFOS, &key, &[0; 1 << 15]);
    }
    walk(&store, true);
    walk(&store, true);
    assert_eq!(walk(&store, true).2, 0);
}

#[test]
fn invalid_cursors_are_refused() {
    let store = store();
    for cursor in [vec![], vec![0], vec![3], vec![0xff; 4_096], vec![1; 4_096]] {
        let outcome = verify(&store, Some(&cursor), true);
        assert!(
            matches!(&outcome, Err(Error::Invalid(invalid)) if invalid.argument == "from"),
            "{outcome:?}"
        );
    }
    assert!(matches!(scavenge(Some(&vec![1])), Err(Error::Invalid(_))));
    assert_eq!(scavenge(None).unwrap().next, None);
}
