//! Reads streams, the whole store, and descriptions of streams.
//!
//! Events are not converted: a page has the frames of the log, of which those that are not wanted are left out. Every read
//! omits events that retention and deletion hide, and those that scavenging removed.

use exesdb_sdk::types::{
    Direction, Error, EventFilter, PackedPage, Selection, Source, StreamSelection, check_options, invalid,
};
use exesdb_sdk::view::View;

use crate::correlation::CorrelationIndex;
use crate::filter::Filter;

mod all;
mod budget;
mod hiding;
mod list;
mod lives;
mod log_scan;
mod page;
mod postings;
mod stream;
mod versions;

pub use budget::{SCAN_BUDGET_BYTES, SCAN_BUDGET_EVENTS};
pub use list::{LISTED_HEADS_MAX, list_streams};
pub use lives::{LIVES_MAX, stream_lives};
pub use stream::describe_stream;
pub(crate) use stream::{first_visible, info_of};
pub(crate) use versions::{created_at, read_versions};

/// Maximum bytes of the frames on one page, unless a single event is larger. The component, the host and the client each
/// hold a page in memory.
pub const PAGE_BYTES_MAX: u32 = 2 << 20;

/// Maximum number of events on one page, which bounds the lookups of a call.
pub const PAGE_EVENTS_MAX: u32 = 10_000;

/// Maximum bytes of a page of keys with small values: 1,000 entries with the longest keys.
const KEYS_BYTES_MAX: u32 = 1 << 20;

/// Minimum number of nearby positions for a range scan. Fewer are read by point lookups.
const RANGE_MIN: u64 = 64;

/// What a page may have.
#[derive(Clone, Copy, Debug)]
struct Limits {
    direction: Direction,
    count: u32,
    bytes: u32,
}

impl Limits {
    /// Checks the limits of a selection. Those above the component's count as these.
    fn of(selection: &Selection) -> Result<Self, Error> {
        check_options(&selection.options)?;
        if selection.count == 0 {
            return Err(invalid("selection.count", "is 0; a page has at least 1 event"));
        }
        Ok(Self {
            direction: selection.direction,
            count: selection.count.min(PAGE_EVENTS_MAX),
            bytes: selection.max_bytes.min(PAGE_BYTES_MAX),
        })
    }
}

/// Reads a page of events of one stream or of the whole store.
///
/// # Errors
///
/// [`Error::Invalid`]; of one stream [`Error::NotFound`] and [`Error::StreamDeleted`]; those of the storage, and the problem
/// `damaged` for damaged data.
pub fn read(view: &impl View, selection: &Selection) -> Result<PackedPage, Error> {
    let limits = Limits::of(selection)?;
    match &selection.source {
        Source::OneStream(StreamSelection { stream_id, from }) => {
            stream::read(view, stream_id, *from, limits)
        }
        Source::All(all) => all::read(view, all, limits),
    }
}

/// Reads a page of events of the whole store that match a filter.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and the problem `damaged` for damaged data.
pub fn read_filtered(
    view: &impl View,
    index: CorrelationIndex,
    filter: EventFilter,
    selection: &Selection,
) -> Result<PackedPage, Error> {
    let limits = Limits::of(selection)?;
    let filter = Filter::new(filter, index)?;
    match &selection.source {
        Source::OneStream(_) => {
            Err(invalid("selection.source", "is a stream; only reads of the whole store have filters"))
        }
        Source::All(all) => all::read_filtered(view, &filter, all, limits),
    }
}
