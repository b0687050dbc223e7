//! Bulk reads. A page is shown as `[` versions `]`, a mark by its name.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::exesdb::gateway::requests::{Header, Query};
use crate::bindings::exesdb::store::types::{
    AllSelection, Direction, Error, EventFilter, InvalidArgument, Selection, Source, StreamSelection,
};
use crate::bindings::exports::exesdb::gateway::steps::{Bulk, Cause, Closing, Ending, Mark, Marks, Step};
use crate::{everything, text_head};

/// The representation says what goes wrong.
pub(crate) fn begin(kind: &str) -> Step {
    let query = match kind {
        "missing" => of_stream("missing"),
        "history" => Query { history_id: Some(1), at_least: Some(1), ..all() },
        "beyond" => Query { at_least: Some(1 << 40), ..all() },
        "few" => Query { selection: Selection { count: 2, ..all().selection }, ..all() },
        "backward" => {
            Query { selection: Selection { direction: Direction::Backward, ..all().selection }, ..all() }
        }
        _ => all(),
    };
    Step::Bulk(Bulk { as_is: kind == "as-is", ..bulk(kind, query, false) })
}

pub(crate) fn follow(stream: &str) -> Step {
    let query = if stream.is_empty() { all() } else { of_stream(stream) };
    Step::Bulk(bulk("follow", query, true))
}

/// Follows what `<form>.<source>.<from>` names. A source is `all`, the name of a stream, or a prefix of names followed by `*`.
pub(crate) fn live(argument: &str) -> Step {
    let mut parts = argument.split('.');
    let mut part = || parts.next().expect("a form, a source and a place");
    let (form, source) = (part(), part());
    let from = Some(part().parse().expect("a position or version"));
    let of_all = |filter| {
        let source = Source::All(AllSelection { from, until: None });
        Query { selection: Selection { source, ..all().selection }, filter, ..all() }
    };
    let query = match source.strip_suffix('*') {
        _ if source == "all" => of_all(None),
        Some(prefix) => of_all(Some(EventFilter {
            query: Vec::new(),
            stream_prefixes: vec![prefix.to_owned()],
            stream_pattern: None,
            type_pattern: None,
            correlation_id: None,
            causation_id: None,
            options: Vec::new(),
        })),
        None => {
            let source = Source::OneStream(StreamSelection { stream_id: source.to_owned(), from });
            Query { selection: Selection { source, ..all().selection }, ..all() }
        }
    };
    let bulk = bulk(form, query, true);
    let as_is = form == "as-is";
    Step::Bulk(Bulk { as_is, marks: if as_is { Marks::empty() } else { bulk.marks }, ..bulk })
}

fn bulk(kind: &str, query: Query, follow: bool) -> Bulk {
    Bulk {
        query,
        token: b"bulk".to_vec(),
        follow,
        head: text_head(200),
        representation: kind.as_bytes().to_vec(),
        as_is: false,
        opening: if ["as-is", "counted", "positions"].contains(&kind) {
            Vec::new()
        } else {
            b"opening ".to_vec()
        },
        page_bytes: if kind == "small" || kind.starts_with("trap-") { 1 } else { 1 << 20 },
        marks: if follow {
            Marks::IDLE | Marks::CAUGHT_UP | Marks::FELL_BEHIND | Marks::PROGRESS
        } else {
            Marks::empty()
        },
        idle_ms: 300,
        progress_every: 1_000_000,
        progress_ms: 0,
        within_ms: (kind == "within").then_some(1),
    }
}

fn all() -> Query {
    let query = everything();
    Query { selection: Selection { count: 0, ..query.selection }, ..query }
}

fn of_stream(stream: &str) -> Query {
    let source = Source::OneStream(StreamSelection { stream_id: stream.to_owned(), from: None });
    Query { selection: Selection { source, ..all().selection }, ..all() }
}

/// Pages that this instance has encoded with their numbers. The contract forbids that: a page has to depend on nothing else.
static ENCODED: AtomicU32 = AtomicU32::new(0);

/// The position and the stream of each event.
fn positions(page: &[u8]) -> String {
    let shown = |event: Result<(u64, exesdb_packed::Envelope<'_>), _>| {
        let (position, envelope) = event.expect("pages have events");
        format!("{position}@{};", envelope.stream_id)
    };
    exesdb_packed::Events::new(page).map(shown).collect()
}

pub(crate) fn encode(representation: &[u8], page: &[u8]) -> Result<Vec<u8>, Error> {
    match representation {
        b"counted" => {
            let count = ENCODED.fetch_add(1, Ordering::Relaxed);
            return Ok(format!("#{count} {}", positions(page)).into_bytes());
        }
        b"positions" => return Ok(positions(page).into_bytes()),
        _ => {}
    }
    let events: Vec<u64> =
        exesdb_packed::Events::new(page).map(|event| event.expect("pages have events").1.version).collect();
    match representation {
        b"halved" if events.len() > 1 => loop {
            black_box(());
        },
        b"trap" => panic!("the probe traps while it encodes, as it was told"),
        b"trap-third" | b"trap-conclude" if events.contains(&2) => {
            panic!("the probe traps while it encodes, as it was told")
        }
        b"refuse" => {
            let (argument, message) = ("page".to_owned(), "the probe refuses, as it was told".to_owned());
            Err(Error::Invalid(InvalidArgument { argument, message }))
        }
        _ => {
            let shown: Vec<String> = events.iter().map(u64::to_string).collect();
            Ok(format!("[{}]", shown.join(" ")).into_bytes())
        }
    }
}

pub(crate) fn encode_mark(mark: Mark) -> Vec<u8> {
    let (name, place) = match mark {
        Mark::Idle(place) => ("idle", place),
        Mark::CaughtUp(place) => ("caught-up", place),
        Mark::FellBehind(place) => ("fell-behind", place),
        Mark::Progress(place) => ("progress", place),
    };
    format!("({name} {})", place.next).into_bytes()
}

pub(crate) fn conclude(representation: &[u8], ending: &Ending) -> Closing {
    assert!(representation != b"trap-conclude", "the probe traps at the end, as it was told");
    let cause = match &ending.cause {
        Cause::Complete => "complete".to_owned(),
        Cause::Failed(error) => format!("failed, {}", crate::error_shown(error)),
        Cause::Stopping => "stopping".to_owned(),
        Cause::Slow => "slow".to_owned(),
    };
    if representation == b"as-is" {
        return Closing { body: Vec::new(), trailers: Vec::new() };
    }
    let trailers = vec![Header { name: "x-end".to_owned(), value: b"yes".to_vec() }];
    Closing { body: format!(" {cause} at {:?}", ending.next).into_bytes(), trailers }
}
