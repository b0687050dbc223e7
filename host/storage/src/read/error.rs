//! Why a read failed.

use crate::engine_failure::EngineFailure;

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The request is malformed and would never succeed.
    #[error("the read is malformed: {0}")]
    Invalid(String),
    /// The store was closed while this reader still held it.
    #[error("the store is closed; find its successor and read again")]
    Closed,
    /// The engine could not read.
    #[error("keyspace {keyspace} of {owner} could not be read: {failure}")]
    Engine {
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// Why.
        failure: EngineFailure,
    },
}
