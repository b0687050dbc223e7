//! Readers of the engine's own files.

pub(crate) mod archive;
pub(crate) mod diagnosis;
pub(crate) mod journal;
pub(crate) mod keyspace;
pub(crate) mod recovery;
pub(crate) mod table;
