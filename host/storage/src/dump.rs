//! Dumps: all of a store in one stream, from one snapshot.
//!
//! A dump is logical: it has what the owners stored, and nothing of how the engine keeps it. It is written while the
//! store goes on committing, and has exactly what its snapshot has. A store that is [restored](restore) from it has the
//! same entries and the same [head](crate::Head), chain included, and begins a new [history](crate::History).
//!
//! # The format
//!
//! Numbers are big-endian.
//!
//! ```text
//! dump       magic "exesdump", version u32 (now 2), frame*
//! frame      kind u8, payload bytes u32, payload, checksum u64
//! ```
//!
//! The checksum is the XXH3 (64 bits) of kind, length and payload, seeded with the frame's number, counted from 0: a
//! frame that is missing or in another place has the wrong one. The frames, in this order:
//!
//! ```text
//! 1 head       once        storage format u32, sequence u64, next position u64, chain u64,
//!                          when it was taken u64 (microseconds since 1970-01-01 UTC)
//! 5 histories  once        of each history, the oldest first: id u64, first position u64; not in version 1
//! 2 keyspace   each        owner, keyspace: name bytes u8, name
//! 3 entries    at least    entries of the keyspace before it: key bytes u16, value bytes u32, key, value
//!              one each
//! 4 manifest   once        keyspaces u32; of each: its names as above, entries u64, bytes of keys and values u64,
//!                          digest u128 of the payloads of its entries frames;
//!                          digest u128 of the dump up to this frame
//! ```
//!
//! Digests are XXH3 (128 bits). Keyspaces ascend by owner, then name; keys ascend within a keyspace. A keyspace without
//! entries is not in a dump. Nothing follows the manifest.
//!
//! # What it does not withstand
//!
//! The checksums find every accident. They are no signature: who can write to a dump can make one that is valid.

mod decode;
mod encode;
mod frame;
mod restore;

use std::io;

use crate::head::Head;
use crate::history::Histories;
use crate::read::snapshot::ReadError;

pub use decode::{InvalidDump, inspect};
pub use frame::DUMP_VERSION;
pub use restore::{RestoreError, restore};

pub use crate::open::unfinished;

use frame::MANIFEST_ENTRY_BYTES_MAX;

/// Keyspaces of a dump. 4,096: an owner has [32 at most](crate::limits::OWNER_KEYSPACES_MAX), and a process that hosts
/// a hundred owners is a large one. Whoever reads a dump holds the manifest in memory.
pub const KEYSPACES_MAX: usize = 4096;

const _: () = assert!(KEYSPACES_MAX * MANIFEST_ENTRY_BYTES_MAX < 1024 * 1024);

/// How far a walk through a whole store or dump has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Whose keyspace is being read.
    pub owner: &'a str,
    /// Which keyspace.
    pub keyspace: &'a str,
    /// Entries so far, of all keyspaces.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What a dump has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How far the store had come.
    pub head: Head,
    /// The store's histories; none in a dump that was written before there were any. A store that is restored has one
    /// more.
    pub histories: Option<Histories>,
    /// When the dump was taken: microseconds since 1970-01-01 UTC.
    pub taken_at: u64,
    /// Its keyspaces, ascending by owner and name.
    pub keyspaces: Vec<KeyspaceSummary>,
    /// Bytes of the dump itself.
    pub dump_bytes: u64,
    /// Digest of everything before the manifest. Two dumps of one snapshot differ in it, as they were taken at
    /// different times.
    pub digest: u128,
}

/// What a dump has of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceSummary {
    /// Whose keyspace it is.
    pub owner: String,
    /// Its name.
    pub keyspace: String,
    /// Entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Digest of the entries: equal entries have equal digests, whatever the dump.
    pub digest: u128,
}

impl Summary {
    /// Entries of all keyspaces.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.entries).sum()
    }

    /// Bytes of keys and values of all keyspaces.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.bytes).sum()
    }
}

/// Why a dump was not written to its end. What was written of it is not a dump, and is refused as one.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store could not be read.
    #[error("the backup stopped: {0}")]
    Read(#[from] ReadError),
    /// The output did not take it.
    #[error(
        "writing the backup failed at byte {at}: {source}; make room or choose another target, and back up again"
    )]
    Write {
        /// Bytes that were written before.
        at: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// The store has more keyspaces than a dump may have.
    #[error(
        "the store has {actual} keyspaces, over the limit of {KEYSPACES_MAX} for a backup; copy its folder while it is \
         closed"
    )]
    TooManyKeyspaces {
        /// How many it has.
        actual: usize,
    },
    /// The store has an entry that this layer would not have written.
    #[error(
        "keyspace {keyspace} of {owner} has an entry with a key of {key_bytes} and a value of {value_bytes} bytes, \
         over the limits; the data may be damaged"
    )]
    OversizedEntry {
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// Bytes of its key.
        key_bytes: usize,
        /// Bytes of its value.
        value_bytes: usize,
    },
}
