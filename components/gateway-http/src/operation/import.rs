//! Imports from another store: one of a request, or one after the other in a [pipeline](super::pipeline).

use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::{Error, ImportRequest};
use serde::{Deserialize, Serialize};

use super::append::{check_tag_bytes, does_not_fit};
use super::pipeline::Items;
use super::{OneCall, Waiting, WithBody};
use crate::accept::{Representation, require_json, require_lines};
use crate::argument::media_type;
use crate::body::{Import as Body, decode_import};
use crate::event_id::EventIds;
use crate::history::HistoryId;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import;

impl Import {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>) -> Result<Route, Problem> {
        Query::parse(head.query, &[])?;
        let lines = Representation::Lines.media_type();
        match media_type(head, &["application/json", lines], &format!("`application/json` or `{lines}`"))? {
            of_many if of_many == lines => {
                require_lines(head)?;
                Ok(Route::Pipeline(Items::Imports))
            }
            _ => {
                require_json(head)?;
                Ok(Route::Body(Waiting::Import(Self)))
            }
        }
    }
}

/// The call of an import.
pub(super) fn call(body: &[u8]) -> Result<Call, Problem> {
    let Body { events, marks } = decode_import(body)?;
    check_tag_bytes(events.iter().map(|event| &event.event))?;
    let at_positions = events.iter().any(|event| event.position.is_some());
    let mut next = None;
    let mut packed = Vec::new();
    for (index, imported) in events.iter().enumerate() {
        let position = match imported.position.or(next) {
            Some(position) => position,
            None if !at_positions => 0,
            None => {
                let detail = "is required, because a later event has one";
                return Err(Problem::invalid(format!("events[{index}].position"), detail));
            }
        };
        next = at_positions.then(|| position.saturating_add(1));
        let place = (position, imported.version, imported.created);
        let event = &imported.event;
        event.pack(&mut packed, &imported.stream_id, &event.id, place).map_err(does_not_fit)?;
    }
    Ok(Call::ImportEvents(ImportRequest { events: packed, at_positions, marks, options: Vec::new() }))
}

/// The answer to an import, and the history of its positions.
pub(super) fn result(answer: Answer) -> Result<(Vec<u8>, HistoryId), Problem> {
    let (result, horizon) = answer::changed(answer)?;
    let history = HistoryId(horizon.history_id);
    let added = result
        .placed
        .iter()
        .map(|placed| placed.last_version.saturating_sub(placed.first_version).saturating_add(1));
    let imported = encode::Imported {
        added: added.sum(),
        repeated: result.count & u64::from(u32::MAX),
        hidden: result.count >> 32,
        durable_position: horizon.end,
        history,
    };
    Ok((imported.encode(), history))
}

impl WithBody for Import {
    fn call(&mut self, body: &[u8], _: &mut EventIds) -> Result<Call, Problem> {
        call(body)
    }
}

impl OneCall for Import {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (body, history) = result(answer)?;
        Ok(response::json_of(history, body))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Store)
    }
}
