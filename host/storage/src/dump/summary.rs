//! What a dump contains, and how far a walk through it has come.

use crate::head::LogHead;
use crate::history::Histories;
use crate::replica::ReplicaState;

/// Progress of a walk through a whole store or dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Owner of the keyspace that is being read.
    pub owner: &'a str,
    /// Name of the keyspace.
    pub keyspace: &'a str,
    /// Entries so far, in all keyspaces.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// The contents of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Version of the store's format.
    pub format: u32,
    /// The head of the store.
    pub head: LogHead,
    /// The store's histories; `None` if the dump was written before there were any. A restored store has one more.
    pub histories: Option<Histories>,
    /// How far the log of its group was applied, if it is the dump of a replica.
    pub replica: Option<ReplicaState>,
    /// Time of the dump, in microseconds since 1970-01-01 UTC.
    pub taken_at: u64,
    /// The keyspaces, ascending by owner and name.
    pub keyspaces: Vec<KeyspaceSummary>,
    /// Bytes of the dump itself.
    pub dump_bytes: u64,
    /// Digest of everything before the manifest. It covers the time of the dump, so two dumps of one snapshot differ.
    pub digest: u128,
}

/// The contents of one keyspace of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceSummary {
    /// Owner of the keyspace.
    pub owner: String,
    /// Name of the keyspace.
    pub keyspace: String,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Digest of the entries, the same in every dump of the same entries.
    pub digest: u128,
}

impl Summary {
    /// Number of entries of all keyspaces.
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
