//! Server-sent events: the stored events from a starting point, then the live ones. The host sends them.

use exesdb_sdk::packed::Events;
use exesdb_sdk::steps::handler::Calls;
use exesdb_sdk::steps::{Answer, Bulk, BulkRead, Call, Event, Marks, Outcome, Pending, ResponseHead};
use exesdb_sdk::types::{Direction, Error, HistoryChange};
use serde::{Deserialize, Serialize};

use super::read_bulk::{Pages, log_end};
use super::{Step, Stop, Waiting, outcome};
use crate::accept::Representation;
use crate::answer;
use crate::form::Form;
use crate::history::{HISTORY_HEADER, HistoryId, parse_event_id};
use crate::limits::{BULK_PAGE_BYTES, KEEPALIVE_MS, PROGRESS_MS, RETRY_AFTER_SECONDS};
use crate::problem::{Kind, Member, Problem, quoted};
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::selection::Scope;
use crate::store_error::{Subject, history_changed, problem};

/// A client that follows a stream or the whole store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    scope: Scope,
    start: Start,
    /// The client asked for messages when it has read all stored events, and when it lags again.
    caught_up: bool,
}

/// The starting point of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a version or position, inclusive.
    From(u64),
    /// With the next event that is appended.
    End,
    /// After the event at this position, the last one that the client has seen.
    After(u64),
}

impl Follow {
    /// Reads the parameters and the header of a client that comes again.
    pub(crate) fn parse(head: &Head<'_>, query: &Query<'_>, mut scope: Scope) -> Result<Route, Problem> {
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
        let start = match head.header("last-event-id")?.as_deref() {
            None | Some("") => start,
            Some(text) => {
                let (position, of_id) = parse_event_id(text).ok_or_else(|| {
                    Problem::invalid(
                        "last-event-id",
                        "must be a position, an integer of at least 0, or one with its history as it was sent: \
                         `41@00f1e2d3c4b5a697`",
                    )
                })?;
                scope.history = of_id.map(|HistoryId(history)| history).or(scope.history);
                Start::After(position)
            }
        };
        Ok(Route::Follow(Self { scope, start, caught_up: query.flag("caught_up")? }))
    }

    pub(super) fn run(self, calls: &mut Calls) -> Result<Step<Waiting>, Stop> {
        let Self { scope, start, caught_up } = self;
        match (scope.stream.clone(), start) {
            (None, start) => {
                let (history, end) = log_end(calls)?;
                let next = match start {
                    Start::From(next) => next,
                    Start::End => end,
                    Start::After(position) => position.saturating_add(1),
                };
                Ok(pages(scope, next, history, caught_up))
            }
            // A version belongs to no history.
            (Some(_), Start::From(0)) => {
                let (history, _) = log_end(calls)?;
                Ok(pages(scope, 0, history, caught_up))
            }
            (Some(stream), Start::From(from)) => {
                let (next, horizon) = next_version(&stream, calls)?;
                if next.is_some_and(|next| from > next) {
                    return Err(not_reached(&stream, from, next.unwrap_or(0), horizon).into());
                }
                Ok(pages(scope, from, HistoryId(horizon.history_id), caught_up))
            }
            (Some(stream), Start::End) => {
                let (next, horizon) = next_version(&stream, calls)?;
                Ok(pages(scope, next.unwrap_or(u64::MAX), HistoryId(horizon.history_id), caught_up))
            }
            (Some(stream), Start::After(position)) => after(scope, &stream, position, caught_up, calls),
        }
    }
}

/// The version of a stream's next event; none if it has the highest version.
fn next_version(stream: &str, calls: &mut Calls) -> Result<(Option<u64>, HistoryChange), Stop> {
    match calls.call(Call::StreamInfo(stream.to_owned()))? {
        Ok(answer) => {
            let (info, horizon) = answer::stream_info(answer)?;
            let horizon = HistoryChange { history_id: horizon.history_id, end: horizon.end };
            Ok((info.last_version.checked_add(1), horizon))
        }
        Err(Error::NotFound) => {
            let (history, end) = log_end(calls)?;
            Ok((Some(0), HistoryChange { history_id: history.0, end }))
        }
        Err(error) => Err(problem(error, Subject::Stream(stream)).into()),
    }
}

/// Refuses to wait for a version beyond a stream's next one. The client has seen the versions before it in a history that
/// the store has left, so it would silently miss the new events with those versions.
fn not_reached(stream: &str, from: u64, next: u64, horizon: HistoryChange) -> Problem {
    let mut refusal = history_changed(&horizon);
    refusal.detail = format!(
        "the next event of the stream {} gets version {next}, and `from` is {from}: events before it would be missed; \
         the store may have been restored from a backup, so read the stream again from a version that is known to be \
         good, or from 0",
        quoted(stream)
    );
    refusal.with("next_version", Member::Number(next))
}

/// Resumes a stream after a position, which is usually that of an event of this stream; then one read of the store gives the
/// version. Otherwise a binary search over the versions finds it, because positions rise with versions.
fn after(
    scope: Scope,
    stream: &str,
    position: u64,
    caught_up: bool,
    calls: &mut Calls,
) -> Result<Step<Waiting>, Stop> {
    // A client of one stream, too, names the position of the last event that it has seen. The store must have given it.
    let seen = Scope { stream: None, filter: None, history: scope.history, at_least: Some(position) };
    let query = seen.query(Some(position), Direction::Forward, 1, 1);
    let answer = calls.call(Call::Read(query))?.map_err(|error| problem(error, Subject::Store))?;
    let (page, horizon) = answer::page(answer)?;
    let history = HistoryId(horizon.history_id);
    if let Some(event) = only_event(&page.events)?
        && event.position == position
        && event.stream == stream
    {
        return Ok(pages(scope, event.version.saturating_add(1), history, caught_up));
    }
    let query =
        Scope { history: None, at_least: None, ..scope.clone() }.query(None, Direction::Backward, 1, 1);
    let last = match calls.call(Call::Read(query))? {
        Ok(answer) => only_event(&answer::page(answer)?.0.events)?,
        Err(Error::NotFound) => None,
        Err(error) => return Err(problem(error, Subject::Stream(stream)).into()),
    };
    match last {
        None => Ok(pages(scope, 0, history, caught_up)),
        Some(last) if last.position <= position => {
            Ok(pages(scope, last.version.saturating_add(1), history, caught_up))
        }
        Some(last) => {
            let search = Search {
                stream: stream.to_owned(),
                history: history.0,
                position,
                low: 0,
                high: last.version,
                caught_up,
            };
            Ok(search.step())
        }
    }
}

/// An event of a page that has one at most.
struct Found {
    position: u64,
    version: u64,
    stream: String,
}

fn only_event(page: &[u8]) -> Result<Option<Found>, Problem> {
    let event = Events::new(page).next().transpose();
    let event = event.map_err(|broken| Problem::new(Kind::Internal, broken.to_string()))?;
    Ok(event.map(|(position, envelope)| Found {
        position,
        version: envelope.version,
        stream: envelope.stream_id.to_owned(),
    }))
}

/// The search for the version of a stream's first event after a position. It is between `low` and `high`, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    stream: String,
    history: u64,
    position: u64,
    low: u64,
    high: u64,
    caught_up: bool,
}

impl Search {
    fn scope(&self) -> Scope {
        Scope { stream: Some(self.stream.clone()), filter: None, history: None, at_least: None }
    }

    fn middle(&self) -> u64 {
        self.low + (self.high - self.low) / 2
    }

    fn step(self) -> Step<Waiting> {
        if self.low >= self.high {
            return pages(self.scope(), self.low, HistoryId(self.history), self.caught_up);
        }
        let query = self.scope().query(Some(self.middle()), Direction::Forward, 1, 1);
        Pending::new(Waiting::Search(self)).call(Call::Read(query)).into()
    }

    pub(super) fn resume(mut self, event: Event) -> Result<Step<Waiting>, Problem> {
        let found = self.found(outcome(event)?)?;
        let middle = self.middle();
        match found {
            Some(found) if found.position <= self.position => {
                self.low = found.version.max(middle).saturating_add(1).min(self.high);
            }
            _ => self.high = middle,
        }
        Ok(self.step())
    }

    fn found(&self, outcome: Outcome) -> Result<Option<Found>, Problem> {
        let answer: Answer = outcome.map_err(|error| problem(error, Subject::Stream(&self.stream)))?;
        only_event(&answer::page(answer)?.0.events)
    }
}

/// The pages of an event stream.
fn pages(mut scope: Scope, next: u64, history: HistoryId, caught_up: bool) -> Step<Waiting> {
    scope.history.get_or_insert(history.0);
    let head = ResponseHead::new(200)
        .header("content-type", Representation::EventStream.media_type())
        .header("cache-control", "no-cache")
        .header(HISTORY_HEADER, history.to_string());
    let retry_ms = RETRY_AFTER_SECONDS.saturating_mul(1_000);
    let state = Waiting::Pages(Pages { stream: scope.stream.clone() });
    let always = Marks::IDLE | Marks::CAUGHT_UP | Marks::PROGRESS;
    let read = BulkRead {
        query: scope.query(Some(next), Direction::Forward, 0, BULK_PAGE_BYTES),
        follow: true,
        head,
        representation: Form::Messages { history: history.0, caught_up },
        as_is: false,
        opening: format!("retry: {retry_ms}\n\n").into_bytes(),
        page_bytes: BULK_PAGE_BYTES,
        marks: if caught_up { always | Marks::FELL_BEHIND } else { always },
        idle_ms: KEEPALIVE_MS,
        progress_every: 1,
        progress_ms: PROGRESS_MS,
        within_ms: None,
    };
    Step::Bulk(Box::new(Bulk { state, read }))
}
