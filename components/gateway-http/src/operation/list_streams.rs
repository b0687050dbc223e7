//! The names of streams.

use exesdb_sdk::arguments::{self, STREAM_ID_BYTES_MAX};
use exesdb_sdk::steps::{Answer, Call, Listing, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::argument::{checked, count};
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// A list of streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStreams;

impl ListStreams {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["after", "count", "deleted", "prefix"])?;
        let prefix = query.get("prefix").unwrap_or_default();
        checked(arguments::check_part("prefix", prefix, STREAM_ID_BYTES_MAX))?;
        let after = query.get("after");
        if let Some(after) = after {
            checked(arguments::check_stream_id("after", after))?;
        }
        let listing = Listing {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            count: count(&query)?,
            deleted: query.flag("deleted")?,
        };
        Ok(Route::Call(Waiting::ListStreams(Self), Call::ListStreams(listing)))
    }
}

impl OneCall for ListStreams {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        Ok(response::json(encode::stream_page(&answer::streams(answer)?.0)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Store)
    }
}
