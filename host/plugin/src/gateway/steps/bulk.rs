//! A bulk read: one page after the other to the client. No instance is held between pages, and none while a page is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use tokio::time::Instant;

use super::exports::{Conclude, Encode, EncodeMark};
use super::guest::{Guest, failed};
use super::limits::{PAGE_EVENTS_MAX, READ_PAUSE_MAX, UNTAKEN_BEFORE_PAGES};
use super::marker::Marker;
use super::outflow::Outflow;
use super::reader::Reader;
use super::reading::Page;
use super::rules;
use crate::bindings::gateway::steps::{Bulk, Cause, Ending, Mark};
use crate::bindings::store::types::Error;
use crate::clock::Clock;
use crate::gateway::error::GatewayError;
use crate::problem::{code, problem};
use crate::request_control::RequestControl;

/// What a bulk read needs of its request.
pub(super) struct Sending<'a> {
    pub(super) guest: Guest<'a>,
    pub(super) reader: Reader,
    pub(super) out: &'a Outflow,
    pub(super) control: &'a RequestControl,
    pub(super) clock: Clock,
    pub(super) is_head: bool,
    representation: Arc<Vec<u8>>,
    as_is: bool,
    marker: Marker,
    begun: Instant,
    deadline: Option<Instant>,
    /// Pages that the client may not have taken: the number of parts up to each, and where to go on after it.
    pages: VecDeque<(u64, Option<u64>)>,
}

/// Why a bulk read did not come to its end.
pub(super) enum Unsent {
    /// It failed before the head was sent.
    Failed(Error),
    /// It failed later, and could not be concluded.
    Broken(GatewayError),
}

impl<'a> Sending<'a> {
    pub(super) fn of(
        bulk: &mut Bulk,
        guest: Guest<'a>,
        reader: Reader,
        out: &'a Outflow,
        control: &'a RequestControl,
        is_head: bool,
    ) -> Self {
        let begun = Instant::now();
        let clock = guest.worker.context.clock;
        Self {
            guest,
            reader,
            out,
            control,
            clock,
            is_head,
            representation: Arc::new(std::mem::take(&mut bulk.representation)),
            as_is: bulk.as_is,
            marker: Marker::of(bulk, 0),
            begun,
            deadline: bulk.within_ms.map(|ms| begun + Duration::from_millis(ms.into())),
            pages: VecDeque::new(),
        }
    }

    /// Sends the whole read. `begin` sends the head, as soon as the first page is there.
    pub(super) async fn send(mut self, bulk: Bulk, begin: impl FnOnce(Parts)) -> Result<(), Unsent> {
        let first = self.next_page().await.map_err(|cause| Unsent::Failed(error_of(cause)))?;
        let encoded = self.encode(&first).await.map_err(Unsent::Failed)?;
        let head = rules::head(&bulk.head, rules::Content::Streamed)
            .map_err(|breach| Unsent::Failed(problem(code::OTHER, breach.0)))?;
        begin(head);
        if self.is_head {
            self.out.finish(http::HeaderMap::new());
            return Ok(());
        }
        self.out.push(bulk.opening);
        self.push_page(encoded);
        let cause = match self.rest(first).await {
            Ok(()) => Cause::Complete,
            Err(cause) => cause,
        };
        self.conclude(cause).await.map_err(Unsent::Broken)
    }

    /// Sends everything after the first page.
    async fn rest(&mut self, first: Page) -> Result<(), Cause> {
        let mut page = first;
        loop {
            let mark = self.marker.page(&page, &self.reader.reading, self.now_ms(), self.time());
            self.mark(mark).await?;
            if self.reader.reading.is_over() {
                return Ok(());
            }
            self.taken().await?;
            if self.reader.reading.is_live() {
                self.live().await?;
            }
            page = self.next_page().await?;
            let encoded = self.encode(&page).await.map_err(Cause::Failed)?;
            self.push_page(encoded);
        }
    }

    async fn next_page(&mut self) -> Result<Page, Cause> {
        let (control, deadline) = (self.control, self.deadline);
        let page = unless_ended(control, deadline, self.reader.page(PAGE_EVENTS_MAX)).await?;
        page.map_err(Cause::Failed)
    }

    /// Waits until there may be something to read, and keeps the client informed meanwhile.
    async fn live(&mut self) -> Result<(), Cause> {
        loop {
            let idle = self.marker.idle_due_ms().map(|due_ms| self.begun + Duration::from_millis(due_ms));
            let news = async {
                tokio::select! {
                    () = self.reader.news() => true,
                    () = sleep_until(idle) => false,
                }
            };
            if unless_ended(self.control, self.deadline, news).await? {
                return Ok(());
            }
            let mark = self.marker.idle(&self.reader.reading, self.now_ms(), self.time());
            self.mark(mark).await?;
            self.taken().await?;
        }
    }

    async fn encode(&self, page: &Page) -> Result<Vec<u8>, Error> {
        if self.as_is {
            return Ok(page.events.clone());
        }
        let page = Arc::new(page.events.clone());
        self.guest.encode(&Encode { representation: self.representation.clone(), page }).await
    }

    async fn mark(&self, mark: Option<Mark>) -> Result<(), Cause> {
        let Some(mark) = mark else { return Ok(()) };
        let call = EncodeMark { representation: self.representation.clone(), mark };
        let encoded = self.guest.call(&call, Ok).await.map_err(|error| Cause::Failed(failed(&error)))?;
        self.out.push(encoded);
        Ok(())
    }

    fn push_page(&mut self, encoded: Vec<u8>) {
        let parts = self.out.push(encoded);
        let taken = self.out.taken();
        // Of the pages that were taken, the last one says where to go on.
        while self.pages.get(1).is_some_and(|(parts, _)| *parts <= taken) {
            self.pages.pop_front();
        }
        self.pages.push_back((parts, self.reader.reading.next()));
    }

    /// Waits until the client has taken enough for another page.
    async fn taken(&self) -> Result<(), Cause> {
        while self.out.untaken() > UNTAKEN_BEFORE_PAGES {
            let taken = tokio::time::timeout(READ_PAUSE_MAX, self.out.more_taken());
            if unless_ended(self.control, self.deadline, taken).await?.is_err() {
                return Err(Cause::Slow);
            }
        }
        Ok(())
    }

    /// Sends the last bytes.
    async fn conclude(&mut self, cause: Cause) -> Result<(), GatewayError> {
        let reading = &self.reader.reading;
        let mut next = reading.next();
        if matches!(cause, Cause::Slow) {
            let taken = self.out.drop_untaken();
            let last = self.pages.iter().rfind(|(parts, _)| *parts <= taken);
            // Not even the first page was taken, so there is nothing that the last bytes could follow.
            let Some((_, after)) = last else { return Err(GatewayError::NoResponse) };
            next = *after;
        }
        let ending = Ending {
            cause,
            next,
            end: reading.at_end(),
            last_version: reading.last_version(),
            horizon: reading.horizon(),
        };
        let call = Conclude { representation: self.representation.clone(), ending: Arc::new(ending) };
        let (body, trailers) =
            self.guest.call(&call, |closing| Ok((closing.body, rules::trailers(&closing.trailers)?))).await?;
        self.out.push(body);
        self.out.finish(trailers);
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    fn time(&self) -> u64 {
        u64::try_from(self.clock.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Waits for `work`, unless the host stops or the time of the read is over before.
async fn unless_ended<T>(
    control: &RequestControl,
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Cause> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = control.closed() => Err(Cause::Stopping),
        () = sleep_until(deadline) => {
            Err(Cause::Failed(problem(code::TIMEOUT, "the time of the request is over")))
        }
    }
}

/// Never completes without a time.
async fn sleep_until(time: Option<Instant>) {
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
