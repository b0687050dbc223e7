//! Keys and values: what lies where. The crate's documentation has the table.

use exesdb_sdk::fields::{Malformed, Reader, Writer};
use exesdb_sdk::keyspaces::STAMP_BYTES;
use exesdb_sdk::types::{EventData, Position, RecordedEvent, Version};
use xxhash_rust::xxh3::xxh3_128;

/// Stream id -> [`Head`].
pub const STREAMS: &str = "streams";
/// Position -> envelope of an event.
pub const EVENTS: &str = "events";
/// Origin of a stream and version -> position, for the last event of each append.
pub const INDEX: &str = "index";
/// Origin of a stream and digest of an event id -> version.
pub const IDS: &str = "ids";

/// Bytes of an event id's digest in a key. With those of the origin they are 20, which is what the storage engine keeps
/// inside an entry of its tables in memory; longer keys cost it a pointer to follow for every comparison.
const ID_DIGEST_BYTES: usize = 12;

/// The format of heads and of envelopes that this version writes and reads.
const FORMAT: u8 = 1;

/// What a stream is at the moment: the value in keyspace `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The position of the first event. It stands for the stream in keys: it is short, no other stream has it, and
    /// streams that begin one after the other lie one after the other.
    pub origin: Position,
    /// The version of the last event.
    pub last_version: Version,
    /// When the first event was appended: microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// When the last event was appended. Never less than `created`.
    pub updated: u64,
}

impl Head {
    /// Where the origin lies in the value. The append that begins a stream does not know it; its commit writes it.
    pub const ORIGIN_AT: u32 = 1;

    /// The value's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(33);
        writer.u8(FORMAT);
        writer.u64(self.origin);
        writer.u64(self.last_version);
        writer.u64(self.created);
        writer.u64(self.updated);
        writer.finish()
    }

    /// Reads a value's bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if [`Head::encode`] did not write them.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(value);
        reader.format(FORMAT)?;
        let head = Self {
            origin: reader.u64()?,
            last_version: reader.u64()?,
            created: reader.u64()?,
            updated: reader.u64()?,
        };
        reader.end()?;
        Ok(head)
    }
}

/// The key in keyspace `index` of the append that ends with this version.
#[must_use]
pub fn index_key(origin: Position, version: Version) -> Vec<u8> {
    [origin.to_be_bytes(), version.to_be_bytes()].concat()
}

/// The version in a key that [`index_key`] made for this stream.
#[must_use]
pub fn version_in(key: &[u8], origin: Position) -> Option<Version> {
    number(key.strip_prefix(&origin.to_be_bytes())?)
}

/// The key of an event id in keyspace `ids`. Two ids of one stream may have the same key, by chance or by design, so
/// whoever finds an entry looks at the event before it is taken for this one. A digest that resists design would be of no
/// use: who can append an id that keeps another one out can append that other one as well.
#[must_use]
pub fn id_key(origin: Position, event_id: &str) -> Vec<u8> {
    let digest = xxh3_128(event_id.as_bytes()).to_be_bytes();
    [&origin.to_be_bytes()[..], &digest[..ID_DIGEST_BYTES]].concat()
}

/// A version or position that is a whole key or value.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A key or value that is a position which the commit writes.
#[must_use]
pub fn position_hole() -> Vec<u8> {
    vec![0; STAMP_BYTES]
}

/// The value of an event in keyspace `events`.
#[must_use]
pub fn encode_event(stream_id: &str, version: Version, created: u64, event: &EventData) -> Vec<u8> {
    let texts = stream_id.len() + event.id.len() + event.event_type.len() + event.content_type.len();
    let mut writer = Writer::with_capacity(33 + texts + event.data.len() + event.metadata.len());
    writer.u8(FORMAT);
    writer.text(stream_id);
    writer.u64(version);
    writer.text(&event.id);
    writer.text(&event.event_type);
    writer.text(&event.content_type);
    writer.u64(created);
    writer.bytes(&event.data);
    writer.bytes(&event.metadata);
    writer.finish()
}

/// Reads the value of an event in keyspace `events`, whose key is its position.
///
/// # Errors
///
/// [`Malformed`] if [`encode_event`] did not write it.
pub fn decode_event(position: Position, value: &[u8]) -> Result<RecordedEvent, Malformed> {
    let mut reader = Reader::new(value);
    reader.format(FORMAT)?;
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
    };
    reader.end()?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::fields::Malformed;
    use exesdb_sdk::types::EventData;

    use super::{Head, decode_event, encode_event, id_key, index_key, version_in};

    #[test]
    fn a_head_is_these_bytes() {
        let head = Head { origin: 4, last_version: 2, created: 3, updated: 256 };
        let bytes = [
            1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0,
        ];
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        assert_eq!(Head::decode(&bytes[..32]), Err(Malformed::Short));
        assert_eq!(Head::decode(&[2]), Err(Malformed::Format(2)));
    }

    #[test]
    fn keys_are_these_bytes() {
        assert_eq!(index_key(258, 3), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(version_in(&index_key(258, 3), 258), Some(3));
        assert_eq!(version_in(&index_key(258, 3), 259), None);
        assert_eq!(version_in(&index_key(258, 3)[..15], 258), None);
        // XXH3 of 128 bits of "abc" is 06b05ab6733a618578af5f94892f3950.
        let key = b"\0\0\0\0\0\0\x01\x02\x06\xb0\x5a\xb6\x73\x3a\x61\x85\x78\xaf\x5f\x94";
        assert_eq!(id_key(258, "abc"), key);
    }

    #[test]
    fn an_event_is_these_bytes() {
        let event = EventData {
            id: "i".into(),
            event_type: "ty".into(),
            content_type: "c".into(),
            data: b"data".to_vec(),
            metadata: b"{}".to_vec(),
        };
        let value = encode_event("s", 5, 6, &event);
        let bytes = b"\x01\0\x01s\0\0\0\0\0\0\0\x05\0\x01i\0\x02ty\0\x01c\0\0\0\0\0\0\0\x06\0\0\0\x04data\0\0\0\x02{}";
        assert_eq!(value, bytes);
        let read = decode_event(9, &value).unwrap();
        assert_eq!((read.stream_id.as_str(), read.version, read.position, read.created), ("s", 5, 9, 6));
        assert_eq!(
            (read.id.as_str(), read.event_type.as_str(), read.content_type.as_str()),
            ("i", "ty", "c")
        );
        assert_eq!((read.data.as_slice(), read.metadata.as_slice()), (&b"data"[..], &b"{}"[..]));
        for length in 0..value.len() {
            decode_event(9, &value[..length]).unwrap_err();
        }
    }
}
