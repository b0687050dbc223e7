//! Appends of one request to one stream.

use exesdb_sdk::packed::TooLong;
use exesdb_sdk::steps::{Answer, Call, Response, WriteCall};
use exesdb_sdk::types::{self, Error, Packed, WriteRequest};
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting, WithBody};
use crate::argument::media_type;
use crate::body::{
    Append as Body, NewEvent, PACKED_MEDIA_TYPE, check_packed, decode_append, parse_expected_version,
};
use crate::event_id::EventIds;
use crate::history::HistoryId;
use crate::limits::REQUEST_TAGS_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::append_problem;
use crate::{answer, encode, response};

/// An append to a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    stream: String,
    encoding: Encoding,
}

/// The encoding of the events in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// JSON, which includes the expected version.
    Json,
    /// Packed events, with the expected version from the query.
    Packed(Expected),
}

/// The version at which the stream is expected, in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Any version.
    Any,
    /// A stream without events.
    NoStream,
    /// A stream with events.
    StreamExists,
    /// This version.
    Exact(u64),
}

impl From<types::ExpectedVersion> for Expected {
    fn from(expected: types::ExpectedVersion) -> Self {
        match expected {
            types::ExpectedVersion::Any => Self::Any,
            types::ExpectedVersion::NoStream => Self::NoStream,
            types::ExpectedVersion::StreamExists => Self::StreamExists,
            types::ExpectedVersion::Exact(version) => Self::Exact(version),
        }
    }
}

impl From<Expected> for types::ExpectedVersion {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Any => Self::Any,
            Expected::NoStream => Self::NoStream,
            Expected::StreamExists => Self::StreamExists,
            Expected::Exact(version) => Self::Exact(version),
        }
    }
}

impl Append {
    /// Reads the head.
    pub(crate) fn parse(
        head: &Head<'_>,
        stream: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["expected_version"])?;
        let expected = query.get("expected_version").map(parse_expected_version).transpose()?;
        let known = ["application/json", PACKED_MEDIA_TYPE];
        let shown = format!("`application/json` or `{PACKED_MEDIA_TYPE}`");
        let encoding = match media_type(head, &known, &shown)? {
            PACKED_MEDIA_TYPE => Encoding::Packed(expected.unwrap_or(types::ExpectedVersion::Any).into()),
            _ if expected.is_none() => Encoding::Json,
            _ => {
                let detail = format!("belongs into the body; here it is for `{PACKED_MEDIA_TYPE}`");
                return Err(Problem::invalid("expected_version", detail));
            }
        };
        Ok(Route::Body(Waiting::Append(Self { stream: stream()?, encoding })))
    }
}

impl WithBody for Append {
    fn call(&mut self, body: &[u8], ids: &mut EventIds) -> Result<Call, Problem> {
        let (expected, events) = match self.encoding {
            Encoding::Json => {
                let Body { expected, events } = decode_append(body)?;
                (expected, pack(&self.stream, &events, ids)?)
            }
            Encoding::Packed(expected) => {
                check_packed(body, Some(&self.stream))?;
                (expected.into(), body.to_vec())
            }
        };
        Ok(write(types::Append { stream_id: self.stream.clone(), expected, events }))
    }
}

/// The call of a lone append.
pub(super) fn write(append: types::Append) -> Call {
    let request = WriteRequest {
        appends: vec![append],
        checks: Vec::new(),
        conditions: Vec::new(),
        options: Vec::new(),
    };
    Call::Write(WriteCall { request, histories: Vec::new() })
}

/// Packs the events of an append, and gives ids to those that have none.
pub(super) fn pack(stream: &str, events: &[NewEvent<'_>], ids: &mut EventIds) -> Result<Packed, Problem> {
    check_tag_bytes(events)?;
    let mut packed = Vec::new();
    for event in events {
        let id = ids.or_next(&event.id);
        event.pack(&mut packed, stream, &id, (0, 0, 0)).map_err(does_not_fit)?;
    }
    Ok(packed)
}

/// The problem of a text that is longer than its limit, which was checked.
pub(super) fn does_not_fit(too_long: TooLong) -> Problem {
    Problem::new(Kind::TooLarge, too_long.to_string())
}

/// Checks that the store can index the tags of all events of a request in one batch.
pub(super) fn check_tag_bytes<'e, 'a: 'e>(
    events: impl IntoIterator<Item = &'e NewEvent<'a>>,
) -> Result<(), Problem> {
    let bytes: usize = events.into_iter().map(NewEvent::tag_bytes).sum();
    if bytes > REQUEST_TAGS_BYTES_MAX {
        return Err(Problem::too_large("events", REQUEST_TAGS_BYTES_MAX, "bytes of tags per request"));
    }
    Ok(())
}

/// The body of the response to an append, and the history of its positions.
pub(super) fn result(answer: Answer) -> Result<(Vec<u8>, HistoryId), Problem> {
    let (result, horizon) = answer::changed(answer)?;
    let history = HistoryId(horizon.history_id);
    match result.placed.as_slice() {
        [placed] => Ok((encode::append_result(placed, history), history)),
        other => {
            let detail = format!("the streams component gave {} results for one append", other.len());
            Err(Problem::new(Kind::Internal, detail))
        }
    }
}

impl OneCall for Append {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (body, history) = result(answer)?;
        Ok(response::json_of(history, body))
    }

    fn refuse(&self, error: Error) -> Problem {
        append_problem(error, &self.stream)
    }
}
