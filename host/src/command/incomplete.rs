//! The outcome of a command that did a part of its work and cannot do the rest.

/// Tells what was not done. The process ends with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Incomplete(pub String);
