//! The log under an event store: ordered keyspaces that are private to an owner, conditional batches, dense positions,
//! and one fsync for everything that waited.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use exesdb_storage::{Batch, Commit, Guard, Operation, Options, Stamp, Store};
//!
//! let store = Store::open(dir.path(), Options::default())?;
//! let event = Batch {
//!     guards: vec![Guard::Absent { keyspace: "heads".into(), key: b"order-1".to_vec() }],
//!     operations: vec![
//!         Operation::Put {
//!             keyspace: "heads".into(),
//!             key: b"order-1".to_vec(),
//!             value: vec![0; 8],
//!             key_stamps: vec![],
//!             value_stamps: vec![Stamp { at: 0, event: 0 }],
//!             chain: None,
//!         },
//!         Operation::Put {
//!             keyspace: "all".into(),
//!             key: vec![0; 8],
//!             value: [&[0; 8], &b"order placed"[..]].concat(),
//!             key_stamps: vec![Stamp { at: 0, event: 0 }],
//!             value_stamps: vec![],
//!             chain: Some(Stamp { at: 0, event: 0 }),
//!         },
//!     ],
//!     events: 1,
//! };
//! let outcomes = store.commit_blocking(Commit { owner: "streams".into(), batches: vec![event] })?;
//! assert_eq!(outcomes[0].as_ref().map(|committed| committed.first_position), Ok(0));
//! let snapshot = store.snapshot();
//! let event = snapshot.get("streams", "all", &0u64.to_be_bytes())?.expect("it was committed");
//! assert_eq!(&event[8..], b"order placed");
//! assert_eq!(event[..8], snapshot.head().chain.to_be_bytes());
//! assert_eq!(snapshot.head().chain, exesdb_storage::chain(0, &0u64.to_be_bytes(), &event, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What always holds
//!
//! - Nothing is acknowledged, published or readable before its fsync.
//! - A batch is there whole or not at all, to readers and after a crash.
//! - Guards are checked in log order, against everything before the batch; nothing comes between check and write.
//! - Positions are dense: they count from 0, in log order, and only batches that were applied take any.
//! - After the first failure to write or sync nothing is written until the store is opened again.
//! - A store that has less than it acknowledged, or whose files are not as they were written, does not open, or fails to
//!   read what is damaged; `docs/storage-format.md` says what is found when, and what is not.
//! - When a [`Store`] has been dropped its thread is gone, its files are closed and its lock is free, whoever still
//!   holds a [`Reader`], [`Snapshot`] or [`Writer`].
//!
//! # What is not here
//!
//! Streams, events, tokio, WebAssembly, HTTP. Operations that fjall is known to lose data with: value separation,
//! ingestion, clearing a keyspace, FIFO compaction, reads outside a snapshot.

mod batch;
mod commit;
mod compact;
pub mod dump;
mod engine_failure;
mod engine_files;
mod erase;
mod fail_point;
#[cfg(feature = "faults")]
mod fault;
mod format;
mod head;
mod history;
pub mod limits;
mod mark;
mod name;
mod open;
mod options;
mod read;
mod space;
mod stall;
pub mod verify;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use batch::{Batch, BatchError, Committed, Guard, Operation, STAMP_BYTES, Stamp};
pub use commit::writer::{Commit, CommitError, Health, Outcomes, Writer};
pub use compact::{CompactError, Compacted};
pub use engine_failure::EngineFailure;
pub use erase::EraseError;
pub use fail_point::{FailPoint, FailPoints};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use format::FORMAT_VERSION;
pub use head::{Head, chain};
pub use history::{HISTORIES_MAX, Histories, History, HistoryChanged, HistoryId};
pub use open::{OpenError, begin_history};
pub use options::Options;
pub use read::snapshot::{Direction, Page, ReadError, Reader, Scan, Snapshot};
pub use space::FreeSpace;

/// Bytes as the engine holds them: cheap to clone, dereferences to `[u8]`. It may keep the block it came from in memory.
pub use fjall::Slice;

use commit::committer::Committer;
use commit::writer::Queue;
use compact::Compaction;
use read::snapshot::Published;

/// One open database, and the thread that commits to it.
///
/// Dropping it answers what was queued, flushes what the journal holds (unless the store is poisoned; it waits some
/// seconds at most), stops the thread and closes the database, all of it before the drop returns.
/// (Dropped on the committer thread itself, from within a reply, it cannot wait for that thread: the rest happens right
/// behind.)
pub struct Store {
    queue: Arc<Queue>,
    published: Arc<Published>,
    committer: Option<JoinHandle<()>>,
    compaction: Compaction,
}

/// Every handle can be shared between threads; that is what they are for.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Store>();
    shared::<Reader>();
    shared::<Writer>();
    shared::<Snapshot>();
};

impl Store {
    /// Opens the store in `dir`, creating folder and store when absent.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what is wrong, where, and what to do. What is there was not changed.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = open::open(dir, &options)?;
        let compaction = Compaction::new(dir, &options);
        let queue = Arc::new(Queue::new(options.commit_queue, options.commit_queue_bytes));
        let (mut committer, published) = Committer::new(dir, opened, options, Arc::clone(&queue));
        committer.look_for_room();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io {
                action: "starting the committer thread of",
                path: dir.to_owned(),
                source,
            })?;
        Ok(Self { queue, published, committer: Some(thread), compaction })
    }

    /// A handle to read with.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.published))
    }

    /// The store as of the last fsync; the same as `reader().snapshot()`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.reader().snapshot()
    }

    /// A handle to commit with.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(Arc::clone(&self.queue))
    }

    /// See [`Writer::commit`].
    ///
    /// # Errors
    ///
    /// [`CommitError`], when the commit was not queued; the reply is not called then.
    pub fn commit(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.writer().commit(commit, reply)
    }

    /// See [`Writer::commit_blocking`].
    ///
    /// # Errors
    ///
    /// [`CommitError`], when the commit was not queued or not finished.
    pub fn commit_blocking(&self, commit: Commit) -> Result<Outcomes, CommitError> {
        self.writer().commit_blocking(commit)
    }

    /// Has `listener` called after each fsync that gave away positions, with the next position: everything below it is
    /// durable and readable. It is called on the committer thread, behind the replies; it must be
    /// quick, and must not register another.
    pub fn on_durable(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        self.queue.on_durable(Box::new(listener));
    }

    /// Has `listener` called once, with the reason, when the store is poisoned; at once if it already is.
    pub fn on_poisoned(&self, listener: impl FnOnce(&str) + Send + 'static) {
        self.queue.on_poisoned(Box::new(listener));
    }

    /// Whether the store takes commits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.queue.health()
    }

    /// Writes, syncs and removes a small file in the store's folder: whether it makes sense to open the store again after
    /// it was poisoned. It can be asked without a store, and while one is open.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn probe(dir: &Path) -> std::io::Result<()> {
        space::probe(dir)
    }

    /// How long the committer has been at the group in its hands; `None` between groups. A watchdog's measure: seconds
    /// mean that the disk or the engine hangs.
    #[must_use]
    pub fn busy_for(&self) -> Option<Duration> {
        self.queue.busy_for()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.waiting.close();
        let Some(committer) = self.committer.take() else { return };
        if committer.thread().id() == std::thread::current().id() {
            return;
        }
        if committer.join().is_err() {
            tracing::error!("the committer thread panicked outside of a commit");
        }
    }
}
