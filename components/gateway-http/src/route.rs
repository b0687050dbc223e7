//! Turns method, path, query and headers of a request into a [`Route`] or a [`Problem`].

use exesdb_sdk::arguments::{self, STREAM_ID_BYTES_MAX};

use crate::accept;
use crate::body::parse_expected_version;
use crate::frame;
use crate::problem::Problem;
use crate::query::Query;
use crate::request::RequestHead;
use crate::store::{Deletion, ExpectedVersion};

mod argument;
mod call;
mod events;
mod resource;
mod snapshots;

use argument::{checked, count, json_body, media_type, stream_name};

pub use call::{AppendEncoding, BulkRange, Call, Range, Route, Start};
pub use resource::Resource;

/// Determines the call that a request makes. Everything but the body is checked here.
///
/// # Errors
/// The problem to respond with.
pub fn route(head: &RequestHead<'_>) -> Result<Route, Problem> {
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (head.target, ""),
    };
    let (resource, stream, version) = resource::resolve(path)?;
    if !resource.allow().split(", ").any(|allowed| allowed == head.method) {
        return Err(resource::method_not_allowed(resource, head.method));
    }
    let head_only = head.method == "HEAD";
    let method = if head_only { "GET" } else { head.method };
    // Decoded only if the resource has a stream.
    let stream_name = || stream_name(stream);
    let call = match (resource, method) {
        (Resource::OpenApi, _) => {
            Query::parse(query, &[])?;
            Call::OpenApi
        }
        (Resource::AllEvents, _) => events::of_store(head, query)?,
        (Resource::Transactions, _) => {
            Query::parse(query, &[])?;
            json_body(head)?;
            Call::Transact
        }
        (Resource::Import, _) => {
            Query::parse(query, &[])?;
            json_body(head)?;
            Call::Import
        }
        (Resource::ImportStates, _) => {
            Query::parse(query, &[])?;
            json_body(head)?;
            Call::ImportStates
        }
        (Resource::StreamEvents, "POST") => {
            let encoding = append_encoding(head, query)?;
            Call::Append { stream: stream_name()?, encoding }
        }
        (Resource::StreamEvents, _) => events::of_stream(head, query, stream_name()?)?,
        (Resource::Streams, _) => list_streams(query)?,
        (Resource::Stream, "DELETE") => delete_stream(query, stream_name()?)?,
        (Resource::Stream, _) => {
            Query::parse(query, &[])?;
            Call::StreamInfo { stream: stream_name()? }
        }
        (Resource::Retention, _) => {
            Query::parse(query, &[])?;
            json_body(head)?;
            Call::SetRetention { stream: stream_name()? }
        }
        (Resource::AllSnapshots, _) => snapshots::of_store(query)?,
        (Resource::Snapshots, method) => snapshots::of_stream(method, query, stream_name()?)?,
        (Resource::LatestSnapshot, _) => snapshots::latest(query, stream_name()?)?,
        (Resource::Snapshot, method) => snapshots::one(head, method, query, stream, version)?,
    };
    match call {
        // These have negotiated their representation already.
        Call::Read { .. } | Call::ReadBulk { .. } | Call::Follow { .. } | Call::ReadSnapshot { .. } => {}
        _ => accept::require_json(head)?,
    }
    Ok(Route { call, head_only })
}

fn append_encoding(head: &RequestHead<'_>, query: &str) -> Result<AppendEncoding, Problem> {
    let query = Query::parse(query, &["expected_version"])?;
    let expected = query.get("expected_version").map(parse_expected_version).transpose()?;
    let frames = format!("`application/json` or `{}`", frame::MEDIA_TYPE);
    match (media_type(head, &["application/json", frame::MEDIA_TYPE], &frames)?, expected) {
        (frame::MEDIA_TYPE, expected) => Ok(AppendEncoding::Frames(expected.unwrap_or(ExpectedVersion::Any))),
        (_, None) => Ok(AppendEncoding::Json),
        (_, Some(_)) => {
            let detail = format!("belongs into the body; here it is for `{}`", frame::MEDIA_TYPE);
            Err(Problem::invalid("expected_version", detail))
        }
    }
}

fn delete_stream(query: &str, stream: String) -> Result<Call, Problem> {
    let query = Query::parse(query, &["expected_version", "tombstone"])?;
    let expected = query.get("expected_version").map_or(Ok(ExpectedVersion::Any), parse_expected_version)?;
    let deletion = if query.flag("tombstone")? { Deletion::Tombstone } else { Deletion::Soft };
    Ok(Call::DeleteStream { stream, expected, deletion })
}

fn list_streams(query: &str) -> Result<Call, Problem> {
    let query = Query::parse(query, &["after", "count", "deleted", "prefix"])?;
    let prefix = query.get("prefix").unwrap_or_default();
    checked(arguments::check_part("prefix", prefix, STREAM_ID_BYTES_MAX))?;
    let after = query.get("after");
    if let Some(after) = after {
        checked(arguments::check_stream_id("after", after))?;
    }
    Ok(Call::ListStreams {
        prefix: prefix.to_owned(),
        after: after.map(str::to_owned),
        count: count(&query)?,
        deleted: query.flag("deleted")?,
    })
}
