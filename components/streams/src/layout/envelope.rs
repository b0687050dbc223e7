//! The envelopes of events.

use exesdb_sdk::fields::{Decoder, Encoder, Malformed};
use exesdb_sdk::keyspaces::ChainHash;
use exesdb_sdk::types::{EventData, Position, RecordedEvent, Version};

/// The format of an envelope with its event.
const EVENT_FORMAT: u8 = 2;
/// The format of an envelope whose event was removed.
const REMOVED_FORMAT: u8 = 3;

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
        let mut encoder = Encoder::with_capacity(Self::bytes(stream_id, event));
        encoder.u8(EVENT_FORMAT);
        encoder.u64(0);
        encoder.text(stream_id);
        encoder.u64(version);
        encoder.text(&event.id);
        encoder.text(&event.event_type);
        encoder.text(&event.content_type);
        encoder.u64(created);
        encoder.bytes(&event.data);
        encoder.bytes(&event.metadata);
        let count = u16::try_from(event.tags.len()).expect("the number of tags is checked");
        for byte in count.to_be_bytes() {
            encoder.u8(byte);
        }
        for tag in &event.tags {
            encoder.text(tag);
        }
        encoder.finish()
    }

    /// Encodes the value of a removed event.
    #[must_use]
    pub fn encode_removed(link: ChainHash) -> Vec<u8> {
        let mut encoder = Encoder::with_capacity(9);
        encoder.u8(REMOVED_FORMAT);
        encoder.u64(link);
        encoder.finish()
    }

    /// Decodes the value at a position.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if neither [`Envelope::encode`] nor [`Envelope::encode_removed`] wrote it.
    pub fn decode(position: Position, value: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(value);
        let format = decoder.u8()?;
        if format != EVENT_FORMAT && format != REMOVED_FORMAT {
            return Err(Malformed::Format(format));
        }
        let link = decoder.u64()?;
        if format == REMOVED_FORMAT {
            decoder.end()?;
            return Ok(Self::Removed { link });
        }
        let event = RecordedEvent {
            stream_id: decoder.text()?.to_owned(),
            version: decoder.u64()?,
            position,
            id: decoder.text()?.to_owned(),
            event_type: decoder.text()?.to_owned(),
            content_type: decoder.text()?.to_owned(),
            created: decoder.u64()?,
            data: decoder.bytes()?.to_owned(),
            metadata: decoder.bytes()?.to_owned(),
            tags: {
                let count = u16::from_be_bytes([decoder.u8()?, decoder.u8()?]);
                (0..count).map(|_| decoder.text().map(str::to_owned)).collect::<Result<_, _>>()?
            },
        };
        decoder.end()?;
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

#[cfg(test)]
mod tests {
    use exesdb_sdk::fields::Malformed;
    use exesdb_sdk::types::EventData;

    use super::Envelope;

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
