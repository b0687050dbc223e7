//! Reading the engine's own files, because the engine believes some of them without checking, and does not say which of
//! them is damaged.
//!
//! Before the engine opens a database, [`keyspace`] checks the files that it would believe, and [`journal`] reads what
//! it would replay; [`recovery`] decides what that means. After the engine has refused a file, [`diagnosis`] finds it,
//! with [`table`] and [`archive`].

pub(crate) mod archive;
pub(crate) mod diagnosis;
pub(crate) mod journal;
pub(crate) mod keyspace;
pub(crate) mod recovery;
pub(crate) mod table;
