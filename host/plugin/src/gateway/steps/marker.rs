//! When marks are due between the pages of a bulk read. Pure: the caller passes the time, in milliseconds of a clock that never
//! goes back.

use std::hash::{Hash, Hasher};

use crate::bindings::gateway::steps::{Bulk, Mark, MarkPlace, Marks};
use crate::long_read::{Page, Reading};

/// Which marks a bulk read wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    marks: Marks,
    idle_ms: u32,
    progress_every: u32,
    progress_ms: u32,
}

/// What was sent so far.
pub(super) struct Marker {
    wanted: Wanted,
    /// When events or a mark were last sent.
    told_ms: u64,
    /// Events that were looked at since then.
    looked_at: u64,
    is_live: bool,
}

/// A mark of many followers may come late by this part of `idle-ms`, so that one call makes it for all who are due by then.
const IDLE_SLACK: u64 = 16;

impl Wanted {
    /// The marks that a bulk read wants.
    pub(super) fn of(bulk: &Bulk) -> Self {
        Self {
            marks: bulk.marks,
            idle_ms: bulk.idle_ms,
            progress_every: bulk.progress_every,
            progress_ms: bulk.progress_ms,
        }
    }

    /// By how many milliseconds the mark of one of many may come late.
    pub(super) fn slack_ms(&self) -> u64 {
        u64::from(self.idle_ms) / IDLE_SLACK
    }
}

impl Hash for Wanted {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.idle_ms, self.progress_every, self.progress_ms).hash(hasher);
    }
}

impl Marker {
    /// Nothing was sent yet.
    pub(super) fn of(wanted: Wanted, now_ms: u64) -> Self {
        Self { wanted, told_ms: now_ms, looked_at: 0, is_live: false }
    }

    /// A page was sent. Returns the mark that is due after it.
    pub(super) fn page(&mut self, page: &Page, reading: &Reading, now_ms: u64, time: u64) -> Option<Mark> {
        self.looked_at = self.looked_at.saturating_add(page.looked_at);
        if page.count > 0 {
            self.told(now_ms);
        }
        let place = place(reading, time);
        let was_live = std::mem::replace(&mut self.is_live, reading.is_live());
        match (was_live, self.is_live) {
            (false, true) => self.due(Marks::CAUGHT_UP, Mark::CaughtUp(place), now_ms),
            (true, false) => self.due(Marks::FELL_BEHIND, Mark::FellBehind(place), now_ms),
            (true, true) | (false, false) if self.is_progress_due(now_ms) && reading.is_of_store() => {
                self.due(Marks::PROGRESS, Mark::Progress(place), now_ms)
            }
            _ => None,
        }
    }

    /// The mark that is due because nothing was sent for long.
    pub(super) fn idle(&mut self, reading: &Reading, now_ms: u64, time: u64) -> Option<Mark> {
        let is_due = now_ms.saturating_sub(self.told_ms) >= u64::from(self.wanted.idle_ms);
        if is_due { self.due(Marks::IDLE, Mark::Idle(place(reading, time)), now_ms) } else { None }
    }

    /// When `idle` is due next.
    pub(super) fn idle_due_ms(&self) -> Option<u64> {
        self.wanted
            .marks
            .contains(Marks::IDLE)
            .then(|| self.told_ms.saturating_add(u64::from(self.wanted.idle_ms)))
    }

    fn is_progress_due(&self, now_ms: u64) -> bool {
        self.looked_at > 0
            && self.looked_at >= u64::from(self.wanted.progress_every)
            && now_ms.saturating_sub(self.told_ms) >= u64::from(self.wanted.progress_ms)
    }

    fn due(&mut self, kind: Marks, mark: Mark, now_ms: u64) -> Option<Mark> {
        if !self.wanted.marks.contains(kind) {
            return None;
        }
        self.told(now_ms);
        Some(mark)
    }

    fn told(&mut self, now_ms: u64) {
        (self.told_ms, self.looked_at) = (now_ms, 0);
    }
}

fn place(reading: &Reading, time: u64) -> MarkPlace {
    MarkPlace { next: reading.next().unwrap_or(0), covered: reading.covered(), now: time }
}

#[cfg(test)]
mod tests {
    use super::{Marker, Wanted};
    use crate::bindings::gateway::requests::{Answer, Horizon, Query, Reply, ResponseHead};
    use crate::bindings::gateway::steps::{Bulk, Mark, Marks};
    use crate::bindings::store::places::Direction;
    use crate::bindings::store::types::{AllSelection, PackedPage, Selection, Source};
    use crate::long_read::{Page, Reading};

    fn bulk(marks: Marks) -> Bulk {
        let source = Source::All(AllSelection { from: None, until: None });
        let selection =
            Selection { source, direction: Direction::Forward, count: 0, max_bytes: 0, options: Vec::new() };
        Bulk {
            query: Query { selection, filter: None, at_least: None, history_id: None },
            token: Vec::new(),
            follow: true,
            head: ResponseHead { status: 200, headers: Vec::new() },
            representation: Vec::new(),
            as_is: false,
            opening: Vec::new(),
            page_bytes: 1,
            marks,
            idle_ms: 100,
            progress_every: 10,
            progress_ms: 50,
            within_ms: None,
        }
    }

    /// The mark after a page without events up to a position, as text.
    fn after(marker: &mut Marker, reading: &mut Reading, next: u64, end: bool, now_ms: u64) -> String {
        let page = PackedPage { events: Vec::new(), next: Some(next), end, last_version: None };
        let horizon = Horizon { history_id: 1, end: 1_000 };
        let page: Page = reading
            .take(Ok(Answer { reply: Reply::Page(page), horizon }), Ok(horizon), None)
            .expect("a page");
        shown(marker.page(&page, reading, now_ms, 5))
    }

    fn shown(mark: Option<Mark>) -> String {
        match mark {
            None => String::new(),
            Some(Mark::Idle(place)) => format!("idle {} {}", place.next, place.covered),
            Some(Mark::CaughtUp(place)) => format!("caught-up {} {}", place.next, place.now),
            Some(Mark::FellBehind(place)) => format!("fell-behind {}", place.next),
            Some(Mark::Progress(place)) => format!("progress {}", place.next),
        }
    }

    #[test]
    fn marks_are_due_by_what_was_looked_at_and_by_time() {
        let bulk = bulk(Marks::all());
        let (mut marker, mut reading) =
            (Marker::of(Wanted::of(&bulk), 0), Reading::of(bulk.query.clone(), true, 1));
        // Up to a position, at the end, at a time; the mark.
        for (next, end, now_ms, expected) in [
            (9, false, 60, ""),
            (10, false, 60, "progress 10"),
            (30, false, 109, ""),
            (31, false, 110, "progress 31"),
            (32, true, 115, "caught-up 32 5"),
            (33, true, 120, ""),
            (45, true, 165, "progress 45"),
            (46, false, 166, "fell-behind 46"),
            (47, true, 167, "caught-up 47 5"),
        ] {
            assert_eq!(after(&mut marker, &mut reading, next, end, now_ms), expected, "{next} at {now_ms}");
        }
        assert_eq!(marker.idle_due_ms(), Some(267));
        assert_eq!(shown(marker.idle(&reading, 266, 5)), "");
        assert_eq!(shown(marker.idle(&reading, 267, 5)), "idle 47 47");
        assert_eq!(marker.idle_due_ms(), Some(367));
    }

    #[test]
    fn marks_that_are_not_wanted_are_not_made() {
        let bulk = bulk(Marks::PROGRESS);
        let (mut marker, mut reading) =
            (Marker::of(Wanted::of(&bulk), 0), Reading::of(bulk.query.clone(), true, 1));
        assert_eq!(after(&mut marker, &mut reading, 20, true, 60), "");
        assert_eq!(after(&mut marker, &mut reading, 21, true, 60), "progress 21");
        assert_eq!(shown(marker.idle(&reading, 9_999, 5)), "");
        assert_eq!(marker.idle_due_ms(), None);
    }
}
