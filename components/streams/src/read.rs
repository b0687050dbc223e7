//! Reads streams, the whole store, and what is known of them. A call's reads all see one state of the store.
//!
//! The durable position is taken before anything else is read, so that an event which is not in the page has a position
//! at or after it, and waiting from there cannot miss it.
//!
//! What retention and deletion hide is left out by every read, and so is what scavenging removed. `now` is the time of
//! day in microseconds since 1970-01-01T00:00:00 UTC.

use exesdb_sdk::keyspaces::{self, damaged};
use exesdb_sdk::types::{Direction, Error};

use crate::layout::{EVENTS, Envelope, number};

mod all;
mod hiding;
mod list;
mod lives;
mod postings;
mod stream;
mod versions;

pub use all::{LOOKED_AT_BYTES_MAX, LOOKED_AT_EVENTS_MAX, read_all, read_filtered};
pub use list::{LISTED_HEADS_MAX, list_streams};
pub use lives::{LIVES_MAX, stream_lives};
pub(crate) use stream::info_of;
pub use stream::{read_stream, stream_info};
pub(crate) use versions::{created_at, read_versions};

/// Bytes of events, as they are stored, on one page (one event alone may have more): a page is held in memory by the
/// component, the host and whoever asked.
pub const PAGE_BYTES_MAX: u32 = 2 << 20;

/// Bytes that a page of keys with small values takes at most: 1,000 entries of the longest keys.
const KEYS_BYTES_MAX: u32 = 1 << 20;

/// Positions near each other that are read as a range: fewer are looked up each by itself, together with others.
const RANGE_MIN: u64 = 64;

fn envelope(key: &[u8], value: &[u8]) -> Result<Envelope, Error> {
    let position = number(key).ok_or_else(|| damaged(EVENTS, key, "the key is no position"))?;
    Envelope::decode(position, value).map_err(|reason| damaged(EVENTS, key, reason))
}

fn storage_direction(direction: Direction) -> keyspaces::Direction {
    match direction {
        Direction::Forward => keyspaces::Direction::Forward,
        Direction::Backward => keyspaces::Direction::Backward,
    }
}
