//! Reads of many pages in one answer, as lines or frames. The last one of them says that the answer is whole.

use exesdb_sdk::arguments::COUNT_MAX;
use exesdb_sdk::gateway::RespondError;

use crate::accept::Form;
use crate::encode;
use crate::exchange::Sink;
use crate::frame::{self, DoesNotFit};
use crate::history::check_range;
use crate::limits::BULK_WRITE_BYTES;
use crate::problem::{Kind, Problem};
use crate::route::BulkRange;
use crate::store::{Direction, Error, EventPage, RecordedEvent, Source, Store};
use crate::store_error::{Subject, problem};

/// A read that goes on until it has what was asked for.
#[derive(Debug)]
pub struct BulkRead<'a> {
    source: &'a Source,
    direction: Direction,
    form: Form,
    /// How many events are still to come; none for all.
    left: Option<u64>,
    /// Events from this position on were not there when the read began. Without it a read behind a busy writer would
    /// have no end.
    horizon: u64,
    /// The page that was read last.
    page: EventPage,
}

impl<'a> BulkRead<'a> {
    /// Reads the first page.
    ///
    /// # Errors
    /// The problem that is the request's answer.
    pub fn start<S: Store>(
        store: &mut S,
        source: &'a Source,
        range: BulkRange,
        form: Form,
    ) -> Result<Self, Problem> {
        let BulkRange { from, count, direction, history } = range;
        let page = check_range(store, source, from, direction, history)
            .and_then(|()| store.read(source, from, page_count(count), direction))
            .map_err(|error| problem(error, Subject::from(source)))?;
        let left = remaining(count, &page);
        Ok(Self { source, direction, form, left, horizon: page.durable_position, page })
    }

    /// The first page, and the end if that is all.
    ///
    /// # Errors
    /// [`Kind::Internal`] if an event has no such form.
    pub fn first(&self) -> Result<Vec<u8>, Problem> {
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

    /// Whether the page that was read last is the last one.
    pub fn is_whole(&self) -> bool {
        let page = &self.page;
        let passed = match self.direction {
            Direction::Backward => false,
            Direction::Forward => {
                page.events.last().is_some_and(|event| event.position.saturating_add(1) >= self.horizon)
                    || self.source.stream().is_none() && page.next.is_some_and(|next| next >= self.horizon)
            }
        };
        page.end || page.next.is_none() || self.left == Some(0) || passed
    }

    /// Sends `out`, which begins with the first page, and the pages behind it.
    ///
    /// A store that fails on the way ends the answer early: the end says from where to go on, and the next request
    /// meets the failure where it has a status for it.
    ///
    /// # Errors
    /// [`RespondError::Gone`] when the client is gone. An event that has no such form breaks the answer off.
    pub fn run<S: Store, K: Sink>(
        mut self,
        store: &mut S,
        mut sink: K,
        mut out: Vec<u8>,
    ) -> Result<(), RespondError> {
        while !self.is_whole() {
            let page = match self.next_page(store) {
                Ok(page) => page,
                Err(error) => {
                    let detail = problem(error, Subject::from(self.source)).detail;
                    store.log_failure(&format!("an answer of many pages ended early: {detail}"));
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
                        "an answer was broken off: the event at {position} fits no frame"
                    ));
                    return Ok(());
                }
            }
        }
        self.push_end(&mut out);
        sink.write(&out)?;
        sink.finish()
    }

    fn next_page<S: Store>(&self, store: &mut S) -> Result<EventPage, Error> {
        let page = store.read(self.source, self.page.next, page_count(self.left), self.direction)?;
        if page.events.is_empty() && !page.end && page.next == self.page.next {
            return Err(Error::Other("the streams component gave a page that leads nowhere".to_owned()));
        }
        Ok(page)
    }

    fn push(&self, out: &mut Vec<u8>, event: &RecordedEvent) -> Result<(), DoesNotFit> {
        if self.form == Form::Frames {
            return frame::push_event(out, event);
        }
        encode::push_line(out, event);
        Ok(())
    }

    fn push_end(&self, out: &mut Vec<u8>) {
        if self.form == Form::Frames {
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
