//! The keys and values of the keyspaces. The crate's documentation has the table.

mod imports;

use exesdb_sdk::fields::{Malformed, Reader, Writer};
use exesdb_sdk::keyspaces::{ChainHash, Range, STAMP_BYTES, prefix_end};
use exesdb_sdk::streams::StreamState;
use exesdb_sdk::types::{EventData, Position, RecordedEvent, Version};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

pub use imports::{IMPORTS, ImportedRows, import_key, stream_of_import};

/// Stream id -> [`Head`].
pub const STREAMS: &str = "streams";
/// Stream id -> nothing, for the streams whose head [`Head::is_extended`].
pub const RETAINED: &str = "retained";
/// Position -> [`Envelope`] of an event.
pub const EVENTS: &str = "events";
/// Position -> position: the first position of a gap that an import left, and the first position after it.
pub const GAPS: &str = "gaps";
/// Origin of a stream and version -> position, for the last event of each append.
pub const INDEX: &str = "index";
/// Origin of a stream and digest of an event id -> version.
pub const IDS: &str = "ids";
/// Digest of a label and position -> position, for the last and the first event of an append that has the label.
pub const LABELS: &str = "labels";

/// Bytes of a digest in a key. With an origin or position the key has 20 bytes, which the storage engine's memory tables
/// hold inline; longer keys cost a pointer dereference for every comparison.
pub const DIGEST_BYTES: usize = 12;

/// The format of the head of a stream of which nothing was ever hidden.
const HEAD_FORMAT: u8 = 1;
/// The format of any other head.
const EXTENDED_HEAD_FORMAT: u8 = 2;
/// The format of the head of a stream that was deleted and begun again.
const REVIVED_HEAD_FORMAT: u8 = 3;
/// Bytes of the longest head.
pub const HEAD_BYTES_MAX: usize = 74;
/// The bit of a head's state byte that is set when the times of the stream's events are not in order.
const UNORDERED: u8 = 0x80;
/// The format of an envelope with its event.
const EVENT_FORMAT: u8 = 2;
/// The format of an envelope whose event was removed.
const REMOVED_FORMAT: u8 = 3;

/// The state of a stream: the value in keyspace `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The position of the first event, which identifies the stream in keys: it is short and unique, and streams that
    /// begin consecutively are adjacent.
    pub origin: Position,
    /// The version of the last event.
    pub last_version: Version,
    /// The time of the first event: microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// The time of the last event.
    pub updated: u64,
    /// Whether the stream is live, deleted or tombstoned.
    pub state: StreamState,
    /// The first version that may be visible, as stored. Earlier versions of this component stored points far beyond the
    /// end; use [`Head::truncated_before`].
    pub truncate_before: Version,
    /// The number of newest events that are kept; 0 for all.
    pub max_count: u64,
    /// The number of seconds for which events are kept; 0 for no limit.
    pub max_age_seconds: u64,
    /// The events with lower versions were removed, or never existed.
    pub reclaimed_before: Version,
    /// The first version of the stream's present life, which begins with the first append after a deletion; 0 for a stream
    /// that was never deleted, or whose head an earlier version of this component wrote.
    pub life_begins: Version,
    /// Whether an event may be older than the one before it, as after an import. Then a binary search by time is impossible.
    pub is_unordered: bool,
}

impl Head {
    /// The offset of the origin in the value. For a new stream, the commit writes it.
    pub const ORIGIN_AT: u32 = 1;

    /// The head of a live stream of which nothing is hidden.
    #[must_use]
    pub fn new(origin: Position, last_version: Version, created: u64, updated: u64) -> Self {
        Self {
            origin,
            last_version,
            created,
            updated,
            state: StreamState::Live,
            truncate_before: 0,
            max_count: 0,
            max_age_seconds: 0,
            reclaimed_before: 0,
            life_begins: 0,
            is_unordered: false,
        }
    }

    /// The version of the next event. Versions never reach `u64::MAX`; see [`crate::check::IMPORTED_VERSION_MAX`].
    #[must_use]
    pub fn next_version(&self) -> Version {
        self.last_version.saturating_add(1)
    }

    /// The first version that may be visible: at most that of the next event, so that no future event is hidden.
    #[must_use]
    pub fn truncated_before(&self) -> Version {
        self.truncate_before.min(self.next_version())
    }

    /// Whether events of the stream are or may become hidden, or its times are unordered. Then the value has additional
    /// fields, and keyspace `retained` an entry.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        *self != Self::new(self.origin, self.last_version, self.created, self.updated)
    }

    /// Encodes the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let is_extended = self.is_extended();
        let mut writer = Writer::with_capacity(HEAD_BYTES_MAX);
        writer.u8(match (is_extended, self.life_begins) {
            (false, _) => HEAD_FORMAT,
            (true, 0) => EXTENDED_HEAD_FORMAT,
            (true, _) => REVIVED_HEAD_FORMAT,
        });
        writer.u64(self.origin);
        writer.u64(self.last_version);
        writer.u64(self.created);
        writer.u64(self.updated);
        if is_extended {
            let state = match self.state {
                StreamState::Live => 0,
                StreamState::Deleted => 1,
                StreamState::Tombstoned => 2,
            };
            writer.u8(state | if self.is_unordered { UNORDERED } else { 0 });
            writer.u64(self.truncate_before);
            writer.u64(self.max_count);
            writer.u64(self.max_age_seconds);
            writer.u64(self.reclaimed_before);
            if self.life_begins != 0 {
                writer.u64(self.life_begins);
            }
        }
        writer.finish()
    }

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if [`Head::encode`] did not write it.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(value);
        let format = byte(&mut reader)?;
        if ![HEAD_FORMAT, EXTENDED_HEAD_FORMAT, REVIVED_HEAD_FORMAT].contains(&format) {
            return Err(Malformed::Format(format));
        }
        let mut head = Self::new(reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
        if format != HEAD_FORMAT {
            let state = byte(&mut reader)?;
            head.is_unordered = state & UNORDERED != 0;
            head.state = match state & !UNORDERED {
                0 => StreamState::Live,
                1 => StreamState::Deleted,
                2 => StreamState::Tombstoned,
                other => return Err(Malformed::Format(other)),
            };
            head.truncate_before = reader.u64()?;
            head.max_count = reader.u64()?;
            head.max_age_seconds = reader.u64()?;
            head.reclaimed_before = reader.u64()?;
        }
        if format == REVIVED_HEAD_FORMAT {
            head.life_begins = reader.u64()?;
        }
        reader.end()?;
        Ok(head)
    }
}

/// The key in keyspace `index` of the append whose last event has this version.
#[must_use]
pub fn index_key(origin: Position, version: Version) -> Vec<u8> {
    [origin.to_be_bytes(), version.to_be_bytes()].concat()
}

/// The version in a key that [`index_key`] made for this stream.
#[must_use]
pub fn version_in(key: &[u8], origin: Position) -> Option<Version> {
    number(key.strip_prefix(&origin.to_be_bytes())?)
}

/// The key of an event id in keyspace `ids`. Two ids of one stream may have the same key, by chance or on purpose, so a
/// reader must compare the event's id. A cryptographic digest would not help: a client that can append an id which blocks
/// another one can append that other one as well.
#[must_use]
pub fn id_key(origin: Position, event_id: &str) -> Vec<u8> {
    let digest = xxh3_128(event_id.as_bytes()).to_be_bytes();
    [&origin.to_be_bytes()[..], &digest[..DIGEST_BYTES]].concat()
}

/// The kinds of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelKind {
    /// The event's type.
    Type,
    /// A tag.
    Tag,
    /// The correlation id in the metadata.
    Correlation,
    /// The causation id in the metadata.
    Causation,
}

impl LabelKind {
    /// Distinguishes labels with the same text.
    fn byte(self) -> u8 {
        match self {
            Self::Type => b't',
            Self::Tag => b'g',
            Self::Correlation => b'c',
            Self::Causation => b'k',
        }
    }
}

/// The prefix of a label's keys. Two labels may have the same digest, by chance or on purpose, so a reader must compare the
/// events' texts.
pub type LabelDigest = [u8; DIGEST_BYTES];

/// The digest of a label.
#[must_use]
pub fn label_digest(kind: LabelKind, text: &str) -> LabelDigest {
    let mut hash = Xxh3Default::new();
    hash.update(&[kind.byte()]);
    hash.update(text.as_bytes());
    let digest = hash.digest128().to_be_bytes();
    std::array::from_fn(|at| digest[at])
}

/// The key in keyspace `labels` for an append whose last event with the label has this position.
#[must_use]
pub fn label_key(digest: LabelDigest, position: Position) -> Vec<u8> {
    [&digest[..], &position.to_be_bytes()].concat()
}

/// The digest and the position in a key that [`label_key`] made.
#[must_use]
pub fn label_in(key: &[u8]) -> Option<(LabelDigest, Position)> {
    let (digest, position) = key.split_at_checked(DIGEST_BYTES)?;
    Some((digest.try_into().ok()?, number(position)?))
}

/// The entries of a label whose last event is at or after `from`.
#[must_use]
pub fn label_range(digest: LabelDigest, from: Position) -> Range {
    Range { keyspace: LABELS.to_owned(), start: label_key(digest, from), end: prefix_end(&digest) }
}

/// The events at or after `from`.
#[must_use]
pub fn event_range(from: Position) -> Range {
    Range { keyspace: EVENTS.to_owned(), start: from.to_be_bytes().to_vec(), end: None }
}

/// Decodes a key or value that is a version or a position.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A placeholder for a key or value that is a position, which the commit writes.
#[must_use]
pub fn position_hole() -> Vec<u8> {
    vec![0; STAMP_BYTES]
}

/// The value of an event in keyspace `events`, with its link of the store's hash chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The event exists.
    Event {
        /// The link, which the commit wrote.
        link: ChainHash,
        /// The event.
        event: RecordedEvent,
    },
    /// Scavenging removed the event.
    Removed {
        /// The link of the removed event, which the next link depends on.
        link: ChainHash,
    },
}

impl Envelope {
    /// The offset of the link in the value. The commit writes it.
    pub const LINK_AT: u32 = 1;

    /// The length of an event's value in bytes.
    #[must_use]
    pub fn bytes(stream_id: &str, event: &EventData) -> usize {
        let texts = stream_id.len() + event.id.len() + event.event_type.len() + event.content_type.len();
        let tags: usize = event.tags.iter().map(|tag| 2 + tag.len()).sum();
        // Format, link, version and time, the lengths of four texts, of data and of metadata, and the number of tags.
        1 + 8 + 2 * 8 + 4 * 2 + 2 * 4 + 2 + texts + event.data.len() + event.metadata.len() + tags
    }

    /// Encodes the value of an event, with a placeholder for the link.
    #[must_use]
    pub fn encode(stream_id: &str, version: Version, created: u64, event: &EventData) -> Vec<u8> {
        let mut writer = Writer::with_capacity(Self::bytes(stream_id, event));
        writer.u8(EVENT_FORMAT);
        writer.u64(0);
        writer.text(stream_id);
        writer.u64(version);
        writer.text(&event.id);
        writer.text(&event.event_type);
        writer.text(&event.content_type);
        writer.u64(created);
        writer.bytes(&event.data);
        writer.bytes(&event.metadata);
        let count = u16::try_from(event.tags.len()).expect("the number of tags is checked");
        for byte in count.to_be_bytes() {
            writer.u8(byte);
        }
        for tag in &event.tags {
            writer.text(tag);
        }
        writer.finish()
    }

    /// Encodes the value of a removed event.
    #[must_use]
    pub fn encode_removed(link: ChainHash) -> Vec<u8> {
        let mut writer = Writer::with_capacity(9);
        writer.u8(REMOVED_FORMAT);
        writer.u64(link);
        writer.finish()
    }

    /// Decodes the value at a position.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if neither [`Envelope::encode`] nor [`Envelope::encode_removed`] wrote it.
    pub fn decode(position: Position, value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(value);
        let format = byte(&mut reader)?;
        if format != EVENT_FORMAT && format != REMOVED_FORMAT {
            return Err(Malformed::Format(format));
        }
        let link = reader.u64()?;
        if format == REMOVED_FORMAT {
            reader.end()?;
            return Ok(Self::Removed { link });
        }
        let event = RecordedEvent {
            stream_id: reader.text()?.to_owned(),
            version: reader.u64()?,
            position,
            id: reader.text()?.to_owned(),
            event_type: reader.text()?.to_owned(),
            content_type: reader.text()?.to_owned(),
            created: reader.u64()?,
            data: reader.bytes()?.to_owned(),
            metadata: reader.bytes()?.to_owned(),
            tags: {
                let count = u16::from_be_bytes([byte(&mut reader)?, byte(&mut reader)?]);
                (0..count).map(|_| reader.text().map(str::to_owned)).collect::<Result<_, _>>()?
            },
        };
        reader.end()?;
        Ok(Self::Event { link, event })
    }

    /// The link of the store's hash chain.
    #[must_use]
    pub fn link(&self) -> ChainHash {
        match self {
            Self::Event { link, .. } | Self::Removed { link } => *link,
        }
    }

    /// The event, if it was not removed.
    #[must_use]
    pub fn into_event(self) -> Option<RecordedEvent> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Removed { .. } => None,
        }
    }
}

/// Reads one byte.
fn byte(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    match reader.format(0) {
        Ok(()) => Ok(0),
        Err(Malformed::Format(byte)) => Ok(byte),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::fields::Malformed;
    use exesdb_sdk::streams::StreamState;
    use exesdb_sdk::types::EventData;

    use super::{
        Envelope, Head, LabelKind, id_key, index_key, label_digest, label_in, label_key, label_range,
        version_in,
    };

    #[test]
    fn the_bytes_of_a_head_are_fixed() {
        let head = Head::new(4, 2, 3, 256);
        let bytes = [
            1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0,
        ];
        assert!(!head.is_extended());
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        assert_eq!(Head::decode(&bytes[..32]), Err(Malformed::Short));
        assert_eq!(Head::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Long));
        assert_eq!(Head::decode(&[4]), Err(Malformed::Format(4)));
        assert_eq!(Head::decode(&[]), Err(Malformed::Short));
    }

    #[test]
    fn the_bytes_of_an_extended_head_are_fixed() {
        let head = Head {
            state: StreamState::Tombstoned,
            truncate_before: 5,
            max_count: 6,
            max_age_seconds: 7,
            reclaimed_before: 8,
            ..Head::new(4, 2, 3, 256)
        };
        let bytes = [
            2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1,
            0, //
            2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
            8,
        ];
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        for length in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..length]), Err(Malformed::Short), "{length}");
        }
        let mut other_state = bytes;
        other_state[33] = 3;
        assert_eq!(Head::decode(&other_state), Err(Malformed::Format(3)));
        let plain = Head::new(4, 2, 3, 256);
        for extended in [
            Head { state: StreamState::Deleted, ..plain },
            Head { truncate_before: 1, ..plain },
            Head { max_count: 1, ..plain },
            Head { max_age_seconds: 1, ..plain },
            Head { reclaimed_before: 1, ..plain },
            Head { is_unordered: true, ..plain },
            Head { is_unordered: true, state: StreamState::Tombstoned, ..plain },
        ] {
            assert!(extended.is_extended());
            assert_eq!(extended.encode().len(), 66);
            assert_eq!(Head::decode(&extended.encode()), Ok(extended));
        }
    }

    #[test]
    fn the_bytes_of_the_head_of_a_revived_stream_are_fixed() {
        let head = Head { life_begins: 258, truncate_before: 5, ..Head::new(4, 300, 3, 256) };
        let bytes = head.encode();
        assert_eq!((bytes[0], bytes.len()), (3, 74));
        assert_eq!(bytes[66..], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes[1..66], Head { life_begins: 0, ..head }.encode()[1..]);
        assert_eq!(Head::decode(&bytes), Ok(head));
        for length in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..length]), Err(Malformed::Short), "{length}");
        }
        assert_eq!(Head::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Long));
    }

    #[test]
    fn the_bytes_of_keys_are_fixed() {
        assert_eq!(index_key(258, 3), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(version_in(&index_key(258, 3), 258), Some(3));
        assert_eq!(version_in(&index_key(258, 3), 259), None);
        assert_eq!(version_in(&index_key(258, 3)[..15], 258), None);
        // XXH3 of 128 bits of "abc" is 06b05ab6733a618578af5f94892f3950.
        let key = b"\0\0\0\0\0\0\x01\x02\x06\xb0\x5a\xb6\x73\x3a\x61\x85\x78\xaf\x5f\x94";
        assert_eq!(id_key(258, "abc"), key);
    }

    #[test]
    fn the_bytes_of_labels_are_fixed() {
        // A tag `abc` is digested as `gabc`.
        let digest: [u8; 12] = id_key(0, "gabc")[8..].try_into().unwrap();
        assert_eq!(label_digest(LabelKind::Tag, "abc"), digest);
        assert_eq!(label_digest(LabelKind::Type, "bc"), id_key(0, "tbc")[8..]);
        assert_eq!(label_digest(LabelKind::Correlation, ""), id_key(0, "c")[8..]);
        assert_eq!(label_digest(LabelKind::Causation, "x"), id_key(0, "kx")[8..]);
        let key = label_key(digest, 258);
        assert_eq!((&key[..12], &key[12..]), (&digest[..], &[0, 0, 0, 0, 0, 0, 1, 2][..]));
        assert_eq!(label_in(&key), Some((digest, 258)));
        assert_eq!(label_in(&key[..19]), None);
        assert_eq!(label_in(&key[..11]), None);
        let range = label_range(digest, 259);
        assert!(key < range.start && label_key(digest, u64::MAX) < range.end.unwrap());
    }

    #[test]
    fn the_bytes_of_an_event_are_fixed() {
        let event = EventData {
            id: "i".into(),
            event_type: "ty".into(),
            content_type: "c".into(),
            data: b"data".to_vec(),
            metadata: b"{}".to_vec(),
            tags: vec!["k:1".into(), "t".into()],
        };
        let mut value = Envelope::encode("s", 5, 6, &event);
        let bytes = b"\x02\0\0\0\0\0\0\0\0\0\x01s\0\0\0\0\0\0\0\x05\0\x01i\0\x02ty\0\x01c\0\0\0\0\0\0\0\x06\0\0\0\x04data\0\0\0\x02{}\0\x02\0\x03k:1\0\x01t";
        assert_eq!(value, bytes);
        assert_eq!(Envelope::bytes("s", &event), bytes.len());
        value[Envelope::LINK_AT as usize..][..8].copy_from_slice(&77_u64.to_be_bytes());
        let Envelope::Event { link, event: read } = Envelope::decode(9, &value).unwrap() else {
            panic!("the event is there")
        };
        assert_eq!(link, 77);
        assert_eq!((read.stream_id.as_str(), read.version, read.position, read.created), ("s", 5, 9, 6));
        assert_eq!(
            (read.id.as_str(), read.event_type.as_str(), read.content_type.as_str()),
            ("i", "ty", "c")
        );
        assert_eq!((read.data.as_slice(), read.metadata.as_slice()), (&b"data"[..], &b"{}"[..]));
        assert_eq!(read.tags, ["k:1", "t"]);
        for length in 0..value.len() {
            assert_eq!(Envelope::decode(9, &value[..length]), Err(Malformed::Short), "{length}");
        }
        value.push(0);
        assert_eq!(Envelope::decode(9, &value), Err(Malformed::Long));
    }

    #[test]
    fn the_bytes_of_a_removed_event_are_fixed() {
        let value = Envelope::encode_removed(258);
        assert_eq!(value, [3, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Envelope::decode(9, &value), Ok(Envelope::Removed { link: 258 }));
        assert_eq!(Envelope::decode(9, &value[..8]), Err(Malformed::Short));
        assert_eq!(Envelope::decode(9, &[&value[..], &[0]].concat()), Err(Malformed::Long));
        assert_eq!(Envelope::decode(9, &[1, 0]), Err(Malformed::Format(1)));
    }
}
