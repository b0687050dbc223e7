//! Reads of many pages in one response, as lines or packed events. The host sends the pages.

use exesdb_sdk::steps::handler::Calls;
use exesdb_sdk::steps::{Bulk, BulkRead, Call, Event, Marks, ResponseHead};
use exesdb_sdk::types::Direction;
use serde::{Deserialize, Serialize};

use super::{Step, Stop, Waiting, unexpected};
use crate::accept::Representation;
use crate::form::Form;
use crate::history::{HISTORY_HEADER, HistoryId};
use crate::limits::BULK_PAGE_BYTES;
use crate::problem::Problem;
use crate::query::Query;
use crate::route::Route;
use crate::selection::{Scope, direction, from};
use crate::store_error::{Subject, problem};

/// A read of as many pages as there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBulk {
    scope: Scope,
    from: Option<u64>,
    /// The most events; 0 for no bound.
    count: u32,
    direction: Direction,
    representation: Representation,
}

impl ReadBulk {
    /// Reads the parameters.
    pub(crate) fn parse(
        query: &Query<'_>,
        scope: Scope,
        representation: Representation,
    ) -> Result<Route, Problem> {
        let (direction, from) = (direction(query)?, from(query)?);
        // No response has as many events as a greater number than `u32` holds.
        let count = query.number("count", 1, u64::MAX)?.map_or(0, |count| u32::try_from(count).unwrap_or(0));
        Ok(Route::ReadBulk(Self { scope, from, count, direction, representation }))
    }

    /// The head names the history of the positions. It is asked for first: if the store is restored in between, the client
    /// later presents positions with the old history, and they are refused.
    pub(super) fn run(self, calls: &mut Calls) -> Result<Step<Waiting>, Stop> {
        let Self { scope, from, count, direction, representation } = self;
        let history = log_end(calls)?.0;
        let form = match representation {
            Representation::Packed => Form::Packed,
            _ => Form::Lines,
        };
        let head = ResponseHead::new(200)
            .header("content-type", representation.media_type())
            .header(HISTORY_HEADER, history.to_string());
        let pages = Pages { stream: scope.stream.clone() };
        let read = BulkRead {
            query: scope.query(from, direction, count, BULK_PAGE_BYTES),
            follow: false,
            head,
            representation: form,
            as_is: form == Form::Packed,
            opening: Vec::new(),
            page_bytes: BULK_PAGE_BYTES,
            marks: Marks::empty(),
            idle_ms: 0,
            progress_every: 0,
            progress_ms: 0,
            within_ms: None,
        };
        Ok(Step::Bulk(Box::new(Bulk { state: Waiting::Pages(pages), read })))
    }
}

/// The history of the store, and the position of its next event.
pub(super) fn log_end(calls: &mut Calls) -> Result<(HistoryId, u64), Stop> {
    let answer = calls.call(Call::LogEnd)?.map_err(|error| problem(error, Subject::Store))?;
    Ok((HistoryId(answer.horizon.history_id), answer.horizon.end))
}

/// A read whose pages the host sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// None for the whole store.
    pub(super) stream: Option<String>,
}

impl Pages {
    /// The problem of a read that failed before its head was sent.
    pub(super) fn refuse(&self, event: Event) -> Problem {
        match event {
            Event::Failed(error) => problem(error, Subject::from(self.stream.as_deref())),
            _ => unexpected("another event than the failure of a read"),
        }
    }
}
