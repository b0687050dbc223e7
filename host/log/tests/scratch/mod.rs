//! Logs to try things on.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses some of it, and fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use exesdb_log::disk::{Folder, FolderFile, MemoryDisk};
use exesdb_log::{FailPoint, Log, LogError, Noted, OpenError, Options, Recovery};

/// Bytes of the segments in most tests: the fewest that there may be.
pub(crate) const SEGMENT: u64 = exesdb_log::limits::SEGMENT_BYTES_MIN;

/// Small segments, so that many are begun and used again.
pub(crate) fn small() -> Options {
    Options {
        segment_bytes: SEGMENT,
        node_bytes: 12 * SEGMENT,
        group_bytes: 10 * SEGMENT,
        copied_bytes: SEGMENT / 32,
        cache_bytes: 8 * 1024,
        ..Options::default()
    }
}

pub(crate) fn open(disk: &MemoryDisk, options: Options) -> Result<(Log, Recovery), OpenError> {
    Log::open_in(Arc::new(disk.folder()), options)
}

pub(crate) fn noted(index: u64) -> Noted {
    Noted { index, note: Bytes::from(format!("term of {index}")) }
}

/// What a callback is called with.
pub(crate) type Outcome = Receiver<Result<(), LogError>>;

/// A callback, and what it was called with.
pub(crate) fn outcome() -> (impl FnOnce(Result<(), LogError>) + Send + 'static, Outcome) {
    let (sender, receiver) = channel();
    (move |outcome| sender.send(outcome).unwrap_or_default(), receiver)
}

/// Appends entries and waits until they are synced.
pub(crate) fn append(log: &Log, group: u64, first: u64, entries: &[Bytes]) {
    let (callback, outcome) = outcome();
    log.append(group, first, entries, callback).unwrap();
    outcome.recv().unwrap().unwrap();
}

pub(crate) fn set_state(log: &Log, group: u64, state: &'static [u8]) {
    let (callback, outcome) = outcome();
    log.set_state(group, Bytes::from_static(state), callback).unwrap();
    outcome.recv().unwrap().unwrap();
}

pub(crate) fn purge(log: &Log, group: u64, index: u64) {
    let (callback, outcome) = outcome();
    log.purge(group, noted(index), callback).unwrap();
    outcome.recv().unwrap().unwrap();
}

/// All that a log has: for each group its state, what is purged and committed, the next index, and the entries. An error
/// says which entry is not served.
pub(crate) type Contents = BTreeMap<u64, GroupContents>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupContents {
    pub(crate) state: Option<Bytes>,
    pub(crate) purged: Option<Noted>,
    pub(crate) committed: Option<Noted>,
    pub(crate) next: Option<u64>,
    pub(crate) entries: BTreeMap<u64, Bytes>,
}

/// What a group has, but for the entries.
pub(crate) fn info(log: &Log, group: u64) -> GroupContents {
    let info = log.group(group).unwrap();
    GroupContents {
        state: info.state,
        purged: info.purged,
        committed: info.committed,
        next: info.next,
        entries: BTreeMap::new(),
    }
}

pub(crate) fn group_contents(log: &Log, group: u64, bytes_max: usize) -> Result<GroupContents, String> {
    let mut contents = info(log, group);
    let found = log.group(group).unwrap();
    let (Some(first), Some(next)) = (found.first, found.next) else { return Ok(contents) };
    let mut at = first;
    while at < next {
        let page = log.read(group, at..u64::MAX, bytes_max).map_err(|error| error.to_string())?;
        assert!(!page.is_empty(), "entry {at} of group {group} up to {next} is missing");
        for entry in page {
            assert_eq!(entry.index, at);
            contents.entries.insert(at, entry.data);
            at += 1;
        }
    }
    assert_eq!(at, next);
    Ok(contents)
}

pub(crate) fn contents(log: &Log) -> Contents {
    log.groups().into_iter().map(|group| (group, group_contents(log, group, 5_000).unwrap())).collect()
}

/// A writer that waits at a point. `reached` says that it is there, and it goes on when `go` is dropped.
pub(crate) struct Held {
    pub(crate) reached: Receiver<()>,
    pub(crate) go: Sender<()>,
}

/// Has the writer wait when it passes a point for the `nth` time, from 1.
pub(crate) fn hold_at(point: FailPoint, nth: u64, options: Options) -> (Options, Held) {
    let (reached_sender, reached) = channel();
    let (go, gate) = channel::<()>();
    let (gate, passes) = (Mutex::new(gate), AtomicU64::new(0));
    let hook = move |at| {
        if at == point && passes.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            reached_sender.send(()).ok();
            gate.lock().unwrap().recv().ok();
        }
        Ok(())
    };
    (Options { fail_points: Some(Arc::new(hook)), ..options }, Held { reached, go })
}

/// A folder that counts the syncs of segments.
pub(crate) struct Counting {
    pub(crate) folder: Arc<dyn Folder>,
    pub(crate) syncs: Arc<AtomicU64>,
}

struct CountingFile {
    file: Arc<dyn FolderFile>,
    syncs: Arc<AtomicU64>,
}

impl Counting {
    fn file(&self, name: &str, file: Arc<dyn FolderFile>) -> Arc<dyn FolderFile> {
        if name.starts_with("log.mark") {
            return file;
        }
        Arc::new(CountingFile { file, syncs: Arc::clone(&self.syncs) })
    }
}

impl Folder for Counting {
    fn describe(&self) -> String {
        self.folder.describe()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FolderFile>>> {
        Ok(self.folder.open(name)?.map(|file| self.file(name, file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        Ok(self.file(name, self.folder.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.folder.lock(name)
    }
}

impl FolderFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync()
    }

    fn evict(&self) {
        self.file.evict();
    }
}
