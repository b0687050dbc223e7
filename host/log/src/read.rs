//! Reading entries: recent ones from memory, all others from their segments, each checked against its record's link.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::FolderFile;
use crate::error::ReadError;
use crate::held::{Held, RecordPlace};
use crate::ranges::Span;
use crate::record;
use crate::segment::Name;
use crate::shared::{Inner, Shared};

/// An entry of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// What was appended.
    pub data: Bytes,
}

/// A part of a record that is to be read.
struct Part {
    span: Span,
    held: Held,
    /// Where the record is, unless it is only in memory.
    stored: Option<(RecordPlace, Arc<dyn FolderFile>)>,
}

/// Why a part was not read.
enum Failure {
    /// Its segment was used again meanwhile: the entries are somewhere else, or purged.
    Outdated,
    Error(ReadError),
}

pub(crate) fn read(
    shared: &Shared,
    group: u64,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReadError> {
    loop {
        let parts = find(&shared.lock(), group, &range, bytes_max)?;
        match read_parts(shared, group, parts, bytes_max) {
            Ok(entries) => return Ok(entries),
            Err(Failure::Error(error)) => return Err(error),
            // Each time round a segment was released since.
            Err(Failure::Outdated) => {}
        }
    }
}

/// The parts of records that have the entries, at least as many as fit into `bytes_max`.
fn find(inner: &Inner, group: u64, range: &Range<u64>, bytes_max: usize) -> Result<Vec<Part>, ReadError> {
    if inner.is_closed() {
        return Err(ReadError::Closed);
    }
    let Some(view) = inner.views.get(group) else { return Ok(Vec::new()) };
    if view.is_broken {
        return Err(ReadError::Broken { group });
    }
    let Some(next) = view.group.next.filter(|next| range.start < range.end.min(*next)) else {
        return Ok(Vec::new());
    };
    let first = view.group.entries.hull().map_or(next, |hull| hull.first);
    if range.start < first {
        return Err(ReadError::Gone { group, index: range.start, first });
    }
    let span = Span { first: range.start, last: range.end.min(next) - 1 };
    let (mut parts, mut bytes) = (Vec::new(), 0);
    for (span, held) in view.group.entries.within(span) {
        if bytes > bytes_max {
            break;
        }
        // The first one and the last one may have entries that were not asked for.
        bytes += if parts.is_empty() { 0 } else { held.len() };
        let stored =
            held.place().and_then(|place| Some((place, Arc::clone(inner.segments.get(&place.segment)?))));
        parts.push(Part { span, held: held.clone(), stored });
    }
    Ok(parts)
}

fn read_parts(
    shared: &Shared,
    group: u64,
    parts: Vec<Part>,
    bytes_max: usize,
) -> Result<Vec<Entry>, Failure> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for part in parts {
        if bytes >= bytes_max && !entries.is_empty() {
            break;
        }
        let payload = match part.held.cached() {
            Some(payload) => payload,
            None => load(shared, group, &part)?,
        };
        // A payload with the right link has what its record says.
        let of_part = record::entries(&payload, part.span).ok_or_else(|| damaged(group, &part))?;
        for (index, data) in of_part {
            bytes += data.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(Entry { index, data });
        }
    }
    Ok(entries)
}

fn load(shared: &Shared, group: u64, part: &Part) -> Result<Bytes, Failure> {
    // A record that was evicted from memory since it was found is in its file.
    let Some((place, file)) = &part.stored else { return Err(Failure::Outdated) };
    let found = part.held.load(*place, &**file);
    if let Ok(Some(payload)) = found {
        return Ok(payload);
    }
    // The file may have become another segment while it was read.
    if !shared.lock().segments.contains_key(&place.segment) {
        return Err(Failure::Outdated);
    }
    Err(match found {
        Err(source) => {
            Failure::Error(ReadError::Io { segment: Name::Segment(place.segment).to_string(), source })
        }
        Ok(_) => damaged(group, part),
    })
}

fn damaged(group: u64, part: &Part) -> Failure {
    let place = part.held.place();
    let segment = Name::Segment(place.map_or(0, |place| place.segment)).to_string();
    let offset = place.map_or(0, |place| place.offset);
    Failure::Error(ReadError::Damaged { group, index: part.span.first, segment, offset })
}
