//! Subscriptions: to queries, which are read from the store as bulk reads are, and to named feeds, which the test supplies.

use std::collections::VecDeque;

use super::reader::{PAGE_EVENTS_MAX, Reader};
use super::{Backend, Page, Supply, Wake};
use crate::packed::Events;
use crate::steps::{Delivered, Error, Feed, NamedCall, Query, Stopped, Subscription};

/// The most bytes of a page of a query.
const PAGE_BYTES_MAX: u32 = 1 << 20;

/// The subscriptions that are open; the one that is asked next comes first.
#[derive(Default)]
pub(super) struct Feeds(VecDeque<Subscribed>);

/// A subscription.
struct Subscribed {
    id: u32,
    source: Source,
    /// Events that may be delivered; none for no bound.
    credit: Option<u64>,
    rest: Rest,
}

/// Where its events come from.
enum Source {
    Query(Box<Reader>),
    Named(NamedCall),
}

/// What is still to come.
enum Rest {
    /// It is to be asked.
    Asked,
    /// Nothing before this time.
    Later(u64),
    /// What will be appended, of a query.
    News,
    /// Nothing, and no end.
    Nothing,
    /// The end, after its last page.
    End(Option<Error>),
}

/// What the subscriptions bring.
pub(super) enum Brought {
    Page(Delivered),
    Stopped(Stopped),
    /// The host stops.
    Stopping,
    /// The client has left.
    Left,
}

impl Feeds {
    pub(super) fn add(&mut self, Subscription { id, feed, credit }: Subscription) {
        let source = match feed {
            Feed::Query(query) => {
                let page_bytes = query.selection.max_bytes.clamp(1, PAGE_BYTES_MAX);
                Source::Query(Box::new(Reader::new(&query, true, page_bytes)))
            }
            Feed::Named(call) => Source::Named(call),
        };
        self.0.push_back(Subscribed { id, source, credit: credit.map(u64::from), rest: Rest::Asked });
    }

    /// Grants more events. Credit without a bound stays so.
    pub(super) fn grant(&mut self, id: u32, more: u32) {
        for feed in self.0.iter_mut().filter(|feed| feed.id == id) {
            feed.credit = feed.credit.map(|credit| credit.saturating_add(more.into()));
        }
    }

    pub(super) fn cancel(&mut self, id: u32) {
        self.0.retain(|feed| feed.id != id);
    }

    /// Nothing more is delivered, but for ends that have come.
    pub(super) fn drain(&mut self) {
        self.0.retain(|feed| matches!(feed.rest, Rest::End(_)));
    }

    /// An end that has come. The last page of its subscription came before it.
    pub(super) fn ended(&mut self) -> Option<Stopped> {
        let ended = self.0.iter().position(|feed| matches!(feed.rest, Rest::End(_)))?;
        match self.0.remove(ended)? {
            Subscribed { id, rest: Rest::End(error), .. } => Some(Stopped { id, error }),
            _ => None,
        }
    }

    /// What is there now: a page of a subscription with credit, or an end. They take turns.
    pub(super) fn poll(&mut self, backend: &mut impl Backend, now: u64) -> Option<Brought> {
        for _ in 0..self.0.len() {
            let mut feed = self.0.pop_front()?;
            let brought = feed.ask(backend, now);
            self.0.push_back(feed);
            if brought.is_some() {
                return brought;
            }
        }
        self.ended().map(Brought::Stopped)
    }

    /// When one is to be asked again.
    pub(super) fn next(&self) -> Option<u64> {
        let later = |feed: &Subscribed| match feed.rest {
            Rest::Later(time) if feed.credit != Some(0) => Some(time),
            _ => None,
        };
        self.0.iter().filter_map(later).min()
    }

    /// Waits for news of a query, at most until so many milliseconds have passed. None without a subscription that waits for
    /// any.
    pub(super) fn wait(&mut self, backend: &mut impl Backend, ms: u32) -> Option<Wake> {
        let (query, next) = self.0.iter().find_map(Subscribed::awaited)?;
        let wake = backend.wait(query, next, ms);
        for feed in &mut self.0 {
            match (wake, &feed.rest) {
                (Wake::Events, Rest::News) => feed.rest = Rest::Asked,
                (Wake::Stopping, Rest::News) => feed.rest = Rest::Nothing,
                _ => {}
            }
        }
        Some(wake)
    }

    /// Why those that are open bring nothing.
    pub(super) fn why_silent(&self) -> &'static str {
        match self.0.iter().any(|feed| feed.credit == Some(0)) {
            true => "a subscription waits for credit",
            false if self.0.is_empty() => "no subscription is open",
            false => "the store supplies nothing more",
        }
    }
}

impl Subscribed {
    /// The query whose news it waits for, and from where on.
    fn awaited(&self) -> Option<(&Query, u64)> {
        match &self.source {
            Source::Query(reader) if matches!(self.rest, Rest::News) && self.credit != Some(0) => {
                Some((&reader.query, reader.next.unwrap_or(0)))
            }
            _ => None,
        }
    }

    fn ask(&mut self, backend: &mut impl Backend, now: u64) -> Option<Brought> {
        let credit = self.credit.unwrap_or(u64::MAX);
        let most = u32::try_from(credit).unwrap_or(u32::MAX).min(PAGE_EVENTS_MAX);
        let is_asked = match self.rest {
            Rest::Asked => true,
            Rest::Later(time) => time <= now,
            Rest::News | Rest::Nothing | Rest::End(_) => false,
        };
        if most == 0 || !is_asked {
            return None;
        }
        match &mut self.source {
            Source::Query(reader) => {
                let (page, rest) = read(reader, backend, most);
                self.rest = rest;
                page.map(|page| self.page(page, most))
            }
            Source::Named(call) => {
                let supply = backend.supply(self.id, call, most);
                self.supplied(supply, most, now)
            }
        }
    }

    fn supplied(&mut self, supply: Supply, most: u32, now: u64) -> Option<Brought> {
        let (rest, brought) = match supply {
            Supply::Page(page) => (Rest::Asked, Some(self.page(page, most))),
            Supply::Last(page) => (Rest::End(None), Some(self.page(page, most))),
            Supply::Later(ms) => (Rest::Later(now.saturating_add(ms.into())), None),
            Supply::Nothing => (Rest::Nothing, None),
            Supply::End(error) => (Rest::End(error), None),
            Supply::Stopping => (Rest::Nothing, Some(Brought::Stopping)),
            Supply::Left => (Rest::Nothing, Some(Brought::Left)),
        };
        self.rest = rest;
        brought
    }

    /// A page, whose events use up credit.
    fn page(&mut self, page: Page, most: u32) -> Brought {
        let Page { events, next, notes, caught_up } = page;
        let count = Events::check(&events).expect("the store supplies packed events");
        assert!(
            count <= most as usize,
            "the store supplies {count} events where {most} may be delivered (P31)"
        );
        self.credit = self.credit.map(|credit| credit - count as u64);
        Brought::Page(Delivered { id: self.id, events, next, notes, caught_up })
    }
}

/// Reads until a page says something: events, how far it has looked, or that the end is reached or left.
fn read(reader: &mut Reader, backend: &mut impl Backend, most: u32) -> (Option<Page>, Rest) {
    let (was_live, was_first) = (reader.is_live(), reader.is_first());
    let page = match reader.read(backend, most) {
        Ok(page) => page,
        Err(error) => return (None, Rest::End(Some(error))),
    };
    let says = was_first || reader.count > 0 || reader.looked_at > 0 || was_live != reader.is_live();
    let rest = match () {
        () if reader.is_over() => Rest::End(None),
        () if reader.is_live() => Rest::News,
        () => Rest::Asked,
    };
    let page = Page { events: page.events, next: reader.next, notes: Vec::new(), caught_up: reader.at_end };
    ((says || reader.is_over()).then_some(page), rest)
}
