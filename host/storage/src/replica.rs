//! Replicas: stores that apply the entries of a replicated log.

mod encoding;
mod entry;
mod proposal;

pub use encoding::EntryError;
pub use entry::{Entry, EntryCommit, EntryContent, LogId, Term};
pub use proposal::Refused;
