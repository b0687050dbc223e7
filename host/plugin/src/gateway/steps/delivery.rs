//! What is sent to one client of a bulk read: its pages and marks, and how far it has taken them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::limits::{UNTAKEN_BEFORE_PAGES, UNTAKEN_OF_ALL_MAX};
use super::marker::{Marker, Wanted};
use super::outflow::Outflow;
use crate::bindings::gateway::steps::Mark;
use crate::long_read::{Page, Reading};
use crate::seats::Seat;

/// How large a page may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageSize {
    /// As the gateway asked for it.
    Whole,
    /// Small, because the store's clients have much that they have not taken.
    Small,
}

/// The response of one client.
pub(super) struct Delivery {
    pub(super) out: Outflow,
    marker: Marker,
    begun: Instant,
    deadline: Option<Instant>,
    /// Pages that the client may not have taken: the number of parts up to each, and where to go on after it.
    pages: VecDeque<(u64, Option<u64>)>,
    /// That of a follower.
    _seat: Option<Seat>,
}

impl Delivery {
    pub(super) fn new(out: Outflow, wanted: Wanted, within_ms: Option<u32>, seat: Option<Seat>) -> Self {
        let begun = Instant::now();
        Self {
            out,
            marker: Marker::of(wanted, 0),
            begun,
            deadline: within_ms.map(|ms| begun + Duration::from_millis(ms.into())),
            pages: VecDeque::new(),
            _seat: seat,
        }
    }

    /// Sends bytes.
    pub(super) fn push(&self, bytes: Bytes) {
        self.out.push(bytes);
    }

    /// Sends a page, after which the read goes on at `next`. Bytes may be empty: then only the place has changed.
    pub(super) fn push_page(&mut self, encoded: Bytes, next: Option<u64>) {
        let parts = self.out.push(encoded);
        let taken = self.out.taken();
        // Of the pages that were taken, the last one says where to go on.
        while self.pages.get(1).is_some_and(|(parts, _)| *parts <= taken) {
            self.pages.pop_front();
        }
        match self.pages.back_mut() {
            Some((last, place)) if *last == parts => *place = next,
            _ => self.pages.push_back((parts, next)),
        }
    }

    /// The mark that is due after a page.
    pub(super) fn mark_after(&mut self, page: &Page, reading: &Reading, time: u64) -> Option<Mark> {
        let now_ms = self.now_ms();
        self.marker.page(page, reading, now_ms, time)
    }

    /// The mark that is due because nothing was sent for long.
    pub(super) fn idle_mark(&mut self, reading: &Reading, time: u64) -> Option<Mark> {
        self.marker.idle_due_ms()?;
        let now_ms = self.now_ms();
        self.marker.idle(reading, now_ms, time)
    }

    /// Whether the client has taken too little for another page.
    pub(super) fn is_behind(&self) -> bool {
        self.out.untaken() > UNTAKEN_BEFORE_PAGES
    }

    /// How large another page may be; none while the client has taken too little for one.
    pub(super) fn next_page(&self) -> Option<PageSize> {
        match self.out.untaken_of_all() > UNTAKEN_OF_ALL_MAX {
            false => (!self.is_behind()).then_some(PageSize::Whole),
            true => (self.out.untaken() == 0).then_some(PageSize::Small),
        }
    }

    /// When the read has to be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When it has to be looked at again, if a mark may be late by `slack`.
    pub(super) fn due(&self, slack: Duration) -> Option<Instant> {
        let idle = self.marker.idle_due_ms().map(|due_ms| self.begun + Duration::from_millis(due_ms) + slack);
        [idle, self.deadline].into_iter().flatten().min()
    }

    /// Drops what was not taken, and returns where a read goes on after what was; none if not even the first page was taken, so
    /// that there is nothing that last bytes could follow.
    pub(super) fn drop_untaken(&self) -> Option<Option<u64>> {
        let taken = self.out.drop_untaken();
        self.pages.iter().rfind(|(parts, _)| *parts <= taken).map(|(_, next)| *next)
    }

    /// Sends the last bytes.
    pub(super) fn finish(&self, body: Bytes, trailers: HeaderMap) {
        self.out.push(body);
        self.out.finish(trailers);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
