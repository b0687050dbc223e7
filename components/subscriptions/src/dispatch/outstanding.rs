//! The events that were read and are not settled, by their places.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use exesdb_sdk::subscriptions::Place;

/// What an event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A consumer.
    Waiting,
    /// The word of this consumer, until then.
    InFlight { consumer: u64, deadline: u64 },
    /// For those before it to be settled, too.
    Settled,
}

/// An event that was read.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Its id.
    pub(super) id: Box<str>,
    /// Events with the same number may have to stay in order.
    pub(super) lane: u64,
    /// When it was appended.
    pub(super) created: u64,
    /// How often it was delivered.
    pub(super) deliveries: u32,
    /// How often that failed.
    pub(super) failures: u32,
    state: State,
}

impl Event {
    pub(super) fn new(id: &str, lane: u64, created: u64) -> Self {
        Self { id: id.into(), lane, created, deliveries: 0, failures: 0, state: State::Waiting }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }
}

/// All events that are not settled.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// From the checkpoint on, also those that are settled before one before them.
    read: BTreeMap<Place, Event>,
    /// Parked events that are delivered once more.
    replayed: BTreeMap<Place, Event>,
    waiting: Waiting,
    /// Of those that wait, how many were delivered before.
    retrying: usize,
    /// Of those in flight, when their time is over.
    deadlines: BTreeSet<(u64, Place)>,
}

/// Events that wait for a consumer.
#[derive(Debug, Default)]
struct Waiting {
    lanes: HashMap<u64, BTreeSet<Place>>,
    /// The first of each lane, so that a lane without a consumer is looked at once, however many events it has.
    heads: BTreeSet<(Place, u64)>,
    count: usize,
}

impl Waiting {
    fn insert(&mut self, place: Place, lane: u64) {
        let places = self.lanes.entry(lane).or_default();
        let head = places.first().copied();
        self.count += usize::from(places.insert(place));
        if head.is_none_or(|head| place < head) {
            if let Some(head) = head {
                self.heads.remove(&(head, lane));
            }
            self.heads.insert((place, lane));
        }
    }

    fn remove(&mut self, place: Place, lane: u64) -> bool {
        let Some(places) = self.lanes.get_mut(&lane) else { return false };
        if !places.remove(&place) {
            return false;
        }
        self.count -= 1;
        let head = places.first().copied();
        if self.heads.remove(&(place, lane))
            && let Some(head) = head
        {
            self.heads.insert((head, lane));
        }
        if head.is_none() {
            self.lanes.remove(&lane);
        }
        true
    }
}

impl Outstanding {
    /// Adds an event that was read.
    pub(super) fn add(&mut self, place: Place, event: Event) {
        self.waiting.insert(place, event.lane);
        self.read.insert(place, event);
    }

    /// Adds a parked event that is delivered once more, unless it is being delivered.
    pub(super) fn add_replayed(&mut self, place: Place, event: Event) {
        if let Entry::Vacant(entry) = self.replayed.entry(place) {
            self.waiting.insert(place, event.lane);
            entry.insert(event);
        }
    }

    /// Whether a parked event is being delivered once more.
    pub(super) fn is_replayed(&self, place: Place) -> bool {
        self.replayed.contains_key(&place)
    }

    /// The first event of a lane that waits for a consumer, in the order of places, after this one; with its lane.
    pub(super) fn next_waiting(&self, after: Option<(Place, u64)>) -> Option<(Place, u64)> {
        match after {
            None => self.waiting.heads.first().copied(),
            Some(after) => {
                self.waiting.heads.range((Bound::Excluded(after), Bound::Unbounded)).next().copied()
            }
        }
    }

    /// The number of events that wait for a consumer.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.count
    }

    /// The number of events that wait and were delivered before.
    pub(super) fn retrying_count(&self) -> usize {
        self.retrying
    }

    /// The number of events in flight.
    pub(super) fn in_flight_count(&self) -> usize {
        self.deadlines.len()
    }

    /// The number of events from the checkpoint on that were read.
    pub(super) fn beyond_checkpoint(&self) -> usize {
        self.read.len()
    }

    /// An event that is not settled.
    pub(super) fn get(&self, place: Place) -> Option<&Event> {
        let is_open = |event: &&Event| event.state != State::Settled;
        self.read.get(&place).filter(is_open).or_else(|| self.replayed.get(&place))
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Event> {
        match self.read.get_mut(&place) {
            Some(event) if event.state != State::Settled => Some(event),
            _ => self.replayed.get_mut(&place),
        }
    }

    /// Notes that a waiting event is delivered, and counts it.
    pub(super) fn send(&mut self, place: Place, consumer: u64, deadline: u64) {
        let Some(event) = self.get(place).filter(|event| event.is_waiting()) else { return };
        let (lane, was_sent) = (event.lane, event.deliveries > 0);
        self.waiting.remove(place, lane);
        self.retrying -= usize::from(was_sent);
        self.deadlines.insert((deadline, place));
        if let Some(event) = self.get_mut(place) {
            event.deliveries = event.deliveries.saturating_add(1);
            event.state = State::InFlight { consumer, deadline };
        }
    }

    /// An event that comes back waits again.
    pub(super) fn come_back(&mut self, place: Place) {
        if let Some(event) = self.get_mut(place)
            && let State::InFlight { deadline, .. } = event.state
        {
            event.state = State::Waiting;
            let lane = event.lane;
            self.deadlines.remove(&(deadline, place));
            self.waiting.insert(place, lane);
            self.retrying += 1;
        }
    }

    /// Counts a failed delivery. Returns how many there were.
    pub(super) fn fail(&mut self, place: Place) -> u32 {
        let Some(event) = self.get_mut(place) else { return 0 };
        event.failures = event.failures.saturating_add(1);
        event.failures
    }

    /// Settles an event. Returns it, and whether it was parked before.
    pub(super) fn settle(&mut self, place: Place) -> Option<(Event, bool)> {
        let event = self.get_mut(place)?;
        let before = event.state;
        // What is kept of it until those before it are settled.
        let kept = Event { id: Box::default(), state: State::Settled, ..event.clone() };
        let settled = std::mem::replace(event, kept);
        match before {
            State::InFlight { deadline, .. } => drop(self.deadlines.remove(&(deadline, place))),
            State::Waiting => {
                self.waiting.remove(place, settled.lane);
                self.retrying -= usize::from(settled.deliveries > 0);
            }
            State::Settled => {}
        }
        let was_parked = self.replayed.remove(&place).is_some();
        Some((settled, was_parked))
    }

    /// The place of the first event that was read and is not settled, and when it was appended; forgets those before it.
    pub(super) fn first(&mut self) -> Option<(Place, u64)> {
        while let Some(first) = self.read.first_entry() {
            if first.get().state != State::Settled {
                return Some((*first.key(), first.get().created));
            }
            first.remove();
        }
        None
    }

    /// An event whose time is over, with its consumer.
    pub(super) fn overdue(&self, now: u64) -> Option<(Place, u64)> {
        let (_, place) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        match self.get(*place)?.state {
            State::InFlight { consumer, .. } => Some((*place, consumer)),
            _ => None,
        }
    }

    /// When the time of an event is over first.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
