//! Which call a request means: method, path, query and headers in, a [`Route`] or a [`Problem`] out.

use std::borrow::Cow;

use exesdb_sdk::arguments::{self, COUNT_MAX, STREAM_ID_BYTES_MAX};

use crate::accept::{self, Form};
use crate::limits::PAGE_COUNT_DEFAULT;
use crate::problem::{Kind, Problem, quoted};
use crate::query::{Query, number, percent_decode};
use crate::store::{Direction, Error, Subject, problem};

/// Segments of the longest path that is known.
const SEGMENTS_MAX: usize = 7;

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

/// What the paths lead to. Each has one template in the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The OpenAPI document.
    OpenApi,
    /// The events of the whole store.
    AllEvents,
    /// The names of streams.
    Streams,
    /// One stream.
    Stream,
    /// The events of one stream.
    StreamEvents,
    /// The snapshots of one stream.
    Snapshots,
    /// A stream's snapshot of the highest version.
    LatestSnapshot,
    /// A stream's snapshot at one version.
    Snapshot,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OpenApi,
        Self::AllEvents,
        Self::Streams,
        Self::Stream,
        Self::StreamEvents,
        Self::Snapshots,
        Self::LatestSnapshot,
        Self::Snapshot,
    ];

    /// The path, with its parameters in braces.
    pub fn template(self) -> &'static str {
        match self {
            Self::OpenApi => "/openapi.json",
            Self::AllEvents => "/v1/stores/{store}/events",
            Self::Streams => "/v1/stores/{store}/streams",
            Self::Stream => "/v1/stores/{store}/streams/{stream}",
            Self::StreamEvents => "/v1/stores/{store}/streams/{stream}/events",
            Self::Snapshots => "/v1/stores/{store}/streams/{stream}/snapshots",
            Self::LatestSnapshot => "/v1/stores/{store}/streams/{stream}/snapshots/latest",
            Self::Snapshot => "/v1/stores/{store}/streams/{stream}/snapshots/{version}",
        }
    }

    /// The methods that it has, as the header `allow` lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Self::StreamEvents => "GET, HEAD, POST",
            Self::Snapshot => "GET, HEAD, PUT, DELETE",
            _ => "GET, HEAD",
        }
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
    },
    /// A page of events.
    Read {
        /// Of this stream, or (none) of the whole store.
        stream: Option<String>,
        /// Which events.
        range: Range,
    },
    /// Events that are there, and then live ones.
    Follow {
        /// Of this stream, or (none) of the whole store.
        stream: Option<String>,
        /// From where.
        start: Start,
    },
    /// Names of streams.
    ListStreams {
        /// What they begin with.
        prefix: String,
        /// The name after which they come.
        after: Option<String>,
        /// At most so many.
        count: u32,
    },
    /// What is known of a stream.
    StreamInfo {
        /// This one.
        stream: String,
    },
    /// Record the snapshot in the body.
    RecordSnapshot {
        /// Of this stream.
        stream: String,
        /// At this version.
        version: u64,
    },
    /// Read a snapshot.
    ReadSnapshot {
        /// Of this stream.
        stream: String,
        /// At this version, or (none) the latest.
        version: Option<u64>,
    },
    /// What snapshots there are.
    ListSnapshots {
        /// Of this stream.
        stream: String,
        /// Below this version, or (none) all.
        before: Option<u64>,
        /// At most so many.
        count: u32,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Of this stream.
        stream: String,
        /// At this version.
        version: u64,
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
    let (resource, stream, version) = resource(path)?;
    let head_only = head.method == "HEAD";
    let method = if head_only { "GET" } else { head.method };
    if !resource.allow().split(", ").any(|allowed| allowed == method) {
        return Err(method_not_allowed(resource, method));
    }
    // Decoded only where the resource has them.
    let stream = || stream_name(stream);
    let version = || path_version(version);
    let call = match (resource, method) {
        (Resource::OpenApi, _) => {
            Query::parse(query, &[])?;
            Call::OpenApi
        }
        (Resource::AllEvents, _) => events(head, query, None)?,
        (Resource::StreamEvents, "POST") => {
            Query::parse(query, &[])?;
            json_body(head)?;
            Call::Append { stream: stream()? }
        }
        (Resource::StreamEvents, _) => events(head, query, Some(stream()?))?,
        (Resource::Streams, _) => list_streams(query)?,
        (Resource::Stream, _) => {
            Query::parse(query, &[])?;
            Call::StreamInfo { stream: stream()? }
        }
        (Resource::Snapshots, _) => {
            let query = Query::parse(query, &["before", "count"])?;
            let before = query.number("before", 0, u64::MAX)?;
            Call::ListSnapshots { stream: stream()?, before, count: count(&query)? }
        }
        (Resource::LatestSnapshot, _) => {
            Query::parse(query, &[])?;
            Call::ReadSnapshot { stream: stream()?, version: None }
        }
        (Resource::Snapshot, method) => {
            Query::parse(query, &[])?;
            let (stream, version) = (stream()?, version()?);
            match method {
                "PUT" => {
                    json_body(head)?;
                    Call::RecordSnapshot { stream, version }
                }
                "DELETE" => Call::DeleteSnapshot { stream, version },
                _ => Call::ReadSnapshot { stream, version: Some(version) },
            }
        }
    };
    // The event routes have weighed their two forms already.
    if !matches!(call, Call::Read { .. } | Call::Follow { .. }) {
        accept::json_only(head)?;
    }
    Ok(Route { call, head_only })
}

/// The resource of a path, with the undecoded segments of the stream and of the version.
fn resource(path: &str) -> Result<(Resource, &str, &str), Problem> {
    let unknown = || {
        let detail = format!("no route has the path {}; GET /openapi.json lists them", quoted(path));
        Problem::new(Kind::PathNotFound, detail)
    };
    let mut segments = [""; SEGMENTS_MAX];
    let mut rest = path.strip_prefix('/').ok_or_else(unknown)?.split('/');
    let mut length = 0;
    for (slot, segment) in segments.iter_mut().zip(rest.by_ref()) {
        *slot = segment;
        length += 1;
    }
    if rest.next().is_some() {
        return Err(unknown());
    }
    Ok(match segments.get(..length).unwrap_or_default() {
        ["openapi.json"] => (Resource::OpenApi, "", ""),
        ["v1", "stores", _, "events"] => (Resource::AllEvents, "", ""),
        ["v1", "stores", _, "streams"] => (Resource::Streams, "", ""),
        ["v1", "stores", _, "streams", stream] => (Resource::Stream, stream, ""),
        ["v1", "stores", _, "streams", stream, "events"] => (Resource::StreamEvents, stream, ""),
        ["v1", "stores", _, "streams", stream, "snapshots"] => (Resource::Snapshots, stream, ""),
        ["v1", "stores", _, "streams", stream, "snapshots", "latest"] => {
            (Resource::LatestSnapshot, stream, "")
        }
        ["v1", "stores", _, "streams", stream, "snapshots", version] => (Resource::Snapshot, stream, version),
        _ => return Err(unknown()),
    })
}

fn method_not_allowed(resource: Resource, method: &str) -> Problem {
    let allow = resource.allow();
    let detail = format!("{} has {allow}, not {}", resource.template(), quoted(method));
    let mut problem = Problem::new(Kind::MethodNotAllowed, detail);
    problem.allow = Some(allow);
    problem
}

/// A read or a follow, of a stream or of the whole store.
fn events(head: &Head<'_>, query: &str, stream: Option<String>) -> Result<Call, Problem> {
    match accept::form(head)? {
        Form::Json => {
            let query = Query::parse(query, &["from", "count", "direction"])?;
            if query.get("from") == Some("end") {
                return Err(Problem::invalid("from", "`end` needs `accept: text/event-stream`"));
            }
            let direction = match query.get("direction") {
                None | Some("forward") => Direction::Forward,
                Some("backward") => Direction::Backward,
                Some(_) => return Err(Problem::invalid("direction", "must be `forward` or `backward`")),
            };
            let from = query.number("from", 0, u64::MAX)?;
            Ok(Call::Read { stream, range: Range { from, count: count(&query)?, direction } })
        }
        Form::EventStream => Ok(Call::Follow { stream, start: follow_start(head, query)? }),
    }
}

fn follow_start(head: &Head<'_>, query: &str) -> Result<Start, Problem> {
    let query = Query::parse(query, &["from", "count", "direction"])?;
    if query.get("direction").is_some_and(|direction| direction != "forward") {
        return Err(Problem::invalid("direction", "an event stream goes `forward` only"));
    }
    if query.get("count").is_some() {
        return Err(Problem::invalid("count", "an event stream has no end; leave it out"));
    }
    let start = match query.get("from") {
        Some("end") => Start::End,
        _ => Start::From(query.number("from", 0, u64::MAX)?.unwrap_or(0)),
    };
    // An EventSource asks for the same address again when it reconnects, `from` included: what it has seen
    // counts more.
    match head.header("last-event-id")?.as_deref() {
        None | Some("") => Ok(start),
        Some(text) => number(text)
            .map(Start::After)
            .ok_or_else(|| Problem::invalid("last-event-id", "must be a position, an integer of at least 0")),
    }
}

fn list_streams(query: &str) -> Result<Call, Problem> {
    let query = Query::parse(query, &["after", "count", "prefix"])?;
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

fn path_version(segment: &str) -> Result<u64, Problem> {
    number(segment).ok_or_else(|| {
        Problem::invalid("version", format!("must be an integer from 0 to {}, or `latest`", u64::MAX))
    })
}

/// Checks that the body of a request, as its headers describe it, is JSON text.
fn json_body(head: &Head<'_>) -> Result<(), Problem> {
    let unsupported = |field: &str, found: &str, expected: &str| {
        let detail = format!("{} is not read; send {expected}", quoted(found));
        Problem::of_field(Kind::UnsupportedMediaType, field, detail)
    };
    if let Some(content_type) = head.header("content-type")?
        && !crate::json::essence(&content_type).eq_ignore_ascii_case("application/json")
    {
        return Err(unsupported("content-type", &content_type, "`application/json`"));
    }
    if let Some(encoding) = head.header("content-encoding")?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(unsupported("content-encoding", &encoding, "the body as it is"));
    }
    Ok(())
}
