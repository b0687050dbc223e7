//! Reading the snapshot with the highest version.

use exesdb_sdk::steps::{Answer, Call, Latest, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::argument::source;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// A read of the latest snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestSnapshot {
    stream: String,
    source: String,
}

impl LatestSnapshot {
    /// Reads the head.
    pub(crate) fn parse(
        head: &Head<'_>,
        stream: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<Route, Problem> {
        let stream = stream()?;
        let query = Query::parse(head.query, &["source", "at_most"])?;
        let at_most = query.number("at_most", 0, u64::MAX)?;
        let source = source(&query)?.unwrap_or_default();
        let latest = Latest { stream_id: stream.clone(), source_id: source.clone(), at_most };
        Ok(Route::Call(Waiting::LatestSnapshot(Self { stream, source }), Call::LatestSnapshot(latest)))
    }
}

impl OneCall for LatestSnapshot {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        Ok(response::json(encode::snapshot(&answer::snapshot(answer)?.0)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::LatestSnapshot(&self.stream, &self.source))
    }
}
