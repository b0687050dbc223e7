//! The bytes of this layer on disk.
//!
//! ```text
//! <store>/lock        locked (flock) for as long as the store is open; empty
//! <store>/data/       a fjall 3 database; its own format is fjall's
//! <store>/data.new/   a database whose creation was interrupted; removed at the next open
//! ```
//!
//! Keyspaces of the database:
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `format` | `u32`, big-endian: the version of this format, now 1 |
//! | `meta` | `next-position` | `u64`, big-endian: the position that the next event gets |
//! | `<owner>.<keyspace>` | chosen by the owner, 1 to 4,096 bytes | chosen by the owner, at most 2 MiB |
//!
//! Every batch is one record of fjall's journal: its operations and, if it takes positions, the new `next-position`.
//! fjall replays a record whole or not at all, so a store holds whole batches, and positions below `next-position` are
//! exactly those that were given away.
//!
//! Broken is: a `meta` without either key, either value of another length, a keyspace whose name this layer would not
//! have written, or a `data` folder without fjall's `version` file. An unknown `format` is not broken, but newer (or
//! foreign), and refused. Either way the store does not open, and nothing is changed.

/// Folder of the database below the store's folder.
pub(crate) const DATABASE_FOLDER: &str = "data";

/// Folder that a database is created in before it gets its name, so that a crash cannot leave half of one under it.
pub(crate) const NEW_DATABASE_FOLDER: &str = "data.new";

/// The lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// Written by fjall as the last step of creating a database. Without it fjall would create a new, empty one over what
/// is there.
pub(crate) const ENGINE_MARKER: &str = "version";

/// Keyspace of this layer. Keyspaces of owners contain a dot, so none can have this name.
pub(crate) const META: &str = "meta";

/// Key of the format's version.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// Key of the next position.
pub(crate) const NEXT_POSITION_KEY: &[u8] = b"next-position";

/// The version of the format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;
