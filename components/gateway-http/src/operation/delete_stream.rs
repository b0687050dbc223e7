//! The deletion of a stream.

use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::{Deletion, DeletionRequest, Error, ExpectedVersion};
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::body::parse_expected_version;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, response};

/// A deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteStream {
    stream: String,
}

impl DeleteStream {
    /// Reads the head.
    pub(crate) fn parse(
        head: &Head<'_>,
        stream: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["expected_version", "tombstone"])?;
        let expected =
            query.get("expected_version").map_or(Ok(ExpectedVersion::Any), parse_expected_version)?;
        let deletion = if query.flag("tombstone")? { Deletion::Tombstone } else { Deletion::Soft };
        let stream_id = stream()?;
        let waiting = Waiting::DeleteStream(Self { stream: stream_id.clone() });
        let request = DeletionRequest { stream_id, expected, deletion, options: Vec::new() };
        Ok(Route::Call(waiting, Call::Remove(request)))
    }
}

impl OneCall for DeleteStream {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        answer::changed(answer)?;
        Ok(response::no_content())
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Stream(&self.stream))
    }
}
