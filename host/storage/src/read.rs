//! Reading, always from a snapshot of whole, durable commits.
//!
//! fjall's own `Keyspace::get` reads the newest memtable entry, so it can see half a batch, and data that no fsync has
//! reached. Readers never use it. After each fsync the committer takes a fjall snapshot and [publishes](Published) it
//! together with the head that it reaches; a [`Snapshot`] is one such publication.

mod chunk;
mod error;
mod published;
mod scan;
mod snapshot;

pub(crate) use chunk::{CHUNK_BYTES, Chunk, read_chunk};
pub use error::ReadError;
pub(crate) use published::{Keyspaces, Published};
pub(crate) use scan::key_range;
pub use scan::{Direction, Page, Scan};
pub use snapshot::{Reader, Snapshot};
