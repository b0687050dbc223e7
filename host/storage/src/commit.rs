//! Committing: a bounded queue of commits, and the one thread that writes them.

pub(crate) mod committer;
pub(crate) mod queue;
pub(crate) mod writer;
