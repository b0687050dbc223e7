//! Reads on, one page after the other, as the host does for bulk reads and for subscriptions to a query.

use super::Backend;
use crate::steps::{Call, Error, Horizon, Outcome, Query, Reply};
use crate::types::{Direction, PackedPage, Source};

/// The most events of a page.
pub(super) const PAGE_EVENTS_MAX: u32 = 1_000;

/// Where a read is.
pub(super) struct Reader {
    pub(super) query: Query,
    follow: bool,
    page_bytes: u32,
    /// The events that are left; none for no bound.
    left: Option<u32>,
    pub(super) next: Option<u64>,
    pub(super) horizon: Horizon,
    /// Whether the last page reached the end.
    pub(super) at_end: bool,
    /// Where a forward read ends, exclusive: a position or version.
    bound: Option<u64>,
    is_first: bool,
    /// Events of the last page,
    pub(super) count: u32,
    /// and those that were looked at for it.
    pub(super) looked_at: u64,
    /// The position of the last event.
    last: Option<u64>,
}

impl Reader {
    /// A read of a query, whose count bounds the whole of it; 0 for no bound. Nobody follows backward.
    pub(super) fn new(query: &Query, follow: bool, page_bytes: u32) -> Self {
        let next = match &query.selection.source {
            Source::OneStream(of) => of.from,
            Source::All(of) => of.from,
        };
        let count = query.selection.count;
        Self {
            query: query.clone(),
            follow: follow && query.selection.direction == Direction::Forward,
            page_bytes,
            left: (count > 0).then_some(count),
            next,
            horizon: Horizon { history_id: 0, end: 0 },
            at_end: false,
            bound: None,
            is_first: true,
            count: 0,
            looked_at: 0,
            last: None,
        }
    }

    fn is_forward(&self) -> bool {
        self.query.selection.direction == Direction::Forward
    }

    /// Reads the next page, of at most so many events.
    ///
    /// # Errors
    ///
    /// That of the read.
    pub(super) fn read(&mut self, backend: &mut impl Backend, most: u32) -> Result<PackedPage, Error> {
        let is_of_stream = matches!(self.query.selection.source, Source::OneStream(_));
        let mut query = self.query.clone();
        query.selection.max_bytes = self.page_bytes;
        query.selection.count = self.left.unwrap_or(u32::MAX).min(PAGE_EVENTS_MAX).min(most);
        match &mut query.selection.source {
            Source::OneStream(of) => {
                of.from = self.next;
                if let (Some(bound), Some(next)) = (self.bound, self.next) {
                    let most = u32::try_from(bound - next).unwrap_or(u32::MAX).max(1);
                    query.selection.count = query.selection.count.min(most);
                }
            }
            Source::All(of) => {
                of.from = self.next;
                of.until = of.until.or(self.bound);
            }
        }
        if !self.is_first {
            (query.at_least, query.history_id) = (None, None);
        }
        let (page, horizon) = match page_of(backend.call(Call::Read(query))) {
            Err(Error::NotFound) if self.follow && is_of_stream => {
                // The stream is waited for.
                let next = Some(self.next.unwrap_or(0));
                let page = PackedPage { events: Vec::new(), next, end: true, last_version: None };
                let end = page_of(backend.call(Call::Read(end_of_store())));
                (page, end.map_or(self.horizon, |(_, horizon)| horizon))
            }
            other => other?,
        };
        if !self.follow && self.is_first && self.is_forward() {
            let last = page.last_version.map(|last| last.saturating_add(1));
            self.bound = if is_of_stream { last } else { Some(horizon.end) };
        }
        let positions: Vec<u64> = crate::packed::Events::new(&page.events)
            .map(|event| event.expect("a page has events").0)
            .collect();
        self.last = positions.last().copied().or(self.last);
        let events = u32::try_from(positions.len()).expect("a page is short");
        self.left = self.left.map(|left| left.saturating_sub(events));
        self.looked_at = match (self.next, page.next) {
            (before, Some(next)) if self.is_forward() => next.saturating_sub(before.unwrap_or(0)),
            _ => u64::from(events),
        };
        assert!(
            events > 0 || page.end || page.next != self.next || self.is_first,
            "a page that leads nowhere"
        );
        (self.next, self.horizon, self.is_first) = (page.next, horizon, false);
        (self.at_end, self.count) = (page.end, events);
        Ok(page)
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_over(&self) -> bool {
        let is_at = |bound: Option<u64>| self.is_forward() && bound.is_some() && self.next >= bound;
        let asked_until = match &self.query.selection.source {
            Source::All(of) => of.until,
            Source::OneStream(_) => None,
        };
        let ends = self.next.is_none() || self.left == Some(0) || is_at(asked_until);
        ends || !self.follow && (self.at_end || is_at(self.bound))
    }

    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Whether what follows was not written yet.
    pub(super) fn is_live(&self) -> bool {
        self.follow && self.at_end
    }

    /// The position up to which all was sent.
    pub(super) fn covered(&self, is_at_end: bool) -> u64 {
        match self.query.selection.source {
            Source::All(_) => self.next.unwrap_or(0),
            Source::OneStream(_) if is_at_end => self.horizon.end,
            Source::OneStream(_) => self.last.map_or(0, |last| last + 1),
        }
    }
}

fn end_of_store() -> Query {
    let source = Source::All(crate::types::AllSelection { from: None, until: None });
    let (direction, options) = (Direction::Backward, Vec::new());
    let selection = crate::types::Selection { source, direction, count: 1, max_bytes: 1, options };
    Query { selection, filter: None, at_least: None, history_id: None }
}

/// The page of an outcome of a read.
fn page_of(outcome: Outcome) -> Result<(PackedPage, Horizon), Error> {
    let answer = outcome?;
    match answer.reply {
        Reply::Page(page) => Ok((page, answer.horizon)),
        other => panic!("a read brought {other:?}"),
    }
}
