//! Reads the whole store, or the events of it that match a filter.
//!
//! A call takes steps: each reads some events, from the log or by the index of labels, and keeps the visible ones that
//! match. The call ends when the page is full, when there are no more events, or when its scan budget is used up. The page
//! always says where to continue.

use std::collections::VecDeque;

use exesdb_sdk::arguments::check_count;
use exesdb_sdk::keyspaces::{GET_MANY_KEYS_MAX, Keyspaces, Range};
use exesdb_sdk::streams::{EventFilter, EventPage};
use exesdb_sdk::types::{Direction, Error, Position, RecordedEvent};

use super::hiding::Hiding;
use super::postings::{Postings, Span};
use super::{PAGE_BYTES_MAX, RANGE_MIN, envelope, storage_direction};
use crate::correlation::CorrelationIndex;
use crate::filter::{Filter, Lead, Plan};
use crate::layout::{EVENTS, number};

/// Maximum number of events that one call scans before it returns a partial page: other calls wait for the component
/// meanwhile, and the caller learns how far the read has come.
pub const SCAN_BUDGET_EVENTS: u64 = 10_000;

/// Maximum bytes of stored events that one call scans, because events can be large.
pub const SCAN_BUDGET_BYTES: usize = 8 << 20;

/// Bounds for the number of events that a step of a filtered read scans. A step of 100 events costs little more than one of
/// a single event; a step of more events than a page holds would discard some where most events match.
const STEP_EVENTS_MIN: u64 = 100;
const STEP_EVENTS_MAX: u64 = 1_000;

/// Reads a page of events of the whole store.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn read_all(
    store: &impl Keyspaces,
    now: u64,
    from: Option<Position>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    check_count("count", count)?;
    let durable_position = store.durable_position()?;
    let mut hiding = Hiding::new(store, now)?;
    let mut log = LogScan::new(from, direction, durable_position);
    let mut budget = ScanBudget::default();
    loop {
        // The visible events of one step are a page. Another step is taken only if none is visible.
        let mut events = log.step(store, u64::from(count), None, &mut budget)?;
        hiding.retain_visible(store, &mut events)?;
        if !events.is_empty() || log.end || budget.is_exhausted() {
            return Ok(EventPage { events, next: log.next, end: log.end, durable_position });
        }
    }
}

/// Reads a page of events of the whole store that match a filter.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn read_filtered(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    filter: EventFilter,
    from: Option<Position>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    check_count("count", count)?;
    let filter = Filter::new(filter, index)?;
    let durable_position = store.durable_position()?;
    let mut hiding = Hiding::new(store, now)?;
    let mut candidates = match filter.plan() {
        Plan::Scan => Candidates::Log(LogScan::new(from, direction, durable_position)),
        Plan::Labels(leads) => {
            Candidates::Labels(LabelScan::new(store, &leads, from, direction, durable_position)?)
        }
    };
    let mut budget = ScanBudget::default();
    let mut page = Matches { count: count as usize, events: Vec::new(), bytes: 0 };
    loop {
        let wanted = if filter.has_patterns() { 0 } else { u64::from(count) };
        let wanted = wanted.clamp(STEP_EVENTS_MIN, STEP_EVENTS_MAX);
        let mut events = candidates.step(store, wanted, &filter, &mut budget)?;
        hiding.retain_visible(store, &mut events)?;
        let overflow = page.add(events);
        let (next, end) = match overflow {
            Some(position) => (Some(position), false),
            None => candidates.reached(),
        };
        if overflow.is_some() || end || page.is_full() || budget.is_exhausted() {
            return Ok(EventPage { events: page.events, next, end, durable_position });
        }
    }
}

/// The part of the scan budget that a call has used.
#[derive(Default)]
struct ScanBudget {
    events: u64,
    bytes: usize,
}

impl ScanBudget {
    fn is_exhausted(&self) -> bool {
        self.events >= SCAN_BUDGET_EVENTS || self.bytes >= SCAN_BUDGET_BYTES
    }

    /// The number of events that the next step may scan: at most `wanted`, at least 1.
    fn events_left(&self, wanted: u64) -> u64 {
        wanted.min(SCAN_BUDGET_EVENTS.saturating_sub(self.events)).max(1)
    }

    /// The maximum bytes of the next read.
    fn bytes_left(&self) -> u32 {
        let left = SCAN_BUDGET_BYTES.saturating_sub(self.bytes).max(1);
        u32::try_from(left).map_or(PAGE_BYTES_MAX, |left| left.min(PAGE_BYTES_MAX))
    }

    /// Whether a scanned event matches. Charges the cost of the filter's patterns.
    fn matches(&mut self, filter: &Filter, event: &RecordedEvent) -> bool {
        self.bytes = self.bytes.saturating_add(filter.pattern_cost(event));
        filter.matches(event)
    }

    /// Charges a scanned event.
    fn charge(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The page of a filtered read.
struct Matches {
    count: usize,
    events: Vec<RecordedEvent>,
    /// At most [`PAGE_BYTES_MAX`], unless the first event is larger.
    bytes: usize,
}

impl Matches {
    /// Adds as many of the events as fit. Returns the position of the first one that does not.
    fn add(&mut self, events: Vec<RecordedEvent>) -> Option<Position> {
        for event in events {
            let bytes = self.bytes.saturating_add(bytes_of(&event));
            let is_over = bytes > PAGE_BYTES_MAX as usize && !self.events.is_empty();
            if is_over || self.is_full() {
                return Some(event.position);
            }
            self.bytes = bytes;
            self.events.push(event);
        }
        None
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.count
    }
}

/// The bytes of an event's texts and content, which are nearly all of its stored bytes.
fn bytes_of(event: &RecordedEvent) -> usize {
    let texts = event.stream_id.len() + event.id.len() + event.event_type.len() + event.content_type.len();
    let tags: usize = event.tags.iter().map(String::len).sum();
    texts + tags + event.data.len() + event.metadata.len()
}

/// The candidates of a filtered read.
enum Candidates {
    Log(LogScan),
    Labels(LabelScan),
}

impl Candidates {
    /// Reads the next candidates, at most `wanted`, and returns those that match.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: &Filter,
        budget: &mut ScanBudget,
    ) -> Result<Vec<RecordedEvent>, Error> {
        match self {
            Self::Log(log) => log.step(store, wanted, Some(filter), budget),
            Self::Labels(labels) => labels.step(store, wanted, filter, budget),
        }
    }

    /// The position from which to continue, and whether the end is reached.
    fn reached(&self) -> (Option<Position>, bool) {
        match self {
            Self::Log(log) => (log.next, log.end),
            Self::Labels(labels) => labels.reached(),
        }
    }
}

/// Scans the log from a position on.
struct LogScan {
    direction: Direction,
    /// The position from which to continue. Backward, none stands for the end of the log at first, and later for the
    /// beginning of the log.
    next: Option<Position>,
    /// All lower positions are durable, so a forward read that reaches the end continues here.
    durable_position: Position,
    end: bool,
}

impl LogScan {
    fn new(from: Option<Position>, direction: Direction, durable_position: Position) -> Self {
        let next = match direction {
            Direction::Forward => Some(from.unwrap_or(0)),
            Direction::Backward => from,
        };
        Self { direction, next, durable_position, end: false }
    }

    /// Scans the next events, at most `wanted`, and returns those that match; without a filter, all that were not removed.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: Option<&Filter>,
        budget: &mut ScanBudget,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let (first, last) = match self.direction {
            Direction::Forward => (self.next.unwrap_or(0), None),
            Direction::Backward => (0, self.next),
        };
        let scanned = scan(store, first, last, self.direction, budget.events_left(wanted), filter, budget)?;
        self.end = !scanned.more;
        self.next = match self.direction {
            Direction::Forward => {
                let next = scanned.reached.map_or(first, |reached| reached.saturating_add(1));
                Some(if self.end { next.max(self.durable_position) } else { next })
            }
            Direction::Backward => {
                scanned.reached.and_then(|reached| reached.checked_sub(1)).filter(|_| !self.end)
            }
        };
        Ok(scanned.events)
    }
}

/// The outcome of scanning a range.
struct Scanned {
    /// The matching events.
    events: Vec<RecordedEvent>,
    /// The position of the last entry, if there was one.
    reached: Option<Position>,
    /// Whether the range has more entries.
    more: bool,
}

/// Scans the positions from `first` to `last` (none: the end of the log).
fn scan(
    store: &impl Keyspaces,
    first: Position,
    last: Option<Position>,
    direction: Direction,
    limit: u64,
    filter: Option<&Filter>,
    budget: &mut ScanBudget,
) -> Result<Scanned, Error> {
    let range = Range {
        keyspace: EVENTS.to_owned(),
        start: first.to_be_bytes().to_vec(),
        end: last.and_then(|last| last.checked_add(1)).map(|end| end.to_be_bytes().to_vec()),
    };
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = store.scan(&range, storage_direction(direction), limit, budget.bytes_left())?;
    if page.entries.is_empty() {
        // An empty range has a cost, too.
        budget.charge(0);
    }
    let mut events = Vec::with_capacity(if filter.is_none() { page.entries.len() } else { 0 });
    for entry in &page.entries {
        budget.charge(entry.value.len());
        if let Some(event) = envelope(&entry.key, &entry.value)?.into_event()
            && filter.is_none_or(|filter| budget.matches(filter, &event))
        {
            events.push(event);
        }
    }
    let reached = page.entries.last().and_then(|entry| number(&entry.key));
    Ok(Scanned { events, reached, more: page.more })
}

/// Reads the events to which the index of labels leads, from a position on.
struct LabelScan {
    postings: Postings,
    direction: Direction,
    /// Positions that the postings have passed but that are not read yet.
    pending: VecDeque<Position>,
    /// As in [`LogScan`].
    durable_position: Position,
    end: bool,
}

impl LabelScan {
    fn new(
        store: &impl Keyspaces,
        leads: &[Lead],
        from: Option<Position>,
        direction: Direction,
        durable_position: Position,
    ) -> Result<Self, Error> {
        let from = match direction {
            Direction::Forward => from.unwrap_or(0),
            Direction::Backward => from.unwrap_or(Position::MAX),
        };
        let postings = Postings::new(store, leads, from, direction)?;
        Ok(Self { postings, direction, pending: VecDeque::new(), durable_position, end: false })
    }

    /// Reads the next candidates, at most `wanted`, and returns those that match.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: &Filter,
        budget: &mut ScanBudget,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let wanted = budget.events_left(wanted);
        let events = match self.postings.peek(store, wanted)? {
            Some(span) if span.length() >= RANGE_MIN && self.pending.is_empty() => {
                self.read_range(store, span, wanted, filter, budget)?
            }
            _ => {
                self.collect(store, wanted)?;
                self.look_up(store, filter, budget)?
            }
        };
        self.end = self.pending.is_empty() && self.postings.peek(store, wanted)?.is_none();
        Ok(events)
    }

    /// Scans a span, in which any number of positions may be empty.
    fn read_range(
        &mut self,
        store: &impl Keyspaces,
        span: Span,
        wanted: u64,
        filter: &Filter,
        budget: &mut ScanBudget,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let scanned = scan(store, span.first, Some(span.last), self.direction, wanted, Some(filter), budget)?;
        let whole = match self.direction {
            Direction::Forward => span.last,
            Direction::Backward => span.first,
        };
        self.postings.pass(scanned.reached.filter(|_| scanned.more).unwrap_or(whole));
        Ok(scanned.events)
    }

    /// Adds the positions of the next short spans to the pending ones.
    fn collect(&mut self, store: &impl Keyspaces, wanted: u64) -> Result<(), Error> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(GET_MANY_KEYS_MAX);
        while self.pending.len() < wanted
            && let Some(span) = self.postings.peek(store, wanted as u64)?
            && span.length() < RANGE_MIN
        {
            let room = wanted - self.pending.len();
            match self.direction {
                Direction::Forward => self.pending.extend((span.first..=span.last).take(room)),
                Direction::Backward => self.pending.extend((span.first..=span.last).rev().take(room)),
            }
            self.postings.pass(*self.pending.back().expect("a span has a position"));
        }
        Ok(())
    }

    /// Reads the pending positions, as many as one lookup returns.
    fn look_up(
        &mut self,
        store: &impl Keyspaces,
        filter: &Filter,
        budget: &mut ScanBudget,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let keys: Vec<Vec<u8>> =
            self.pending.iter().map(|position| position.to_be_bytes().to_vec()).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values = store.get_many(EVENTS, &keys, budget.bytes_left())?;
        if values.is_empty() {
            return Err(Error::Other(format!("get-many gave nothing for {} keys", keys.len())));
        }
        let mut events = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            self.pending.pop_front();
            budget.charge(value.as_ref().map_or(0, Vec::len));
            // A position between an append's labelled events may be a gap.
            let Some(value) = value else { continue };
            if let Some(event) = envelope(key, &value)?.into_event()
                && budget.matches(filter, &event)
            {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The position from which to continue, and whether the end is reached.
    fn reached(&self) -> (Option<Position>, bool) {
        let next = self.pending.front().copied().or_else(|| self.postings.next());
        match self.direction {
            _ if !self.end => (next, false),
            Direction::Forward => (Some(next.unwrap_or(Position::MAX).max(self.durable_position)), true),
            Direction::Backward => (None, true),
        }
    }
}
