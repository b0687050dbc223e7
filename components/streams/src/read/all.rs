//! Reads the whole store, or the events of it that match a filter.
//!
//! A call takes steps: each reads some records, from the log or by the index of labels, and keeps the visible events that
//! match. The call ends when the page is full, when there are no more events, or when its scan budget is used up. The page
//! always says where to continue.

use std::collections::VecDeque;

use exesdb_sdk::types::{AllSelection, Direction, Error, PackedPage, Position, code, problem};
use exesdb_sdk::view::{LOOKUPS_MAX, View};

use super::budget::ScanBudget;
use super::hiding::Hiding;
use super::log_scan::{Bounds, LogScan, scan};
use super::page::Page;
use super::postings::{Postings, Span};
use super::{Limits, RANGE_MIN};
use crate::events::{Event, Logged, events, logged};
use crate::filter::{Filter, Lead, Plan};

/// Bounds for the number of events that a step of a filtered read scans. A step of 100 events costs little more than one of
/// a single event; a step of more events than a page holds would discard some where most events match.
const STEP_EVENTS_MIN: u64 = 100;
const STEP_EVENTS_MAX: u64 = 1_000;

/// Reads a page of events of the whole store.
pub(super) fn read(view: &impl View, all: &AllSelection, limits: Limits) -> Result<PackedPage, Error> {
    let mut hiding = Hiding::new(view)?;
    let mut log = LogScan::new(Bounds::new(view, all, limits.direction));
    let mut budget = ScanBudget::default();
    let mut page = Page::new(limits);
    loop {
        // The visible events of one step are a page. Another step is taken only if none is visible.
        let frames = log.step(view, limits.count.into(), limits.bytes, &mut budget)?;
        if hiding.hides_nothing() && !frames.is_empty() {
            let (next, end) = log.reached();
            return Ok(PackedPage { events: frames, next, end, last_version: None });
        }
        let mut found = events(&frames).collect::<Result<Vec<_>, _>>()?;
        hiding.retain_visible(view, &mut found)?;
        page.add(&found);
        if !page.is_empty() || log.is_end() || budget.is_exhausted() {
            return Ok(page.finish(log.reached()));
        }
    }
}

/// Reads a page of events of the whole store that match a filter.
pub(super) fn read_filtered(
    view: &impl View,
    filter: &Filter,
    all: &AllSelection,
    limits: Limits,
) -> Result<PackedPage, Error> {
    let mut hiding = Hiding::new(view)?;
    let bounds = Bounds::new(view, all, limits.direction);
    let mut candidates = match filter.plan() {
        Plan::Scan => Candidates::Log(LogScan::new(bounds)),
        Plan::Labels(leads) => Candidates::Labels(LabelScan::new(view, &leads, bounds)?),
    };
    let mut budget = ScanBudget::default();
    let mut page = Page::new(limits);
    loop {
        let wanted = if filter.has_patterns() { 0 } else { u64::from(limits.count) };
        let wanted = wanted.clamp(STEP_EVENTS_MIN, STEP_EVENTS_MAX);
        let frames = candidates.step(view, wanted, &mut budget)?;
        let mut found = matching(&frames, filter, &mut budget)?;
        hiding.retain_visible(view, &mut found)?;
        let overflow = page.add(&found);
        let (next, end) = match overflow {
            Some(position) => (Some(position), false),
            None => candidates.reached(),
        };
        if overflow.is_some() || end || page.is_full() || budget.is_exhausted() {
            return Ok(page.finish((next, end)));
        }
    }
}

fn matching<'a>(frames: &'a [u8], filter: &Filter, budget: &mut ScanBudget) -> Result<Vec<Event<'a>>, Error> {
    let mut found = Vec::new();
    for event in events(frames) {
        let event = event?;
        if budget.matches(filter, &event) {
            found.push(event);
        }
    }
    Ok(found)
}

/// The candidates of a filtered read.
enum Candidates {
    Log(LogScan),
    Labels(LabelScan),
}

impl Candidates {
    /// The frames of the next candidates, at most `wanted`.
    fn step(&mut self, view: &impl View, wanted: u64, budget: &mut ScanBudget) -> Result<Vec<u8>, Error> {
        match self {
            Self::Log(log) => log.step(view, wanted, budget.bytes_left(), budget),
            Self::Labels(labels) => labels.step(view, wanted, budget),
        }
    }

    /// The position from which to continue, and whether the end is reached.
    fn reached(&self) -> (Option<Position>, bool) {
        match self {
            Self::Log(log) => log.reached(),
            Self::Labels(labels) => labels.reached(),
        }
    }
}

/// Reads the events to which the index of labels leads, from a position on.
struct LabelScan {
    postings: Postings,
    bounds: Bounds,
    /// Positions that the postings have passed but that are not read yet.
    pending: VecDeque<Position>,
    is_end: bool,
}

impl LabelScan {
    fn new(view: &impl View, leads: &[Lead], bounds: Bounds) -> Result<Self, Error> {
        let postings = Postings::new(view, leads, bounds)?;
        Ok(Self { postings, bounds, pending: VecDeque::new(), is_end: false })
    }

    /// The frames of the next candidates, at most `wanted`.
    fn step(&mut self, view: &impl View, wanted: u64, budget: &mut ScanBudget) -> Result<Vec<u8>, Error> {
        let wanted = budget.events_left(wanted);
        let frames = match self.postings.peek(view, wanted)? {
            Some(span) if span.length() >= RANGE_MIN && self.pending.is_empty() => {
                self.read_range(view, span, wanted, budget)?
            }
            _ => {
                self.collect(view, wanted)?;
                self.look_up(view, budget)?
            }
        };
        self.is_end = self.pending.is_empty() && self.postings.peek(view, wanted)?.is_none();
        Ok(frames)
    }

    /// Scans a span, in which any number of positions may be empty.
    fn read_range(
        &mut self,
        view: &impl View,
        span: Span,
        wanted: u64,
        budget: &mut ScanBudget,
    ) -> Result<Vec<u8>, Error> {
        let bounds = self.bounds.narrowed(span.first, span.last);
        let scanned = scan(view, bounds, wanted, budget.bytes_left(), budget)?;
        let last = match (scanned.next, self.bounds.direction) {
            (None, Direction::Forward) => span.last,
            (None, Direction::Backward) => span.first,
            (Some(next), Direction::Forward) => next - 1,
            (Some(next), Direction::Backward) => next + 1,
        };
        self.postings.pass(last);
        Ok(scanned.frames)
    }

    /// Adds the positions of the next short spans to the pending ones.
    fn collect(&mut self, view: &impl View, wanted: u64) -> Result<(), Error> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(LOOKUPS_MAX);
        while self.pending.len() < wanted
            && let Some(span) = self.postings.peek(view, wanted as u64)?
            && span.length() < RANGE_MIN
        {
            let room = wanted - self.pending.len();
            match self.bounds.direction {
                Direction::Forward => self.pending.extend((span.first..=span.last).take(room)),
                Direction::Backward => self.pending.extend((span.first..=span.last).rev().take(room)),
            }
            self.postings.pass(*self.pending.back().expect("a span has a position"));
        }
        Ok(())
    }

    /// Reads the pending positions, as many as one lookup returns.
    fn look_up(&mut self, view: &impl View, budget: &mut ScanBudget) -> Result<Vec<u8>, Error> {
        let positions: Vec<Position> = self.pending.iter().copied().collect();
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let frames = view.log_get(&positions, budget.bytes_left())?;
        let mut seen = 0;
        for record in logged(&frames) {
            // A position between an append's labelled events may be a gap.
            let (_, record) = record?;
            budget.charge(if let Logged::Event(event) = record { event.bytes.len() } else { 0 });
            seen += 1;
        }
        if seen == 0 {
            return Err(problem(
                code::OTHER,
                format!("log-get gave nothing for {} positions", positions.len()),
            ));
        }
        self.pending.drain(..seen.min(positions.len()));
        Ok(frames)
    }

    /// The position from which to continue, and whether the end is reached.
    fn reached(&self) -> (Option<Position>, bool) {
        if self.is_end {
            return (self.bounds.after_the_end(), true);
        }
        (self.pending.front().copied().or_else(|| self.postings.next()), false)
    }
}
