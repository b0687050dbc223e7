//! Verifying finds what cannot be read, reports where, and reads the rest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::path::{Path, PathBuf};

use exesdb_storage::verify::Report;
use exesdb_storage::{Commit, Options, ReadError, Store};
use scratch::{KEYSPACE, OWNER, batch, delete, flip, incompressible, put, put_in};

const ENTRIES: u32 = 6_000;
const VALUE_BYTES: usize = 500;

/// A store with 3 MB in one keyspace and one entry in another, all flushed to tables.
fn filled() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let apply = |operations| {
        let commit =
            Commit { owner: OWNER.into(), batches: vec![batch(vec![], operations, 1)], ..Commit::default() };
        store.commit_blocking(commit).unwrap().remove(0).unwrap();
    };
    for part in (0..ENTRIES).collect::<Vec<_>>().chunks(1_000) {
        apply(
            part.iter().map(|n| put(&n.to_be_bytes(), &incompressible(u64::from(*n), VALUE_BYTES))).collect(),
        );
    }
    apply(vec![put_in("other", b"k", b"value"), put(b"gone", b"v")]);
    apply(vec![delete(b"gone")]);
    store.compact(&mut |_| {}).unwrap();
    (dir, store)
}

fn verify(store: &Store) -> Report {
    store.snapshot().verify(&mut |_| {}).unwrap()
}

/// The tables of a store, the largest first.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut tables = Vec::new();
    for keyspace in std::fs::read_dir(dir.join("data/keyspaces")).unwrap() {
        let Ok(files) = std::fs::read_dir(keyspace.unwrap().path().join("tables")) else { continue };
        tables.extend(files.map(|file| file.unwrap().path()));
    }
    tables.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    tables
}

#[test]
fn a_sound_store_has_no_findings() {
    let (dir, mut store) = filled();
    for reopened in [false, true] {
        let report = verify(&store);
        assert!(report.is_sound(), "{:?}", report.findings);
        let counts: Vec<_> = report
            .keyspaces
            .iter()
            .map(|known| (known.keyspace.as_str(), known.entries, known.bytes))
            .collect();
        let bytes = u64::from(ENTRIES) * (4 + VALUE_BYTES as u64);
        assert_eq!(counts, [(KEYSPACE, u64::from(ENTRIES), bytes), ("other", 1, 6)], "{reopened}");
        assert_eq!(report.entries(), u64::from(ENTRIES) + 1);
        assert_eq!(report.head, store.snapshot().head());
        drop(store);
        store = Store::open(dir.path(), Options::default()).unwrap();
    }
}

#[test]
fn progress_is_reported_during_verification() {
    let (_dir, store) = filled();
    let mut seen = Vec::new();
    let report = store.snapshot().verify(&mut |progress| seen.push(progress.entries)).unwrap();
    assert!(seen.is_sorted() && seen.len() > 3, "{seen:?}");
    assert_eq!(seen.last(), Some(&report.entries()));
}

#[test]
fn a_damaged_block_is_found_and_everything_around_it_is_read() {
    let (dir, store) = filled();
    let table = tables(dir.path()).remove(0);
    assert!(table.metadata().unwrap().len() > 2_500_000);
    drop(store);
    flip(&table, 1_000_000);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let report = verify(&store);
    assert_eq!(report.findings_total, 1, "{:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!((finding.owner.as_str(), finding.keyspace.as_str()), (OWNER, KEYSPACE));
    let last = u32::from_be_bytes(finding.key.clone().unwrap().try_into().unwrap());
    assert!((1_500..2_500).contains(&last), "the flip is at a third of the entries, not after {last}");
    let next = u32::from_be_bytes(finding.gap.clone().unwrap().before.unwrap().try_into().unwrap());
    assert!((last + 2..last + 100).contains(&next), "{last} to {next}");
    let named = format!("at fault: {}: its data is damaged: the block at byte ", table.display());
    assert!(finding.what.contains(&named) && !finding.what.contains("Error"), "{}", finding.what);
    let read = report.keyspaces[0].entries;
    assert!(read < u64::from(ENTRIES) && read > u64::from(ENTRIES) - 100, "{read} entries can be read");
    assert_eq!(report.keyspaces[1].entries, 1, "the other keyspace is read as well");
}

#[test]
fn everything_between_two_damaged_blocks_is_one_finding() {
    let (dir, store) = filled();
    let table = tables(dir.path()).remove(0);
    drop(store);
    flip(&table, 1_000_000);
    flip(&table, 2_000_000);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let report = verify(&store);
    assert_eq!(report.findings_total, 1, "{:?}", report.findings);
    let read = report.keyspaces[0].entries;
    assert!(
        (3_000..5_000).contains(&read),
        "{read} entries can be read, a third of all lies between the blocks"
    );
}

#[test]
fn no_flip_in_a_table_yields_wrong_data() {
    let (dir, store) = filled();
    let sound = {
        let snapshot = store.snapshot();
        let mut dump = Vec::new();
        snapshot.dump(&mut dump, &mut |_| {}).unwrap().keyspaces
    };
    drop(store);
    let table = tables(dir.path()).remove(0);
    let len = table.metadata().unwrap().len();
    let mut found = 0;
    // Across the whole file, including the index and filter at its end.
    let places = (0..12).map(|n| len / 12 * n + 77).chain((1..12).map(|n| len - n * 400));
    for at in places {
        flip(&table, at);
        if let Ok(store) = Store::open(dir.path(), Options::default()) {
            let report = verify(&store);
            let dump = store.snapshot().dump(&mut std::io::sink(), &mut |_| {});
            match &dump {
                Ok(summary) => assert_eq!(summary.keyspaces, sound, "byte {at} does no harm"),
                Err(_) => assert!(!report.is_sound(), "verifying finds what cannot be dumped ({at})"),
            }
            if !report.is_sound() {
                found += 1;
            }
        } else {
            found += 1;
        }
        flip(&table, at);
    }
    assert!(found >= 12, "{found} of 23 flips were found");
    assert!(verify(&Store::open(dir.path(), Options::default()).unwrap()).is_sound());
}

#[test]
fn a_closed_store_cannot_be_verified() {
    let (_dir, store) = filled();
    let snapshot = store.snapshot();
    drop(store);
    assert_eq!(snapshot.verify(&mut |_| {}), Err(ReadError::Closed));
}
