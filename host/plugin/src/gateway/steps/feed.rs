//! A subscription of a request: pages of a query, what a durable subscription delivers, or a topic, as events of the request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bindings::gateway::requests::Query;
use crate::bindings::gateway::steps::Delivered;
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::emitters::{Attachment, Taken};
use crate::long_read::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX, Reader, Reading};
use crate::store_calls::{Consume, Notes, StoreCalls, written};
use crate::topics::{Heard, Listener};

/// A subscription of a request.
pub(super) struct Feed {
    /// None while a page is being read.
    source: Option<Source>,
    /// Events that may be delivered; none for no bound.
    credit: Option<u64>,
    has_begun: bool,
}

/// Where the events of a feed come from.
enum Source {
    Query(Box<Reader>),
    Durable(Box<Durable>),
    Topic(Box<Listener>),
}

/// A consumer of a durable subscription.
struct Durable {
    calls: StoreCalls,
    caller: Caller,
    consume: Arc<Consume>,
    /// None before the first turn.
    attachment: Option<Attachment>,
}

/// How long a batch waits at least. The emitter needs this time to add the consumer and to deliver events that are stored already.
const DELIVERY_TIME: Duration = Duration::from_millis(100);

/// A turn of a feed: the next page.
pub(super) struct Turn {
    source: Source,
    most: u32,
    is_first: bool,
}

/// What a turn brought.
pub(super) struct Turned {
    source: Source,
    page: Result<Delivered, Error>,
    count: u32,
    /// Nothing more comes after the page.
    is_over: bool,
}

/// The end of a feed, after the last page.
pub(super) struct Ended(pub(super) Option<Error>);

/// The read of a subscription's query.
pub(super) fn reading(query: Query) -> Reading {
    let page_bytes = query.selection.max_bytes.clamp(1, PAGE_BYTES_MAX);
    Reading::of(query, true, page_bytes)
}

impl Feed {
    pub(super) fn of(reader: Reader, credit: Option<u32>) -> Self {
        let source = Some(Source::Query(Box::new(reader)));
        Self { source, credit: credit.map(u64::from), has_begun: false }
    }

    /// A consumer of a durable subscription.
    pub(super) fn durable(calls: StoreCalls, caller: Caller, consume: Consume, credit: Option<u32>) -> Self {
        let durable = Durable { calls, caller, consume: Arc::new(consume), attachment: None };
        let source = Some(Source::Durable(Box::new(durable)));
        Self { source, credit: credit.map(u64::from), has_begun: false }
    }

    /// A listener of a topic.
    pub(super) fn topic(listener: Listener, credit: Option<u32>) -> Self {
        let source = Some(Source::Topic(Box::new(listener)));
        Self { source, credit: credit.map(u64::from), has_begun: false }
    }

    /// Grants more events.
    pub(super) fn grant(&mut self, more: u32) {
        self.credit = self.credit.map(|credit| credit.saturating_add(u64::from(more)));
    }

    /// The next turn; none while one is under way, or without credit.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        let credit = self.credit.unwrap_or(u64::MAX);
        if credit == 0 {
            return None;
        }
        let most = u32::try_from(credit).unwrap_or(u32::MAX).min(PAGE_EVENTS_MAX);
        let source = self.source.take()?;
        Some(Turn { source, most, is_first: !std::mem::replace(&mut self.has_begun, true) })
    }

    /// Takes what a turn brought: a page, or the end.
    pub(super) fn turned(&mut self, turned: Turned) -> (Option<Delivered>, Option<Ended>) {
        let Turned { source, page, count, is_over } = turned;
        self.credit = self.credit.map(|credit| credit.saturating_sub(u64::from(count)));
        match page {
            Err(error) => (None, Some(Ended(Some(error)))),
            Ok(page) if is_over => (Some(page), Some(Ended(None))),
            Ok(page) => {
                self.source = Some(source);
                (Some(page), None)
            }
        }
    }
}

impl Turn {
    /// Waits for the next page that says anything.
    pub(super) async fn page(self, id: u32) -> Turned {
        let Self { source, most, is_first } = self;
        match source {
            Source::Query(reader) => next_page(reader, most, is_first, id).await,
            Source::Durable(durable) => durable.next(most, id).await,
            Source::Topic(listener) => next_heard(listener, most, id).await,
        }
    }
}

async fn next_page(mut reader: Box<Reader>, most: u32, is_first: bool, id: u32) -> Turned {
    loop {
        let was_live = reader.reading.is_live();
        if was_live && !is_first {
            reader.news().await;
        }
        let read = {
            let turns = reader.turns.clone();
            let _turn = turns.alone().await;
            reader.page(most, None).await
        };
        let page = match read {
            Err(error) => {
                return Turned { source: Source::Query(reader), page: Err(error), count: 0, is_over: true };
            }
            Ok(page) => page,
        };
        let reading = &reader.reading;
        let says = is_first || page.count > 0 || page.looked_at > 0 || was_live != reading.is_live();
        let is_over = reading.is_over();
        if says || is_over {
            let delivered = Delivered {
                id,
                events: page.events,
                next: reading.next(),
                notes: Vec::new(),
                caught_up: reading.at_end(),
            };
            return Turned { source: Source::Query(reader), page: Ok(delivered), count: page.count, is_over };
        }
    }
}

async fn next_heard(mut listener: Box<Listener>, most: u32, id: u32) -> Turned {
    let (page, count, is_over) = match listener.next(most).await {
        Ok(Heard { events, count, next, notes, is_over }) => {
            let notes = written(&notes);
            (Ok(Delivered { id, events, next, notes, caught_up: count == 0 }), count, is_over)
        }
        Err(error) => (Err(error), 0, true),
    };
    Turned { source: Source::Topic(listener), page, count, is_over }
}

impl Drop for Durable {
    /// A request that the host ends says nothing about the events that were delivered to it.
    fn drop(&mut self) {
        let has_failed = self.caller.request.as_ref().is_some_and(|request| request.has_failed());
        if let (Some(attachment), true) = (self.attachment.take(), has_failed) {
            attachment.fail();
        }
    }
}

impl Durable {
    /// Joins, and says as which consumer; after that, waits for events. One who asks again and again gets both at once, and then
    /// the feed is over.
    async fn next(mut self: Box<Self>, most: u32, id: u32) -> Turned {
        let taken = self.take(most).await;
        let is_over = self.consume.wait_ms.is_some();
        let count = taken.as_ref().map_or(0, |taken| taken.delivered.len());
        let consumer = self.attachment.as_ref().map_or(0, Attachment::consumer);
        let page = taken.map(|Taken { events, delivered }| {
            let places = delivered.iter().map(|event| event.place).collect();
            let earlier = delivered.iter().map(|event| event.earlier).collect();
            let notes = written(&Notes { consumer, places, earlier });
            Delivered { id, events, next: None, notes, caught_up: count == 0 }
        });
        Turned {
            source: Source::Durable(self),
            page,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            is_over,
        }
    }

    async fn take(&mut self, most: u32) -> Result<Taken, Error> {
        let most = most as usize;
        if let Some(attachment) = &self.attachment {
            return attachment.take(&self.calls, &self.caller, most, None).await;
        }
        let attachment = self.calls.consume(&self.consume).await?;
        let attachment = self.attachment.insert(attachment);
        match self.consume.wait_ms {
            None => Ok(Taken { events: Vec::new(), delivered: Vec::new() }),
            Some(wait_ms) => {
                let until = Instant::now() + Duration::from_millis(wait_ms.into()).max(DELIVERY_TIME);
                attachment.take(&self.calls, &self.caller, most, Some(until)).await
            }
        }
    }
}
