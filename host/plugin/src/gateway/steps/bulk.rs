//! A bulk read of one client: one page after the other. No instance is held between pages, and none while a page is read.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use tokio::time::Instant;

use super::delivery::{Delivery, PageSize};
use super::form::Form;
use super::guest::{Guest, Origin, Workers};
use super::limits::{READ_PAUSE_MAX, SMALL_PAGE_BYTES};
use super::rules;
use crate::bindings::gateway::requests::ResponseHead;
use crate::bindings::gateway::steps::{Cause, Ending, Mark};
use crate::bindings::store::types::Error;
use crate::clock::Clock;
use crate::closing::Closing;
use crate::context::ComponentContext;
use crate::gateway::error::GatewayError;
use crate::gateway::worker::GatewayWorker;
use crate::long_read::{PAGE_EVENTS_MAX, Page, Reader, Reading};
use crate::problem::{code, problem};
use crate::trace::Trace;

/// A bulk read on its way to its client.
pub(super) struct Sending {
    pub(super) origin: Arc<Origin>,
    /// The worker that has the request; none for one that follows, which outlives it.
    pub(super) worker: Option<Arc<GatewayWorker>>,
    pub(super) trace: Trace,
    pub(super) reader: Reader,
    pub(super) form: Arc<Form>,
    pub(super) delivery: Delivery,
    /// Tells it to end.
    pub(super) closing: Closing,
    /// The place at which its group did not take it. It shares with nobody if it is live there all the same.
    pub(super) unreached: Option<u64>,
}

/// How far a read has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing more is to be read.
    End,
    /// What follows is live.
    Live,
}

impl Sending {
    /// Reads the first page, and sends it after the opening. `begin` sends the head, as soon as the page is there; if the read
    /// fails before that, so does this. For a `HEAD` that is all.
    pub(super) async fn begin(
        &mut self,
        head: &ResponseHead,
        opening: Vec<u8>,
        is_head: bool,
        begin: impl FnOnce(Parts),
    ) -> Result<Page, Error> {
        let head =
            rules::head(head, rules::Content::Streamed).map_err(|breach| problem(code::OTHER, breach.0))?;
        let turns = self.reader.turns.clone();
        let turn = self.unless_ended(turns.alone()).await.map_err(error_of)?;
        self.taken().await.map_err(error_of)?;
        let mut page = self.read().await.map_err(error_of)?;
        // It is sent even if it is empty (the rule P10).
        let encoded = self.form.page(&self.guest(), std::mem::take(&mut page.events)).await?;
        drop(turn);
        begin(head);
        if is_head {
            self.delivery.finish(Bytes::new(), HeaderMap::new());
            return Ok(page);
        }
        self.delivery.push(opening.into());
        self.delivery.push_page(encoded, self.reader.reading.next());
        Ok(page)
    }

    /// Sends what follows on a page that was sent, until the end or until it is live. Without that page, at least one is read.
    pub(super) async fn rest(&mut self, sent: Option<Page>) -> Result<Reached, Cause> {
        let mut sent = sent;
        loop {
            if let Some(page) = &sent {
                let mark = self.delivery.mark_after(page, &self.reader.reading, time(self.clock()));
                self.mark(mark).await?;
                if self.reader.reading.is_over() {
                    return Ok(Reached::End);
                }
            }
            self.taken().await?;
            if sent.is_some() && self.reader.reading.is_live() {
                // Those who share a reader from here on have no such limit.
                self.reader.reading.limit_pages(None);
                return Ok(Reached::Live);
            }
            let turns = self.reader.turns.clone();
            let turn = self.unless_ended(turns.alone()).await?;
            let before = self.reader.reading.clone();
            let mut page = self.read().await?;
            let events = std::mem::take(&mut page.events);
            let encoded = match page.count {
                0 => Ok(Bytes::new()),
                _ => self.form.page(&self.guest(), events).await,
            };
            let encoded = encoded.map_err(|error| {
                // The response ends before this page.
                self.reader.reading = before;
                Cause::Failed(error)
            })?;
            drop(turn);
            self.delivery.push_page(encoded, self.reader.reading.next());
            sent = Some(page);
        }
    }

    /// Sends the last bytes.
    pub(super) async fn conclude(&mut self, cause: Cause) -> Result<(), GatewayError> {
        let mut next = self.reader.reading.next();
        if matches!(cause, Cause::Slow) {
            let ComponentContext { store, role, .. } = &*self.origin.context;
            tracing::info!(store, component = role, "a response was cut off: its client took nothing of it");
            next = self.delivery.drop_untaken().ok_or(GatewayError::NoResponse)?;
        }
        let (body, trailers) =
            self.form.end(&self.guest(), ending(cause, next, &self.reader.reading)).await?;
        self.delivery.finish(body, trailers);
        Ok(())
    }

    fn guest(&self) -> Guest<'_> {
        let workers = match &self.worker {
            Some(worker) => Workers::One(worker),
            None => Workers::Any(&self.origin),
        };
        Guest { workers, trace: &self.trace }
    }

    async fn read(&mut self) -> Result<Page, Cause> {
        let (closing, deadline) = (self.closing.clone(), self.delivery.deadline());
        let page = unless_ended(&closing, deadline, self.reader.page(PAGE_EVENTS_MAX, None)).await?;
        page.map_err(Cause::Failed)
    }

    async fn mark(&self, mark: Option<Mark>) -> Result<(), Cause> {
        let Some(mark) = mark else { return Ok(()) };
        let encoded = self.form.mark(&self.guest(), mark).await.map_err(Cause::Failed)?;
        self.delivery.push(encoded);
        Ok(())
    }

    /// Waits until the client has taken enough for another page, and says how large it may be.
    async fn taken(&mut self) -> Result<(), Cause> {
        loop {
            if let Some(size) = self.delivery.next_page() {
                self.reader.reading.limit_pages((size == PageSize::Small).then_some(SMALL_PAGE_BYTES));
                return Ok(());
            }
            let taken = tokio::time::timeout(READ_PAUSE_MAX, self.delivery.out.more_taken());
            if self.unless_ended(taken).await?.is_err() {
                return Err(Cause::Slow);
            }
        }
    }

    async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Result<T, Cause> {
        unless_ended(&self.closing, self.delivery.deadline(), work).await
    }

    fn clock(&self) -> Clock {
        self.origin.context.clock
    }
}

/// The end of a read that goes on at `next`.
pub(super) fn ending(cause: Cause, next: Option<u64>, reading: &Reading) -> Ending {
    Ending {
        cause,
        next,
        end: reading.at_end(),
        last_version: reading.last_version(),
        horizon: reading.horizon(),
    }
}

/// The time of marks: microseconds since 1970-01-01T00:00:00 UTC.
pub(super) fn time(clock: Clock) -> u64 {
    u64::try_from(clock.since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// Waits for `work`, unless the host stops or the time of the read is over before.
async fn unless_ended<T>(
    closing: &Closing,
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Cause> {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(Cause::Failed(over_time()));
    }
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = closing.closed() => Err(Cause::Stopping),
        () = sleep_until(deadline) => Err(Cause::Failed(over_time())),
    }
}

fn over_time() -> Error {
    problem(code::TIMEOUT, "the time of the request is over")
}

/// Never completes without a time.
pub(super) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn error_of(cause: Cause) -> Error {
    match cause {
        Cause::Failed(error) => error,
        Cause::Complete | Cause::Stopping | Cause::Slow => {
            problem(code::RESTARTING, "the host stops, or restarts the gateway")
        }
    }
}
