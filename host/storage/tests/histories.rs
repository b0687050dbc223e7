//! The list of histories begins with the store, is kept, and grows by one with each restore.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::path::Path;

use exesdb_storage::dump::{inspect, restore};
use exesdb_storage::{Commit, Histories, Options, Store, begin_history};
use scratch::{OWNER, Scratch, batch, copy_folder, put_event};

fn append(store: &Store, events: u32) {
    let operations = (0..events).map(|event| put_event(event, b"........happened")).collect();
    let commit =
        Commit { owner: OWNER.into(), batches: vec![batch(vec![], operations, events)], ..Commit::default() };
    store.commit_blocking(commit).unwrap().remove(0).unwrap();
}

fn dumped(store: &Store) -> Vec<u8> {
    let mut dump = Vec::new();
    store.snapshot().dump(&mut dump, &mut |_| {}).unwrap();
    dump
}

fn opened(dir: &Path) -> (Store, Histories) {
    let store = Store::open(dir, Options::default()).unwrap();
    let histories = store.reader().histories().clone();
    (store, histories)
}

#[test]
fn a_new_store_has_one_history_and_keeps_it() {
    let mut store = Scratch::new();
    let first = store.store().reader().histories().clone();
    assert_eq!((first.all().len(), first.current().first_position), (1, 0));
    append(store.store(), 3);
    store.reopen();
    assert_eq!(*store.store().reader().histories(), first);
    assert_ne!(*Scratch::new().store().reader().histories(), first, "another store has another history");
}

#[test]
fn a_restore_adds_a_history_to_those_of_the_backup() {
    let store = Scratch::new();
    append(store.store(), 3);
    let dump = dumped(store.store());
    let first = store.store().reader().histories().clone();
    assert_eq!(inspect(&mut &dump[..], &mut |_| {}).unwrap().histories, Some(first.clone()));
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    restore(&copy, &mut &dump[..], &mut |_| {}).unwrap();
    let (again, second) = opened(&copy);
    assert_eq!(second.all()[..1], first.all()[..]);
    assert_eq!((second.all().len(), second.current().first_position), (2, 3));
    append(&again, 2);
    let dump = dumped(&again);
    let third = dir.path().join("third");
    restore(&third, &mut &dump[..], &mut |_| {}).unwrap();
    let (_third, histories) = opened(&third);
    assert_eq!(histories.all()[..2], second.all()[..]);
    assert_eq!((histories.all().len(), histories.current().first_position), (3, 5));
}

#[test]
fn a_partial_copy_continues_the_histories_of_the_whole_store() {
    let store = Scratch::new();
    append(store.store(), 5);
    let whole = store.store().reader().histories().clone();
    let dir = tempfile::tempdir().unwrap();
    append(&opened(dir.path()).0, 4);
    let written = begin_history(dir.path(), &whole, 3).unwrap();
    let (copy, histories) = opened(dir.path());
    assert_eq!(histories, written);
    assert_eq!(histories.all()[..1], whole.all()[..], "its own first history is replaced");
    assert_eq!((histories.all().len(), histories.current().first_position), (2, 3));
    append(&copy, 1);
    assert_eq!(copy.reader().next_position(), 5);
}

#[test]
fn opening_a_store_without_histories_writes_its_first() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/flow/format-2");
    for name in ["closed", "killed"] {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&kept.join(name), dir.path());
        create_empty_folders(dir.path());
        let (store, first) = opened(dir.path());
        assert_eq!((first.all().len(), first.current().first_position), (1, 0), "{name}");
        let head = store.snapshot().head();
        drop(store);
        let (store, again) = opened(dir.path());
        assert_eq!(again, first, "{name}");
        assert_eq!(store.snapshot().head(), head, "{name}");
    }
    let backup = std::fs::read(kept.join("main.backup")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(restore(dir.path(), &mut &backup[..], &mut |_| {}).unwrap().histories, None);
    let (_store, first) = opened(dir.path());
    assert_eq!((first.all().len(), first.current().first_position), (1, 0));
}

/// Creates the folders without files, which version control does not keep.
fn create_empty_folders(dir: &Path) {
    if dir.join("current").exists() {
        std::fs::create_dir_all(dir.join("tables")).unwrap();
    }
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            create_empty_folders(&path);
        }
    }
}
