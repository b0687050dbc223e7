//! Events as bytes: one layout for storage, components, gateways and clients, so that events are copied from one to the
//! next and not converted.
//!
//! All numbers are little-endian. A list of events is a sequence of [frames](Frames), with nothing between or after them:
//!
//! | frame | bytes |
//! |---|---|
//! | position | `u64` |
//! | kind and length | `u32`: the two highest bits are the kind, the others the length of what follows |
//! | kind 0: an event | an [envelope](Envelope) |
//! | kind 1: a removed event | its link of the hash chain: `u64` |
//! | kind 2: a gap | the number of positions that the log skips here, at least 1: `u64` |
//!
//! | envelope | offset | bytes |
//! |---|---|---|
//! | format | 0 | `u8`: 1 |
//! | flags | 1 | `u8`: 1 if the data was checked to be JSON, plus 2 if the metadata was |
//! | number of tags | 2 | `u16` |
//! | version | 4 | `u64` |
//! | created | 12 | `u64`: microseconds since 1970-01-01T00:00:00 UTC |
//! | lengths of stream id, event id, event type, content type | 20 | `u16` each |
//! | lengths of data and metadata | 28 | `u32` each |
//! | length of each tag | 36 | `u16` each |
//! | stream id, event id, event type, content type, tags | after them | UTF-8 |
//! | data, metadata | after them | bytes |
//!
//! What has a fixed size comes first, so version and created are written in place. Events that were not stored yet have
//! position, version and created 0.
//!
//! Bytes are [broken](Broken) if a length leads out of them, bytes are left over, a text is not UTF-8, or a format, flag or
//! kind is unknown. Whoever gets bytes from somebody else checks that before it uses them; reading them here does.

mod broken;
mod envelope;
mod frame;
mod json;

pub use broken::{Broken, TooLong};
pub use envelope::{DATA_IS_JSON, Envelope, EventParts, METADATA_IS_JSON, Tags, set_created, set_version};
pub use frame::{Events, Frame, Frames, Record, push_envelope, push_event, push_gap, push_removed};
pub use json::{json_flags, says_json, set_json_flags};
