//! Calls about snapshots.

use exesdb_sdk::arguments;

use super::argument::{checked, count, json_body, stream_name};
use super::call::Call;
use crate::accept;
use crate::cursor;
use crate::limits::SOURCE_BYTES_MAX;
use crate::problem::Problem;
use crate::query::{Query, number};
use crate::request::RequestHead;
use crate::store::{SnapshotId, SnapshotScope};
use crate::timestamp::parse_rfc3339;

/// Lists the snapshots of the whole store.
pub(super) fn of_store(query: &str) -> Result<Call, Problem> {
    let query = Query::parse(query, &["stream", "source", "after", "count"])?;
    let stream_id = match query.get("stream") {
        None => None,
        Some(stream) => {
            checked(arguments::check_stream_id("stream", stream))?;
            Some(stream.to_owned())
        }
    };
    list(&query, stream_id)
}

/// Lists or prunes the snapshots of one stream.
pub(super) fn of_stream(method: &str, query: &str, stream: String) -> Result<Call, Problem> {
    if method == "DELETE" {
        let query = Query::parse(query, &["keep", "source"])?;
        let keep = query
            .number("keep", 1, u64::from(u32::MAX))?
            .and_then(|keep| u32::try_from(keep).ok())
            .ok_or_else(|| {
                Problem::invalid("keep", "is required: how many of the newest to keep, at least 1")
            })?;
        return Ok(Call::PruneSnapshots { stream, source: source(&query)?.unwrap_or_default(), keep });
    }
    let query = Query::parse(query, &["source", "after", "count"])?;
    list(&query, Some(stream))
}

fn list(query: &Query<'_>, stream_id: Option<String>) -> Result<Call, Problem> {
    let scope = SnapshotScope { stream_id, source_id: source(query)? };
    let after = match query.get("after") {
        None => None,
        Some(text) => Some(cursor::decode(text).ok_or_else(|| {
            Problem::invalid("after", "is not a place in a list; take it from `next` of the page before")
        })?),
    };
    Ok(Call::ListSnapshots { scope, after, count: count(query)? })
}

/// Reads the latest snapshot of a stream.
pub(super) fn latest(query: &str, stream: String) -> Result<Call, Problem> {
    let query = Query::parse(query, &["source", "at_most"])?;
    let at_most = query.number("at_most", 0, u64::MAX)?;
    Ok(Call::LatestSnapshot { stream, source: source(&query)?.unwrap_or_default(), at_most })
}

/// Reads, records or deletes one snapshot.
pub(super) fn one(
    head: &RequestHead<'_>,
    method: &str,
    query: &str,
    stream: &str,
    version: &str,
) -> Result<Call, Problem> {
    let known: &[&str] = if method == "PUT" { &["source", "created"] } else { &["source"] };
    let query = Query::parse(query, known)?;
    let stream_id = stream_name(stream)?;
    let version = number(version).ok_or_else(|| {
        Problem::invalid("version", format!("must be an integer from 0 to {}, or `latest`", u64::MAX))
    })?;
    let id = SnapshotId { stream_id, source_id: source(&query)?.unwrap_or_default(), version };
    match method {
        "PUT" => {
            json_body(head)?;
            Ok(Call::RecordSnapshot { id, created: created(&query)? })
        }
        "DELETE" => Ok(Call::DeleteSnapshot { id }),
        _ => Ok(Call::ReadSnapshot { id, representation: accept::json_or_line(head)? }),
    }
}

/// The given source, which may be the empty one.
fn source(query: &Query<'_>) -> Result<Option<String>, Problem> {
    match query.get("source") {
        None => Ok(None),
        Some(source) => {
            checked(arguments::check_part("source", source, SOURCE_BYTES_MAX))?;
            Ok(Some(source.to_owned()))
        }
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
