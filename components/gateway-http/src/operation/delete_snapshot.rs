//! The deletion of a snapshot.

use exesdb_sdk::steps::snapshots::{SnapshotId, SnapshotRequest};
use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::read_snapshot::place;
use super::{OneCall, Waiting};
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, response};

/// A deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSnapshot {
    stream: String,
    source: String,
    version: u64,
}

impl DeleteSnapshot {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, stream: &str, version: &str) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["source"])?;
        let (stream, source, version) = place(&query, stream, version)?;
        let id = SnapshotId { stream_id: stream.clone(), source_id: source.clone(), version };
        let waiting = Waiting::DeleteSnapshot(Self { stream, source, version });
        Ok(Route::Call(waiting, Call::ChangeSnapshot(SnapshotRequest::Remove(id))))
    }
}

impl OneCall for DeleteSnapshot {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        answer::changed(answer)?;
        Ok(response::no_content())
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Snapshot(&self.stream, &self.source, self.version))
    }
}
