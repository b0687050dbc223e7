//! The bytes of this layer on disk.
//!
//! ```text
//! <store>/lock               locked (flock) for as long as the store is open; empty
//! <store>/durable.mark       what was acknowledged; two slots of 64 bytes, at 0 and 4096
//! <store>/durable.mark.new   a mark whose creation was interrupted
//! <store>/data/              a fjall 3 database; its own format is fjall's
//! <store>/data.new/          a database whose creation was interrupted; removed at the next open
//! <store>/restoring          a restore into this folder has begun and is not finished; empty
//! ```
//!
//! Keyspaces of the database (numbers are big-endian):
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `format` | `u32`: the version of this format, now 2 |
//! | `meta` | `head` | sequence, next position, chain, floor of the engine's sequence number: `u64` each |
//! | `meta` | `histories` | of each history, the oldest first: its id, and the first position of it: `u64` each |
//! | `meta` | `keyspace:<owner>.<keyspace>` | `u64`: the engine's number of the keyspace, which is its folder's name |
//! | `<owner>.<keyspace>` | chosen by the owner, 1 to 4,096 bytes | chosen by the owner, at most 2 MiB |
//!
//! Every batch is one record of fjall's journal: its operations, the new `head`, and an entry for each keyspace that it is
//! the first to write to. fjall replays a record whole or not at all, so a store holds whole batches; sequences are dense
//! in the journals, and positions below the next position are exactly those that were given away.
//!
//! What is broken, and what is done about it, is in `docs/storage-format.md`.

/// Folder of the database below the store's folder.
pub(crate) const DATABASE_FOLDER: &str = "data";

/// Folder that a database is created in before it gets its name, so that a crash cannot leave half of one under it.
pub(crate) const NEW_DATABASE_FOLDER: &str = "data.new";

/// The lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// There from before a restore writes anything until its store has its name. A folder with this file and without a
/// database is not opened: whoever finds an empty store in the place of a restored one takes it for the truth.
pub(crate) const RESTORE_FILE: &str = "restoring";

/// Written by fjall as the last step of creating a database. Without it fjall would create a new, empty one over what
/// is there.
pub(crate) const ENGINE_MARKER: &str = "version";

/// The durable mark.
pub(crate) const MARK_FILE: &str = "durable.mark";

/// The mark while it is created.
pub(crate) const NEW_MARK_FILE: &str = "durable.mark.new";

/// Keyspace of this layer. Keyspaces of owners contain a dot, so none can have this name.
pub(crate) const META: &str = "meta";

/// Key of the format's version.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// The engine's number of [`META`], which is the first keyspace to be created.
pub(crate) const META_NUMBER: u64 = 1;

/// The engine's number of its own keyspace, which has the names of all others.
pub(crate) const ENGINE_META_NUMBER: u64 = 0;

/// Key of the head.
pub(crate) const HEAD_KEY: &[u8; 4] = b"head";

/// Key of the list of histories.
pub(crate) const HISTORIES_KEY: &[u8] = b"histories";

/// Owner and keyspace of filler that is written to have the engine begin another journal. No component has this name.
/// It is no part of dumps, and empty but while a store is erased.
pub(crate) const FILLER_OWNER: &str = "storage";

/// As [`FILLER_OWNER`].
pub(crate) const FILLER_KEYSPACE: &str = "filler";

/// Its only key.
pub(crate) const FILLER_KEY: &[u8] = b"filler";

/// What the keys begin with that list the keyspaces; the name is the rest.
pub(crate) const KEYSPACE_KEY_PREFIX: &str = "keyspace:";

/// The version of the format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 2;
