//! The body of an append.

use std::fmt;

use exesdb_sdk::types::ExpectedVersion;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::event::{EventFields, NewEvent};
use super::expected::Expected;
use super::field::{FieldPath, Fields, read};
use super::list::List;
use crate::limits::APPEND_EVENTS_MAX;
use crate::problem::Problem;

/// The body of an append, decoded.
#[derive(Debug)]
pub struct Append<'a> {
    /// The expected version, by default `any`.
    pub expected: ExpectedVersion,
    /// 1 to [`APPEND_EVENTS_MAX`] events. The id of an event without one is empty.
    pub events: Vec<NewEvent<'a>>,
}

/// Decodes `{"expected_version"?, "events": [{"id"?, "type", "data", "metadata"?, "tags"?}]}`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_append(body: &[u8]) -> Result<Append<'_>, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, AppendSeed { path: &path })
}

struct AppendSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for AppendSeed<'_> {
    type Value = Append<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Append<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AppendSeed<'_> {
    type Value = Append<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `expected_version` and `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Append<'de>, A::Error> {
        let mut fields = Fields::new(self.path, &["expected_version", "events"]);
        let mut expected = ExpectedVersion::Any;
        let mut events = None;
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "expected_version" => expected = map.next_value_seed(Expected)?,
                _ => events = Some(map.next_value_seed(list_of_events(self.path))?),
            }
        }
        match events {
            None => Err(self.path.reject_field("events", "is required")),
            Some(events) => Ok(Append { expected, events }),
        }
    }
}

/// Reads the events of an append.
pub(super) fn list_of_events(path: &FieldPath) -> List<'_, Event<'_>> {
    let bounds = (1, APPEND_EVENTS_MAX);
    List { path, name: "events", bounds, unit: "events per append", element: Event { path } }
}

/// Reads one event.
#[derive(Clone, Copy)]
pub(super) struct Event<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for Event<'_> {
    type Value = NewEvent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<NewEvent<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Event<'_> {
    type Value = NewEvent<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an event, an object with `type` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NewEvent<'de>, A::Error> {
        EventFields::read_all(self.path, &mut map)
    }
}
