//! Dumps: all of a store in one stream, from one snapshot.
//!
//! A dump is logical: it contains what the owners stored, and nothing of how the engine keeps it. It is written while the
//! store goes on committing, and contains exactly what its snapshot contains. A store that is [restored](restore()) from it
//! has the same entries and the same [head](crate::LogHead), including the chain, and begins a new
//! [history](crate::History).
//!
//! # The format
//!
//! Numbers are big-endian.
//!
//! ```text
//! dump       magic "exesdump", version u32 (3; 2 if the store's format is 2; 4 if it is a replica), frame*
//! frame      kind u8, payload bytes u32, payload, checksum u64
//! ```
//!
//! The checksum is the XXH3 (64 bits) of kind, length and payload, seeded with the frame's number, counted from 0, so that
//! a missing or moved frame is detected. The frames, in this order:
//!
//! ```text
//! 1 head       once        storage format u32, sequence u64, next position u64, chain u64,
//!                          time of the dump u64 (microseconds since 1970-01-01 UTC), from version 3 on the store's
//!                          time u64
//! 5 histories  once        of each history, the oldest first: id u64, first position u64; not in version 1
//! 6 replica    once        only in version 4: term u64, leader u64 and index u64 of the last entry that was applied
//!                          whole, batches of the next u64, time u64, link of outcomes u64, members of the group
//! 2 keyspace   each        owner, keyspace: name bytes u8, name
//! 3 entries    1 or more   entries of the keyspace before: key bytes u16, value bytes u32, key, value
//!              each
//! 4 manifest   once        keyspaces u32; of each: its names as above, entries u64, bytes of keys and values u64,
//!                          digest u128 of the payloads of its entries frames;
//!                          digest u128 of the dump up to this frame
//! ```
//!
//! Digests are XXH3 (128 bits). Keyspaces ascend by owner, then name; keys ascend within a keyspace. A keyspace without
//! entries is not in a dump. Nothing follows the manifest.
//!
//! The checksums detect accidents. They are no signature: whoever can write to a dump can forge a valid one.

mod decode;
mod digest;
mod encode;
mod error;
mod format;
mod frame;
mod in_memory;
mod restore;
mod summary;

pub use decode::inspect;
pub use error::{DumpError, InvalidDump};
pub use in_memory::restore_in_memory;
pub use restore::{RestoreError, restore, restore_replica};
pub use summary::{KeyspaceSummary, Progress, Summary};

pub use crate::open::unfinished;
