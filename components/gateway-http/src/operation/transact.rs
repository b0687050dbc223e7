//! Appends to several streams, all or none, on conditions.

use exesdb_sdk::steps::{Answer, Call, Response, WriteCall};
use exesdb_sdk::types::{self, Error, HistoryChange, WriteRequest};
use serde::{Deserialize, Serialize};

use super::append::{check_tag_bytes, pack};
use super::{OneCall, Waiting, WithBody};
use crate::argument::json_body;
use crate::body::{Transaction, decode_transaction};
use crate::event_id::EventIds;
use crate::history::HistoryId;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, history_changed, problem};
use crate::{answer, encode, response};

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transact {
    /// Of each condition, the position after which events count, and its history.
    conditions: Vec<(Option<u64>, Option<u64>)>,
}

impl Transact {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>) -> Result<Route, Problem> {
        Query::parse(head.query, &[])?;
        json_body(head)?;
        Ok(Route::Body(Waiting::Transact(Self { conditions: Vec::new() })))
    }
}

impl Transact {
    /// The problem of a condition whose position is of another history: the first for which that can be seen.
    fn history_changed(&self, change: &HistoryChange) -> Problem {
        let is_other = |(after, history): &(Option<u64>, Option<u64>)| {
            after.is_some_and(|after| after >= change.end)
                || history.is_some_and(|history| history != change.history_id)
        };
        let mut changed = history_changed(change);
        if let Some(index) = self.conditions.iter().position(is_other) {
            changed.detail = format!("conditions[{index}].after: {}", changed.detail);
        }
        changed
    }
}

impl WithBody for Transact {
    fn call(&mut self, body: &[u8], ids: &mut EventIds) -> Result<Call, Problem> {
        let Transaction { appends, checks, conditions, histories } = decode_transaction(body)?;
        check_tag_bytes(appends.iter().flat_map(|append| &append.events))?;
        let appends = appends.into_iter().map(|append| {
            let events = pack(&append.stream_id, &append.events, ids)?;
            Ok(types::Append { stream_id: append.stream_id, expected: append.expected, events })
        });
        let appends = appends.collect::<Result<_, Problem>>()?;
        self.conditions =
            conditions.iter().map(|condition| condition.after).zip(histories.iter().copied()).collect();
        let request = WriteRequest { appends, checks, conditions, options: Vec::new() };
        Ok(Call::Write(WriteCall { request, histories }))
    }
}

impl OneCall for Transact {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (result, horizon) = answer::changed(answer)?;
        let history = HistoryId(horizon.history_id);
        Ok(response::json_of(history, encode::transaction_results(&result.placed, history)))
    }

    fn refuse(&self, error: Error) -> Problem {
        match error {
            Error::HistoryChanged(change) => self.history_changed(&change),
            error => problem(error, Subject::Store),
        }
    }
}
