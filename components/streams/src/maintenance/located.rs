//! Locates a stream's versions by its index, which may be damaged.

use exesdb_sdk::types::{Direction, Error, Position, Range, Version};
use exesdb_sdk::view::{Entry, Page, View, prefix_end};

use crate::layout::{INDEX, index_key, number, version_in};

/// Maximum bytes of a page of the index, whose entries have 24 bytes each.
const INDEX_BYTES_MAX: u32 = 64 << 10;

/// A well-formed entry of `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Append {
    /// The version of the append's last event.
    pub(super) last: Version,
    /// The position of that event.
    pub(super) position: Position,
}

impl Append {
    pub(super) fn of(origin: Position, entry: Entry<'_>) -> Option<Self> {
        Some(Self { last: version_in(entry.key, origin)?, position: number(entry.value)? })
    }

    /// The position of a version up to the last one; none if it would be negative.
    pub(super) fn locate(self, version: Version) -> Option<Position> {
        self.position.checked_sub(self.last.checked_sub(version)?)
    }
}

/// The entries of a stream's index at or after a version: at most `limit`, up to the first malformed one.
pub(super) fn appends_from(
    view: &impl View,
    origin: Position,
    version: Version,
    limit: u32,
) -> Result<Vec<Append>, Error> {
    let page = entries_from(view, origin, version, limit)?;
    Ok(page.entries().map_while(|entry| Append::of(origin, entry)).collect())
}

/// The raw entries of a stream's index at or after a version.
pub(super) fn entries_from(
    view: &impl View,
    origin: Position,
    version: Version,
    limit: u32,
) -> Result<Page, Error> {
    let end = prefix_end(&origin.to_be_bytes());
    let range = Range { keyspace: INDEX.to_owned(), start: index_key(origin, version), end };
    Ok(view.scan(&range, Direction::Forward, limit, INDEX_BYTES_MAX)?)
}

/// The last entry of a stream's index, if it is well-formed.
pub(super) fn last_append(view: &impl View, origin: Position) -> Result<Option<Append>, Error> {
    let end = prefix_end(&origin.to_be_bytes());
    let range = Range { keyspace: INDEX.to_owned(), start: index_key(origin, 0), end };
    let page = view.scan(&range, Direction::Backward, 1, INDEX_BYTES_MAX)?;
    Ok(page.first().and_then(|entry| Append::of(origin, entry)))
}
