//! The log under an event store: ordered keyspaces that are private to an owner, conditional batches, dense positions,
//! and group commit.
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
//!     ..Batch::default()
//! };
//! let outcomes = store.commit_blocking(Commit { owner: "streams".into(), batches: vec![event], ..Commit::default() })?;
//! assert_eq!(outcomes[0].as_ref().map(|committed| committed.first_position), Ok(0));
//! let snapshot = store.snapshot();
//! let event = snapshot.get("streams", "all", &0u64.to_be_bytes())?.expect("the event was committed");
//! assert_eq!(&event[8..], b"order placed");
//! assert_eq!(event[..8], snapshot.head().chain.to_be_bytes());
//! assert_eq!(snapshot.head().chain, exesdb_storage::chain(0, &0u64.to_be_bytes(), &event, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - Nothing is acknowledged, published or readable before its fsync.
//! - A batch exists whole or not at all, for readers and after a crash.
//! - Guards are checked in log order, against everything before the batch; nothing comes between check and write.
//! - Positions are dense: they count from 0, in log order, and only batches that were applied take any.
//! - After the first failure to write or sync, nothing is written until the store is opened again.
//! - A store that lost acknowledged data, or whose files are damaged, does not open, or fails to read what is damaged;
//!   `docs/storage-format.md` says what is found when, and what is not.
//! - When a [`Store`] has been dropped, its thread has ended, its files are closed and its lock is free, even if a
//!   [`Reader`], [`Snapshot`] or [`Writer`] is still held.
//!
//! # Deliberately absent
//!
//! Streams, events, tokio, WebAssembly, HTTP. Operations with which fjall is known to lose data: value separation,
//! ingestion, clearing a keyspace, FIFO compaction, reads outside a snapshot.

mod advice;
mod apply;
mod batch;
mod commit;
mod compact;
pub mod dump;
mod engine;
mod engine_failure;
mod engine_files;
mod erase;
mod fail_point;
#[cfg(feature = "faults")]
mod fault;
mod files;
mod format;
mod head;
mod history;
pub mod limits;
mod log;
mod mark;
mod name;
mod open;
mod options;
mod packed_puts;
mod panic;
mod poison;
mod read;
mod replica;
mod space;
mod stall;
mod stamp;
mod store;
pub mod verify;

pub use advice::advice;
pub use batch::{Batch, BatchError, Changes, Committed, Guard, Operation};
pub use commit::{CheckedCommit, Commit, CommitError, Health, Outcomes, Writer};
pub use compact::{CompactError, Compacted};
pub use engine::{Engine, EngineRecord, Fjall, KeyRange, Memory, MemoryOperation};
pub use engine_failure::EngineFailure;
pub use erase::EraseError;
pub use fail_point::{FailPoint, FailPoints};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use format::{FORMAT_VERSION, REPLICA_FORMAT_VERSION};
pub use head::{LogHead, chain};
pub use history::{Histories, History, HistoryChanged, HistoryId};
pub use log::{LogCursor, LogFinding, LogPage, LogPlace, LogRead, LogVerification};
pub use open::{OpenError, begin_history};
pub use options::Options;
pub use packed_puts::push_put;
pub use read::{Direction, Page, ReadError, Reader, Scan, Snapshot};
pub use replica::{
    Applied, Checkpoint, Entry, EntryCheck, EntryCommit, EntryContent, EntryError, Genesis, LogId, Persisted,
    Refused, Replica, ReplicaError, ReplicaOpenError, ReplicaState, Term,
};
pub use space::FreeSpace;
pub use stamp::{STAMP_BYTES, Stamp};
pub use store::Store;

/// Bytes as the engine holds them: cheap to clone, dereferences to `[u8]`. It may keep the block that it came from in
/// memory.
pub use fjall::Slice;
