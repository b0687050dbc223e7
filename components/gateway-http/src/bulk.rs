//! Reads of many pages in one response, as lines or frames. The last line or frame marks the response as complete.

use exesdb_sdk::arguments::COUNT_MAX;
use exesdb_sdk::gateway::RespondError;

use crate::accept::Representation;
use crate::encode;
use crate::exchange::Sink;
use crate::frame::{self, DoesNotFit};
use crate::limits::BULK_WRITE_BYTES;
use crate::position_check::check_range;
use crate::problem::{Kind, Problem};
use crate::route::BulkRange;
use crate::store::{Direction, Error, EventPage, EventScope, RecordedEvent, StoreApi};
use crate::store_error::{Subject, problem};

/// A read that continues until it has all requested events.
#[derive(Debug)]
pub(crate) struct BulkRead<'a> {
    scope: &'a EventScope,
    direction: Direction,
    representation: Representation,
    /// How many events remain to be read; none for no limit.
    left: Option<u64>,
    /// The read excludes events from this position on: they were appended after it began. Without this bound, a read
    /// during constant writes would never end.
    horizon: u64,
    /// The most recent page.
    page: EventPage,
}

impl<'a> BulkRead<'a> {
    /// Reads the first page.
    ///
    /// # Errors
    /// The problem to respond with.
    pub(crate) fn start<S: StoreApi>(
        store: &mut S,
        scope: &'a EventScope,
        range: BulkRange,
        representation: Representation,
    ) -> Result<Self, Problem> {
        let BulkRange { from, count, direction, history } = range;
        let page = check_range(store, scope, from, direction, history)
            .and_then(|()| store.read(scope, from, page_count(count), direction))
            .map_err(|error| problem(error, Subject::from(scope)))?;
        let left = remaining(count, &page);
        Ok(Self { scope, direction, representation, left, horizon: page.durable_position, page })
    }

    /// The first page, followed by the end marker if there are no more pages.
    ///
    /// # Errors
    /// [`Kind::Internal`] if an event does not fit into a frame.
    pub(crate) fn first(&self) -> Result<Vec<u8>, Problem> {
        let mut out = Vec::with_capacity(BULK_WRITE_BYTES);
        for event in &self.page.events {
            self.push(&mut out, event).map_err(|DoesNotFit| {
                Problem::new(
                    Kind::Internal,
                    format!("the event at {} does not fit into a frame", event.position),
                )
            })?;
        }
        if self.is_whole() {
            self.push_end(&mut out);
        }
        Ok(out)
    }

    /// Whether the most recent page is the last one.
    pub(crate) fn is_whole(&self) -> bool {
        let page = &self.page;
        let reached_horizon = match self.direction {
            Direction::Backward => false,
            Direction::Forward => {
                page.events.last().is_some_and(|event| event.position.saturating_add(1) >= self.horizon)
                    || self.scope.stream().is_none() && page.next.is_some_and(|next| next >= self.horizon)
            }
        };
        page.end || page.next.is_none() || self.left == Some(0) || reached_horizon
    }

    /// Sends `out`, which holds the first page, and the pages after it.
    ///
    /// If the store fails on the way, the response ends early: its end marker says where to continue, and the client's
    /// next request gets the failure as a status.
    ///
    /// # Errors
    /// [`RespondError::Gone`] when the client is gone. An event that does not fit into a frame aborts the response.
    pub(crate) fn run<S: StoreApi, K: Sink>(
        mut self,
        store: &mut S,
        mut sink: K,
        mut out: Vec<u8>,
    ) -> Result<(), RespondError> {
        while !self.is_whole() {
            let page = match self.next_page(store) {
                Ok(page) => page,
                Err(error) => {
                    let detail = problem(error, Subject::from(self.scope)).detail;
                    store.log_failure(&format!("a bulk read ended early: {detail}"));
                    break;
                }
            };
            self.left = remaining(self.left, &page);
            self.page = page;
            for event in &self.page.events {
                if out.len() >= BULK_WRITE_BYTES {
                    sink.write(&out)?;
                    out.clear();
                }
                if let Err(DoesNotFit) = self.push(&mut out, event) {
                    let position = event.position;
                    store.log_failure(&format!(
                        "a bulk read was aborted: the event at {position} does not fit into a frame"
                    ));
                    return Ok(());
                }
            }
        }
        self.push_end(&mut out);
        sink.write(&out)?;
        sink.finish()
    }

    fn next_page<S: StoreApi>(&self, store: &mut S) -> Result<EventPage, Error> {
        let page = store.read(self.scope, self.page.next, page_count(self.left), self.direction)?;
        if page.events.is_empty() && !page.end && page.next == self.page.next {
            return Err(Error::Other("the streams component gave a page that leads nowhere".to_owned()));
        }
        Ok(page)
    }

    fn push(&self, out: &mut Vec<u8>, event: &RecordedEvent) -> Result<(), DoesNotFit> {
        if self.representation == Representation::Frames {
            return frame::push_event(out, event);
        }
        encode::push_line(out, event);
        Ok(())
    }

    fn push_end(&self, out: &mut Vec<u8>) {
        if self.representation == Representation::Frames {
            frame::push_end(out, &self.page);
        } else {
            encode::push_end_line(out, &self.page);
        }
    }
}

fn page_count(left: Option<u64>) -> u32 {
    left.and_then(|left| u32::try_from(left).ok()).map_or(COUNT_MAX, |left| left.min(COUNT_MAX))
}

fn remaining(left: Option<u64>, page: &EventPage) -> Option<u64> {
    left.map(|left| left.saturating_sub(page.events.len() as u64))
}
