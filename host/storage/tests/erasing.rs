//! Erasing removes deleted data from all files of the store, while the store goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use exesdb_storage::{EraseError, Health, Operation, Options, Store};
use scratch::{KEYSPACE, OWNER, Scratch, batch, copy_folder, delete, put, put_event, put_in};
use xxhash_rust::xxh3::xxh3_64;

/// Incompressible bytes that occur in no file by chance.
fn marker(name: &str) -> Vec<u8> {
    (0..8u64)
        .flat_map(|word| xxh3_64(&[name.as_bytes(), &word.to_be_bytes()].concat()).to_be_bytes())
        .collect()
}

/// The files below a folder that contain these bytes.
fn containing(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(containing(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|file| file.windows(bytes.len()).any(|part| part == bytes)) {
            found.push(path);
        }
    }
    found
}

fn apply(store: &Scratch, operations: Vec<Operation>, events: u32) {
    store.apply(batch(vec![], operations, events)).unwrap();
}

fn extension(files: &[PathBuf]) -> Vec<&str> {
    files.iter().filter_map(|path| path.extension()?.to_str()).collect()
}

#[test]
fn deleted_and_overwritten_data_is_in_no_file() {
    let mut store = Scratch::new();
    let (deleted, overwritten, kept) = (marker("deleted"), marker("overwritten"), marker("kept"));
    apply(&store, vec![put(b"d", &deleted), put_in("other", b"o", &overwritten), put(b"k", &kept)], 0);
    // Now the data is in tables as well as in the journal.
    store.store().compact(&mut |_| {}).unwrap();
    apply(&store, vec![put_event(0, b"........happened")], 1);
    apply(&store, vec![delete(b"d"), put_in("other", b"o", b"........")], 0);
    let dir = store.dir.path().to_owned();
    for bytes in [&deleted, &overwritten] {
        let files = containing(&dir, bytes);
        assert!(
            files.len() >= 2 && extension(&files).contains(&"jnl"),
            "expected in tables and journal: {files:?}"
        );
    }
    // Compacting alone leaves the journal.
    store.store().compact(&mut |_| {}).unwrap();
    assert!(extension(&containing(&dir, &deleted)).contains(&"jnl"));
    let mut steps = Vec::new();
    store.store().erase(&mut |step| steps.push(step.keyspace.to_owned())).unwrap();
    assert_eq!(steps, [KEYSPACE, "other"]);
    for bytes in [&deleted, &overwritten] {
        assert_eq!(containing(&dir, bytes), [] as [PathBuf; 0]);
    }
    assert_eq!(store.store().snapshot().get(OWNER, KEYSPACE, b"k").unwrap().as_deref(), Some(&kept[..]));
    // The store goes on, can be opened again, and does not show the keyspace of the filler.
    let names = store.store().snapshot().keyspaces().unwrap();
    assert_eq!(names.iter().map(|(owner, _)| owner.as_str()).collect::<Vec<_>>(), [OWNER, OWNER]);
    apply(&store, vec![put_event(0, b"........happened")], 1);
    let head = store.store().snapshot().head();
    store.reopen();
    assert_eq!(store.store().snapshot().head(), head);
    assert!(store.store().snapshot().verify(&mut |_| {}).unwrap().is_sound());
    assert_eq!(store.store().snapshot().get(OWNER, KEYSPACE, b"k").unwrap().as_deref(), Some(&kept[..]));
    assert_eq!(containing(&dir, &deleted), [] as [PathBuf; 0]);
}

#[test]
fn an_erased_store_that_was_killed_keeps_everything_else() {
    let store = Scratch::new();
    apply(&store, vec![put(b"d", &marker("deleted")), put(b"k", b"kept")], 0);
    apply(&store, vec![delete(b"d")], 0);
    store.store().erase(&mut |_| {}).unwrap();
    apply(&store, vec![put(b"l", b"later")], 0);
    let head = store.store().snapshot().head();
    // The files as a killed process leaves them.
    let copy = tempfile::tempdir().unwrap();
    copy_folder(store.dir.path(), copy.path());
    let copied = Store::open(copy.path(), Options::default()).unwrap();
    assert_eq!(copied.snapshot().head(), head);
    for (key, value) in [(b"k", &b"kept"[..]), (b"l", b"later")] {
        assert_eq!(copied.snapshot().get(OWNER, KEYSPACE, key).unwrap().as_deref(), Some(value));
    }
    assert_eq!(copied.snapshot().get(OWNER, KEYSPACE, b"d").unwrap(), None);
}

#[test]
fn data_held_by_a_snapshot_is_reported_as_left() {
    let store = Scratch::with(Options { stall_limit_ms: 2_000, ..Options::default() });
    let secret = marker("held");
    apply(&store, vec![put(b"d", &secret)], 0);
    let held = store.store().snapshot();
    apply(&store, vec![delete(b"d")], 0);
    let refused = store.store().erase(&mut |_| {});
    assert_eq!(refused, Err(EraseError::Held { waited_ms: 2_000 }));
    assert_eq!(held.get(OWNER, KEYSPACE, b"d").unwrap().as_deref(), Some(&secret[..]));
    drop(held);
    store.store().erase(&mut |_| {}).unwrap();
    assert_eq!(containing(store.dir.path(), &secret), [] as [PathBuf; 0]);
}

#[test]
fn erasing_works_during_reads_and_writes() {
    let store = Scratch::new();
    let secret = marker("busy");
    apply(&store, vec![put(b"d", &secret)], 0);
    apply(&store, vec![delete(b"d")], 0);
    let (done, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                apply(&store, vec![put_event(0, b"........happened")], 1);
                committed.fetch_add(1, Ordering::AcqRel);
                let snapshot = store.store().snapshot();
                std::thread::sleep(Duration::from_millis(1));
                assert!(snapshot.next_position() <= committed.load(Ordering::Acquire));
            }
        });
        let erased = store.store().erase(&mut |_| {});
        done.store(true, Ordering::Release);
        erased.unwrap();
    });
    assert_eq!(containing(store.dir.path(), &secret), [] as [PathBuf; 0]);
    assert_eq!(store.store().health(), Health::Ok);
    assert_eq!(store.store().snapshot().next_position(), committed.into_inner());
    assert!(store.store().snapshot().verify(&mut |_| {}).unwrap().is_sound());
}

#[test]
fn an_erased_store_is_not_erased_again() {
    let store = Scratch::new();
    apply(&store, vec![put(b"k", b"v"), put_in("other", b"k", b"v")], 0);
    store.store().erase(&mut |_| {}).unwrap();
    let head = store.store().snapshot().head();
    store.store().erase(&mut |_| {}).unwrap();
    assert_eq!(store.store().snapshot().head(), head, "no filler was written");
}
