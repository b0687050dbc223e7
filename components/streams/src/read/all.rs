//! Reads the whole store, or those of its events that a filter lets through.
//!
//! A call takes steps: each reads some events, from the log or from where the index of labels says, and leaves those that
//! match and are visible. It ends when the page is full, when there is nothing more, or when it has looked at as much as
//! one call may; the page says where to go on in any case.

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

/// Events that one call looks at before it answers with what it has: others wait for the component meanwhile, and whoever
/// asked learns how far the read has come.
pub const LOOKED_AT_EVENTS_MAX: u64 = 10_000;

/// Bytes of stored events that one call looks at, as [`LOOKED_AT_EVENTS_MAX`]: those events can be large.
pub const LOOKED_AT_BYTES_MAX: usize = 8 << 20;

/// Events that a step of a filtered read looks at. At least as many as one call may cost little more than one; more than
/// a page may have would only be thrown away where most of them match.
const STEP_EVENTS_MIN: u64 = 100;
const STEP_EVENTS_MAX: u64 = 1_000;

/// Events of the whole store.
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
    let mut log = Log::new(from, direction, durable_position);
    let mut work = Work::default();
    loop {
        // What is visible of one step is a page; only a step of which nothing is takes another.
        let mut events = log.step(store, u64::from(count), None, &mut work)?;
        hiding.retain_visible(store, &mut events)?;
        if !events.is_empty() || log.end || work.is_done() {
            return Ok(EventPage { events, next: log.next, end: log.end, durable_position });
        }
    }
}

/// Events of the whole store that a filter lets through.
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
    let mut source = match filter.plan() {
        Plan::Scan => Source::Log(Log::new(from, direction, durable_position)),
        Plan::Labels(leads) => {
            Source::Labels(Labelled::new(store, &leads, from, direction, durable_position)?)
        }
    };
    let mut work = Work::default();
    let mut page = Matches { count: count as usize, events: Vec::new(), bytes: 0 };
    loop {
        let wanted = if filter.has_patterns() { 0 } else { u64::from(count) };
        let wanted = wanted.clamp(STEP_EVENTS_MIN, STEP_EVENTS_MAX);
        let mut events = source.step(store, wanted, &filter, &mut work)?;
        hiding.retain_visible(store, &mut events)?;
        let left_out = page.take(events);
        let (next, end) = match left_out {
            Some(position) => (Some(position), false),
            None => source.reached(),
        };
        if left_out.is_some() || end || page.is_full() || work.is_done() {
            return Ok(EventPage { events: page.events, next, end, durable_position });
        }
    }
}

/// What a call has looked at.
#[derive(Default)]
struct Work {
    events: u64,
    bytes: usize,
}

impl Work {
    fn is_done(&self) -> bool {
        self.events >= LOOKED_AT_EVENTS_MAX || self.bytes >= LOOKED_AT_BYTES_MAX
    }

    /// How many events the next step may look at, of those that it wants to; 1 at least.
    fn events_left(&self, wanted: u64) -> u64 {
        wanted.min(LOOKED_AT_EVENTS_MAX.saturating_sub(self.events)).max(1)
    }

    /// How many bytes the next read may take.
    fn bytes_left(&self) -> u32 {
        let left = LOOKED_AT_BYTES_MAX.saturating_sub(self.bytes).max(1);
        u32::try_from(left).map_or(PAGE_BYTES_MAX, |left| left.min(PAGE_BYTES_MAX))
    }

    /// Whether the filter lets an event through that was added; adds what its patterns take.
    fn lets_through(&mut self, filter: &Filter, event: &RecordedEvent) -> bool {
        self.bytes = self.bytes.saturating_add(filter.pattern_cost(event));
        filter.matches(event)
    }

    /// Adds an event.
    fn add(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The page of a filtered read.
struct Matches {
    count: usize,
    events: Vec<RecordedEvent>,
    /// At most [`PAGE_BYTES_MAX`], unless the first event alone is larger.
    bytes: usize,
}

impl Matches {
    /// Adds as many of the events as there is room for, and says at which position the others begin.
    fn take(&mut self, events: Vec<RecordedEvent>) -> Option<Position> {
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

/// The bytes of an event's texts and contents, which are nearly all that are stored of it.
fn bytes_of(event: &RecordedEvent) -> usize {
    let texts = event.stream_id.len() + event.id.len() + event.event_type.len() + event.content_type.len();
    let tags: usize = event.tags.iter().map(String::len).sum();
    texts + tags + event.data.len() + event.metadata.len()
}

/// Where the events of a filtered read come from.
enum Source {
    Log(Log),
    Labels(Labelled),
}

impl Source {
    /// Looks at the next events, `wanted` at most, and gives those that match.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: &Filter,
        work: &mut Work,
    ) -> Result<Vec<RecordedEvent>, Error> {
        match self {
            Self::Log(log) => log.step(store, wanted, Some(filter), work),
            Self::Labels(labelled) => labelled.step(store, wanted, filter, work),
        }
    }

    /// Where to go on, and whether there is nothing more.
    fn reached(&self) -> (Option<Position>, bool) {
        match self {
            Self::Log(log) => (log.next, log.end),
            Self::Labels(labelled) => labelled.reached(),
        }
    }
}

/// All events from a position on.
struct Log {
    direction: Direction,
    /// Where to go on. Backward none at the beginning, for the end of the log, and again when position 0 was passed or
    /// there is nothing before.
    next: Option<Position>,
    /// Everything below is durable, so that a forward read that finds nothing more goes on here.
    durable_position: Position,
    end: bool,
}

impl Log {
    fn new(from: Option<Position>, direction: Direction, durable_position: Position) -> Self {
        let next = match direction {
            Direction::Forward => Some(from.unwrap_or(0)),
            Direction::Backward => from,
        };
        Self { direction, next, durable_position, end: false }
    }

    /// Looks at the next events, `wanted` at most, and gives those that match: without a filter all that were not
    /// removed.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: Option<&Filter>,
        work: &mut Work,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let (first, last) = match self.direction {
            Direction::Forward => (self.next.unwrap_or(0), None),
            Direction::Backward => (0, self.next),
        };
        let scanned = scan(store, first, last, self.direction, work.events_left(wanted), filter, work)?;
        self.end = !scanned.more;
        self.next = match self.direction {
            Direction::Forward => {
                let behind = scanned.reached.map_or(first, |reached| reached.saturating_add(1));
                Some(if self.end { behind.max(self.durable_position) } else { behind })
            }
            Direction::Backward => {
                scanned.reached.and_then(|reached| reached.checked_sub(1)).filter(|_| !self.end)
            }
        };
        Ok(scanned.events)
    }
}

/// What was read of a range.
struct Scanned {
    /// Those that match.
    events: Vec<RecordedEvent>,
    /// The position of the last entry that was read, if there was one.
    reached: Option<Position>,
    /// More entries lie beyond.
    more: bool,
}

/// Reads the events at the positions from `first` to `last` (none: the end of the log).
fn scan(
    store: &impl Keyspaces,
    first: Position,
    last: Option<Position>,
    direction: Direction,
    limit: u64,
    filter: Option<&Filter>,
    work: &mut Work,
) -> Result<Scanned, Error> {
    let range = Range {
        keyspace: EVENTS.to_owned(),
        start: first.to_be_bytes().to_vec(),
        end: last.and_then(|last| last.checked_add(1)).map(|end| end.to_be_bytes().to_vec()),
    };
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let page = store.scan(&range, storage_direction(direction), limit, work.bytes_left())?;
    if page.entries.is_empty() {
        // Looking costs something, even where nothing is.
        work.add(0);
    }
    let mut events = Vec::with_capacity(if filter.is_none() { page.entries.len() } else { 0 });
    for entry in &page.entries {
        work.add(entry.value.len());
        if let Some(event) = envelope(&entry.key, &entry.value)?.into_event()
            && filter.is_none_or(|filter| work.lets_through(filter, &event))
        {
            events.push(event);
        }
    }
    let reached = page.entries.last().and_then(|entry| number(&entry.key));
    Ok(Scanned { events, reached, more: page.more })
}

/// The events to which the index of labels leads, from a position on.
struct Labelled {
    postings: Postings,
    direction: Direction,
    /// Positions that the postings have passed and that are still to be looked at.
    pending: VecDeque<Position>,
    /// As of [`Log`].
    durable_position: Position,
    end: bool,
}

impl Labelled {
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

    /// Looks at the next candidates, `wanted` at most, and gives those that match.
    fn step(
        &mut self,
        store: &impl Keyspaces,
        wanted: u64,
        filter: &Filter,
        work: &mut Work,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let wanted = work.events_left(wanted);
        let events = match self.postings.peek(store, wanted)? {
            Some(span) if span.length() >= RANGE_MIN && self.pending.is_empty() => {
                self.read_range(store, span, wanted, filter, work)?
            }
            _ => {
                self.collect(store, wanted)?;
                self.look_up(store, filter, work)?
            }
        };
        self.end = self.pending.is_empty() && self.postings.peek(store, wanted)?.is_none();
        Ok(events)
    }

    /// Reads along a span. Any number of the positions in it may be empty.
    fn read_range(
        &mut self,
        store: &impl Keyspaces,
        span: Span,
        wanted: u64,
        filter: &Filter,
        work: &mut Work,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let scanned = scan(store, span.first, Some(span.last), self.direction, wanted, Some(filter), work)?;
        let whole = match self.direction {
            Direction::Forward => span.last,
            Direction::Backward => span.first,
        };
        self.postings.pass(scanned.reached.filter(|_| scanned.more).unwrap_or(whole));
        Ok(scanned.events)
    }

    /// Fills up the pending positions with those of the next short spans.
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

    /// Looks at as many of the pending positions as one read gives.
    fn look_up(
        &mut self,
        store: &impl Keyspaces,
        filter: &Filter,
        work: &mut Work,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let keys: Vec<Vec<u8>> =
            self.pending.iter().map(|position| position.to_be_bytes().to_vec()).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values = store.get_many(EVENTS, &keys, work.bytes_left())?;
        if values.is_empty() {
            return Err(Error::Other(format!("get-many gave nothing for {} keys", keys.len())));
        }
        let mut events = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            self.pending.pop_front();
            work.add(value.as_ref().map_or(0, Vec::len));
            // Between the events of an append with a label there may be none.
            let Some(value) = value else { continue };
            if let Some(event) = envelope(key, &value)?.into_event()
                && work.lets_through(filter, &event)
            {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Where to go on, and whether there is nothing more.
    fn reached(&self) -> (Option<Position>, bool) {
        let next = self.pending.front().copied().or_else(|| self.postings.next());
        match self.direction {
            _ if !self.end => (next, false),
            Direction::Forward => (Some(next.unwrap_or(Position::MAX).max(self.durable_position)), true),
            Direction::Backward => (None, true),
        }
    }
}
