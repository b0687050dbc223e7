//! Decodes request bodies, JSON or frames, into the store's records.
//!
//! A body is decoded in one pass that tracks the current field, so that every problem names the field at fault and no
//! intermediate document is built.

mod append;
mod content;
mod event;
mod expected;
mod field;
mod frames;
mod import;
mod list;
mod query;
mod retention;
mod snapshot;
mod transaction;

pub use append::{Append, decode_append};
pub(crate) use expected::parse_expected_version;
pub use frames::decode_append_frames;
pub use import::{Import, ImportStatesRequest, decode_import, decode_import_states_request};
pub use query::decode_query;
pub(crate) use query::{check_tags, check_types};
pub use retention::decode_retention;
pub use snapshot::decode_snapshot;
pub use transaction::decode_transaction;
