//! Where a read is that goes on page after page: a bulk read or a subscription. Pure.

use std::sync::Arc;

use super::limits::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::bindings::gateway::requests::{Answer, Horizon, Outcome, Query, Reply};
use crate::bindings::store::places::Direction;
use crate::bindings::store::types::{Error, EventFilter, HistoryChange, PackedPage, Selection, Source};
use crate::problem::{code, problem};
use crate::store_calls::progresses;

/// A read of many pages.
#[derive(Clone)]
pub(crate) struct Reading {
    query: Arc<Query>,
    follow: bool,
    page_bytes: u32,
    /// A smaller limit, for the time being.
    limit: Option<u32>,
    /// Events that are left; none for no bound.
    left: Option<u32>,
    next: Option<u64>,
    /// Where a forward read that does not follow ends, exclusive: a position or version (the rule P15).
    bound: Option<u64>,
    /// How far the store was readable when the last page was read.
    horizon: Option<Horizon>,
    /// The position after the last event that was read.
    after_last: u64,
    at_end: bool,
    last_version: Option<u64>,
}

/// What the readers have in common who may share pages.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shared {
    /// Without the place.
    selection: Selection,
    filter: Option<EventFilter>,
}

/// A page of a read.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) events: Vec<u8>,
    /// Events of the page.
    pub(crate) count: u32,
    /// Events that were looked at, whether a filter let them through or not.
    pub(crate) looked_at: u64,
}

impl Reading {
    /// A read of a query, whose count bounds the whole of it; 0 for no bound.
    pub(crate) fn of(query: Query, follow: bool, page_bytes: u32) -> Self {
        let (next, count) = (from(&query), query.selection.count);
        Self {
            follow: follow && query.selection.direction == Direction::Forward,
            page_bytes: page_bytes.min(PAGE_BYTES_MAX),
            limit: None,
            left: (count > 0).then_some(count),
            next,
            bound: None,
            horizon: None,
            after_last: 0,
            at_end: false,
            last_version: None,
            query: Arc::new(query),
        }
    }

    /// Bounds the bytes of the next pages; none for no other bound than that of the query.
    pub(crate) fn limit_pages(&mut self, bytes: Option<u32>) {
        self.limit = bytes;
    }

    /// The query of the next page, of at most so many events and up to this position or version, exclusive.
    pub(crate) fn query(&self, most: u32, until: Option<u64>) -> Query {
        let mut query = Query::clone(&self.query);
        let selection = &mut query.selection;
        selection.max_bytes = self.limit.unwrap_or(u32::MAX).min(self.page_bytes);
        selection.count = most.min(PAGE_EVENTS_MAX).min(self.left.unwrap_or(u32::MAX)).max(1);
        match &mut selection.source {
            Source::OneStream(stream) => {
                stream.from = self.next;
                if let (Some(bound), Some(next)) = (earlier(self.bound, until), self.next) {
                    let up_to_bound = u32::try_from(bound.saturating_sub(next)).unwrap_or(u32::MAX);
                    selection.count = selection.count.min(up_to_bound).max(1);
                }
            }
            Source::All(all) => {
                all.from = self.next;
                all.until = earlier(all.until.or(self.bound), until);
            }
        }
        if self.horizon.is_some() {
            // The places that the store gave are known to be in its history.
            (query.at_least, query.history_id) = (None, None);
        }
        query
    }

    /// Takes the outcome of the query up to `until`. `horizon` is how far the store was readable before it.
    pub(crate) fn take(
        &mut self,
        outcome: Outcome,
        horizon: Result<Horizon, Error>,
        until: Option<u64>,
    ) -> Result<Page, Error> {
        let is_forward = self.is_forward();
        let (page, horizon) = match outcome {
            Ok(Answer { reply: Reply::Page(page), horizon }) => (page, horizon),
            Ok(_) => return Err(problem(code::OTHER, "a read did not bring a page")),
            // The stream is waited for.
            Err(Error::NotFound) if self.follow && self.stream().is_some() => {
                let next = Some(self.next.unwrap_or(0));
                (PackedPage { events: Vec::new(), next, end: true, last_version: None }, horizon?)
            }
            Err(error) => return Err(error),
        };
        if self.horizon.is_some_and(|before| before.history_id != horizon.history_id) {
            let Horizon { history_id, end } = horizon;
            return Err(Error::HistoryChanged(HistoryChange { history_id, end }));
        }
        if !self.follow && self.horizon.is_none() && is_forward {
            let after_last = page.last_version.map(|last| last.saturating_add(1));
            self.bound = if self.stream().is_some() { after_last } else { Some(horizon.end) };
        }
        let leads_back = is_forward && page.next.is_some_and(|next| next < self.next.unwrap_or(0));
        if leads_back || !page.end && !progresses(self.query.selection.direction, self.next, page.next) {
            return Err(problem(code::OTHER, "a page leads nowhere"));
        }
        let mut count = 0;
        for frame in exesdb_packed::Frames::new(&page.events) {
            let frame = frame.map_err(|broken| problem(code::OTHER, broken.to_string()))?;
            self.after_last = frame.position.saturating_add(1);
            count += 1;
        }
        self.left = self.left.map(|left| left.saturating_sub(count));
        let looked_at = match page.next {
            Some(next) if is_forward => next.saturating_sub(self.next.unwrap_or(0)),
            _ => u64::from(count),
        };
        (self.next, self.horizon) = (page.next, Some(horizon));
        // A page of the store that was cut off there says nothing about the end; one of a stream knows what the stream has after it.
        if until.is_none() || page.next != until || self.stream().is_some() {
            #[cfg(feature = "faults")]
            if crate::fault::injects(crate::fault::Fault::SkipAtSwitch)
                && self.query.filter.is_some()
                && self.follow
                && page.end
                && !self.at_end
            {
                self.next = self.next.map(|next| next.saturating_add(1));
            }
            self.at_end = page.end;
        }
        self.last_version = page.last_version;
        Ok(Page { events: page.events, count, looked_at })
    }

    /// Goes on at a later place, without what is before it.
    pub(crate) fn skip_to(&mut self, place: u64) {
        (self.next, self.at_end) = (Some(place), false);
    }

    /// Whether nothing more is to be read.
    pub(crate) fn is_over(&self) -> bool {
        let is_at = |bound: Option<u64>| self.is_forward() && bound.is_some() && self.next >= bound;
        let ends = self.next.is_none() || self.left == Some(0) || is_at(self.asked_until());
        ends || !self.follow && (self.at_end || is_at(self.bound))
    }

    /// Where the query itself ends.
    fn asked_until(&self) -> Option<u64> {
        match &self.query.selection.source {
            Source::All(all) => all.until,
            Source::OneStream(_) => None,
        }
    }

    /// What two followers have in common who read the same, wherever they are. None for a read that ends by itself.
    pub(crate) fn shared(&self) -> Option<Shared> {
        if !self.follow || self.left.is_some() {
            return None;
        }
        let mut selection = self.query.selection.clone();
        match &mut selection.source {
            Source::OneStream(stream) => stream.from = None,
            Source::All(all) => all.from = None,
        }
        selection.max_bytes = self.page_bytes;
        Some(Shared { selection, filter: self.query.filter.clone() })
    }

    /// Whether the read goes on when it has reached the end.
    pub(crate) fn follows(&self) -> bool {
        self.follow
    }

    /// Whether the last page reached the end, so that what follows is live.
    pub(crate) fn is_live(&self) -> bool {
        self.follow && self.at_end
    }

    /// Whether the last page reached the end.
    pub(crate) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The position or version to go on from.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    /// The last version of the stream that is read.
    pub(crate) fn last_version(&self) -> Option<u64> {
        self.last_version
    }

    /// How far the store was readable when the last page was read.
    pub(crate) fn horizon(&self) -> Horizon {
        self.horizon.unwrap_or(Horizon { history_id: 0, end: 0 })
    }

    /// Whether a page was read.
    pub(crate) fn has_begun(&self) -> bool {
        self.horizon.is_some()
    }

    /// The position before which all that is read was read.
    pub(crate) fn covered(&self) -> u64 {
        match self.query.selection.source {
            Source::All(_) => self.next.unwrap_or(0),
            Source::OneStream(_) if self.at_end => self.horizon().end,
            Source::OneStream(_) => self.after_last,
        }
    }

    /// Whether the read is of the whole store.
    pub(crate) fn is_of_store(&self) -> bool {
        self.stream().is_none()
    }

    /// The stream that is read; none for the whole store.
    pub(crate) fn stream(&self) -> Option<&str> {
        match &self.query.selection.source {
            Source::OneStream(stream) => Some(&stream.stream_id),
            Source::All(_) => None,
        }
    }

    fn is_forward(&self) -> bool {
        self.query.selection.direction == Direction::Forward
    }
}

fn earlier(bound: Option<u64>, until: Option<u64>) -> Option<u64> {
    match (bound, until) {
        (Some(bound), Some(until)) => Some(bound.min(until)),
        (bound, until) => bound.or(until),
    }
}

fn from(query: &Query) -> Option<u64> {
    match &query.selection.source {
        Source::OneStream(stream) => stream.from,
        Source::All(all) => all.from,
    }
}

#[cfg(test)]
mod tests {
    use super::{Horizon, Page, Reading};
    use crate::bindings::gateway::requests::{Answer, Outcome, Query, Reply};
    use crate::bindings::store::places::Direction;
    use crate::bindings::store::types::{
        AllSelection, Error, PackedPage, Selection, Source, StreamSelection,
    };
    use crate::sample_events;

    fn all(from: Option<u64>, count: u32, direction: Direction) -> Query {
        let source = Source::All(AllSelection { from, until: None });
        let selection = Selection { source, direction, count, max_bytes: 0, options: Vec::new() };
        Query { selection, filter: None, at_least: Some(3), history_id: Some(7) }
    }

    fn stream(from: Option<u64>) -> Query {
        let source = Source::OneStream(StreamSelection { stream_id: "s".into(), from });
        let query = all(None, 0, Direction::Forward);
        Query { selection: Selection { source, ..query.selection }, ..query }
    }

    fn events(positions: std::ops::Range<u64>) -> Vec<u8> {
        let mut packed = Vec::new();
        for position in positions {
            sample_events::push(&mut packed, "s", position, position, b"");
        }
        packed
    }

    fn horizon(end: u64) -> Horizon {
        Horizon { history_id: 7, end }
    }

    fn page(events: Vec<u8>, next: Option<u64>, end: bool, last_version: Option<u64>) -> Outcome {
        Ok(Answer {
            reply: Reply::Page(PackedPage { events, next, end, last_version }),
            horizon: horizon(10),
        })
    }

    fn take(reading: &mut Reading, outcome: Outcome) -> Result<Page, Error> {
        reading.take(outcome, Ok(horizon(10)), None)
    }

    fn take_until(reading: &mut Reading, outcome: Outcome, until: u64) {
        reading.take(outcome, Ok(horizon(10)), Some(until)).expect("a page");
    }

    /// From, until and count of the next page.
    fn asked(reading: &Reading) -> (Option<u64>, Option<u64>, u32) {
        let selection = reading.query(u32::MAX, None).selection;
        match selection.source {
            Source::All(all) => (all.from, all.until, selection.count),
            Source::OneStream(stream) => (stream.from, None, selection.count),
        }
    }

    #[test]
    fn a_read_ends_where_the_log_ended_when_it_began() {
        let mut reading = Reading::of(all(None, 0, Direction::Forward), false, 1 << 20);
        assert_eq!(asked(&reading), (None, None, 1_000));
        let first = reading.query(9, None);
        assert_eq!((first.at_least, first.history_id, first.selection.count), (Some(3), Some(7), 9));
        let page_one = take(&mut reading, page(events(0..4), Some(6), false, None)).expect("a page");
        assert_eq!((page_one.count, page_one.looked_at, reading.covered()), (4, 6, 6));
        assert_eq!(asked(&reading), (Some(6), Some(10), 1_000));
        assert_eq!((reading.query(9, None).at_least, reading.query(9, None).history_id), (None, None));
        assert!(!reading.is_over());
        take(&mut reading, page(events(6..10), Some(10), false, None)).expect("a page");
        assert!(reading.is_over(), "the log has grown since, which is not read any more");

        let mut reading = Reading::of(stream(Some(2)), false, 1 << 20);
        take(&mut reading, page(events(2..3), Some(3), false, Some(4))).expect("a page");
        assert_eq!(asked(&reading), (Some(3), None, 2));
        take(&mut reading, page(events(3..5), Some(5), false, Some(8))).expect("a page");
        assert!(reading.is_over());
    }

    #[test]
    fn a_read_has_as_many_events_as_were_asked_for() {
        let mut reading = Reading::of(all(Some(5), 3, Direction::Backward), false, 1 << 20);
        assert_eq!(asked(&reading), (Some(5), None, 3));
        let one = take(&mut reading, page(events(5..6), Some(4), false, None)).expect("a page");
        assert_eq!((one.count, one.looked_at), (1, 1));
        assert_eq!(asked(&reading), (Some(4), None, 2));
        take(&mut reading, page(events(3..5), Some(2), false, None)).expect("a page");
        assert!(reading.is_over());
        let mut reading = Reading::of(all(None, 0, Direction::Backward), true, 1 << 20);
        take(&mut reading, page(events(0..5), None, true, None)).expect("a page");
        assert!(reading.is_over(), "nobody follows into the past");
    }

    #[test]
    fn a_follower_goes_on_at_the_end() {
        let mut reading = Reading::of(stream(None), true, 1 << 20);
        take(&mut reading, Err(Error::NotFound)).expect("the stream is waited for");
        assert!(reading.is_live() && !reading.is_over());
        assert_eq!((asked(&reading), reading.covered()), ((Some(0), None, 1_000), 10));
        take(&mut reading, page(events(0..2), Some(2), false, Some(4))).expect("a page");
        assert!(!reading.is_live());
        assert_eq!((asked(&reading), reading.covered()), ((Some(2), None, 1_000), 2));
        let mut reading = Reading::of(stream(None), false, 1 << 20);
        assert!(matches!(take(&mut reading, Err(Error::NotFound)), Err(Error::NotFound)));
    }

    #[test]
    fn a_read_does_not_go_on_in_another_history() {
        let mut reading = Reading::of(all(None, 0, Direction::Forward), true, 1 << 20);
        take(&mut reading, page(events(0..1), Some(1), true, None)).expect("a page");
        let reply =
            Reply::Page(PackedPage { events: Vec::new(), next: Some(1), end: true, last_version: None });
        let other = Answer { reply, horizon: Horizon { history_id: 8, end: 5 } };
        match take(&mut reading, Ok(other)) {
            Err(Error::HistoryChanged(change)) => assert_eq!((change.history_id, change.end), (8, 5)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_can_be_cut_off_where_another_reader_is() {
        let mut reading = Reading::of(all(None, 0, Direction::Forward), true, 1 << 20);
        take(&mut reading, page(events(0..4), Some(4), true, None)).expect("a page");
        let Source::All(selection) = reading.query(9, Some(7)).selection.source else {
            panic!("it is of all")
        };
        assert_eq!((selection.from, selection.until), (Some(4), Some(7)));
        // Whether the page that was cut off is at the end or not, the reader is as live as it was.
        for end in [false, true] {
            let mut reading = reading.clone();
            reading.take(page(events(4..7), Some(7), end, None), Ok(horizon(10)), Some(7)).expect("a page");
            assert!(reading.is_live(), "{end}");
        }
        // One that does not come so far says whether it is at the end.
        reading.take(page(events(4..6), Some(6), false, None), Ok(horizon(10)), Some(7)).expect("a page");
        assert!(!reading.is_live());

        let mut reading = Reading::of(stream(Some(2)), true, 1 << 20);
        take(&mut reading, page(events(2..3), Some(3), true, Some(2))).expect("a page");
        assert_eq!(reading.query(9, Some(5)).selection.count, 2);
        assert_eq!(reading.query(1, Some(5)).selection.count, 1);
        // The stream has got another event meanwhile, at a position that the page's horizon covers: it is read at once.
        take_until(&mut reading, page(events(3..5), Some(5), false, Some(5)), 5);
        assert_eq!((reading.is_live(), reading.covered()), (false, 5));
        take(&mut reading, page(events(5..6), Some(6), true, Some(5))).expect("a page");
        assert_eq!((reading.is_live(), reading.covered()), (true, 10));
        take_until(&mut reading, page(events(6..7), Some(7), true, Some(6)), 7);
        assert!(reading.is_live());
    }

    #[test]
    fn a_reader_that_follows_ends_where_its_query_does() {
        let mut query = all(None, 0, Direction::Forward);
        query.selection.source = Source::All(AllSelection { from: None, until: Some(4) });
        let mut reading = Reading::of(query, true, 1 << 20);
        take(&mut reading, page(events(0..2), Some(2), true, None)).expect("a page");
        assert!(!reading.is_over());
        take(&mut reading, page(events(2..4), Some(4), true, None)).expect("a page");
        assert!(reading.is_over());
    }

    #[test]
    fn readers_of_the_same_share_it_wherever_they_are() {
        let shared = |query: Query, follow, page_bytes| Reading::of(query, follow, page_bytes).shared();
        let one = shared(all(Some(3), 0, Direction::Forward), true, 9);
        assert!(one.is_some() && one == shared(all(None, 0, Direction::Forward), true, 9));
        let other_history = Query { history_id: None, ..all(None, 0, Direction::Forward) };
        assert_eq!(one, shared(other_history, true, 9), "the history of a live reader is that of the store");
        assert_ne!(one, shared(all(None, 0, Direction::Forward), true, 8));
        assert_ne!(one, shared(stream(None), true, 9));
        assert_eq!(shared(stream(Some(1)), true, 9), shared(stream(Some(7)), true, 9));
        assert_eq!(shared(all(None, 5, Direction::Forward), true, 9), None, "it ends by itself");
        assert_eq!(shared(all(None, 0, Direction::Forward), false, 9), None);
    }

    #[test]
    fn a_read_can_skip_to_a_later_place() {
        let mut reading = Reading::of(all(None, 0, Direction::Forward), true, 1 << 20);
        take(&mut reading, page(events(0..4), Some(4), true, None)).expect("a page");
        reading.skip_to(9);
        assert!(!reading.is_live(), "what is there is read at once");
        assert_eq!((reading.next(), asked(&reading).0), (Some(9), Some(9)));
    }

    #[test]
    fn a_page_that_leads_nowhere_ends_the_read() {
        for next in [Some(3), Some(2), None] {
            let mut reading = Reading::of(all(Some(3), 0, Direction::Forward), true, 1 << 20);
            assert!(take(&mut reading, page(Vec::new(), next, false, None)).is_err(), "{next:?}");
        }
        let mut reading = Reading::of(all(Some(3), 0, Direction::Forward), true, 1 << 20);
        assert!(
            take(&mut reading, page(Vec::new(), Some(2), true, None)).is_err(),
            "events would come twice"
        );
        let other = Answer { reply: Reply::Named(Vec::new()), horizon: horizon(1) };
        assert!(take(&mut reading, Ok(other)).is_err());
    }
}
