//! Records: how they are laid out, and how each is linked to the one before it.
//!
//! ```text
//! record   length of the payload u32, kind u8, group u64, payload, link u64
//! ```
//!
//! The link is the 64-bit XXH3 of the link before (8 bytes) and everything in the record before its own link. All numbers
//! are big-endian. What is read is a claim: nothing here trusts a length, a kind or a count.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::group::Noted;
use crate::limits::{ENTRIES_MAX, INDEX_MAX, NOTE_BYTES_MAX, STATE_BYTES_MAX};
use crate::ranges::Span;

/// Bytes of a record before its payload.
pub(crate) const HEAD_BYTES: usize = 13;

/// Bytes of a link.
const LINK_BYTES: usize = 8;

/// Bytes of a record besides its payload.
pub(crate) const OVERHEAD_BYTES: usize = HEAD_BYTES + LINK_BYTES;

/// The group of records that belong to none.
pub(crate) const NO_GROUP: u64 = 0;

/// Bytes of an entries record before the lengths: first index and number of entries.
const ENTRIES_HEAD_BYTES: usize = 12;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entries = 1,
    Copied = 2,
    State = 3,
    Truncate = 4,
    Purge = 5,
    Committed = 6,
    Remove = 7,
    Checkpoint = 8,
    Opened = 9,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Entries,
            2 => Self::Copied,
            3 => Self::State,
            4 => Self::Truncate,
            5 => Self::Purge,
            6 => Self::Committed,
            7 => Self::Remove,
            8 => Self::Checkpoint,
            9 => Self::Opened,
            _ => return None,
        })
    }
}

/// What a record does to its group. Entries are a range; the record has their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Entries(Span),
    /// Entries that were in the log already, copied out of a segment that is to be reused.
    Copied(Span),
    State(Bytes),
    Truncate {
        from: u64,
    },
    Purge(Noted),
    Committed(Noted),
    Remove,
}

impl Op {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Entries(_) => Kind::Entries,
            Self::Copied(_) => Kind::Copied,
            Self::State(_) => Kind::State,
            Self::Truncate { .. } => Kind::Truncate,
            Self::Purge(_) => Kind::Purge,
            Self::Committed(_) => Kind::Committed,
            Self::Remove => Kind::Remove,
        }
    }

    /// The payload of every operation but entries, whose payload [`encode_entries`] makes.
    pub(crate) fn payload(&self) -> Bytes {
        let noted = |noted: &Noted| [&noted.index.to_be_bytes()[..], &noted.note].concat().into();
        match self {
            Self::Entries(_) | Self::Copied(_) | Self::Remove => Bytes::new(),
            Self::State(state) => state.clone(),
            Self::Truncate { from } => from.to_be_bytes().to_vec().into(),
            Self::Purge(purged) => noted(purged),
            Self::Committed(committed) => noted(committed),
        }
    }

    /// Reads the payload of a record that has an operation. `None` if it is malformed.
    pub(crate) fn decode(kind: Kind, payload: &[u8]) -> Option<Self> {
        let index = |bytes: &[u8]| {
            Some(u64::from_be_bytes(bytes.try_into().ok()?)).filter(|index| *index <= INDEX_MAX)
        };
        let noted = |payload: &[u8]| {
            let (head, note) = payload.split_at_checked(8)?;
            let note = Bytes::copy_from_slice(note);
            (note.len() <= NOTE_BYTES_MAX).then_some(Noted { index: index(head)?, note })
        };
        Some(match kind {
            Kind::Entries => Self::Entries(entries_span(payload)?),
            Kind::Copied => Self::Copied(entries_span(payload)?),
            Kind::State if payload.len() <= STATE_BYTES_MAX => Self::State(Bytes::copy_from_slice(payload)),
            Kind::Truncate => Self::Truncate { from: index(payload)? },
            Kind::Purge => Self::Purge(noted(payload)?),
            Kind::Committed => Self::Committed(noted(payload)?),
            Kind::Remove if payload.is_empty() => Self::Remove,
            Kind::State | Kind::Remove | Kind::Checkpoint | Kind::Opened => return None,
        })
    }
}

/// The bytes of a record before its payload.
pub(crate) fn head(kind: Kind, group: u64, payload_len: usize) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(payload_len).expect("a record is bounded by its segment");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = kind as u8;
    head[5..].copy_from_slice(&group.to_be_bytes());
    head
}

/// The link of a record.
pub(crate) fn link(before: u64, head: &[u8; HEAD_BYTES], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&before.to_be_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

/// Writes a record to the end of `buffer`, and returns its link.
pub(crate) fn push(buffer: &mut Vec<u8>, kind: Kind, group: u64, payload: &[u8], before: u64) -> u64 {
    let head = head(kind, group, payload.len());
    let link = link(before, &head, payload);
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(&link.to_be_bytes());
    link
}

/// A record as it lies in a file, with a length and a kind that are possible.
pub(crate) struct Raw<'a> {
    pub(crate) kind: Kind,
    pub(crate) group: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) link: u64,
    head: [u8; HEAD_BYTES],
}

impl<'a> Raw<'a> {
    /// The record at the start of `bytes`, if its head can be one and its length fits. Its link is not checked.
    pub(crate) fn at_start_of(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, d, kind, group @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let link = u64::from_be_bytes(*rest.first_chunk()?);
        Some(Self { kind: Kind::of(kind)?, group: u64::from_be_bytes(group), payload, link, head: *head })
    }

    /// Whether the record is whole and follows the one with the link `before`.
    pub(crate) fn follows(&self, before: u64) -> bool {
        link(before, &self.head, self.payload) == self.link
    }

    /// Bytes of the record.
    pub(crate) fn len(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }
}

/// The payload of an entries record: first index u64, number u32, the length u32 of each, their bytes.
pub(crate) fn encode_entries(first: u64, entries: &[Bytes]) -> Vec<u8> {
    let bytes: usize = entries.iter().map(Bytes::len).sum();
    let mut payload = Vec::with_capacity(ENTRIES_HEAD_BYTES + 4 * entries.len() + bytes);
    payload.extend_from_slice(&first.to_be_bytes());
    payload.extend_from_slice(&u32::try_from(entries.len()).expect("appends are bounded").to_be_bytes());
    for entry in entries {
        payload.extend_from_slice(&u32::try_from(entry.len()).expect("records are bounded").to_be_bytes());
    }
    for entry in entries {
        payload.extend_from_slice(entry);
    }
    payload
}

/// Bytes of the payload of an entries record.
pub(crate) fn entries_len(entries: &[Bytes]) -> u64 {
    let lengths = entries.iter().map(|entry| entry.len() as u64 + 4).sum::<u64>();
    lengths + ENTRIES_HEAD_BYTES as u64
}

/// The lengths of the entries, and where their bytes begin.
fn lengths(payload: &[u8]) -> Option<(u64, &[[u8; 4]], usize)> {
    let (first, rest) = payload.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    if !(1..=ENTRIES_MAX).contains(&count) {
        return None;
    }
    let (lengths, _) = rest.get(..4 * count)?.as_chunks::<4>();
    Some((u64::from_be_bytes(*first), lengths, ENTRIES_HEAD_BYTES + 4 * count))
}

/// The indexes of the entries in a payload. `None` if it is malformed.
fn entries_span(payload: &[u8]) -> Option<Span> {
    let (first, lengths, data) = lengths(payload)?;
    let bytes: u64 = lengths.iter().map(|length| u64::from(u32::from_be_bytes(*length))).sum();
    let last = first.checked_add(lengths.len() as u64 - 1).filter(|last| *last <= INDEX_MAX)?;
    (data as u64 + bytes == payload.len() as u64).then_some(Span { first, last })
}

/// The entries of a payload that lie within `span`, with their indexes. `None` if it is malformed or lacks any.
pub(crate) fn entries(payload: &Bytes, span: Span) -> Option<Vec<(u64, Bytes)>> {
    let all = entries_span(payload)?;
    if span.first < all.first || span.last > all.last {
        return None;
    }
    let (_, lengths, mut at) = lengths(payload)?;
    let mut entries = Vec::new();
    for (index, length) in (all.first..=span.last).zip(lengths) {
        let end = at + usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if index >= span.first {
            entries.push((index, payload.slice(at..end)));
        }
        at = end;
    }
    Some(entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bytes::Bytes;

    use super::{Kind, Op, Raw, encode_entries, entries, push};
    use crate::group::Noted;
    use crate::limits::{INDEX_MAX, NOTE_BYTES_MAX, STATE_BYTES_MAX};
    use crate::ranges::Span;

    fn noted(index: u64) -> Noted {
        Noted { index, note: Bytes::from_static(b"term 7") }
    }

    #[test]
    fn operations_are_read_as_they_were_written() {
        let table = [
            Op::State(Bytes::from_static(b"vote")),
            Op::State(Bytes::new()),
            Op::Truncate { from: 3 },
            Op::Purge(noted(9)),
            Op::Committed(noted(0)),
            Op::Remove,
        ];
        for op in table {
            assert_eq!(Op::decode(op.kind(), &op.payload()), Some(op));
        }
        let three: Vec<Bytes> = vec!["a".into(), "".into(), "ccc".into()];
        let payload = Bytes::from(encode_entries(7, &three));
        assert_eq!(Op::decode(Kind::Entries, &payload), Some(Op::Entries(Span { first: 7, last: 9 })));
        let found = entries(&payload, Span { first: 8, last: 9 }).unwrap();
        assert_eq!(found, [(8, Bytes::new()), (9, "ccc".into())]);
        assert_eq!(entries(&payload, Span { first: 8, last: 10 }), None);
        assert_eq!(entries(&payload, Span { first: 6, last: 9 }), None);
    }

    #[test]
    fn a_record_follows_only_the_one_before_it() {
        let mut buffer = Vec::new();
        let first = push(&mut buffer, Kind::State, 5, b"vote", 17);
        let second = push(&mut buffer, Kind::Remove, 6, b"", first);
        let raw = Raw::at_start_of(&buffer).unwrap();
        assert_eq!((raw.kind, raw.group, raw.payload, raw.link), (Kind::State, 5, &b"vote"[..], first));
        assert!(raw.follows(17) && !raw.follows(18));
        let next = Raw::at_start_of(&buffer[raw.len()..]).unwrap();
        assert_eq!((next.group, next.link), (6, second));
        assert!(next.follows(first));
        for at in 0..raw.len() {
            for bit in 0..8 {
                let mut bent = buffer.clone();
                bent[at] ^= 1 << bit;
                assert!(Raw::at_start_of(&bent).is_none_or(|raw| !raw.follows(17)), "byte {at}");
            }
        }
        for len in 0..raw.len() {
            assert!(Raw::at_start_of(&buffer[..len]).is_none());
        }
    }

    #[test]
    fn malformed_payloads_are_refused() {
        let index = |index: u64| index.to_be_bytes().to_vec();
        let entries = |first: u64, count: u32, lengths: &[u32], data: &[u8]| {
            let lengths: Vec<u8> = lengths.iter().flat_map(|length| length.to_be_bytes()).collect();
            [&first.to_be_bytes()[..], &count.to_be_bytes(), &lengths, data].concat()
        };
        let table = [
            (Kind::State, vec![0; STATE_BYTES_MAX + 1]),
            (Kind::Truncate, vec![0; 7]),
            (Kind::Truncate, vec![0; 9]),
            (Kind::Truncate, index(INDEX_MAX + 1)),
            (Kind::Purge, vec![0; 7]),
            (Kind::Purge, index(u64::MAX)),
            (Kind::Purge, vec![0; 8 + NOTE_BYTES_MAX + 1]),
            (Kind::Committed, index(u64::MAX)),
            (Kind::Remove, vec![0]),
            (Kind::Checkpoint, vec![]),
            (Kind::Opened, index(3)),
            (Kind::Entries, vec![]),
            (Kind::Entries, entries(1, 0, &[], b"")),
            (Kind::Entries, entries(1, 1, &[], b"")),
            (Kind::Entries, entries(1, 1, &[4], b"abc")),
            (Kind::Entries, entries(1, 1, &[2], b"abc")),
            (Kind::Entries, entries(1, u32::MAX, &[1], b"a")),
            (Kind::Entries, entries(1, 2, &[u32::MAX, u32::MAX], b"a")),
            (Kind::Entries, entries(INDEX_MAX, 2, &[0, 0], b"")),
            (Kind::Copied, entries(u64::MAX, 1, &[0], b"")),
        ];
        for (kind, payload) in table {
            assert_eq!(Op::decode(kind, &payload), None, "{kind:?} {payload:?}");
        }
    }
}
