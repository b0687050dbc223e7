//! Reads of events: pages, bulk reads, and event streams.

use exesdb_sdk::arguments::{self, STREAM_ID_BYTES_MAX};

use super::argument::{checked, count};
use super::call::{BulkRange, Call, Range, Start};
use crate::accept::{self, Representation};
use crate::body::{check_tags, check_types, decode_query};
use crate::history::{HistoryId, parse_event_id};
use crate::limits::{CORRELATION_ID_BYTES_MAX, PATTERN_BYTES_MAX, STREAM_PREFIXES_MAX};
use crate::problem::Problem;
use crate::query::Query;
use crate::request::RequestHead;
use crate::store::{Direction, EventFilter, EventScope, QueryItem};

/// The parameters of every read.
const RANGE: [&str; 3] = ["from", "count", "direction"];

/// The parameters of a read of the whole store that may be given once.
const ONCE: [&str; 9] = [
    "from",
    "count",
    "direction",
    "history",
    "query",
    "correlation_id",
    "causation_id",
    "stream_pattern",
    "type_pattern",
];

/// The parameters of a read of the whole store that may be repeated.
const REPEATED: [&str; 3] = ["type", "tag", "stream_prefix"];

/// A read of one stream.
pub(super) fn of_stream(head: &RequestHead<'_>, query: &str, stream: String) -> Result<Call, Problem> {
    read(head, &Query::parse(query, &RANGE)?, EventScope::Stream(stream))
}

/// A read of the whole store.
pub(super) fn of_store(head: &RequestHead<'_>, query: &str) -> Result<Call, Problem> {
    let query = Query::parse_repeated(query, &ONCE, &REPEATED)?;
    let scope = filter(&query)?.map_or(EventScope::Store, EventScope::Filtered);
    read(head, &query, scope)
}

fn read(head: &RequestHead<'_>, query: &Query<'_>, scope: EventScope) -> Result<Call, Problem> {
    let is_bounded = query.get("count").is_some() || query.get("direction") == Some("backward");
    let representation = accept::event_representation(head, is_bounded)?;
    if representation == Representation::EventStream {
        let (start, history) = start(head, query)?;
        return Ok(Call::Follow { scope, start, history });
    }
    if query.get("from") == Some("end") {
        return Err(Problem::invalid("from", "`end` needs `accept: text/event-stream`"));
    }
    let direction = match query.get("direction") {
        None | Some("forward") => Direction::Forward,
        Some("backward") => Direction::Backward,
        Some(_) => return Err(Problem::invalid("direction", "must be `forward` or `backward`")),
    };
    let from = query.number("from", 0, u64::MAX)?;
    let history = history(query)?;
    if representation == Representation::Json {
        return Ok(Call::Read { scope, range: Range { from, count: count(query)?, direction, history } });
    }
    let count = query.number("count", 1, u64::MAX)?;
    Ok(Call::ReadBulk { scope, range: BulkRange { from, count, direction, history }, representation })
}

/// The history that the client's starting point belongs to.
fn history(query: &Query<'_>) -> Result<Option<HistoryId>, Problem> {
    let Some(text) = query.get("history") else { return Ok(None) };
    let history = HistoryId::parse(text);
    history.map(Some).ok_or_else(|| Problem::invalid("history", "must be 16 hexadecimal digits"))
}

fn start(head: &RequestHead<'_>, query: &Query<'_>) -> Result<(Start, Option<HistoryId>), Problem> {
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
    // An EventSource repeats the same URL when it reconnects, including `from`, so its last event id takes precedence.
    match head.header("last-event-id")?.as_deref() {
        None | Some("") => Ok((start, history(query)?)),
        Some(text) => {
            let (position, of_id) = parse_event_id(text).ok_or_else(|| {
                Problem::invalid(
                    "last-event-id",
                    "must be a position, an integer of at least 0, or one with its history as it was sent: \
                     `41@00f1e2d3c4b5a697`",
                )
            })?;
            Ok((Start::After(position), of_id.or(history(query)?)))
        }
    }
}

/// The filter that the parameters form; none if no parameter is part of one.
fn filter(query: &Query<'_>) -> Result<Option<EventFilter>, Problem> {
    let all = |name: &str| query.all(name).map(str::to_owned).collect::<Vec<String>>();
    let item = QueryItem { types: all("type"), tags: all("tag") };
    let items = match query.get("query") {
        Some(text) => {
            if let Some(name) = ["type", "tag"].into_iter().find(|name| query.get(name).is_some()) {
                return Err(Problem::invalid(
                    name,
                    "cannot stand beside `query`, which says the same and more",
                ));
            }
            decode_query(text)?
        }
        None if item.types.is_empty() && item.tags.is_empty() => Vec::new(),
        None => {
            check_types(&item.types)?;
            check_tags(&item.tags)?;
            vec![item]
        }
    };
    let stream_prefixes = all("stream_prefix");
    if stream_prefixes.len() > STREAM_PREFIXES_MAX {
        let detail =
            format!("is given {} times; it may be {STREAM_PREFIXES_MAX} times", stream_prefixes.len());
        return Err(Problem::invalid("stream_prefix", detail));
    }
    for prefix in &stream_prefixes {
        checked(arguments::check_part("stream_prefix", prefix, STREAM_ID_BYTES_MAX))?;
    }
    let id = |name: &'static str| match query.get(name) {
        None => Ok(None),
        Some(text) => {
            checked(arguments::check_text(name, text, CORRELATION_ID_BYTES_MAX))?;
            Ok(Some(text.to_owned()))
        }
    };
    let filter = EventFilter {
        query: items,
        stream_prefixes,
        correlation_id: id("correlation_id")?,
        causation_id: id("causation_id")?,
        stream_pattern: pattern(query, "stream_pattern")?,
        type_pattern: pattern(query, "type_pattern")?,
    };
    let everything = EventFilter {
        query: Vec::new(),
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
    };
    Ok((filter != everything).then_some(filter))
}

/// The text of a regular expression. The store compiles it, and refuses an invalid one.
fn pattern(query: &Query<'_>, name: &'static str) -> Result<Option<String>, Problem> {
    match query.get(name) {
        Some(text) if !(1..=PATTERN_BYTES_MAX).contains(&text.len()) => {
            let detail = format!("has {} bytes; it may have 1 to {PATTERN_BYTES_MAX}", text.len());
            Err(Problem::invalid(name, detail))
        }
        text => Ok(text.map(str::to_owned)),
    }
}
