//! The bodies of imports and of requests for import states.

use std::fmt;

use exesdb_sdk::arguments::STREAM_ID_BYTES_MAX;
use exesdb_sdk::types::ImportMark;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor};

use super::event::{EventFields, NewEvent};
use super::field::{FieldPath, Fields, read};
use super::list::{List, Text, check_text};
use super::transaction::read_stream;
use crate::limits::{IMPORT_EVENTS_MAX, IMPORT_MARKS_MAX, IMPORT_SOURCE_BYTES_MAX, IMPORT_STATES_MAX};
use crate::problem::{Problem, quoted};
use exesdb_json::parse_rfc3339;

/// An event with the place that it has in another store.
#[derive(Clone, Debug)]
pub struct ImportedEvent<'a> {
    /// Its stream.
    pub stream_id: String,
    /// Its version.
    pub version: u64,
    /// Its position; none for the next one.
    pub position: Option<u64>,
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// The event.
    pub event: NewEvent<'a>,
}

/// An import: events, and how many rows of their sources the streams have imported.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// Up to 1,000 events.
    pub events: Vec<ImportedEvent<'a>>,
    /// Up to 1,000 marks; at least one if there are no events.
    pub marks: Vec<ImportMark>,
}

/// Decodes `{"events"?: [..], "marks"?: [..]}`. Each event has the fields that reads return, with its stream, version and
/// time; its position is optional.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_import(body: &[u8]) -> Result<Import<'_>, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, ImportSeed { path: &path })
}

struct ImportSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for ImportSeed<'_> {
    type Value = Import<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ImportSeed<'_> {
    type Value = Import<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `events` and `marks`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["events", "marks"]);
        let (mut events, mut marks) = (Vec::new(), Vec::new());
        while let Some(name) = fields.next(&mut map)? {
            if name == "events" {
                let bounds = (0, IMPORT_EVENTS_MAX);
                let element = EventSeed { path };
                let list = List { path, name: "events", bounds, unit: "events per import", element };
                events = map.next_value_seed(list)?;
            } else {
                let bounds = (0, IMPORT_MARKS_MAX);
                let element = MarkSeed { path };
                let list = List { path, name: "marks", bounds, unit: "marks per import", element };
                marks = map.next_value_seed(list)?;
            }
        }
        if events.is_empty() && marks.is_empty() {
            let detail =
                format!("must hold 1 to {IMPORT_EVENTS_MAX} events per import, unless there are `marks`");
            return Err(path.reject_field("events", detail));
        }
        Ok(Import { events, marks })
    }
}

/// Reads a mark: how many rows of a source a stream has imported.
#[derive(Clone, Copy)]
struct MarkSeed<'p> {
    path: &'p FieldPath,
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
        let path = self.path;
        let mut fields = Fields::new(path, &["stream", "source", "rows", "leading_rows"]);
        let (mut stream, mut source, mut rows, mut leading_rows) = (None, None, None, 0);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(path, &mut map)?),
                "source" => source = Some(read_source(path, &mut map)?),
                "rows" => rows = Some(map.next_value()?),
                _ => leading_rows = map.next_value()?,
            }
        }
        let required = |field: &str| path.reject_field(field, "is required");
        let stream_id = stream.ok_or_else(|| required("stream"))?;
        let source = source.ok_or_else(|| required("source"))?;
        let rows = rows.ok_or_else(|| required("rows"))?;
        if rows == 0 {
            return Err(path.reject_field("rows", "is 0; a mark has 1 at least"));
        }
        if leading_rows > rows {
            return Err(path.reject_field("leading_rows", "is more than `rows`, which they are among"));
        }
        Ok(ImportMark { stream_id, source, rows, leading_rows })
    }
}

/// Reads the name of an import's source.
fn read_source<'de, A: MapAccess<'de>>(path: &FieldPath, map: &mut A) -> Result<String, A::Error> {
    let source: String = map.next_value()?;
    check_text(path, "source", &source, IMPORT_SOURCE_BYTES_MAX)?;
    Ok(source)
}

/// A request for the import states of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportStatesRequest {
    /// The source of the rows.
    pub source: String,
    /// The streams, 1 to 1,000.
    pub streams: Vec<String>,
}

/// Decodes `{"source": "..", "streams": [..]}`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_import_states_request(body: &[u8]) -> Result<ImportStatesRequest, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, StatesRequestSeed { path: &path })
}

struct StatesRequestSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for StatesRequestSeed<'_> {
    type Value = ImportStatesRequest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for StatesRequestSeed<'_> {
    type Value = ImportStatesRequest;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `source` and `streams`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["source", "streams"]);
        let (mut source, mut streams) = (None, None);
        while let Some(name) = fields.next(&mut map)? {
            if name == "source" {
                source = Some(read_source(path, &mut map)?);
            } else {
                let bounds = (1, IMPORT_STATES_MAX);
                let element = Text { path, bytes_max: STREAM_ID_BYTES_MAX };
                let list = List { path, name: "streams", bounds, unit: "streams per request", element };
                streams = Some(map.next_value_seed(list)?);
            }
        }
        let source = source.ok_or_else(|| path.reject_field("source", "is required"))?;
        let streams = streams.ok_or_else(|| path.reject_field("streams", "is required"))?;
        Ok(ImportStatesRequest { source, streams })
    }
}

/// The fields of an imported event: its stream, version, position and time, and those of every event.
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
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = ImportedEvent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ImportedEvent<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = ImportedEvent<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "an event with its path, an object with `stream`, `version`, `created`, `id` and `type`",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImportedEvent<'de>, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &NAMES);
        let mut event = EventFields::default();
        let (mut stream, mut version, mut position, mut created) = (None, None, None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(path, &mut map)?),
                "version" => version = Some(map.next_value()?),
                "position" => position = map.next_value()?,
                "created" => created = Some(map.next_value_seed(Time)?),
                other => event.read(path, other, &mut map)?,
            }
        }
        let required = |field: &str| path.reject_field(field, "is required");
        let stream_id = stream.ok_or_else(|| required("stream"))?;
        let version = version.ok_or_else(|| required("version"))?;
        let created = created.ok_or_else(|| required("created"))?;
        let event = event.finish(path).map_err(|problem| path.reject(problem))?;
        if event.id.is_empty() {
            return Err(required("id"));
        }
        Ok(ImportedEvent { stream_id, version, position, created, event })
    }
}

/// Reads a timestamp into microseconds since 1970-01-01T00:00:00 UTC.
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
