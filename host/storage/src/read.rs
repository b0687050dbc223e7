//! Reading, always from a snapshot of whole commits.
//!
//! fjall's own `Keyspace::get` reads the newest memtable entry, so it can see half a batch. Readers never use it. For each
//! group the committer takes a fjall snapshot, together with the head that it reaches, and [shows](Published) it twice: as
//! the applied state before the fsync, and as the durable one after it. A [`Snapshot`] is one of these.

mod chunk;
mod error;
mod published;
mod scan;
mod snapshot;

pub(crate) use chunk::{CHUNK_BYTES, Chunk, read_chunk};
pub use error::ReadError;
pub(crate) use published::{Keyspaces, Published, Reached};
pub(crate) use scan::key_range;
pub use scan::{Direction, Page, Scan};
pub use snapshot::{Reader, Snapshot};
