//! Reads streams, the whole store, and descriptions of streams. All reads of a call see one state of the store.
//!
//! The durable position is read first, so that an event which is missing from the page has a position at or after it, and
//! a client that waits from there cannot miss the event.
//!
//! Every read omits events that retention and deletion hide, and those that scavenging removed. `now` is the time of day in
//! microseconds since 1970-01-01T00:00:00 UTC.

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

pub use all::{SCAN_BUDGET_BYTES, SCAN_BUDGET_EVENTS, read_all, read_filtered};
pub use list::{LISTED_HEADS_MAX, list_streams};
pub use lives::{LIVES_MAX, stream_lives};
pub(crate) use stream::info_of;
pub use stream::{read_stream, stream_info};
pub(crate) use versions::{created_at, read_versions};

/// Maximum bytes of the stored events on one page, unless a single event is larger. The component, the host and the caller
/// each hold a page in memory.
pub const PAGE_BYTES_MAX: u32 = 2 << 20;

/// Maximum bytes of a page of keys with small values: 1,000 entries with the longest keys.
const KEYS_BYTES_MAX: u32 = 1 << 20;

/// Minimum number of nearby positions for a range scan. Fewer are read by point lookups.
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
