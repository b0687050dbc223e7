//! The deletion of all but the newest snapshots.

use exesdb_sdk::steps::snapshots::{Newest, SnapshotRequest};
use exesdb_sdk::steps::{Answer, Call, Response};
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

/// A deletion of older snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneSnapshots {
    stream: String,
    source: String,
}

impl PruneSnapshots {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, stream: String) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["keep", "source"])?;
        let keep = query
            .number("keep", 1, u64::from(u32::MAX))?
            .and_then(|keep| u32::try_from(keep).ok())
            .ok_or_else(|| {
                Problem::invalid("keep", "is required: how many of the newest to keep, at least 1")
            })?;
        let source = source(&query)?.unwrap_or_default();
        let newest = Newest { stream_id: stream.clone(), source_id: source.clone(), keep };
        let waiting = Waiting::PruneSnapshots(Self { stream, source });
        Ok(Route::Call(waiting, Call::ChangeSnapshot(SnapshotRequest::KeepNewest(newest))))
    }
}

impl OneCall for PruneSnapshots {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let (result, _) = answer::changed(answer)?;
        Ok(response::json(encode::deleted(result.count)))
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::LatestSnapshot(&self.stream, &self.source))
    }
}
