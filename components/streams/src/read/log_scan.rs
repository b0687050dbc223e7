//! Scans the log.

use exesdb_sdk::packed::{Frame, Frames, Record, push_envelope};
use exesdb_sdk::types::{AllSelection, Direction, Error, Position};
use exesdb_sdk::view::View;

use super::budget::ScanBudget;
use crate::events::broken;

/// The positions of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) direction: Direction,
    /// Where the read begins, inclusive; none if there is nothing to read.
    pub(super) from: Option<Position>,
    /// The least position of the read.
    least: Position,
    /// The first position after those of the read.
    end: Position,
    /// Where a read that reaches the end goes on.
    after_the_end: Option<Position>,
}

impl Bounds {
    /// The bounds of a selection.
    pub(super) fn new(view: &impl View, all: &AllSelection, direction: Direction) -> Self {
        let log_end = view.end().next_position;
        match direction {
            Direction::Forward => {
                let least = all.from.unwrap_or(0);
                let end = all.until.unwrap_or(log_end).min(log_end);
                let from = Some(least).filter(|from| *from < end);
                // All lower positions are there, so a read that reaches the end continues here.
                Self { direction, from, least, end, after_the_end: Some(end.max(least)) }
            }
            Direction::Backward => {
                let last = log_end.checked_sub(1);
                let last = last.map(|last| all.from.unwrap_or(last).min(last));
                let least = all.until.map_or(Some(0), |until| until.checked_add(1));
                let from = last.filter(|last| least.is_some_and(|least| *last >= least));
                let end = last.map_or(0, |last| last.saturating_add(1));
                Self { direction, from, least: least.unwrap_or(u64::MAX), end, after_the_end: all.until }
            }
        }
    }

    /// The part between two positions, both inclusive.
    pub(super) fn narrowed(self, first: Position, last: Position) -> Self {
        let from = match self.direction {
            Direction::Forward => first,
            Direction::Backward => last,
        };
        Self { from: Some(from), least: first, end: last.saturating_add(1), ..self }
    }

    /// Where a read that reaches the end goes on.
    pub(super) fn after_the_end(&self) -> Option<Position> {
        self.after_the_end
    }

    /// The first position, in the order of the log; none if there is none.
    pub(super) fn first(&self) -> Option<Position> {
        Some(self.least).filter(|first| *first < self.end)
    }

    /// The last position, in the order of the log; none if there is none.
    pub(super) fn last(&self) -> Option<Position> {
        self.end.checked_sub(1).filter(|last| *last >= self.least)
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        (self.least..self.end).contains(&position)
    }
}

/// A scan of the log.
pub(super) struct LogScan {
    bounds: Bounds,
    /// The position from which to continue; none at the end.
    next: Option<Position>,
}

impl LogScan {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, next: bounds.from }
    }

    /// The frames of the next events, at most `wanted` and as many as fit into `max_bytes`.
    pub(super) fn step(
        &mut self,
        view: &impl View,
        wanted: u64,
        max_bytes: u32,
        budget: &mut ScanBudget,
    ) -> Result<Vec<u8>, Error> {
        let bounds = Bounds { from: self.next, ..self.bounds };
        let max_bytes = max_bytes.min(budget.bytes_left());
        let scanned = scan(view, bounds, budget.events_left(wanted), max_bytes, budget)?;
        self.next = scanned.next;
        Ok(scanned.frames)
    }

    pub(super) fn is_end(&self) -> bool {
        self.next.is_none()
    }

    /// The position from which to continue, and whether the end is reached.
    pub(super) fn reached(&self) -> (Option<Position>, bool) {
        match self.next {
            Some(next) => (Some(next), false),
            None => (self.bounds.after_the_end, true),
        }
    }
}

/// The outcome of a scan.
pub(super) struct Scanned {
    /// The frames of the events that were not removed.
    pub(super) frames: Vec<u8>,
    /// The position from which to continue; none if the bounds have no more.
    pub(super) next: Option<Position>,
}

/// Scans the log within bounds: at most `limit` records.
pub(super) fn scan(
    view: &impl View,
    bounds: Bounds,
    limit: u64,
    max_bytes: u32,
    budget: &mut ScanBudget,
) -> Result<Scanned, Error> {
    let Some(from) = bounds.from else {
        // An empty range has a cost, too.
        budget.charge(0);
        return Ok(Scanned { frames: Vec::new(), next: None });
    };
    let limit = limit.min(bounds.end.saturating_sub(bounds.least));
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = view.log_read(Some(from), bounds.direction, limit, max_bytes)?;
    // The events are not looked at: those who need to know what they say read them.
    let mut is_whole = true;
    for frame in Frames::new(&page.frames) {
        let Frame { position, record } = frame.map_err(broken)?;
        let bytes = if let Record::Event(envelope) = record { Some(envelope.len()) } else { None };
        budget.charge(bytes.unwrap_or(0));
        is_whole &= bytes.is_some() && bounds.contains(position);
    }
    let frames = if is_whole { page.frames } else { events_within(&page.frames, bounds)? };
    Ok(Scanned { frames, next: page.next.filter(|next| bounds.contains(*next)) })
}

/// The frames of the events within bounds.
fn events_within(frames: &[u8], bounds: Bounds) -> Result<Vec<u8>, Error> {
    let mut within = Vec::with_capacity(frames.len());
    for frame in Frames::new(frames) {
        if let Frame { position, record: Record::Event(envelope) } = frame.map_err(broken)?
            && bounds.contains(position)
        {
            push_envelope(&mut within, position, envelope)
                .expect("it came from a frame, so it fits into one");
        }
    }
    Ok(within)
}
