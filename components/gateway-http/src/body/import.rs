//! The bodies of an import, and of the question that one begins with.

use std::fmt;

use exesdb_sdk::arguments::STREAM_ID_BYTES_MAX;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor};

use super::event::EventFields;
use super::field::{Fields, Place, read};
use super::list::{List, Text, check_text};
use super::transaction::read_stream;
use crate::limits::{IMPORT_EVENTS_MAX, IMPORT_MARKS_MAX, IMPORT_SOURCE_BYTES_MAX, IMPORT_STATES_MAX};
use crate::problem::{Problem, quoted};
use crate::store::{ImportMark, ImportedEvent};
use crate::timestamp::parse_rfc3339;

/// An import: the events, and how many rows of their sources the streams have had.
#[derive(Clone, Debug)]
pub struct Import {
    /// At most 1,000.
    pub events: Vec<ImportedEvent>,
    /// At most 1,000; one at least if there is no event.
    pub marks: Vec<ImportMark>,
}

/// Decodes `{"events"?: [..], "marks"?: [..]}`, each event as reads give it: with its stream, version and time. Its
/// position may be left out.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_import(body: &[u8]) -> Result<Import, Problem> {
    let place = Place::new("body");
    read(body, &place, ImportSeed { place: &place })
}

struct ImportSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for ImportSeed<'_> {
    type Value = Import;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ImportSeed<'_> {
    type Value = Import;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `events` and `marks`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["events", "marks"]);
        let (mut events, mut marks) = (Vec::new(), Vec::new());
        while let Some(name) = fields.next(&mut map)? {
            if name == "events" {
                let bounds = (0, IMPORT_EVENTS_MAX);
                let element = EventSeed { place };
                let list = List { place, name: "events", bounds, unit: "events per import", element };
                events = map.next_value_seed(list)?;
            } else {
                let bounds = (0, IMPORT_MARKS_MAX);
                let element = MarkSeed { place };
                let list = List { place, name: "marks", bounds, unit: "marks per import", element };
                marks = map.next_value_seed(list)?;
            }
        }
        if events.is_empty() && marks.is_empty() {
            let detail =
                format!("must hold 1 to {IMPORT_EVENTS_MAX} events per import, unless there are `marks`");
            return Err(place.refuse_field("events", detail));
        }
        Ok(Import { events, marks })
    }
}

/// Reads how many rows of a source a stream has had.
#[derive(Clone, Copy)]
struct MarkSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for MarkSeed<'_> {
    type Value = ImportMark;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ImportMark, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MarkSeed<'_> {
    type Value = ImportMark;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mark, an object with `stream`, `source` and `rows`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImportMark, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["stream", "source", "rows", "leading_rows"]);
        let (mut stream, mut source, mut rows, mut leading_rows) = (None, None, None, 0);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(place, &mut map)?),
                "source" => source = Some(read_source(place, &mut map)?),
                "rows" => rows = Some(map.next_value()?),
                _ => leading_rows = map.next_value()?,
            }
        }
        let required = |field: &str| place.refuse_field(field, "is required");
        let stream_id = stream.ok_or_else(|| required("stream"))?;
        let source = source.ok_or_else(|| required("source"))?;
        let rows = rows.ok_or_else(|| required("rows"))?;
        if rows == 0 {
            return Err(place.refuse_field("rows", "is 0; a mark has 1 at least"));
        }
        if leading_rows > rows {
            return Err(place.refuse_field("leading_rows", "is more than `rows`, which they are among"));
        }
        Ok(ImportMark { stream_id, source, rows, leading_rows })
    }
}

/// Reads the name of what rows come from.
fn read_source<'de, A: MapAccess<'de>>(place: &Place, map: &mut A) -> Result<String, A::Error> {
    let source: String = map.next_value()?;
    check_text(place, "source", &source, IMPORT_SOURCE_BYTES_MAX)?;
    Ok(source)
}

/// A question about streams: what their next import of rows of a source begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportQuestion {
    /// What the rows come from.
    pub source: String,
    /// The streams, 1 to 1,000.
    pub streams: Vec<String>,
}

/// Decodes `{"source": "..", "streams": [..]}`.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_import_question(body: &[u8]) -> Result<ImportQuestion, Problem> {
    let place = Place::new("body");
    read(body, &place, QuestionSeed { place: &place })
}

struct QuestionSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for QuestionSeed<'_> {
    type Value = ImportQuestion;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for QuestionSeed<'_> {
    type Value = ImportQuestion;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `source` and `streams`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["source", "streams"]);
        let (mut source, mut streams) = (None, None);
        while let Some(name) = fields.next(&mut map)? {
            if name == "source" {
                source = Some(read_source(place, &mut map)?);
            } else {
                let bounds = (1, IMPORT_STATES_MAX);
                let element = Text { place, bytes_max: STREAM_ID_BYTES_MAX };
                let list = List { place, name: "streams", bounds, unit: "streams per request", element };
                streams = Some(map.next_value_seed(list)?);
            }
        }
        let source = source.ok_or_else(|| place.refuse_field("source", "is required"))?;
        let streams = streams.ok_or_else(|| place.refuse_field("streams", "is required"))?;
        Ok(ImportQuestion { source, streams })
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
