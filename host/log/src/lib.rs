//! One append-only log per node, for many groups: one fsync for whatever waits of all of them.
//!
//! A *group* has entries with indexes that follow each other, a small state, and how far it is purged and committed. What
//! the entries and the state mean is its owner's business. `docs/log-format.md` describes the files.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use std::sync::mpsc;
//!
//! use exesdb_log::{Log, Noted, Options};
//!
//! let (log, recovery) = Log::open(&dir.path().join("log"), Options::default())?;
//! assert!(recovery.is_new);
//! let (synced, wait) = mpsc::channel();
//! log.append(7, 1, &["a".into(), "b".into()], move |outcome| drop(synced.send(outcome)))?;
//! assert_eq!(log.read(7, 1..3, 1024)?.len(), 2, "it can be read at once");
//! wait.recv()??;
//! log.purge(7, Noted { index: 1, note: "term 3".into() }, |_| {})?;
//! drop(log);
//! let (log, _) = Log::open(&dir.path().join("log"), Options::default())?;
//! let group = log.group(7).expect("the group has entries");
//! assert_eq!((group.first, group.next), (Some(2), Some(3)));
//! assert_eq!(&log.read(7, 2..3, 1024)?[0].data[..], b"b");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - A callback is called with `Ok` only after the record, and everything accepted before it in any group, was synced.
//! - A record exists whole or not at all, and after a crash the records are a prefix of those that were accepted, at least
//!   up to the last one that was called back.
//! - After the first failure to write or sync, nothing is written until the log is opened again.
//! - A log that lost what was synced does not open, or opens with the groups that lost entries closed; an entry that is not
//!   what was written is never served. `docs/log-format.md` says what is found when, and what is not.
//! - When a [`Log`] has been dropped, its thread has ended and its lock is free.
//!
//! # Deliberately absent
//!
//! Raft, terms, votes, stores, events, tokio. Reads of entries that are not synced are allowed: whether they may be acted
//! upon is for the owner to decide.

mod checkpoint;
pub mod disk;
mod error;
mod fail_point;
#[cfg(feature = "faults")]
mod fault;
mod group;
mod held;
pub mod limits;
mod log;
mod mark;
mod open;
mod options;
mod panic;
mod ranges;
mod read;
mod record;
mod segment;
mod shared;
mod view;
mod writer;

pub use error::{LogError, OpenError, ReadError};
pub use fail_point::{FailPoint, FailPoints};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use group::Noted;
pub use log::{GroupInfo, Log, Sizes};
pub use open::Recovery;
pub use options::{HeldBack, Options};
pub use read::Entry;
