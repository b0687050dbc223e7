//! What a read of events covers: one stream or the whole store, with a filter.

use exesdb_sdk::arguments::{self, STREAM_ID_BYTES_MAX};
use exesdb_sdk::steps;
use exesdb_sdk::types::{
    AllSelection, Direction, EventFilter, QueryItem, Selection, Source, StreamSelection,
};

use crate::argument::checked;
use crate::body::{check_tags, check_types, decode_query};
use crate::history::HistoryId;
use crate::limits::{CORRELATION_ID_BYTES_MAX, PATTERN_BYTES_MAX, STREAM_PREFIXES_MAX};
use crate::problem::Problem;
use crate::query::Query;

/// The parameters of a read of one stream.
pub(crate) const OF_STREAM: [&str; 6] = ["from", "count", "direction", "history", "at_least", "caught_up"];

/// The parameters of a read of the whole store that may be given once.
pub(crate) const OF_STORE: [&str; 11] = [
    "from",
    "count",
    "direction",
    "history",
    "at_least",
    "query",
    "correlation_id",
    "causation_id",
    "stream_pattern",
    "type_pattern",
    "caught_up",
];

/// The parameters of a read of the whole store that may be repeated.
pub(crate) const OF_STORE_REPEATED: [&str; 3] = ["type", "tag", "stream_prefix"];

/// The events that a read covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The stream; none for the whole store.
    pub(crate) stream: Option<String>,
    /// What is left out of the whole store.
    pub(crate) filter: Option<EventFilter>,
    /// The history of the client's positions; none if it does not name it.
    pub(crate) history: Option<u64>,
    /// The position of an event that must be readable.
    pub(crate) at_least: Option<u64>,
}

impl Scope {
    /// The events of one stream.
    pub(crate) fn of_stream(query: &Query<'_>, stream: String) -> Result<Self, Problem> {
        let (history, at_least) = (history(query)?, at_least(query)?);
        Ok(Self { stream: Some(stream), filter: None, history, at_least })
    }

    /// The events of the whole store that a filter lets through.
    pub(crate) fn of_store(query: &Query<'_>) -> Result<Self, Problem> {
        let filter = filter(query)?;
        Ok(Self { stream: None, filter, history: history(query)?, at_least: at_least(query)? })
    }

    /// A query for events from a version or position on.
    pub(crate) fn query(
        self,
        from: Option<u64>,
        direction: Direction,
        count: u32,
        max_bytes: u32,
    ) -> steps::Query {
        let source = match self.stream {
            Some(stream_id) => Source::OneStream(StreamSelection { stream_id, from }),
            None => Source::All(AllSelection { from, until: None }),
        };
        steps::Query {
            selection: Selection { source, direction, count, max_bytes, options: Vec::new() },
            filter: self.filter,
            // The store has to be readable up to the event, and with it.
            at_least: self.at_least.map(|position| position.saturating_add(1)),
            history_id: self.history,
        }
    }
}

/// The direction of a read.
pub(crate) fn direction(query: &Query<'_>) -> Result<Direction, Problem> {
    match query.get("direction") {
        None | Some("forward") => Ok(Direction::Forward),
        Some("backward") => Ok(Direction::Backward),
        Some(_) => Err(Problem::invalid("direction", "must be `forward` or `backward`")),
    }
}

/// Where a read with an end begins.
pub(crate) fn from(query: &Query<'_>) -> Result<Option<u64>, Problem> {
    if query.get("from") == Some("end") {
        return Err(Problem::invalid("from", "`end` needs `accept: text/event-stream`"));
    }
    query.number("from", 0, u64::MAX)
}

fn history(query: &Query<'_>) -> Result<Option<u64>, Problem> {
    let Some(text) = query.get("history") else { return Ok(None) };
    match HistoryId::parse(text) {
        Some(HistoryId(history)) => Ok(Some(history)),
        None => Err(Problem::invalid("history", "must be 16 hexadecimal digits")),
    }
}

fn at_least(query: &Query<'_>) -> Result<Option<u64>, Problem> {
    query.number("at_least", 0, u64::MAX)
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
        options: Vec::new(),
    };
    let lets_all_through = filter.query.is_empty()
        && filter.stream_prefixes.is_empty()
        && [&filter.correlation_id, &filter.causation_id, &filter.stream_pattern, &filter.type_pattern]
            .into_iter()
            .all(Option::is_none);
    Ok((!lets_all_through).then_some(filter))
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
