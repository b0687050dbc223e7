//! A store in a temporary folder, and shorthands for commits and reads.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use exesdb_storage::{
    Batch, BatchError, Commit, Committed, Direction, FailPoint, Guard, Operation, Options, Scan, Snapshot,
    Stamp, Store,
};

pub(crate) const OWNER: &str = "streams";
pub(crate) const KEYSPACE: &str = "all";

/// A store that can be closed and opened again.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    store: Option<Store>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options).unwrap();
        Self { dir, store: Some(store) }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.dir.path(), Options::default()).unwrap());
    }

    pub(crate) fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Committed, BatchError>> {
        self.store().commit_blocking(Commit { owner: OWNER.into(), batches, ..Commit::default() }).unwrap()
    }

    /// Commits one batch and returns its first position.
    pub(crate) fn apply(&self, batch: Batch) -> Result<u64, BatchError> {
        self.commit(vec![batch]).remove(0).map(|committed| committed.first_position)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store().snapshot().get(OWNER, KEYSPACE, key).unwrap().map(|value| value.to_vec())
    }
}

/// A store whose committer reports each fsync, and waits for its outcome.
pub(crate) struct Held {
    /// Takes the outcome of the held fsync. Once it is dropped, no fsync is held; it is dropped before the store, whose end
    /// waits for a held one.
    pub(crate) go: Sender<io::Result<()>>,
    pub(crate) store: Scratch,
    /// Gives one for each fsync that is held.
    pub(crate) reached: Receiver<()>,
}

impl Held {
    pub(crate) fn new(options: Options) -> Self {
        let (reaches, reached) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        let goes = Mutex::new(goes);
        let hook = move |at| {
            if at != FailPoint::BeforeSync {
                return Ok(());
            }
            // The test may have ended and dropped the channels.
            let _ = reaches.send(());
            goes.lock().unwrap().recv().unwrap_or(Ok(()))
        };
        let options = Options { fail_points: Some(Arc::new(hook)), ..options };
        Self { go, store: Scratch::with(options), reached }
    }
}

pub(crate) fn put(key: &[u8], value: &[u8]) -> Operation {
    put_in(KEYSPACE, key, value)
}

pub(crate) fn put_in(keyspace: &str, key: &[u8], value: &[u8]) -> Operation {
    Operation::Put {
        keyspace: keyspace.into(),
        key: key.into(),
        value: value.into(),
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    }
}

/// A put whose whole key is the position of an event of the batch.
pub(crate) fn put_event(event: u32, value: &[u8]) -> Operation {
    Operation::Put {
        keyspace: KEYSPACE.into(),
        key: vec![0; 8],
        value: value.into(),
        key_stamps: vec![Stamp { at: 0, event }],
        value_stamps: vec![],
        chain: None,
    }
}

pub(crate) fn delete(key: &[u8]) -> Operation {
    Operation::Delete { keyspace: KEYSPACE.into(), key: key.into() }
}

pub(crate) fn absent(key: &[u8]) -> Guard {
    Guard::Absent { keyspace: KEYSPACE.into(), key: key.into() }
}

pub(crate) fn equals(key: &[u8], value: &[u8]) -> Guard {
    Guard::Equals { keyspace: KEYSPACE.into(), key: key.into(), value: value.into() }
}

pub(crate) fn range_empty(start: &[u8], end: Option<&[u8]>) -> Guard {
    Guard::RangeEmpty { keyspace: KEYSPACE.into(), start: start.into(), end: end.map(<[u8]>::to_vec) }
}

pub(crate) fn batch(guards: Vec<Guard>, operations: Vec<Operation>, events: u32) -> Batch {
    Batch { guards, operations, events, ..Batch::default() }
}

/// All entries of a keyspace, read page by page.
pub(crate) fn all(snapshot: &Snapshot, keyspace: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    all_of(snapshot, OWNER, keyspace)
}

/// As [`all`], of any owner.
pub(crate) fn all_of(snapshot: &Snapshot, owner: &str, keyspace: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = Scan {
        keyspace: keyspace.into(),
        start: vec![],
        end: None,
        direction: Direction::Forward,
        limit: usize::MAX,
        max_bytes: usize::MAX,
    };
    let mut entries = Vec::new();
    loop {
        let page = snapshot.scan(owner, &scan).unwrap();
        entries.extend(page.entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        if !page.more {
            return entries;
        }
        scan.start = entries.last().unwrap().0.clone();
        scan.start.push(0);
    }
}

/// Incompressible bytes, different for each seed.
pub(crate) fn incompressible(seed: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    exesdb_test_support::Rng::with_seed(seed).fill(&mut value);
    value
}

/// Copies a folder with all that it contains, but for files that an open store removes meanwhile. Files become sparse after
/// their last byte that is not zero, as journals are.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copied);
        } else {
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                bytes => bytes.unwrap(),
            };
            let file = File::create(copied).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            file.write_all_at(&bytes[..used(&bytes)], 0).unwrap();
        }
    }
}

/// Number of bytes up to the last one that is not zero.
pub(crate) fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Flips a bit of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}
