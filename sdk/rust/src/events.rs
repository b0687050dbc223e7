//! Events as plain values, for code that does not read them in place: tests, models, and components that convert what
//! they store.

use exesdb_packed::{Broken, Envelope, EventParts, Events, TooLong, push_event};

use crate::types::{Position, Version};

/// An event that is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventData {
    /// The event's id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The media type of the data.
    pub content_type: String,
    /// The payload.
    pub data: Vec<u8>,
    /// JSON about the event; empty for none.
    pub metadata: Vec<u8>,
    /// The event's labels.
    pub tags: Vec<String>,
}

impl EventData {
    /// The event as parts of an envelope.
    #[must_use]
    pub fn parts<'a>(&'a self, stream_id: &'a str, version: Version, created: u64) -> EventParts<'a, String> {
        EventParts {
            flags: 0,
            version,
            created,
            stream_id,
            id: &self.id,
            event_type: &self.event_type,
            content_type: &self.content_type,
            tags: &self.tags,
            data: &self.data,
            metadata: &self.metadata,
        }
    }
}

/// An event that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The stream's id.
    pub stream_id: String,
    /// The number of the event in its stream.
    pub version: Version,
    /// Its number in the store.
    pub position: Position,
    /// The event's id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The media type of the data.
    pub content_type: String,
    /// The payload.
    pub data: Vec<u8>,
    /// JSON about the event; empty for none.
    pub metadata: Vec<u8>,
    /// The event's labels.
    pub tags: Vec<String>,
    /// The time of the append: microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
}

impl RecordedEvent {
    /// The event of an envelope.
    #[must_use]
    pub fn of(position: Position, envelope: &Envelope<'_>) -> Self {
        Self {
            stream_id: envelope.stream_id.to_owned(),
            version: envelope.version,
            position,
            id: envelope.id.to_owned(),
            event_type: envelope.event_type.to_owned(),
            content_type: envelope.content_type.to_owned(),
            data: envelope.data.to_owned(),
            metadata: envelope.metadata.to_owned(),
            tags: envelope.tags.map(str::to_owned).collect(),
            created: envelope.created,
        }
    }
}

/// Packs new events of one stream, as a request has them.
///
/// # Errors
///
/// [`TooLong`], if a part of an event is longer than the layout can say.
pub fn pack<'a>(
    stream_id: &str,
    events: impl IntoIterator<Item = &'a EventData>,
) -> Result<Vec<u8>, TooLong> {
    let mut packed = Vec::new();
    for event in events {
        push_event(&mut packed, 0, &event.parts(stream_id, 0, 0))?;
    }
    Ok(packed)
}

/// The events of a page.
///
/// # Errors
///
/// [`Broken`], if the bytes are no events.
pub fn unpack(packed: &[u8]) -> Result<Vec<RecordedEvent>, Broken> {
    Events::new(packed)
        .map(|event| event.map(|(position, envelope)| RecordedEvent::of(position, &envelope)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{EventData, RecordedEvent, pack, unpack};

    #[test]
    fn packed_events_are_unpacked() {
        let event = EventData {
            id: "i".into(),
            event_type: "t".into(),
            content_type: "c".into(),
            data: vec![0, 1],
            metadata: b"{}".to_vec(),
            tags: vec!["a".into(), "b".into()],
        };
        let other = EventData { id: "j".into(), ..event.clone() };
        let packed = pack("s", [&event, &other]).unwrap();
        let unpacked = unpack(&packed).unwrap();
        assert_eq!(unpacked.len(), 2);
        for (recorded, new) in unpacked.into_iter().zip([event, other]) {
            let RecordedEvent { stream_id, version, position, created, .. } = recorded.clone();
            assert_eq!((stream_id.as_str(), version, position, created), ("s", 0, 0, 0));
            let RecordedEvent { id, event_type, content_type, data, metadata, tags, .. } = recorded;
            assert_eq!(EventData { id, event_type, content_type, data, metadata, tags }, new);
        }
        assert!(unpack(&packed[1..]).is_err());
    }
}
