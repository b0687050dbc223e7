//! Decodes request bodies: JSON, or packed events, which are only checked.
//!
//! A body is decoded in one pass that tracks the current field, so that every problem names the field at fault and no
//! intermediate document is built.

mod append;
mod content;
mod event;
mod expected;
mod field;
mod import;
mod list;
mod packed;
mod query;
mod retention;
mod snapshot;
mod transaction;

pub use append::{Append, decode_append};
pub use event::NewEvent;
pub(crate) use expected::parse_expected_version;
pub use import::{Import, ImportStatesRequest, ImportedEvent, decode_import, decode_import_states_request};
pub use packed::{MEDIA_TYPE as PACKED_MEDIA_TYPE, Taken, check_packed, take_packed_append};
pub use query::decode_query;
pub(crate) use query::{check_tags, check_types};
pub use retention::decode_retention;
pub use snapshot::decode_snapshot;
pub use transaction::{StreamAppend, Transaction, decode_stream_append, decode_transaction};
