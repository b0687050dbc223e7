//! Why a dump was not written, or is not accepted.

use std::io;

use super::format::{DUMP_VERSION, KEYSPACES_MAX};
use crate::format::{FORMAT_VERSION, FORMAT_WITHOUT_LOG, REPLICA_FORMAT_VERSION};
use crate::read::ReadError;

/// Why a dump was not completed. What was written of it is not accepted as a dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store could not be read.
    #[error("the backup stopped: {0}")]
    Read(#[from] ReadError),
    /// The output could not be written.
    #[error(
        "writing the backup failed at byte {at}: {source}; make room or choose another target, and back up again"
    )]
    Write {
        /// Bytes that had been written.
        at: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// The store has too many keyspaces for a dump.
    #[error(
        "the store has {actual} keyspaces, over the limit of {KEYSPACES_MAX} for a backup; copy its folder while it is \
         closed"
    )]
    TooManyKeyspaces {
        /// Number of keyspaces.
        actual: usize,
    },
    /// The store has an entry that this crate would not have written.
    #[error(
        "keyspace {keyspace} of {owner} has an entry with a key of {key_bytes} and a value of {value_bytes} bytes, \
         over the limits; the data may be damaged"
    )]
    OversizedEntry {
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// Bytes of the key.
        key_bytes: usize,
        /// Bytes of the value.
        value_bytes: usize,
    },
}

/// Why something is not accepted as a dump.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDump {
    /// The input could not be read.
    #[error("the backup could not be read at byte {at}: {source}; copy it again, or use another")]
    Io {
        /// Bytes that had been read.
        at: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// The input does not begin like a dump.
    #[error("this is not a backup; name a file that `exesdb backup` has written")]
    NotADump,
    /// The dump was written by a version of this software that uses another format of dumps.
    #[error(
        "the backup has format {found}, this version knows those up to {DUMP_VERSION}; use the version that wrote it"
    )]
    UnknownVersion {
        /// The version found.
        found: u32,
    },
    /// The dump is of a store with another storage format.
    #[error(
        "the backup is of a store of format {found}, this version knows {FORMAT_WITHOUT_LOG} and {FORMAT_VERSION}, and {REPLICA_FORMAT_VERSION} in backups of replicas; use the version that wrote it"
    )]
    UnknownFormat {
        /// The store's format.
        found: u32,
    },
    /// The dump ends too early.
    #[error(
        "the backup is cut short: what begins at byte {at} is not complete; copy it again, or use another"
    )]
    Truncated {
        /// Bytes that were read completely.
        at: u64,
    },
    /// The dump is malformed.
    #[error("the backup is damaged at byte {at}: {reason}; copy it again, or use another")]
    Damaged {
        /// Where the malformed frame begins.
        at: u64,
        /// What is wrong with it.
        reason: String,
    },
}
