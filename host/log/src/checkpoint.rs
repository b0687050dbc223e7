//! Checkpoints: the first record of each segment, with everything that the segments before it amount to.
//!
//! So the newest checkpoint and the records after it say what there is, and older segments are only needed for the entries
//! that it places in them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::group::{Group, Noted};
use crate::limits::{INDEX_MAX, NOTE_BYTES_MAX, STATE_BYTES_MAX};
use crate::ranges::Span;

/// Version of the format. A reader refuses any other.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// What a checkpoint says about its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The log that the segment belongs to.
    pub(crate) incarnation: u64,
    /// The segment's number. A file that is used again has the checkpoint of another one until it is overwritten.
    pub(crate) segment: u64,
    /// The link of the last record of the segment before.
    pub(crate) before: u64,
}

/// Every group, and the segments of its entries.
pub(crate) type Groups = BTreeMap<u64, Group<u64>>;

/// The payload of a checkpoint: version u32, incarnation, segment and link before, number of groups u32; for each group its
/// id, state, purged, committed, next, number of ranges u32, and for each range its first and last index and its segment.
pub(crate) fn encode(header: &Header, groups: &Groups) -> Vec<u8> {
    let mut bytes = FORMAT_VERSION.to_be_bytes().to_vec();
    for number in [header.incarnation, header.segment, header.before] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let count = |count: usize| u32::try_from(count).expect("groups and segments are bounded").to_be_bytes();
    bytes.extend_from_slice(&count(groups.len()));
    for (id, group) in groups {
        bytes.extend_from_slice(&id.to_be_bytes());
        put_optional(&mut bytes, group.state.as_ref(), put_bytes);
        put_optional(&mut bytes, group.purged.as_ref(), put_noted);
        put_optional(&mut bytes, group.committed.as_ref(), put_noted);
        put_optional(&mut bytes, group.next.as_ref(), |bytes, next| {
            bytes.extend_from_slice(&next.to_be_bytes())
        });
        bytes.extend_from_slice(&count(group.entries.iter().count()));
        for (span, segment) in group.entries.iter() {
            for number in [span.first, span.last, *segment] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
    bytes
}

fn put_optional<T>(bytes: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    bytes.push(value.is_some().into());
    if let Some(value) = value {
        put(bytes, value);
    }
}

fn put_bytes(bytes: &mut Vec<u8>, value: &Bytes) {
    let length = u16::try_from(value.len()).expect("states and notes are bounded");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(value);
}

fn put_noted(bytes: &mut Vec<u8>, noted: &Noted) {
    bytes.extend_from_slice(&noted.index.to_be_bytes());
    put_bytes(bytes, &noted.note);
}

/// Why bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Of another version of the format.
    Version(u32),
    Malformed,
}

/// Reads the header, which comes before everything that a version may change.
pub(crate) fn decode_header(payload: &[u8]) -> Option<(u32, Header)> {
    let mut reader = Reader(payload);
    let version = reader.u32()?;
    Some((version, Header { incarnation: reader.u64()?, segment: reader.u64()?, before: reader.u64()? }))
}

/// Reads a payload. Each group is consistent, and its entries lie in segments before this one.
pub(crate) fn decode(payload: &[u8]) -> Result<(Header, Groups), Unreadable> {
    let (version, header) = decode_header(payload).ok_or(Unreadable::Malformed)?;
    if version != FORMAT_VERSION {
        return Err(Unreadable::Version(version));
    }
    let groups = decode_groups(&mut Reader(&payload[HEADER_BYTES..]), header.segment);
    groups.map(|groups| (header, groups)).ok_or(Unreadable::Malformed)
}

/// Bytes of version and header.
const HEADER_BYTES: usize = 28;

fn decode_groups(reader: &mut Reader<'_>, of_segment: u64) -> Option<Groups> {
    let mut groups = Groups::new();
    for _ in 0..reader.u32()? {
        let id = reader.u64()?;
        if groups.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return None;
        }
        let mut group = Group::<u64> {
            state: reader.optional(|reader| reader.bytes(STATE_BYTES_MAX))?,
            purged: reader.optional(Reader::noted)?,
            committed: reader.optional(Reader::noted)?,
            next: reader.optional(Reader::u64)?,
            ..Group::default()
        };
        for _ in 0..reader.u32()? {
            let span = Span { first: reader.u64()?, last: reader.u64()? };
            let segment = reader.u64()?;
            // Neighbours in one segment are one range.
            let follows =
                group.entries.iter().next_back().is_none_or(|(before, of)| {
                    before.last.checked_add(1) == Some(span.first) && *of != segment
                });
            if span.first > span.last || span.last > INDEX_MAX || segment >= of_segment || !follows {
                return None;
            }
            group.entries.cover(span, segment);
        }
        if !group.is_consistent() || group.next.is_some_and(|next| next > INDEX_MAX + 1) {
            return None;
        }
        groups.insert(id, group);
    }
    reader.0.is_empty().then_some(groups)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self, max: usize) -> Option<Bytes> {
        let len = usize::from(u16::from_be_bytes(self.take(2)?.try_into().ok()?));
        let bytes = self.take(len)?;
        (len <= max).then(|| Bytes::copy_from_slice(bytes))
    }

    fn noted(&mut self) -> Option<Noted> {
        let index = self.u64().filter(|index| *index <= INDEX_MAX)?;
        Some(Noted { index, note: self.bytes(NOTE_BYTES_MAX)? })
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => read(self).map(Some),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bytes::Bytes;

    use super::{FORMAT_VERSION, Groups, Header, Unreadable, decode, encode};
    use crate::group::{Group, Noted};
    use crate::ranges::{Ranges, Span};

    const HEADER: Header = Header { incarnation: 3, segment: 9, before: 17 };

    fn groups() -> Groups {
        let mut entries = Ranges::default();
        entries.cover(Span { first: 6, last: 7 }, 2);
        entries.cover(Span { first: 8, last: 8 }, 8);
        let noted = |index| Some(Noted { index, note: Bytes::from_static(b"term") });
        let full = Group {
            state: Some(Bytes::from_static(b"vote")),
            purged: noted(5),
            committed: noted(7),
            next: Some(9),
            entries,
        };
        [(1, Group::default()), (4, full)].into()
    }

    fn changed(change: impl FnOnce(&mut Group<u64>)) -> Vec<u8> {
        let mut groups = groups();
        change(groups.get_mut(&4).unwrap());
        encode(&HEADER, &groups)
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        assert_eq!(decode(&encode(&HEADER, &groups())), Ok((HEADER, groups())));
        assert_eq!(decode(&encode(&HEADER, &Groups::new())), Ok((HEADER, Groups::new())));
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let whole = encode(&HEADER, &groups());
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), Err(Unreadable::Malformed), "{len}");
        }
        assert_eq!(decode(&[&whole[..], &[0]].concat()), Err(Unreadable::Malformed), "more follows");
        let mut other = whole.clone();
        other[3] += 1;
        assert_eq!(decode(&other), Err(Unreadable::Version(FORMAT_VERSION + 1)));
        // Any byte may have any value: what is read keeps the rules, or is refused.
        for at in 0..whole.len() {
            for value in [0, 1, 2, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                if let Ok((header, groups)) = decode(&bent) {
                    assert!(groups.values().all(Group::is_consistent));
                    assert_eq!(encode(&header, &groups), bent, "byte {at}");
                }
            }
        }
        let table = [
            (
                "entries of its own segment",
                changed(|group| drop(group.entries.cover(Span { first: 8, last: 8 }, 9))),
            ),
            (
                "a gap",
                changed(|group| {
                    group.next = Some(12);
                    group.entries.cover(Span { first: 11, last: 11 }, 8);
                }),
            ),
            ("entries that were purged", changed(|group| group.purged.as_mut().unwrap().index = 6)),
            ("the next one does not follow", changed(|group| group.next = Some(10))),
            ("no next one", changed(|group| group.next = None)),
        ];
        for (case, bytes) in table {
            assert_eq!(decode(&bytes), Err(Unreadable::Malformed), "{case}");
        }
    }
}
