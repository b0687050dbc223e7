//! Scanning a range of keys in pages.

use std::ops::Bound;

use crate::Slice;
use crate::engine::KeyRange;
use crate::limits;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys, from `start`.
    #[default]
    Forward,
    /// Descending keys, from just below `end`.
    Backward,
}

/// A range of keys to read in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Keyspace of the owner.
    pub keyspace: String,
    /// First key of the range, inclusive; empty for the beginning of the keyspace.
    pub start: Vec<u8>,
    /// First key after the range; `None` for the end of the keyspace.
    pub end: Option<Vec<u8>>,
    /// Which end of the range to begin at.
    pub direction: Direction,
    /// Most entries of the page, at least 1; lowered to [`limits::PAGE_ENTRIES_MAX`].
    pub limit: usize,
    /// Most bytes of keys and values of the page; lowered to [`limits::PAGE_BYTES_MAX`]. The first entry is returned
    /// even if it alone is larger.
    pub max_bytes: usize,
}

/// Entries of a scan, in its direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys with their values. Empty only if the range is empty.
    pub entries: Vec<(Slice, Slice)>,
    /// Whether the range holds more. To go on: forward, start just after the last key (the key and a zero byte);
    /// backward, use the last key as the end.
    pub more: bool,
}

/// The bounds of `start..end`; `None` if the range is empty (fjall's memtable panics on a range that
/// ends before it begins).
pub(crate) fn key_range<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<KeyRange<'a>> {
    if end.is_some_and(|end| end <= start) {
        return None;
    }
    let lower = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
    Some((lower, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// Reads the first page of `entries`.
pub(super) fn page<E>(
    entries: impl Iterator<Item = Result<(Slice, Slice), E>>,
    scan: &Scan,
) -> Result<Page, E> {
    let limit = scan.limit.min(limits::PAGE_ENTRIES_MAX);
    let max_bytes = scan.max_bytes.min(limits::PAGE_BYTES_MAX);
    let mut page = Page::default();
    let mut bytes = 0;
    for entry in entries {
        if page.entries.len() == limit {
            page.more = true;
            break;
        }
        let (key, value) = entry?;
        bytes += key.len() + value.len();
        if bytes > max_bytes && !page.entries.is_empty() {
            page.more = true;
            break;
        }
        page.entries.push((key, value));
    }
    Ok(page)
}
