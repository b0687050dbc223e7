//! The body of an append.

use std::fmt;

use exesdb_sdk::arguments;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::content::Fragments;
use super::field::{Fields, Place, read};
use crate::limits::{APPEND_EVENTS_MAX, EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX};
use crate::problem::Problem;
use crate::store::{EventData, ExpectedVersion, Subject, problem};

/// The body of an append, decoded.
#[derive(Debug)]
pub struct Append {
    /// `expected_version`; `any` without one.
    pub expected: ExpectedVersion,
    /// 1 to [`APPEND_EVENTS_MAX`] events. The id of an event that was given none is empty.
    pub events: Vec<EventData>,
}

/// Decodes `{"expected_version"?, "events": [{"id"?, "type", "data", "metadata"?}]}`.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_append(body: &[u8]) -> Result<Append, Problem> {
    let place = Place::default();
    read(body, &place, AppendSeed { place: &place })
}

struct AppendSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for AppendSeed<'_> {
    type Value = Append;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Append, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AppendSeed<'_> {
    type Value = Append;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `expected_version` and `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Append, A::Error> {
        let mut fields = Fields::new(self.place, &["expected_version", "events"]);
        let mut expected = ExpectedVersion::Any;
        let mut events = None;
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "expected_version" => expected = map.next_value_seed(ExpectedSeed)?,
                _ => events = Some(map.next_value_seed(EventsSeed { place: self.place })?),
            }
        }
        match events {
            None => Err(self.place.refuse_field("events", "is required")),
            Some(events) => Ok(Append { expected, events }),
        }
    }
}

struct ExpectedSeed;

impl<'de> DeserializeSeed<'de> for ExpectedSeed {
    type Value = ExpectedVersion;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<ExpectedVersion, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ExpectedSeed {
    type Value = ExpectedVersion;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\"any\", \"no_stream\", \"stream_exists\" or an integer from 0 to 2^64-1")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ExpectedVersion, E> {
        match text {
            "any" => Ok(ExpectedVersion::Any),
            "no_stream" => Ok(ExpectedVersion::NoStream),
            "stream_exists" => Ok(ExpectedVersion::StreamExists),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, version: u64) -> Result<ExpectedVersion, E> {
        Ok(ExpectedVersion::Exact(version))
    }
}

struct EventsSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for EventsSeed<'_> {
    type Value = Vec<EventData>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EventsSeed<'_> {
    type Value = Vec<EventData>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an array of 1 to {APPEND_EVENTS_MAX} events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        loop {
            self.place.enter(Some(events.len()));
            if events.len() == APPEND_EVENTS_MAX {
                // One element more is looked for, but not read.
                return match sequence.next_element_seed(Refused { place: self.place })? {
                    Some(never) => match never {},
                    None => {
                        self.place.enter(None);
                        Ok(events)
                    }
                };
            }
            match sequence.next_element_seed(EventSeed { place: self.place })? {
                Some(event) => events.push(event),
                None => break,
            }
        }
        self.place.enter(None);
        if events.is_empty() {
            let detail = format!("must hold 1 to {APPEND_EVENTS_MAX} events");
            return Err(self.place.refuse_field("events", detail));
        }
        Ok(events)
    }
}

/// The element after the last one that is allowed.
struct Refused<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for Refused<'_> {
    type Value = std::convert::Infallible;

    fn deserialize<D: serde::Deserializer<'de>>(self, _: D) -> Result<Self::Value, D::Error> {
        Err(self.place.refuse(Problem::too_large("events", APPEND_EVENTS_MAX, "events per append")))
    }
}

struct EventSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = EventData;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<EventData, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = EventData;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an event, an object with `type` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventData, A::Error> {
        let place = self.place;
        let known = &["id", "type", "data", "metadata", "data_base64", "content_type"];
        let mut fields = Fields::new(place, known);
        let (mut id, mut event_type) = (None::<String>, None::<String>);
        let mut fragments = Fragments::default();
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "id" => {
                    let given: String = map.next_value()?;
                    check_text(place, "id", &given, EVENT_ID_BYTES_MAX)?;
                    id = Some(given);
                }
                "type" => {
                    let given: String = map.next_value()?;
                    check_text(place, "type", &given, EVENT_TYPE_BYTES_MAX)?;
                    event_type = Some(given);
                }
                other => fragments.read(other, &mut map)?,
            }
        }
        let event_type = event_type.ok_or_else(|| place.refuse_field("type", "is required"))?;
        let content = fragments.resolve(place).map_err(|problem| place.refuse(problem))?;
        Ok(EventData {
            id: id.unwrap_or_default(),
            event_type,
            content_type: content.content_type,
            data: content.data,
            metadata: content.metadata,
        })
    }
}

fn check_text<E: Error>(place: &Place, field: &str, text: &str, bytes_max: usize) -> Result<(), E> {
    arguments::check_text(&place.of(field), text, bytes_max)
        .map_err(|error| place.refuse(problem(error, Subject::Store)))
}
