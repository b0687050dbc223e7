//! The body of an import.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor};

use super::event::EventFields;
use super::field::{Fields, Place, read};
use super::list::List;
use super::transaction::read_stream;
use crate::limits::IMPORT_EVENTS_MAX;
use crate::problem::{Problem, quoted};
use crate::store::ImportedEvent;
use crate::timestamp::parse_rfc3339;

/// Decodes `{"events": [..]}`, each event as reads give it: with its stream, version and time. Its position may be left
/// out.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_import(body: &[u8]) -> Result<Vec<ImportedEvent>, Problem> {
    let place = Place::new("body");
    read(body, &place, ImportSeed { place: &place })
}

struct ImportSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for ImportSeed<'_> {
    type Value = Vec<ImportedEvent>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ImportSeed<'_> {
    type Value = Vec<ImportedEvent>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["events"]);
        let mut events = None;
        while fields.next(&mut map)?.is_some() {
            let bounds = (1, IMPORT_EVENTS_MAX);
            let element = EventSeed { place };
            let list = List { place, name: "events", bounds, unit: "events per import", element };
            events = Some(map.next_value_seed(list)?);
        }
        events.ok_or_else(|| place.refuse_field("events", "is required"))
    }
}

/// The fields of an imported event: those of its place, and those of every event.
const NAMES: [&str; 12] = {
    let [id, event_type, data, metadata, data_base64, content_type, metadata_base64, tags] =
        EventFields::NAMES;
    [
        "stream",
        "version",
        "position",
        "created",
        id,
        event_type,
        data,
        metadata,
        data_base64,
        content_type,
        metadata_base64,
        tags,
    ]
};

#[derive(Clone, Copy)]
struct EventSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = ImportedEvent;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ImportedEvent, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = ImportedEvent;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "an event with its place, an object with `stream`, `version`, `created`, `id` and `type`",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImportedEvent, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &NAMES);
        let mut event = EventFields::default();
        let (mut stream, mut version, mut position, mut created) = (None, None, None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(place, &mut map)?),
                "version" => version = Some(map.next_value()?),
                "position" => position = map.next_value()?,
                "created" => created = Some(map.next_value_seed(Time)?),
                other => event.read(place, other, &mut map)?,
            }
        }
        let required = |field: &str| place.refuse_field(field, "is required");
        let stream_id = stream.ok_or_else(|| required("stream"))?;
        let version = version.ok_or_else(|| required("version"))?;
        let created = created.ok_or_else(|| required("created"))?;
        let event = event.finish(place).map_err(|problem| place.refuse(problem))?;
        if event.id.is_empty() {
            return Err(required("id"));
        }
        Ok(ImportedEvent { stream_id, version, position, created, event })
    }
}

/// Reads a point in time, into microseconds since 1970-01-01T00:00:00 UTC.
struct Time;

impl<'de> DeserializeSeed<'de> for Time {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Time {
    type Value = u64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a time such as \"2026-11-23T16:46:00.000001Z\", or microseconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_rfc3339(text).ok_or_else(|| E::invalid_value(Unexpected::Other(&quoted(text)), &self))
    }

    fn visit_u64<E: Error>(self, micros: u64) -> Result<u64, E> {
        Ok(micros)
    }
}
