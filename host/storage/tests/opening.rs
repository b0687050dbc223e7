//! Opening, locking and closing a store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use exesdb_storage::{Commit, CommitError, FORMAT_VERSION, OpenError, Options, ReadError, Store};
use scratch::{KEYSPACE, OWNER, Scratch, batch, put, put_event};

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, Options::default())
}

/// Changes the keyspace `meta` with the engine alone.
fn tamper(dir: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let database = fjall::Database::builder(dir.join("data")).open().unwrap();
    change(&database.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap());
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[test]
fn a_missing_folder_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    drop(open(&nested).unwrap());
    assert!(nested.join("data").is_dir());
    assert!(!nested.join("data.new").exists());
}

#[test]
fn a_folder_cannot_be_opened_twice() {
    let store = Scratch::new();
    match open(store.dir.path()) {
        Err(OpenError::Locked { path }) => assert_eq!(path, store.dir.path()),
        other => panic!("{:?}", other.err()),
    }
    store.apply(batch(vec![], vec![put(b"k", b"v")], 0)).unwrap();
}

#[test]
fn dropping_a_store_closes_it_although_handles_are_held() {
    let mut store = Scratch::new();
    for round in 0..5u8 {
        store.apply(batch(vec![], vec![put(b"k", &[round])], 1)).unwrap();
        let (snapshot, writer) = (store.store().snapshot(), store.store().writer());
        // Fails if the lock is still held.
        store.reopen();
        assert_eq!(snapshot.get(OWNER, KEYSPACE, b"k"), Err(ReadError::Closed));
        let late = Commit { owner: OWNER.into(), batches: vec![], ..Commit::default() };
        assert_eq!(writer.commit_blocking(late), Err(CommitError::Closed));
        assert_eq!(store.get(b"k").as_deref(), Some(&[round][..]));
    }
}

#[test]
fn closing_waits_for_pages_being_read() {
    let mut store = Scratch::new();
    let rows = (0..2_000u32).map(|n| put(&n.to_be_bytes(), &[7; 100])).collect();
    store.apply(batch(vec![], rows, 0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let snapshot = store.store().snapshot();
            scope.spawn(move || {
                let whole = exesdb_storage::Scan {
                    keyspace: KEYSPACE.into(),
                    start: vec![],
                    end: None,
                    direction: exesdb_storage::Direction::Forward,
                    limit: usize::MAX,
                    max_bytes: usize::MAX,
                };
                loop {
                    match snapshot.scan(OWNER, &whole) {
                        Ok(page) => assert_eq!(page.entries.len(), 2_000),
                        Err(error) => return assert_eq!(error, ReadError::Closed),
                    }
                }
            });
        }
        store.reopen();
    });
}

#[test]
fn commits_queued_before_the_drop_are_written_and_answered() {
    let mut store = Scratch::new();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..100 {
        let sender = sender.clone();
        let commit = Commit {
            owner: OWNER.into(),
            batches: vec![batch(vec![], vec![put_event(0, b"e")], 1)],
            ..Commit::default()
        };
        store.store().commit(commit, move |outcomes| sender.send(outcomes).unwrap()).unwrap();
    }
    drop(sender);
    store.reopen();
    let outcomes: Vec<_> = receiver.iter().collect();
    assert_eq!(outcomes.len(), 100);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(store.store().snapshot().next_position(), 100);
}

#[test]
fn a_store_may_be_dropped_from_within_a_reply() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let store = Arc::new(Mutex::new(Some(open(dir.path()).unwrap())));
    let last = Arc::clone(&store);
    let commit = Commit {
        owner: OWNER.into(),
        batches: vec![batch(vec![], vec![put(b"k", b"v")], 0)],
        ..Commit::default()
    };
    let writer = store.lock().unwrap().as_ref().unwrap().writer();
    writer
        .commit(commit, move |_| {
            last.lock().unwrap().take();
            sender.send(()).unwrap();
        })
        .unwrap();
    receiver.recv().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(error) = open(dir.path()) {
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(std::time::Instant::now() < deadline, "the store never closes");
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let half: PathBuf = dir.path().join("data.new");
    std::fs::create_dir_all(half.join("keyspaces")).unwrap();
    std::fs::write(half.join("0.jnl"), b"").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!half.exists());
}

#[test]
fn an_unknown_format_is_refused_and_left_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    tamper(dir.path(), |meta| meta.insert("format", (FORMAT_VERSION + 1).to_be_bytes()).unwrap());
    for _ in 0..2 {
        match open(dir.path()) {
            Err(OpenError::UnknownFormat { found, .. }) => assert_eq!(found, FORMAT_VERSION + 1),
            other => panic!("{:?}", other.err()),
        }
    }
    tamper(dir.path(), |meta| meta.insert("format", FORMAT_VERSION.to_be_bytes()).unwrap());
    open(dir.path()).unwrap();
}

#[test]
fn foreign_and_missing_entries_are_named() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("meta has no format", |dir| tamper(dir, |meta| meta.remove("format").unwrap())),
        ("format has 3 bytes", |dir| tamper(dir, |meta| meta.insert("format", b"abc").unwrap())),
        ("meta has no head", |dir| tamper(dir, |meta| meta.remove("head").unwrap())),
        ("head has 0 bytes", |dir| tamper(dir, |meta| meta.insert("head", b"").unwrap())),
        ("belongs to nobody", |dir| {
            let database = fjall::Database::builder(dir.join("data")).open().unwrap();
            database.keyspace("Stranger", fjall::KeyspaceCreateOptions::default).unwrap();
        }),
        ("version is missing", |dir| std::fs::remove_file(dir.join("data/version")).unwrap()),
    ];
    for (expected, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        damage(dir.path());
        let error = open(dir.path()).err().expect("a damaged store does not open");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = [
        Options { max_journal_bytes: 1, ..Options::default() },
        Options { memtable_bytes: 0, ..Options::default() },
        Options { worker_threads: 0, ..Options::default() },
        Options { commit_queue: 0, ..Options::default() },
        Options { group_commits: 0, ..Options::default() },
        Options { group_bytes: usize::MAX, ..Options::default() },
        Options { stall_limit_ms: 0, ..Options::default() },
    ];
    for options in hostile {
        assert!(matches!(Store::open(dir.path(), options), Err(OpenError::Options { .. })));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was created");
}
