//! Reading a snapshot at a version.

use exesdb_sdk::steps::snapshots::SnapshotId;
use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::{OneCall, Waiting};
use crate::accept::{self, Representation};
use crate::argument::{source, stream_name};
use crate::problem::Problem;
use crate::query::{Query, number};
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// A read of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSnapshot {
    stream: String,
    source: String,
    version: u64,
    /// JSON on one line.
    is_line: bool,
}

impl ReadSnapshot {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, stream: &str, version: &str) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["source"])?;
        let (stream, source, version) = place(&query, stream, version)?;
        let is_line = accept::json_or_line(head)? == Representation::Lines;
        let id = SnapshotId { stream_id: stream.clone(), source_id: source.clone(), version };
        Ok(Route::Call(
            Waiting::ReadSnapshot(Self { stream, source, version, is_line }),
            Call::ReadSnapshot(id),
        ))
    }
}

/// The stream, source and version of a snapshot.
pub(super) fn place(
    query: &Query<'_>,
    stream: &str,
    version: &str,
) -> Result<(String, String, u64), Problem> {
    let stream = stream_name(stream)?;
    let version = number(version).ok_or_else(|| {
        Problem::invalid("version", format!("must be an integer from 0 to {}, or `latest`", u64::MAX))
    })?;
    Ok((stream, source(query)?.unwrap_or_default(), version))
}

impl OneCall for ReadSnapshot {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (snapshot, _) = answer::snapshot(answer)?;
        if self.is_line {
            let media_type = Representation::Lines.media_type();
            let body = encode::snapshot_line(&snapshot);
            return Ok(Response::new(200).header("content-type", media_type).body(body));
        }
        Ok(response::json(encode::snapshot(&snapshot)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Snapshot(&self.stream, &self.source, self.version))
    }
}
