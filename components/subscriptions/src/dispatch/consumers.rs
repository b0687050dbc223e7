//! The consumers of a subscription, and which of them gets an event.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use exesdb_sdk::subscriptions::{ConsumerState, EventNames, Joining, Place, Strategy};

/// Lanes whose consumer is remembered.
const PINS_MAX: usize = 100_000;

/// A consumer.
#[derive(Debug)]
struct Consumer {
    number: u64,
    window: usize,
    /// The largest window that it has had.
    window_max: usize,
    in_flight: BTreeSet<Place>,
    /// Events whose time at it was over. It may acknowledge them as long as nobody else has them.
    late: BTreeSet<Place>,
    /// The places of these events by their ids, if it names them by these.
    ids: Option<BTreeMap<Box<str>, BTreeSet<Place>>>,
    acknowledged: u64,
    /// Since when it has said nothing, although the time of an event was over.
    silent_since: Option<u64>,
}

impl Consumer {
    /// Events that it may get.
    fn room(&self) -> usize {
        if self.silent_since.is_some() { 0 } else { self.window.saturating_sub(self.in_flight.len()) }
    }

    /// Whether lanes may be pinned to it.
    fn is_open(&self) -> bool {
        self.silent_since.is_none() && self.window > 0
    }

    fn forget_id(&mut self, id: &str, place: Place) {
        if let Some(ids) = &mut self.ids
            && let Some(places) = ids.get_mut(id)
        {
            places.remove(&place);
            if places.is_empty() {
                ids.remove(id);
            }
        }
    }
}

/// Who has events of a lane in flight.
#[derive(Debug)]
struct Holder {
    consumer: u64,
    events: usize,
}

/// All consumers, in the order of their numbers, which is that in which they joined.
#[derive(Debug)]
pub(super) struct Consumers {
    strategy: Strategy,
    list: Vec<Consumer>,
    /// The index of the one whose turn it is.
    turn: usize,
    /// By lane, if events are pinned.
    holders: HashMap<u64, Holder>,
    /// By lane, which consumer it belongs to, as long as the consumers are the same.
    pins: HashMap<u64, u64>,
}

impl Consumers {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self { strategy, list: Vec::new(), turn: 0, holders: HashMap::new(), pins: HashMap::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Events that all of them can take.
    pub(super) fn room(&self) -> usize {
        self.list.iter().map(Consumer::room).sum()
    }

    fn is_pinned(&self) -> bool {
        matches!(self.strategy, Strategy::Pinned | Strategy::PinnedByCorrelation)
    }

    pub(super) fn join(&mut self, joining: &Joining) {
        let Err(at) = self.index(joining.consumer) else { return };
        self.pins.clear();
        let window = usize::try_from(joining.window).unwrap_or(usize::MAX);
        let consumer = Consumer {
            number: joining.consumer,
            window,
            window_max: window,
            in_flight: BTreeSet::new(),
            late: BTreeSet::new(),
            ids: joining.by_id.then(BTreeMap::new),
            acknowledged: 0,
            silent_since: None,
        };
        self.list.insert(at, consumer);
    }

    /// Gives a consumer another window.
    pub(super) fn resize(&mut self, number: u64, window: u32) {
        let Some(consumer) = self.get_mut(number) else { return };
        let was_open = consumer.is_open();
        consumer.window = usize::try_from(window).unwrap_or(usize::MAX);
        consumer.window_max = consumer.window_max.max(consumer.window);
        if consumer.is_open() != was_open {
            self.pins.clear();
        }
    }

    /// Removes a consumer. Returns what was in flight at it, in the order of places.
    pub(super) fn leave(&mut self, number: u64) -> BTreeSet<Place> {
        let Ok(index) = self.index(number) else { return BTreeSet::new() };
        let consumer = self.list.remove(index);
        if index < self.turn {
            self.turn -= 1;
        }
        self.pins.clear();
        self.holders.retain(|_, holder| holder.consumer != number);
        consumer.in_flight
    }

    /// The consumer that gets an event of this lane; none if those that may get it have no room.
    pub(super) fn choose(&mut self, lane: u64) -> Option<u64> {
        let count = self.list.len();
        let next = |from: usize| (from..count).chain(0..from.min(count)).find(|at| self.list[*at].room() > 0);
        match self.strategy {
            Strategy::RoundRobin => {
                let at = next(self.turn)?;
                self.turn = (at + 1) % count;
                Some(self.list[at].number)
            }
            Strategy::DispatchToSingle => {
                let at = next(self.turn)?;
                self.turn = at;
                Some(self.list[at].number)
            }
            Strategy::Pinned | Strategy::PinnedByCorrelation => {
                let number = match self.holders.get(&lane) {
                    Some(holder) => holder.consumer,
                    None => self.pin(lane)?,
                };
                self.get(number).filter(|consumer| consumer.room() > 0).map(|consumer| consumer.number)
            }
        }
    }

    /// The consumer with the highest weight, so that few lanes move when one joins or leaves. One that is silent, or has no window,
    /// has none.
    fn pin(&mut self, lane: u64) -> Option<u64> {
        if let Some(number) = self.pins.get(&lane) {
            return Some(*number);
        }
        let open = self.list.iter().filter(|consumer| consumer.is_open());
        let number = open.map(|consumer| consumer.number).max_by_key(|number| weight(lane, *number))?;
        if self.pins.len() >= PINS_MAX {
            self.pins.clear();
        }
        self.pins.insert(lane, number);
        Some(number)
    }

    /// An event is in flight at a consumer.
    pub(super) fn send(&mut self, number: u64, place: Place, lane: u64, id: &str) {
        let is_pinned = self.is_pinned();
        let Some(consumer) = self.get_mut(number) else { return };
        consumer.late.remove(&place);
        consumer.in_flight.insert(place);
        if let Some(ids) = &mut consumer.ids {
            ids.entry(id.into()).or_default().insert(place);
        }
        if is_pinned {
            self.holders.entry(lane).or_insert(Holder { consumer: number, events: 0 }).events += 1;
        }
    }

    /// An event is not in flight any more.
    pub(super) fn take(&mut self, number: u64, place: Place, lane: u64, id: &str) {
        let Some(consumer) = self.get_mut(number) else { return };
        consumer.forget_id(id, place);
        consumer.late.remove(&place);
        if !consumer.in_flight.remove(&place) {
            return;
        }
        if let Some(holder) = self.holders.get_mut(&lane) {
            holder.events = holder.events.saturating_sub(1);
            if holder.events == 0 {
                self.holders.remove(&lane);
            }
        }
    }

    /// The time of an event is over. Its consumer gets nothing until it says something.
    pub(super) fn overdue(&mut self, number: u64, place: Place, lane: u64, id: &str, now: u64) {
        self.take(number, place, lane, id);
        self.pins.clear();
        let Some(consumer) = self.get_mut(number) else { return };
        consumer.silent_since.get_or_insert(now);
        if consumer.late.len() >= consumer.window_max {
            // What others have settled stays among them, so they are forgotten together.
            let Consumer { late, ids, in_flight, .. } = consumer;
            late.clear();
            if let Some(ids) = ids {
                ids.retain(|_, places| {
                    places.retain(|place| in_flight.contains(place));
                    !places.is_empty()
                });
            }
        }
        consumer.late.insert(place);
        if let Some(ids) = &mut consumer.ids {
            ids.entry(id.into()).or_default().insert(place);
        }
    }

    /// A consumer has said something.
    pub(super) fn hear(&mut self, number: u64) {
        let Some(consumer) = self.get_mut(number) else { return };
        if consumer.silent_since.take().is_some() {
            self.pins.clear();
        }
    }

    /// Counts an acknowledged event.
    pub(super) fn acknowledge(&mut self, number: u64) {
        if let Some(consumer) = self.get_mut(number) {
            consumer.acknowledged += 1;
        }
    }

    /// Consumers that have been silent since this time, or longer.
    pub(super) fn silent(&self, since: u64) -> Vec<u64> {
        let silent = |consumer: &&Consumer| consumer.silent_since.is_some_and(|at| at <= since);
        self.list.iter().filter(silent).map(|consumer| consumer.number).collect()
    }

    /// Since when the first of those that are silent is.
    pub(super) fn silent_since(&self) -> Option<u64> {
        self.list.iter().filter_map(|consumer| consumer.silent_since).min()
    }

    /// Whether an event is in flight at a consumer.
    pub(super) fn has(&self, number: u64, place: Place) -> bool {
        self.get(number).is_some_and(|consumer| consumer.in_flight.contains(&place))
    }

    /// The named events that are in flight at a consumer, or were until their time was over, each once.
    pub(super) fn named(&self, number: u64, names: &EventNames) -> BTreeSet<Place> {
        let Some(consumer) = self.get(number) else { return BTreeSet::new() };
        let is_known = |place: &Place| consumer.in_flight.contains(place) || consumer.late.contains(place);
        match names {
            EventNames::Places(places) => places.iter().copied().filter(is_known).collect(),
            EventNames::Ids(ids) => {
                let mut named = BTreeSet::new();
                for id in ids {
                    let known = consumer.ids.as_ref().and_then(|known| known.get(id.as_str()));
                    let first = known.and_then(|places| places.iter().find(|place| !named.contains(*place)));
                    named.extend(first.copied());
                }
                named
            }
        }
    }

    pub(super) fn states(&self) -> Vec<ConsumerState> {
        let state = |consumer: &Consumer| ConsumerState {
            consumer: consumer.number,
            in_flight: u32::try_from(consumer.in_flight.len()).unwrap_or(u32::MAX),
            window: u32::try_from(consumer.window).unwrap_or(u32::MAX),
            acknowledged: consumer.acknowledged,
        };
        self.list.iter().map(state).collect()
    }

    fn index(&self, number: u64) -> Result<usize, usize> {
        self.list.binary_search_by_key(&number, |consumer| consumer.number)
    }

    fn get(&self, number: u64) -> Option<&Consumer> {
        self.index(number).ok().map(|at| &self.list[at])
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Consumer> {
        self.index(number).ok().map(|at| &mut self.list[at])
    }
}

/// Mixes two numbers: the finalizer of SplitMix64.
fn weight(lane: u64, consumer: u64) -> u64 {
    let mut mixed = lane ^ consumer.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
