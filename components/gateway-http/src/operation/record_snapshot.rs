//! Recording a snapshot.

use exesdb_sdk::steps::snapshots::{NewSnapshot, SnapshotId, SnapshotRequest};
use exesdb_sdk::steps::{Answer, Call, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use super::read_snapshot::place;
use super::{OneCall, Waiting, WithBody};
use crate::argument::json_body;
use crate::body::decode_snapshot;
use crate::event_id::EventIds;
use crate::problem::Problem;
use crate::query::{Query, number};
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, response};
use exesdb_json::parse_rfc3339;

/// A snapshot to record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSnapshot {
    stream: String,
    source: String,
    version: u64,
    /// Microseconds since 1970; none for now.
    created: Option<u64>,
}

impl RecordSnapshot {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, stream: &str, version: &str) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["source", "created"])?;
        let (stream, source, version) = place(&query, stream, version)?;
        json_body(head)?;
        let created = created(&query)?;
        Ok(Route::Body(Waiting::RecordSnapshot(Self { stream, source, version, created })))
    }
}

fn created(query: &Query<'_>) -> Result<Option<u64>, Problem> {
    match query.get("created") {
        None => Ok(None),
        Some(text) => match number(text).or_else(|| parse_rfc3339(text)) {
            Some(micros) => Ok(Some(micros)),
            None => {
                let detail =
                    "must be a time such as `2026-11-23T16:46:00.000001Z`, or microseconds since 1970";
                Err(Problem::invalid("created", detail))
            }
        },
    }
}

impl WithBody for RecordSnapshot {
    fn call(&mut self, body: &[u8], _: &mut EventIds) -> Result<Call, Problem> {
        let id = SnapshotId {
            stream_id: self.stream.clone(),
            source_id: self.source.clone(),
            version: self.version,
        };
        let snapshot = NewSnapshot { id, snapshot: decode_snapshot(body)?, created: self.created };
        Ok(Call::ChangeSnapshot(SnapshotRequest::Put(snapshot)))
    }
}

impl OneCall for RecordSnapshot {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        answer::changed(answer)?;
        Ok(response::no_content())
    }

    fn refuse(&self, error: Error) -> Problem {
        problem(error, Subject::Snapshot(&self.stream, &self.source, self.version))
    }
}
