//! Reading, always from a snapshot of whole, durable commits.

pub(crate) mod chunks;
pub(crate) mod snapshot;
