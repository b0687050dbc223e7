//! Replicas in files and in memory behind one interface, which lose power when a test wants it.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exesdb_storage::{
    Direction, Engine, Entry, Fjall, Genesis, Histories, LogId, Memory, Options, Outcomes, Persisted,
    Replica, ReplicaError, Scan, Snapshot,
};
use exesdb_test_support::Rng;

/// The entry that the groups of the tests begin with.
pub(crate) const GENESIS: LogId = LogId { term: 1, leader: 1, index: 1 };

pub(crate) fn genesis() -> Genesis {
    Genesis { id: GENESIS, membership: b"members".to_vec() }
}

/// A replica that can be closed, lose power and be opened again.
pub(crate) trait Node {
    type Engine: Engine;

    /// The first replica of a group with these histories.
    fn create(histories: &Histories) -> Self;

    fn replica(&mut self) -> &mut Replica<Self::Engine>;

    /// Opens the replica anew.
    fn reopen(&mut self, options: Options);

    /// Loses what is not durable, but for a part of it that chance keeps; and opens the replica anew.
    fn lose_power(&mut self, random: &mut Rng);

    /// Makes the replica durable.
    fn persist(&mut self) -> Result<Persisted, ReplicaError>;

    fn apply(&mut self, entry: &Entry) -> Option<Vec<Outcomes>> {
        self.replica().apply(entry.clone()).unwrap()
    }

    fn applied(&mut self) -> u64 {
        self.replica().state().applied.id.index
    }

    fn snapshot(&mut self) -> Snapshot<Self::Engine> {
        self.replica().reader().snapshot()
    }
}

/// A replica in memory.
pub(crate) struct InMemory {
    pub(crate) memory: Memory,
    replica: Option<Replica<Memory>>,
}

impl InMemory {
    pub(crate) fn of(memory: Memory, options: Options) -> Self {
        let replica = Replica::open_in(memory.clone(), options).unwrap();
        Self { memory, replica: Some(replica) }
    }

    /// Loses what is not durable, but for the first `kept` records of it.
    pub(crate) fn lose_all_but(&mut self, kept: u64) {
        self.replica = None;
        self.memory.lose_power(kept);
        *self = Self::of(self.memory.clone(), Options::default());
    }
}

impl Node for InMemory {
    type Engine = Memory;

    fn create(histories: &Histories) -> Self {
        let memory = Memory::new();
        drop(Replica::create_in(memory.clone(), Options::default(), &genesis(), histories).unwrap());
        Self::of(memory, Options::default())
    }

    fn replica(&mut self) -> &mut Replica<Memory> {
        self.replica.as_mut().unwrap()
    }

    fn reopen(&mut self, options: Options) {
        self.replica = None;
        *self = Self::of(self.memory.clone(), options);
    }

    fn lose_power(&mut self, random: &mut Rng) {
        self.lose_all_but(random.u64(..=self.memory.unsynced()));
    }

    fn persist(&mut self) -> Result<Persisted, ReplicaError> {
        self.replica().persist()
    }
}

/// A replica in a temporary folder.
pub(crate) struct InFiles {
    pub(crate) dir: tempfile::TempDir,
    replica: Option<Replica<Fjall>>,
    /// Bytes of the newest journal that are durable.
    synced: u64,
}

impl InFiles {
    pub(crate) fn of(dir: tempfile::TempDir, options: Options) -> Self {
        let replica = Replica::open(dir.path(), options).unwrap();
        let synced = used(&journal(dir.path()));
        Self { dir, replica: Some(replica), synced }
    }

    pub(crate) fn close(&mut self) {
        self.replica = None;
    }

    /// Counts as durable what the newest journal has by now, because the engine syncs it before it flushes.
    pub(crate) fn note_synced(&mut self) {
        self.synced = used(&journal(self.dir.path()));
    }
}

impl Node for InFiles {
    type Engine = Fjall;

    /// The histories of a replica in files begin by chance, so it begins with a snapshot of one in memory.
    fn create(histories: &Histories) -> Self {
        let mut first = InMemory::create(histories);
        let dir = tempfile::tempdir().unwrap();
        let dump = dump(&first.snapshot());
        exesdb_storage::dump::restore_replica(dir.path(), &mut dump.as_slice(), None, &mut |_| {}).unwrap();
        Self::of(dir, Options::default())
    }

    fn replica(&mut self) -> &mut Replica<Fjall> {
        self.replica.as_mut().unwrap()
    }

    fn reopen(&mut self, options: Options) {
        self.replica = None;
        self.replica = Some(Replica::open(self.dir.path(), options).unwrap());
        self.synced = used(&journal(self.dir.path()));
    }

    fn lose_power(&mut self, random: &mut Rng) {
        self.replica = None;
        let path = journal(self.dir.path());
        let end = used(&path);
        let kept = self.synced + random.u64(..=end - self.synced);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&vec![0; usize::try_from(end - kept).unwrap()], kept).unwrap();
        self.reopen(Options::default());
    }

    fn persist(&mut self) -> Result<Persisted, ReplicaError> {
        let persisted = self.replica().persist()?;
        self.synced = used(&journal(self.dir.path()));
        Ok(persisted)
    }
}

/// The newest journal of a replica in files.
pub(crate) fn journal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    journals.max_by_key(number).unwrap()
}

/// Number of bytes of a file up to the last one that is not zero.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

pub(crate) fn dump<E: Engine>(snapshot: &Snapshot<E>) -> Vec<u8> {
    let mut dump = Vec::new();
    snapshot.dump(&mut dump, &mut |_| {}).unwrap();
    dump
}

/// Keys and values of a keyspace.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// All entries of all keyspaces that are not empty, by owner and keyspace.
pub(crate) fn contents<E: Engine>(snapshot: &Snapshot<E>) -> Vec<(String, Entries)> {
    let mut contents = Vec::new();
    for (owner, keyspace) in snapshot.keyspaces().unwrap() {
        let scan = Scan {
            keyspace: keyspace.clone(),
            start: vec![],
            end: None,
            direction: Direction::Forward,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        };
        let page = snapshot.scan(&owner, &scan).unwrap();
        assert!(!page.more, "the tests write less than a page");
        let entries: Vec<_> =
            page.entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        if !entries.is_empty() {
            contents.push((format!("{owner}.{keyspace}"), entries));
        }
    }
    contents
}

/// Everything that must be equal on replicas that have applied the same entries.
pub(crate) fn assert_equal<A: Node, B: Node>(one: &mut A, other: &mut B) {
    assert_eq!(one.replica().head(), other.replica().head());
    assert_eq!(one.replica().state(), other.replica().state());
    let index = one.applied();
    assert_eq!(one.replica().checkpoint(index), other.replica().checkpoint(index));
    assert_eq!(contents(&one.snapshot()), contents(&other.snapshot()));
    assert_eq!(one.replica().digest().unwrap(), other.replica().digest().unwrap());
}
