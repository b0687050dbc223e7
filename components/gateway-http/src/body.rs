//! Request bodies: JSON in, the store's records out.
//!
//! A body is read in one pass that keeps track of where it is, so that every refusal names the field that it is
//! about, and nothing is built that is not kept.

mod append;
mod content;
mod field;
mod snapshot;

pub use append::{Append, decode_append};
pub use snapshot::decode_snapshot;
