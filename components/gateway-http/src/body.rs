//! Request bodies: JSON or frames in, the store's records out.
//!
//! A body is read in one pass that keeps track of where it is, so that every refusal names the field that it is
//! about, and nothing is built that is not kept.

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
pub use expected::parse_expected_version;
pub use frames::decode_append_frames;
pub use import::{Import, ImportQuestion, decode_import, decode_import_question};
pub use query::{check_tags, check_types, decode_query};
pub use retention::decode_retention;
pub use snapshot::decode_snapshot;
pub use transaction::decode_transaction;
