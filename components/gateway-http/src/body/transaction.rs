//! The body of a transaction.

use std::fmt;

use exesdb_sdk::arguments::STREAM_ID_BYTES_MAX;
use exesdb_sdk::types::{AppendCondition, ExpectedVersion, StreamCheck};
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::append::list_of_events;
use super::event::NewEvent;
use super::expected::Expected;
use super::field::{FieldPath, Fields, read};
use super::list::{List, check_text};
use super::query::list_of_items;
use crate::history::HistoryId;
use crate::limits::{
    APPEND_EVENTS_MAX, TRANSACTION_APPENDS_MAX, TRANSACTION_CHECKS_MAX, TRANSACTION_CONDITIONS_MAX,
};
use crate::problem::Problem;

/// The body of a transaction, decoded. The id of an event without one is empty.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// 1 to [`TRANSACTION_APPENDS_MAX`] appends.
    pub appends: Vec<StreamAppend<'a>>,
    /// Conditions on other streams.
    pub checks: Vec<StreamCheck>,
    /// Conditions on events.
    pub conditions: Vec<AppendCondition>,
    /// The history of the position of each condition.
    pub histories: Vec<Option<u64>>,
}

/// An append that names its stream.
#[derive(Debug)]
pub struct StreamAppend<'a> {
    /// The stream.
    pub stream_id: String,
    /// The expected version, by default `any`.
    pub expected: ExpectedVersion,
    /// At least one event.
    pub events: Vec<NewEvent<'a>>,
}

/// Decodes `{"stream": "..", "expected_version"?, "events": [..]}`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_stream_append(body: &[u8]) -> Result<StreamAppend<'_>, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, AppendSeed { path: &path })
}

/// Decodes `{"appends": [..], "checks"?: [..], "conditions"?: [..]}`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_transaction(body: &[u8]) -> Result<Transaction<'_>, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, TransactionSeed { path: &path })
}

struct TransactionSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for TransactionSeed<'_> {
    type Value = Transaction<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TransactionSeed<'_> {
    type Value = Transaction<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `appends`, `checks` and `conditions`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["appends", "checks", "conditions"]);
        let (mut appends, mut checks, mut conditions) = (None, Vec::new(), Vec::new());
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "appends" => {
                    let bounds = (1, TRANSACTION_APPENDS_MAX);
                    let element = AppendSeed { path };
                    let list =
                        List { path, name: "appends", bounds, unit: "appends per transaction", element };
                    appends = Some(map.next_value_seed(list)?);
                }
                "checks" => {
                    let bounds = (0, TRANSACTION_CHECKS_MAX);
                    let element = CheckSeed { path };
                    let list = List { path, name: "checks", bounds, unit: "checks per transaction", element };
                    checks = map.next_value_seed(list)?;
                }
                _ => {
                    let bounds = (0, TRANSACTION_CONDITIONS_MAX);
                    let element = ConditionSeed { path };
                    let unit = "conditions per transaction";
                    conditions =
                        map.next_value_seed(List { path, name: "conditions", bounds, unit, element })?;
                }
            }
        }
        let appends = appends.ok_or_else(|| path.reject_field("appends", "is required"))?;
        if appends.iter().map(|append| append.events.len()).sum::<usize>() > APPEND_EVENTS_MAX {
            let problem = Problem::too_large("appends", APPEND_EVENTS_MAX, "events per transaction");
            return Err(path.reject(problem));
        }
        let (conditions, histories) = conditions.into_iter().unzip();
        Ok(Transaction { appends, checks, conditions, histories })
    }
}

#[derive(Clone, Copy)]
struct AppendSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for AppendSeed<'_> {
    type Value = StreamAppend<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<StreamAppend<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AppendSeed<'_> {
    type Value = StreamAppend<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `stream`, `expected_version` and `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StreamAppend<'de>, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["stream", "expected_version", "events"]);
        let (mut stream, mut expected, mut events) = (None, ExpectedVersion::Any, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(path, &mut map)?),
                "expected_version" => expected = map.next_value_seed(Expected)?,
                _ => events = Some(map.next_value_seed(list_of_events(path))?),
            }
        }
        let stream_id = stream.ok_or_else(|| path.reject_field("stream", "is required"))?;
        let events = events.ok_or_else(|| path.reject_field("events", "is required"))?;
        Ok(StreamAppend { stream_id, expected, events })
    }
}

#[derive(Clone, Copy)]
struct CheckSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for CheckSeed<'_> {
    type Value = StreamCheck;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<StreamCheck, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CheckSeed<'_> {
    type Value = StreamCheck;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `stream` and `expected_version`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StreamCheck, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["stream", "expected_version"]);
        let (mut stream, mut expected) = (None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(path, &mut map)?),
                _ => expected = Some(map.next_value_seed(Expected)?),
            }
        }
        let stream_id = stream.ok_or_else(|| path.reject_field("stream", "is required"))?;
        let expected = expected.ok_or_else(|| path.reject_field("expected_version", "is required"))?;
        Ok(StreamCheck { stream_id, expected })
    }
}

#[derive(Clone, Copy)]
struct ConditionSeed<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for ConditionSeed<'_> {
    type Value = (AppendCondition, Option<u64>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ConditionSeed<'_> {
    type Value = (AppendCondition, Option<u64>);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `query`, `after` and `history`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["query", "after", "history"]);
        let (mut query, mut after, mut history) = (None, None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "query" => query = Some(map.next_value_seed(list_of_items(path))?),
                "after" => after = map.next_value()?,
                _ => history = read_history(path, &mut map)?,
            }
        }
        if history.is_some() && after.is_none() {
            return Err(path.reject_field("history", "belongs to `after`, which is missing"));
        }
        let query = query.ok_or_else(|| path.reject_field("query", "is required"))?;
        Ok((AppendCondition { query, after }, history))
    }
}

/// Reads the history of a position; none for `null`.
fn read_history<'de, A: MapAccess<'de>>(path: &FieldPath, map: &mut A) -> Result<Option<u64>, A::Error> {
    let Some(text) = map.next_value::<Option<String>>()? else { return Ok(None) };
    match HistoryId::parse(&text) {
        Some(HistoryId(history)) => Ok(Some(history)),
        None => Err(path.reject_field("history", "must be 16 hexadecimal digits")),
    }
}

/// Reads the name of a stream.
pub(super) fn read_stream<'de, A: MapAccess<'de>>(path: &FieldPath, map: &mut A) -> Result<String, A::Error> {
    let stream: String = map.next_value()?;
    check_text(path, "stream", &stream, STREAM_ID_BYTES_MAX)?;
    Ok(stream)
}
