//! The body of a transaction.

use std::fmt;

use exesdb_sdk::arguments::STREAM_ID_BYTES_MAX;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::append::list_of_events;
use super::expected::Expected;
use super::field::{Fields, Place, read};
use super::list::{List, check_text};
use super::query::list_of_items;
use crate::history::HistoryId;
use crate::limits::{
    APPEND_EVENTS_MAX, TRANSACTION_APPENDS_MAX, TRANSACTION_CHECKS_MAX, TRANSACTION_CONDITIONS_MAX,
};
use crate::problem::Problem;
use crate::store::{AppendCondition, AppendRequest, ExpectedVersion, StreamCheck, Transaction};

/// Decodes `{"appends": [..], "checks"?: [..], "conditions"?: [..]}`, and the history of each condition. The id of an
/// event that was given none is empty.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_transaction(body: &[u8]) -> Result<(Transaction, Vec<Option<HistoryId>>), Problem> {
    let place = Place::new("body");
    read(body, &place, TransactionSeed { place: &place })
}

struct TransactionSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for TransactionSeed<'_> {
    type Value = (Transaction, Vec<Option<HistoryId>>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TransactionSeed<'_> {
    type Value = (Transaction, Vec<Option<HistoryId>>);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `appends`, `checks` and `conditions`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["appends", "checks", "conditions"]);
        let (mut appends, mut checks, mut conditions) = (None, Vec::new(), Vec::new());
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "appends" => {
                    let bounds = (1, TRANSACTION_APPENDS_MAX);
                    let element = AppendSeed { place };
                    let list =
                        List { place, name: "appends", bounds, unit: "appends per transaction", element };
                    appends = Some(map.next_value_seed(list)?);
                }
                "checks" => {
                    let bounds = (0, TRANSACTION_CHECKS_MAX);
                    let element = CheckSeed { place };
                    let list =
                        List { place, name: "checks", bounds, unit: "checks per transaction", element };
                    checks = map.next_value_seed(list)?;
                }
                _ => {
                    let bounds = (0, TRANSACTION_CONDITIONS_MAX);
                    let element = ConditionSeed { place };
                    let unit = "conditions per transaction";
                    conditions =
                        map.next_value_seed(List { place, name: "conditions", bounds, unit, element })?;
                }
            }
        }
        let appends = appends.ok_or_else(|| place.refuse_field("appends", "is required"))?;
        if appends.iter().map(|append| append.events.len()).sum::<usize>() > APPEND_EVENTS_MAX {
            let problem = Problem::too_large("appends", APPEND_EVENTS_MAX, "events per transaction");
            return Err(place.refuse(problem));
        }
        let (conditions, histories) = conditions.into_iter().unzip();
        Ok((Transaction { appends, checks, conditions }, histories))
    }
}

#[derive(Clone, Copy)]
struct AppendSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for AppendSeed<'_> {
    type Value = AppendRequest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AppendRequest, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AppendSeed<'_> {
    type Value = AppendRequest;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `stream`, `expected_version` and `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AppendRequest, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["stream", "expected_version", "events"]);
        let (mut stream, mut expected, mut events) = (None, ExpectedVersion::Any, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(place, &mut map)?),
                "expected_version" => expected = map.next_value_seed(Expected)?,
                _ => events = Some(map.next_value_seed(list_of_events(place))?),
            }
        }
        let stream_id = stream.ok_or_else(|| place.refuse_field("stream", "is required"))?;
        let events = events.ok_or_else(|| place.refuse_field("events", "is required"))?;
        Ok(AppendRequest { stream_id, expected, events })
    }
}

#[derive(Clone, Copy)]
struct CheckSeed<'p> {
    place: &'p Place,
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
        let place = self.place;
        let mut fields = Fields::new(place, &["stream", "expected_version"]);
        let (mut stream, mut expected) = (None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "stream" => stream = Some(read_stream(place, &mut map)?),
                _ => expected = Some(map.next_value_seed(Expected)?),
            }
        }
        let stream_id = stream.ok_or_else(|| place.refuse_field("stream", "is required"))?;
        let expected = expected.ok_or_else(|| place.refuse_field("expected_version", "is required"))?;
        Ok(StreamCheck { stream_id, expected })
    }
}

#[derive(Clone, Copy)]
struct ConditionSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for ConditionSeed<'_> {
    type Value = (AppendCondition, Option<HistoryId>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ConditionSeed<'_> {
    type Value = (AppendCondition, Option<HistoryId>);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `query`, `after` and `history`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut fields = Fields::new(place, &["query", "after", "history"]);
        let (mut query, mut after, mut history) = (None, None, None);
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "query" => query = Some(map.next_value_seed(list_of_items(place))?),
                "after" => after = map.next_value()?,
                _ => history = read_history(place, &mut map)?,
            }
        }
        if history.is_some() && after.is_none() {
            return Err(place.refuse_field("history", "belongs to `after`, which is missing"));
        }
        let query = query.ok_or_else(|| place.refuse_field("query", "is required"))?;
        Ok((AppendCondition { query, after }, history))
    }
}

/// Reads the history of a position, or `null` for none.
fn read_history<'de, A: MapAccess<'de>>(place: &Place, map: &mut A) -> Result<Option<HistoryId>, A::Error> {
    let Some(text) = map.next_value::<Option<String>>()? else { return Ok(None) };
    match HistoryId::parse(&text) {
        Some(history) => Ok(Some(history)),
        None => Err(place.refuse_field("history", "must be 16 hexadecimal digits")),
    }
}

/// Reads a stream's name.
pub(super) fn read_stream<'de, A: MapAccess<'de>>(place: &Place, map: &mut A) -> Result<String, A::Error> {
    let stream: String = map.next_value()?;
    check_text(place, "stream", &stream, STREAM_ID_BYTES_MAX)?;
    Ok(stream)
}
