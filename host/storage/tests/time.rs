//! The time of a store: the highest that a commit came with, kept with the head, and never less than before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs::{self, OpenOptions};
use std::path::Path;

use exesdb_packed::{EventParts, push_event};
use exesdb_storage::{
    Batch, Commit, CommitError, LogHead, OpenError, Operation, Options, Stamp, Store, dump, limits,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use scratch::{Held, OWNER, Scratch, absent, batch, copy_folder, put, used};

const JOURNAL: &str = "data/0.jnl";
const MARK: &str = "durable.mark";

/// A batch that appends an event to the log.
fn logging() -> Batch {
    let no_tags: &[&str] = &[];
    let parts = EventParts {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "s",
        id: "i",
        event_type: "t",
        content_type: "c",
        tags: no_tags,
        data: b"data",
        metadata: b"",
    };
    let mut log = Vec::new();
    push_event(&mut log, 0, &parts).unwrap();
    Batch { log, ..Batch::default() }
}

fn plain() -> Batch {
    batch(vec![], vec![put(b"k", b"v")], 0)
}

fn at(time: u64, batch: Batch) -> Commit {
    Commit { owner: OWNER.into(), batches: vec![batch], time, ..Commit::default() }
}

#[track_caller]
fn commit(store: &Store, time: u64, batch: Batch) -> u64 {
    store.commit_blocking(at(time, batch)).unwrap().remove(0).unwrap();
    store.snapshot().time()
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Options::default()).unwrap()
}

/// The engine's database of a closed store, and the keyspace `meta`.
fn meta(dir: &Path) -> (Database, Keyspace) {
    let database = Database::builder(dir.join("data")).open().unwrap();
    let meta = database.keyspace("meta", KeyspaceCreateOptions::default).unwrap();
    (database, meta)
}

/// Bytes of the head, and the format, in a copy of the store.
fn on_disk(dir: &Path) -> (usize, u8) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let (_database, meta) = meta(copy.path());
    (meta.get("head").unwrap().unwrap().len(), meta.get("format").unwrap().unwrap()[3])
}

#[test]
fn the_highest_time_of_a_commit_is_kept() {
    let mut store = Scratch::new();
    assert_eq!(store.store().snapshot().time(), 0);
    assert_eq!(commit(store.store(), 100, logging()), 100);
    assert_eq!(commit(store.store(), 200, plain()), 200, "a commit that appends nothing counts");
    assert_eq!(commit(store.store(), 150, plain()), 200, "the clock went back");
    assert_eq!(commit(store.store(), 0, logging()), 200, "a commit without a time");
    for _ in 0..2 {
        store.reopen();
        assert_eq!(store.store().snapshot().time(), 200);
        assert_eq!(store.store().reader().head().time, 200);
    }
    // As a killed process leaves it.
    assert_eq!(commit(store.store(), 201, plain()), 201);
    let killed = tempfile::tempdir().unwrap();
    copy_folder(store.dir.path(), killed.path());
    let killed_store = open(killed.path());
    assert_eq!(killed_store.snapshot().time(), 201);
    assert_eq!(commit(&killed_store, 1, plain()), 201);
}

#[test]
fn only_batches_that_are_applied_bring_their_time() {
    let store = Scratch::new();
    commit(store.store(), 100, logging());
    commit(store.store(), 100, plain());
    let refused = at(200, batch(vec![absent(b"k")], vec![put(b"k", b"w")], 0));
    store.store().commit_blocking(refused).unwrap().remove(0).unwrap_err();
    assert_eq!(commit(store.store(), 200, Batch::default()), 100, "nothing was written");
    let two = Commit { owner: OWNER.into(), batches: vec![plain(), plain()], time: 300, ..Commit::default() };
    store.store().commit_blocking(two).unwrap();
    assert_eq!(store.store().snapshot().time(), 300);
}

#[test]
fn the_applied_state_has_its_time_before_it_is_durable() {
    let Held { go, store, reached } = Held::new(Options::default());
    let (applies, applied) = std::sync::mpsc::channel();
    let writer = store.store().writer();
    writer.commit_in_two_steps(at(100, logging()), move |_| applies.send(()).unwrap(), |_| ()).unwrap();
    applied.recv().unwrap();
    reached.recv().unwrap();
    let reader = store.store().reader();
    assert_eq!((reader.applied().time(), reader.snapshot().time()), (100, 0));
    go.send(Ok(())).unwrap();
}

#[test]
fn a_time_beyond_the_limit_is_refused() {
    let store = Scratch::new();
    let latest = limits::COMMIT_TIME_MAX;
    match store.store().commit_blocking(at(latest + 1, logging())) {
        Err(CommitError::Invalid(reason)) => assert!(reason.contains("its time is 9223372036854775808")),
        other => panic!("{other:?}"),
    }
    assert_eq!(commit(store.store(), latest, logging()), latest);
    restored(store.store());
}

#[test]
fn a_store_of_format_2_keeps_its_head_until_its_log_begins() {
    let mut store = Scratch::new();
    let event = Operation::Put {
        keyspace: "events".into(),
        key: vec![0; 8],
        value: vec![0; 9],
        key_stamps: vec![Stamp { at: 0, event: 0 }],
        value_stamps: vec![],
        chain: Some(Stamp { at: 1, event: 0 }),
    };
    assert_eq!(commit(store.store(), 100, batch(vec![], vec![event], 1)), 0);
    assert_eq!(commit(store.store(), 100, plain()), 0);
    assert_eq!(on_disk(store.dir.path()), (32, 2));
    store.reopen();
    assert_eq!(store.store().snapshot().time(), 0);
    assert_eq!(commit(store.store(), 90, logging()), 90);
    assert_eq!(on_disk(store.dir.path()), (40, 3));
    store.reopen();
    assert_eq!(commit(store.store(), 80, plain()), 90);
}

/// A store whose head was written before heads had times.
#[test]
fn a_short_head_of_a_store_with_a_log_has_the_time_0() {
    let mut store = Scratch::new();
    commit(store.store(), 0, logging());
    assert_eq!(on_disk(store.dir.path()), (32, 3), "without a time the bytes are the old ones");
    store.reopen();
    assert_eq!(store.store().snapshot().time(), 0);
    assert_eq!(commit(store.store(), 7, plain()), 7);
    assert_eq!(on_disk(store.dir.path()), (40, 3));
    store.reopen();
    assert_eq!(store.store().snapshot().time(), 7);
}

#[test]
fn a_head_of_another_length_is_damage() {
    let whole = tempfile::tempdir().unwrap();
    let store = open(whole.path());
    commit(&store, 7, logging());
    drop(store);
    for length in [0, 31, 33, 39, 41, 48] {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(whole.path(), dir.path());
        let (database, meta) = meta(dir.path());
        meta.insert("head", vec![0; length]).unwrap();
        database.persist(PersistMode::SyncAll).unwrap();
        drop((database, meta));
        match Store::open(dir.path(), Options::default()) {
            Err(error @ OpenError::Damaged { .. }) => {
                let error = error.to_string();
                assert!(error.contains(&format!("head has {length} bytes instead of 32 or 40")), "{error}");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was opened"),
        }
    }
}

/// Wherever a crash cuts off the record that begins the log, the store is one of format 2 with its old head, or one of
/// format 3 with its time.
#[test]
fn a_crash_while_the_log_begins_leaves_one_format_or_the_other() {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path());
    commit(&store, 10, plain());
    let before = store.snapshot().head();
    let [old, new] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    copy_folder(live.path(), old.path());
    commit(&store, 20, logging());
    let after = store.snapshot().head();
    copy_folder(live.path(), new.path());
    drop(store);
    // The crash came before the mark was written.
    fs::copy(old.path().join(MARK), new.path().join(MARK)).unwrap();
    let end = |dir: &Path| used(&fs::read(dir.join(JOURNAL)).unwrap()) as u64;
    let (begin, end) = (end(old.path()), end(new.path()));
    assert!(end > begin + 200, "the record is between {begin} and {end}");
    let mut found = Vec::new();
    for cut in (begin..end).step_by(11).chain([end - 1, end]) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(new.path(), dir.path());
        OpenOptions::new().write(true).open(dir.path().join(JOURNAL)).unwrap().set_len(cut).unwrap();
        let store = open(dir.path());
        let head = store.snapshot().head();
        let expected = if cut == end { after } else { before };
        assert_eq!(head, expected, "cut off at byte {cut} of {begin} to {end}");
        assert_eq!(head.time, if cut == end { 20 } else { 0 });
        drop(store);
        let format = if cut == end { (40, 3) } else { (32, 2) };
        assert_eq!(on_disk(dir.path()), format, "{cut}");
        // The log begins, or goes on, and the time with it.
        let store = open(dir.path());
        assert_eq!(commit(&store, 15, logging()), head.time.max(15));
        assert_eq!(store.snapshot().head().sequence, head.sequence + 1);
        drop(store);
        assert_eq!(open(dir.path()).snapshot().time(), head.time.max(15));
        found.push(format);
    }
    assert!(found.contains(&(40, 3)) && found.contains(&(32, 2)));
}

/// Restores a dump of the store. Returns the version of the dump.
#[track_caller]
fn restored(store: &Store) -> u8 {
    let mut bytes = Vec::new();
    let summary = store.snapshot().dump(&mut bytes, &mut |_| ()).unwrap();
    assert_eq!(summary.head, store.snapshot().head());
    assert_eq!(dump::inspect(&mut &bytes[..], &mut |_| ()).unwrap(), summary);
    let dir = tempfile::tempdir().unwrap();
    dump::restore(dir.path(), &mut &bytes[..], &mut |_| ()).unwrap();
    for _ in 0..2 {
        let copy = open(dir.path());
        assert_eq!(copy.snapshot().time(), store.snapshot().time());
        assert_eq!(copy.snapshot().head(), summary.head);
    }
    // The time goes on from there.
    let copy = open(dir.path());
    let later = summary.head.time.max(1);
    assert_eq!(commit(&copy, 1, logging()), later);
    bytes[11]
}

#[test]
fn a_backup_has_the_time_of_its_store() {
    let store = Scratch::new();
    commit(store.store(), 100, plain());
    assert_eq!(restored(store.store()), 2, "the software of format 2 reads it");
    commit(store.store(), 0, logging());
    assert_eq!(restored(store.store()), 3);
    commit(store.store(), 100, plain());
    assert_eq!(restored(store.store()), 3);
}

#[test]
fn a_new_history_keeps_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 100, logging());
    let (histories, head) = (store.snapshot().histories().clone(), store.snapshot().head());
    drop(store);
    exesdb_storage::begin_history(dir.path(), &histories, 1).unwrap();
    let expected = LogHead { sequence: head.sequence + 1, ..head };
    assert_eq!(open(dir.path()).snapshot().head(), expected);
}
