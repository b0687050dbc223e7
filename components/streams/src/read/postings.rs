//! Iterates over the positions to which the index of labels leads, in order and without duplicates.
//!
//! An index entry covers a range of positions: those of one append, from its first event with the label to its last.
//! Ranges of one label do not overlap, because appends do not; ranges of different labels may.

use std::collections::VecDeque;

use exesdb_sdk::types::{Direction, Error, Position, Range, damaged};
use exesdb_sdk::view::{Entry, View};

use super::log_scan::Bounds;
use crate::filter::Lead;
use crate::layout::{LABELS, LabelDigest, label_in, label_key, label_range, number};

/// Entries of one label per scan: few enough that the lists of all labels of a query fit into memory.
const POSTINGS_PER_SCAN: u32 = 256;

/// Maximum bytes of the entries of one scan.
const POSTINGS_BYTES_MAX: u32 = 64 << 10;

/// Positions from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Position,
    pub(super) last: Position,
}

impl Span {
    /// The number of positions.
    pub(super) fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// The part of the span at or after `next` in this direction; none if there is none.
    fn beyond(self, next: Position, direction: Direction) -> Option<Self> {
        let rest = match direction {
            Direction::Forward => Self { first: self.first.max(next), ..self },
            Direction::Backward => Self { last: self.last.min(next), ..self },
        };
        (rest.first <= rest.last).then_some(rest)
    }

    /// The part of the span within bounds; none if there is none.
    fn within(self, bounds: &Bounds) -> Option<Self> {
        let (first, last) = (self.first.max(bounds.first()?), self.last.min(bounds.last()?));
        (first <= last).then_some(Self { first, last })
    }

    /// The union of both spans, if there is no position between them.
    fn joined(self, other: Self) -> Option<Self> {
        let touches =
            other.first <= self.last.saturating_add(1) && self.first <= other.last.saturating_add(1);
        touches.then(|| Self { first: self.first.min(other.first), last: self.last.max(other.last) })
    }

    /// A sort key: the span that comes first in this direction has the least.
    fn order(self, direction: Direction) -> u64 {
        match direction {
            Direction::Forward => self.first,
            Direction::Backward => !self.last,
        }
    }
}

/// The entries of one label from a position on.
struct List {
    digest: LabelDigest,
    /// The entries that were read but not passed yet.
    spans: VecDeque<Span>,
    /// Where to read the next entries; none if there are no more. Forward it is the least last position they may have,
    /// backward the exclusive upper bound of their last positions.
    unread: Option<Position>,
}

impl List {
    fn new(
        view: &impl View,
        digest: LabelDigest,
        from: Position,
        direction: Direction,
    ) -> Result<Self, Error> {
        let mut list = Self { digest, spans: VecDeque::new(), unread: Some(from) };
        if direction == Direction::Backward {
            // The entry that ends at or after the first position may begin before it.
            let range = label_range(digest, from);
            let page = view.scan(&range, Direction::Forward, 1, POSTINGS_BYTES_MAX)?;
            for entry in page.entries() {
                list.spans.extend(span(digest, entry)?.beyond(from, direction));
            }
        }
        list.read(view, from, direction)?;
        Ok(list)
    }

    /// Reads the next entries that may cover positions at or after `next`.
    fn read(&mut self, view: &impl View, next: Position, direction: Direction) -> Result<(), Error> {
        let Some(unread) = self.unread.take() else { return Ok(()) };
        let range = match direction {
            // Entries before `next` need not be read.
            Direction::Forward => label_range(self.digest, unread.max(next)),
            Direction::Backward => {
                Range { end: Some(label_key(self.digest, unread)), ..label_range(self.digest, 0) }
            }
        };
        let page = view.scan(&range, direction, POSTINGS_PER_SCAN, POSTINGS_BYTES_MAX)?;
        for entry in page.entries() {
            self.spans.push_back(span(self.digest, entry)?);
        }
        self.unread = match (direction, self.spans.back()) {
            (Direction::Forward, Some(span)) if page.more => span.last.checked_add(1),
            (Direction::Backward, Some(span)) if page.more => Some(span.last),
            _ => None,
        };
        Ok(())
    }

    /// The part of the next span that is at or after `next`.
    fn peek(
        &mut self,
        view: &impl View,
        next: Position,
        direction: Direction,
    ) -> Result<Option<Span>, Error> {
        loop {
            while let Some(span) = self.spans.front() {
                if let Some(rest) = span.beyond(next, direction) {
                    return Ok(Some(rest));
                }
                self.spans.pop_front();
            }
            if self.unread.is_none() {
                return Ok(None);
            }
            self.read(view, next, direction)?;
        }
    }

    /// Estimates how common the label is. Lists that were read completely come first, by their length; the others by how
    /// little of the log their first entries cover.
    fn commonness(&self, from: Position) -> (bool, u64) {
        match (self.unread, self.spans.back()) {
            (Some(_), Some(span)) => (true, !span.first.abs_diff(from)),
            _ => (false, self.spans.len() as u64),
        }
    }
}

fn span(digest: LabelDigest, entry: Entry<'_>) -> Result<Span, Error> {
    let no_span =
        || damaged(LABELS, entry.key, "it is no label with the positions of its first and last event");
    let (of, last) = label_in(entry.key).ok_or_else(no_span)?;
    let first = number(entry.value).filter(|first| *first <= last && of == digest).ok_or_else(no_span)?;
    Ok(Span { first, last })
}

/// The positions to which leads lead.
pub(super) struct Postings {
    lists: Vec<List>,
    direction: Direction,
    bounds: Bounds,
    /// The next position; none if the last one was passed.
    next: Option<Position>,
    /// The span that [`Postings::peek`] returned last.
    given: Option<Span>,
}

impl Postings {
    /// The positions within bounds.
    pub(super) fn new(view: &impl View, leads: &[Lead], bounds: Bounds) -> Result<Self, Error> {
        let direction = bounds.direction;
        let Some(from) = bounds.from else {
            return Ok(Self { lists: Vec::new(), direction, bounds, next: None, given: None });
        };
        let mut lists: Vec<List> = Vec::new();
        for lead in leads {
            let (Lead::EveryOf(labels) | Lead::OneOf(labels)) = lead;
            let of_lead = labels.iter().map(|digest| List::new(view, *digest, from, direction));
            let of_lead = of_lead.collect::<Result<Vec<_>, _>>()?;
            match lead {
                Lead::EveryOf(_) => {
                    lists.extend(of_lead.into_iter().min_by_key(|list| list.commonness(from)))
                }
                Lead::OneOf(_) => lists.extend(of_lead),
            }
        }
        lists.sort_unstable_by_key(|list| list.digest);
        lists.dedup_by_key(|list| list.digest);
        Ok(Self { lists, direction, bounds, next: Some(from), given: None })
    }

    /// The next consecutive positions, extended until they are at least `enough` or a position in between has no label.
    /// Returns them again until [`Postings::pass`] passes them.
    pub(super) fn peek(&mut self, view: &impl View, enough: u64) -> Result<Option<Span>, Error> {
        let Some(next) = self.next else { return Ok(None) };
        let direction = self.direction;
        if let Some(rest) = self.given.and_then(|given| given.beyond(next, direction)) {
            return Ok(Some(rest));
        }
        let Some(mut whole) = self.first(view, next)? else { return Ok(None) };
        while whole.length() < enough
            && let Some(beyond) = step(whole, direction)
            && let Some(more) = self.first(view, beyond)?
            && let Some(joined) = whole.joined(more)
        {
            whole = joined;
        }
        self.given = Some(whole);
        Ok(Some(whole))
    }

    /// Records that everything up to and including this position was read.
    pub(super) fn pass(&mut self, position: Position) {
        self.next = match self.direction {
            Direction::Forward => position.checked_add(1),
            Direction::Backward => position.checked_sub(1),
        };
    }

    /// The position from which to continue.
    pub(super) fn next(&self) -> Option<Position> {
        self.next
    }

    /// The first span of any list from `next` on.
    fn first(&mut self, view: &impl View, next: Position) -> Result<Option<Span>, Error> {
        let mut first: Option<Span> = None;
        for list in &mut self.lists {
            let span = list.peek(view, next, self.direction)?;
            let Some(span) = span.and_then(|span| span.within(&self.bounds)) else { continue };
            if first.is_none_or(|first| span.order(self.direction) < first.order(self.direction)) {
                first = Some(span);
            }
        }
        Ok(first)
    }
}

/// The first position after a span.
fn step(span: Span, direction: Direction) -> Option<Position> {
    match direction {
        Direction::Forward => span.last.checked_add(1),
        Direction::Backward => span.first.checked_sub(1),
    }
}
