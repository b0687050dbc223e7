//! Which call a request means: method, path, query and headers in, a [`Route`] or a [`Problem`] out.

use std::borrow::Cow;

use exesdb_sdk::arguments::{self, COUNT_MAX, STREAM_ID_BYTES_MAX};

use crate::accept::{self, Form};
use crate::body::parse_expected_version;
use crate::frame;
use crate::history::HistoryId;
use crate::limits::PAGE_COUNT_DEFAULT;
use crate::problem::{Kind, Problem, quoted};
use crate::query::{Query, percent_decode};
use crate::store::{Deletion, Direction, Error, ExpectedVersion, SnapshotId, SnapshotScope, Source};
use crate::store_error::{Subject, problem};

mod events;
mod resource;
mod snapshots;

pub use resource::Resource;

/// The head of a request, as far as the gateway looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method as in HTTP: `GET`.
    pub method: &'a str,
    /// Path and query as they came: `/v1/stores/main/events?from=3`.
    pub target: &'a str,
    /// Names and values in the order in which they came.
    pub headers: &'a [(String, Vec<u8>)],
}

impl<'a> Head<'a> {
    /// A header's value; several of the same name are one list.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if it is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut found: Option<Cow<'a, str>> = None;
        for (_, value) in self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)) {
            let value =
                std::str::from_utf8(value).map_err(|_| Problem::invalid(name, "is not UTF-8"))?.trim();
            found = Some(match found {
                None => Cow::Borrowed(value),
                Some(before) => Cow::Owned(format!("{before}, {value}")),
            });
        }
        Ok(found)
    }
}

/// From where an event stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a version or position, inclusive.
    From(u64),
    /// With the next event that is appended.
    End,
    /// After the event of this position, which the client has seen.
    After(u64),
}

/// A bounded read in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first version or position, inclusive; none for the beginning (backward: the end).
    pub from: Option<u64>,
    /// At most so many events.
    pub count: u32,
    /// Which way.
    pub direction: Direction,
    /// The history that `from` belongs to, of a read of the whole store; none if the client does not say.
    pub history: Option<HistoryId>,
}

/// A read of as many pages as it takes, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkRange {
    /// The first version or position, inclusive; none for the beginning (backward: the end).
    pub from: Option<u64>,
    /// At most so many events; none for all that there are.
    pub count: Option<u64>,
    /// Which way.
    pub direction: Direction,
    /// The history that `from` belongs to, of a read of the whole store; none if the client does not say.
    pub history: Option<HistoryId>,
}

/// The form of the events that are to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendForm {
    /// JSON, which holds the expected version too.
    Json,
    /// Frames, and the expected version beside them.
    Frames(ExpectedVersion),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The OpenAPI document.
    OpenApi,
    /// Append the events in the body.
    Append {
        /// To this stream.
        stream: String,
        /// In this form.
        form: AppendForm,
    },
    /// Append the events in the body to several streams.
    Transact,
    /// Take over the events in the body from another store.
    Import,
    /// What the streams in the body had imported before.
    ImportStates,
    /// A page of events.
    Read {
        /// Of these.
        source: Source,
        /// Which events.
        range: Range,
    },
    /// Events page by page in one answer.
    ReadBulk {
        /// Of these.
        source: Source,
        /// Which events.
        range: BulkRange,
        /// As lines or as frames.
        form: Form,
    },
    /// Events that are there, and then live ones.
    Follow {
        /// Of these.
        source: Source,
        /// From where.
        start: Start,
        /// The history that this belongs to; none if the client does not say.
        history: Option<HistoryId>,
    },
    /// Names of streams.
    ListStreams {
        /// What they begin with.
        prefix: String,
        /// The name after which they come.
        after: Option<String>,
        /// At most so many.
        count: u32,
        /// Of deleted streams too.
        deleted: bool,
    },
    /// What is known of a stream.
    StreamInfo {
        /// This one.
        stream: String,
    },
    /// Delete a stream.
    DeleteStream {
        /// This one.
        stream: String,
        /// If it is at this version.
        expected: ExpectedVersion,
        /// Whether for good.
        deletion: Deletion,
    },
    /// Set how long the events of a stream are kept, as the body says.
    SetRetention {
        /// This one.
        stream: String,
    },
    /// Record the snapshot in the body.
    RecordSnapshot {
        /// In this place.
        id: SnapshotId,
        /// With this time in microseconds since 1970; none for now.
        created: Option<u64>,
    },
    /// Read a snapshot.
    ReadSnapshot {
        /// In this place.
        id: SnapshotId,
        /// As JSON or as a line of it.
        form: Form,
    },
    /// Read the snapshot of the highest version.
    LatestSnapshot {
        /// Of this stream.
        stream: String,
        /// Of this source.
        source: String,
        /// The highest that is not above this version; none for any.
        at_most: Option<u64>,
    },
    /// What snapshots there are.
    ListSnapshots {
        /// Of these streams and sources.
        scope: SnapshotScope,
        /// Behind this one.
        after: Option<SnapshotId>,
        /// At most so many.
        count: u32,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// In this place.
        id: SnapshotId,
    },
    /// Delete all but the newest snapshots.
    PruneSnapshots {
        /// Of this stream.
        stream: String,
        /// Of this source.
        source: String,
        /// How many stay.
        keep: u32,
    },
}

/// A call, and how it is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What is asked for.
    pub call: Call,
    /// Only the head of the answer is wanted.
    pub head_only: bool,
}

/// Finds out what a request asks for. Everything but the body is checked here.
///
/// # Errors
/// The problem that is the request's answer.
pub fn route(head: &Head<'_>) -> Result<Route, Problem> {
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
    // Decoded only where the resource has one.
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
            let form = append_form(head, query)?;
            Call::Append { stream: stream_name()?, form }
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
        // These have weighed their forms already.
        Call::Read { .. } | Call::ReadBulk { .. } | Call::Follow { .. } | Call::ReadSnapshot { .. } => {}
        _ => accept::json_only(head)?,
    }
    Ok(Route { call, head_only })
}

fn append_form(head: &Head<'_>, query: &str) -> Result<AppendForm, Problem> {
    let query = Query::parse(query, &["expected_version"])?;
    let expected = query.get("expected_version").map(parse_expected_version).transpose()?;
    let frames = format!("`application/json` or `{}`", frame::MEDIA_TYPE);
    match (media_type(head, &["application/json", frame::MEDIA_TYPE], &frames)?, expected) {
        (frame::MEDIA_TYPE, expected) => Ok(AppendForm::Frames(expected.unwrap_or(ExpectedVersion::Any))),
        (_, None) => Ok(AppendForm::Json),
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

fn count(query: &Query<'_>) -> Result<u32, Problem> {
    let count = query.number("count", 1, u64::from(COUNT_MAX))?;
    Ok(count.and_then(|count| u32::try_from(count).ok()).unwrap_or(PAGE_COUNT_DEFAULT))
}

fn stream_name(segment: &str) -> Result<String, Problem> {
    let name = percent_decode(segment).map_err(|bad| Problem::invalid("stream", bad))?;
    checked(arguments::check_stream_id("stream", &name))?;
    Ok(name.into_owned())
}

/// What a rule of the store says of an argument, as the answer to the request that it came with.
fn checked(rule: Result<(), Error>) -> Result<(), Problem> {
    rule.map_err(|error| problem(error, Subject::Store))
}

/// Checks that the body of a request, as its headers describe it, is JSON text. A body without a type is not taken for
/// JSON: any web page can send one of those, and of the types that forms have.
fn json_body(head: &Head<'_>) -> Result<(), Problem> {
    media_type(head, &["application/json"], "`application/json`").map(|_| ())
}

/// Which of the `known` media types the body of a request has, as its headers say; and that it is not compressed.
fn media_type(head: &Head<'_>, known: &[&'static str], expected: &str) -> Result<&'static str, Problem> {
    let unsupported = |field: &str, found: &str, expected: &str| {
        let detail = format!("{} is not read; send {expected}", quoted(found));
        Problem::of_field(Kind::UnsupportedMediaType, field, detail)
    };
    let media_type = match head.header("content-type")? {
        None => {
            let detail = format!("is missing; send {expected}");
            return Err(Problem::of_field(Kind::UnsupportedMediaType, "content-type", detail));
        }
        Some(content_type) => {
            let essence = crate::json::essence(&content_type);
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(essence));
            *found.ok_or_else(|| unsupported("content-type", &content_type, expected))?
        }
    };
    if let Some(encoding) = head.header("content-encoding")?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(unsupported("content-encoding", &encoding, "the body as it is"));
    }
    Ok(media_type)
}
