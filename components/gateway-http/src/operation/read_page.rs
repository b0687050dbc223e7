//! A page of events as JSON.

use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::argument::count;
use crate::history::HistoryId;
use crate::limits::PAGE_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::route::Route;
use crate::selection::{Scope, direction, from};
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// The header that says how far the store was readable.
const DURABLE_POSITION_HEADER: &str = "exesdb-durable-position";

/// A read of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPage {
    /// None for the whole store.
    stream: Option<String>,
}

impl ReadPage {
    /// Reads the parameters.
    pub(crate) fn parse(query: &Query<'_>, scope: Scope) -> Result<Route, Problem> {
        let (direction, from) = (direction(query)?, from(query)?);
        let waiting = Waiting::ReadPage(Self { stream: scope.stream.clone() });
        let query = scope.query(from, direction, count(query)?, PAGE_BYTES_MAX);
        Ok(Route::Call(waiting, Call::Read(query)))
    }
}

impl OneCall for ReadPage {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (page, horizon) = answer::page(answer)?;
        let history = HistoryId(horizon.history_id);
        let body = encode::event_page(&page, history)
            .map_err(|broken| Problem::new(Kind::Internal, broken.to_string()))?;
        Ok(response::json_of(history, body).header(DURABLE_POSITION_HEADER, horizon.end.to_string()))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::from(self.stream.as_deref()))
    }
}
