//! The retention of a stream.

use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::{Error, RetentionRequest};
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting, WithBody};
use crate::argument::json_body;
use crate::body::decode_retention;
use crate::event_id::EventIds;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, response};

/// A change of a stream's retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRetention {
    stream: String,
}

impl SetRetention {
    /// Reads the head.
    pub(crate) fn parse(
        head: &Head<'_>,
        stream: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<Route, Problem> {
        Query::parse(head.query, &[])?;
        json_body(head)?;
        Ok(Route::Body(Waiting::Retention(Self { stream: stream()? })))
    }
}

impl WithBody for SetRetention {
    fn call(&mut self, body: &[u8], _: &mut EventIds) -> Result<Call, Problem> {
        let (stream_id, retention) = (self.stream.clone(), decode_retention(body)?);
        Ok(Call::Retain(RetentionRequest { stream_id, retention, options: Vec::new() }))
    }
}

impl OneCall for SetRetention {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        answer::changed(answer)?;
        Ok(response::no_content())
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Stream(&self.stream))
    }
}
