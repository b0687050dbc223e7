//! Keys and values: what lies where. The crate's documentation has the table.

use exesdb_sdk::fields::{Malformed, Reader, Writer};
use exesdb_sdk::keyspaces::STAMP_BYTES;
use exesdb_sdk::stream_keys;
use exesdb_sdk::types::{EventData, Position, RecordedEvent, Version};

/// Stream id -> [`Head`].
pub const STREAMS: &str = "streams";
/// Position -> envelope of an event.
pub const EVENTS: &str = "events";
/// Stream id and version -> position.
pub const INDEX: &str = "index";
/// Stream id and event id -> version.
pub const IDS: &str = "ids";

/// The format of heads and of envelopes that this version writes and reads.
const FORMAT: u8 = 1;

/// What a stream is at the moment: the value in keyspace `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The version of the last event.
    pub last_version: Version,
    /// When the first event was appended: microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// When the last event was appended. Never less than `created`.
    pub updated: u64,
}

impl Head {
    /// The value's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(25);
        writer.u8(FORMAT);
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
        let head = Self { last_version: reader.u64()?, created: reader.u64()?, updated: reader.u64()? };
        reader.end()?;
        Ok(head)
    }
}

/// The key of a version in keyspace `index`.
#[must_use]
pub fn index_key(stream_id: &str, version: Version) -> Vec<u8> {
    stream_keys::versioned(stream_id, version)
}

/// The key of an event id in keyspace `ids`.
#[must_use]
pub fn id_key(stream_id: &str, event_id: &str) -> Vec<u8> {
    stream_keys::named(stream_id, event_id.as_bytes())
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

    use super::{Head, decode_event, encode_event};

    #[test]
    fn a_head_is_these_bytes() {
        let head = Head { last_version: 2, created: 3, updated: 256 };
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        assert_eq!(Head::decode(&bytes[..24]), Err(Malformed::Short));
        assert_eq!(Head::decode(&[2]), Err(Malformed::Format(2)));
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
