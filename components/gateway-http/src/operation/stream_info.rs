//! The description of a stream.

use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// A description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    stream: String,
}

impl StreamInfo {
    /// Reads the head.
    pub(crate) fn parse(
        head: &Head<'_>,
        stream: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<Route, Problem> {
        Query::parse(head.query, &[])?;
        let stream = stream()?;
        Ok(Route::Call(Waiting::StreamInfo(Self { stream: stream.clone() }), Call::StreamInfo(stream)))
    }
}

impl OneCall for StreamInfo {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        Ok(response::json(encode::stream_info(&answer::stream_info(answer)?.0)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Stream(&self.stream))
    }
}
