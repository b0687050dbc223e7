//! The files, keyspaces and keys of a store.
//!
//! ```text
//! <store>/lock               locked (flock) for as long as the store is open; empty
//! <store>/durable.mark       what was acknowledged; two slots of 64 bytes (80 in a replica), at 0 and 4096
//! <store>/durable.mark.new   a mark while it is created
//! <store>/data/              a fjall 3 database; its own format is fjall's
//! <store>/data.new/          a database while it is created; one that an interruption left is removed at the next open
//! <store>/restoring          while a restore into this folder is unfinished; empty
//! ```
//!
//! Keyspaces of the database (numbers are big-endian):
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `format` | `u32`: the version of this format: 3, or 2 before the first record of the log; 4 in a replica |
//! | `meta` | `head` | sequence, next position, chain, floor of the engine's sequence number, and in version 3 the time: `u64` each |
//! | `meta` | `histories` | of each history, the oldest first: its id and its first position: `u64` each |
//! | `meta` | `applied` | only in a replica: how far it has applied the log; see [`crate::replica`] |
//! | `meta` | `membership` | only in a replica: the members of its group |
//! | `meta` | `diverged` | only in a replica that differs from its group: at which entry that was found, `u64` |
//! | `meta` | `keyspace:<owner>.<keyspace>` | `u64`: the engine's number of the keyspace, which is its folder's name |
//! | `storage.log` | position: `u64` | a record of the event log: see [`crate::log`] |
//! | `<owner>.<keyspace>` | chosen by the owner, 1 to 4,096 bytes | chosen by the owner, at most 2 MiB |
//!
//! Every batch is one record of fjall's journal: its operations, the new `head`, and an entry for each keyspace that it is
//! the first to write to. fjall replays a record whole or not at all, so a store holds whole batches. Sequences are dense
//! in the journals, and the positions that were assigned are exactly those below the next position.
//!
//! `docs/storage-format.md` says what makes a store broken, and what happens then.

/// Folder of the database in the store's folder.
pub(crate) const DATABASE_FOLDER: &str = "data";

/// Folder in which a database is built. It is renamed once it is complete, so that a crash cannot leave half of one.
pub(crate) const NEW_DATABASE_FOLDER: &str = "data.new";

/// The lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// Exists from before a restore writes anything until its store has its name. A folder with this file and without a
/// database is not opened, because an empty store would be taken for the restored one.
pub(crate) const RESTORE_FILE: &str = "restoring";

/// Written by fjall as the last step of creating a database. Without it fjall would create a new database over the
/// existing files.
pub(crate) const ENGINE_MARKER: &str = "version";

/// The durable mark.
pub(crate) const MARK_FILE: &str = "durable.mark";

/// The mark while it is created.
pub(crate) const NEW_MARK_FILE: &str = "durable.mark.new";

/// This crate's own keyspace. Full names of owners' keyspaces contain a dot, so none can be the same.
pub(crate) const META: &str = "meta";

/// Key of the format's version.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// The engine's number of [`META`], which is created first.
pub(crate) const META_NUMBER: u64 = 1;

/// The engine's number of its own keyspace, which holds the names of all others.
pub(crate) const ENGINE_META_NUMBER: u64 = 0;

/// Key of the head.
pub(crate) const HEAD_KEY: &[u8; 4] = b"head";

/// Key of the list of histories.
pub(crate) const HISTORIES_KEY: &[u8] = b"histories";

/// Key of how far a replica has applied the log.
pub(crate) const APPLIED_KEY: &[u8] = b"applied";

/// Key of the members of a replica's group.
pub(crate) const MEMBERSHIP_KEY: &[u8] = b"membership";

/// Key of the entry at which a replica was found to differ from its group.
pub(crate) const DIVERGED_KEY: &[u8] = b"diverged";

/// Owner and name of the keyspace that has the [event log](crate::log). No component has this name.
pub(crate) const LOG: (&str, &str) = ("storage", "log");

/// The log of a store that was begun in format 2.
pub(crate) const OLD_LOG: (&str, &str) = ("streams", "events");

/// The positions that imports left empty in format 2.
pub(crate) const OLD_GAPS: (&str, &str) = ("streams", "gaps");

/// Owner of the filler that is written to make the engine begin another journal. No component has this name. The
/// keyspace is not part of dumps, and empty except while a store is erased.
pub(crate) const FILLER_OWNER: &str = "storage";

/// Keyspace of the filler.
pub(crate) const FILLER_KEYSPACE: &str = "filler";

/// Whether a keyspace is the filler's.
pub(crate) fn is_filler(owner: &str, keyspace: &str) -> bool {
    (owner, keyspace) == (FILLER_OWNER, FILLER_KEYSPACE)
}

/// The only key of the filler's keyspace.
pub(crate) const FILLER_KEY: &[u8] = b"filler";

/// Prefix of the keys that list the keyspaces; the full name follows.
pub(crate) const KEYSPACE_KEY_PREFIX: &str = "keyspace:";

/// The version of the format of a store with an event log.
pub const FORMAT_VERSION: u32 = 3;

/// The version before, which a store has until the first record of its log is written: a reader of it would miss events.
pub(crate) const FORMAT_WITHOUT_LOG: u32 = 2;

/// The version of the format of a replica, which always counts as having an event log. Whoever does not know it would write
/// to the replica without the log of its group.
pub const REPLICA_FORMAT_VERSION: u32 = 4;

/// Whether this code reads a version of the format.
pub(crate) fn is_known(version: u32) -> bool {
    [FORMAT_WITHOUT_LOG, FORMAT_VERSION, REPLICA_FORMAT_VERSION].contains(&version)
}

/// Whether a store of this version has a log of its own.
pub(crate) fn has_log(version: u32) -> bool {
    version != FORMAT_WITHOUT_LOG
}
