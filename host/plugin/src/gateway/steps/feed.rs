//! A subscription: pages of a query as events of the request.

use super::limits::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use super::reader::Reader;
use super::reading::Reading;
use crate::bindings::gateway::requests::Query;
use crate::bindings::gateway::steps::Delivered;
use crate::bindings::store::types::Error;

/// A subscription of a request.
pub(super) struct Feed {
    /// None while a page is being read.
    reader: Option<Reader>,
    /// Events that may be delivered; none for no bound.
    credit: Option<u64>,
    has_begun: bool,
}

/// A turn of a feed: the next page.
pub(super) struct Turn {
    reader: Reader,
    most: u32,
    is_first: bool,
}

/// What a turn brought.
pub(super) struct Turned {
    reader: Reader,
    page: Result<Delivered, Error>,
    count: u32,
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
        Self { reader: Some(reader), credit: credit.map(u64::from), has_begun: false }
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
        let reader = self.reader.take()?;
        Some(Turn { reader, most, is_first: !std::mem::replace(&mut self.has_begun, true) })
    }

    /// Takes what a turn brought: a page, or the end.
    pub(super) fn turned(&mut self, turned: Turned) -> (Option<Delivered>, Option<Ended>) {
        let Turned { reader, page, count } = turned;
        self.credit = self.credit.map(|credit| credit.saturating_sub(u64::from(count)));
        match page {
            Err(error) => (None, Some(Ended(Some(error)))),
            Ok(page) if reader.reading.is_over() => (Some(page), Some(Ended(None))),
            Ok(page) => {
                self.reader = Some(reader);
                (Some(page), None)
            }
        }
    }
}

impl Turn {
    /// Waits for the next page that says anything.
    pub(super) async fn page(self, id: u32) -> Turned {
        let Self { mut reader, most, is_first } = self;
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
                Err(error) => return Turned { reader, page: Err(error), count: 0 },
                Ok(page) => page,
            };
            let reading = &reader.reading;
            let says = is_first || page.count > 0 || page.looked_at > 0 || was_live != reading.is_live();
            if says || reading.is_over() {
                let delivered = Delivered {
                    id,
                    events: page.events,
                    next: reading.next(),
                    notes: Vec::new(),
                    caught_up: reading.at_end(),
                };
                return Turned { reader, page: Ok(delivered), count: page.count };
            }
        }
    }
}
