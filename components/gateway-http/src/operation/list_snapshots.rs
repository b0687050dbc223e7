//! Lists of snapshots.

use exesdb_sdk::arguments;
use exesdb_sdk::steps::snapshots::SnapshotScope;
use exesdb_sdk::steps::{Answer, Call, Response, SnapshotListing};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::argument::{checked, count, source};
use crate::cursor;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// A list of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshots;

impl ListSnapshots {
    /// Reads the head of a list of the whole store.
    pub(crate) fn of_store(head: &Head<'_>) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["stream", "source", "after", "count"])?;
        let stream = match query.get("stream") {
            None => None,
            Some(stream) => {
                checked(arguments::check_stream_id("stream", stream))?;
                Some(stream.to_owned())
            }
        };
        list(&query, stream)
    }

    /// Reads the head of a list of one stream.
    pub(crate) fn of_stream(head: &Head<'_>, stream: String) -> Result<Route, Problem> {
        list(&Query::parse(head.query, &["source", "after", "count"])?, Some(stream))
    }
}

fn list(query: &Query<'_>, stream_id: Option<String>) -> Result<Route, Problem> {
    let scope = SnapshotScope { stream_id, source_id: source(query)? };
    let after = match query.get("after") {
        None => None,
        Some(text) => Some(cursor::decode(text).ok_or_else(|| {
            Problem::invalid("after", "is not a place in a list; take it from `next` of the page before")
        })?),
    };
    let listing = SnapshotListing { scope, after, count: count(query)? };
    Ok(Route::Call(Waiting::ListSnapshots(ListSnapshots), Call::ListSnapshots(listing)))
}

impl OneCall for ListSnapshots {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        Ok(response::json(encode::snapshot_page(&answer::snapshots(answer)?.0)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Store)
    }
}
