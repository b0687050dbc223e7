//! What is known of a subscription, and what a consumer may get of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// How often an event is delivered again before it is parked.
pub(super) const RETRIES_MAX: u32 = 1;

/// An event that was appended.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) stream: String,
    pub(super) kind: &'static str,
    pub(super) position: u64,
    pub(super) version: u64,
}

/// Selectors with their strategies: `S` stands for the first stream.
pub(super) const SELECTORS: [(&str, &str); 4] = [
    ("all", "round_robin"),
    ("stream", "dispatch_to_single"),
    ("type", "pinned"),
    ("pattern", "round_robin"),
];

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    /// With the consumer of this number.
    With(u64),
    Settled,
    Parked,
    /// Parked, and to be delivered once more.
    Replayed,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Model {
    kind: &'static str,
    is_pinned: bool,
    /// The streams of this run begin with it.
    prefix: String,
    events: BTreeMap<u64, (Event, State)>,
    /// Refusals of an event since the last restart.
    failures: BTreeMap<u64, u32>,
    /// Events that were parked or replayed since what is parked was looked at the last time. It may not be stored yet.
    fresh: BTreeSet<u64>,
    /// Parked events that are being delivered once more. They do not hold the checkpoint.
    replaying: BTreeSet<u64>,
}

impl Model {
    pub(super) fn new((kind, strategy): (&'static str, &'static str), prefix: &str) -> Self {
        Self {
            kind,
            is_pinned: strategy == "pinned",
            prefix: prefix.to_owned(),
            events: BTreeMap::new(),
            failures: BTreeMap::new(),
            fresh: BTreeSet::new(),
            replaying: BTreeSet::new(),
        }
    }

    /// The selector as JSON. That of patterns selects one stream's events by their records.
    pub(super) fn selector(&self) -> Value {
        let prefixes = [&self.prefix];
        match self.kind {
            "all" => json!({ "stream_prefixes": prefixes }),
            "stream" => json!({ "stream": format!("{}0", self.prefix) }),
            "type" => json!({ "stream_prefixes": prefixes, "query": [{ "types": ["paid"] }] }),
            _ => json!({ "stream_prefixes": prefixes, "pattern": { "data": { "of": "placed" } } }),
        }
    }

    fn selects(&self, event: &Event) -> bool {
        match self.kind {
            "all" => true,
            "stream" => event.stream == format!("{}0", self.prefix),
            "type" => event.kind == "paid",
            _ => event.kind == "placed",
        }
    }

    pub(super) fn appended(&mut self, event: &Event) {
        if self.selects(event) {
            let place = if self.kind == "stream" { event.version } else { event.position };
            self.events.insert(place, (event.clone(), State::Waits));
        }
    }

    /// A consumer that may have so many events in flight got an event.
    pub(super) fn delivered(
        &mut self,
        consumer: u64,
        window: usize,
        delivered: &Value,
    ) -> Result<u64, String> {
        let place = delivered["delivery"]["place"].as_u64().ok_or("a delivery has no place")?;
        let Some((event, state)) = self.events.get(&place) else {
            return Err(format!("{place} is not selected, or was not appended: {delivered}"));
        };
        if delivered["stream"] != event.stream || delivered["version"] != event.version {
            return Err(format!("{place} is {event:?}, not {delivered}"));
        }
        if !matches!(state, State::Waits | State::Replayed) {
            return Err(format!("{place} is delivered, and {state:?}"));
        }
        let held = self.held(consumer).len();
        if held >= window {
            return Err(format!("{place} is delivered beyond the window: {held} are with {consumer}"));
        }
        if self.is_pinned {
            let other = self.events.iter().find(|(_, (other, state))| {
                other.stream == event.stream && matches!(state, State::With(number) if *number != consumer)
            });
            if let Some((held, _)) = other {
                return Err(format!("{place} and {held} of one stream are with two consumers"));
            }
        }
        self.set(place, State::With(consumer));
        Ok(place)
    }

    /// What is with a consumer.
    pub(super) fn held(&self, consumer: u64) -> Vec<u64> {
        self.places(|state| state == State::With(consumer))
    }

    /// What is not settled, and not parked unless it is replayed.
    pub(super) fn open(&self) -> Vec<u64> {
        self.places(|state| matches!(state, State::Waits | State::With(_) | State::Replayed))
    }

    pub(super) fn parked(&self) -> Vec<u64> {
        self.places(|state| matches!(state, State::Parked | State::Replayed))
    }

    /// What is parked, and not to be delivered once more.
    pub(super) fn parked_for_good(&self) -> Vec<u64> {
        self.places(|state| state == State::Parked)
    }

    fn places(&self, is: impl Fn(State) -> bool) -> Vec<u64> {
        self.events.iter().filter(|(_, (_, state))| is(*state)).map(|(place, _)| *place).collect()
    }

    fn set(&mut self, place: u64, state: State) {
        if let Some((_, of)) = self.events.get_mut(&place) {
            *of = state;
        }
    }

    pub(super) fn settled(&mut self, place: u64) {
        self.set(place, State::Settled);
        self.replaying.remove(&place);
        self.fresh.insert(place);
    }

    pub(super) fn parks(&mut self, place: u64) {
        self.set(place, State::Parked);
        self.replaying.remove(&place);
        self.fresh.insert(place);
    }

    /// A consumer wants an event to be delivered again.
    pub(super) fn retried(&mut self, place: u64) {
        let failures = self.failures.entry(place).or_default();
        *failures += 1;
        if *failures > RETRIES_MAX { self.parks(place) } else { self.set(place, State::Waits) }
    }

    /// A consumer leaves in good order.
    pub(super) fn left(&mut self, consumer: u64) {
        for place in self.held(consumer) {
            self.set(place, State::Waits);
        }
    }

    /// What is parked, as the host lists it: each with whether it is to be delivered once more.
    pub(super) fn looked_at(&mut self, listed: &BTreeMap<u64, bool>) -> Result<(), String> {
        let known: BTreeSet<u64> = self.parked().into_iter().collect();
        for place in listed.keys().filter(|place| !known.contains(*place)) {
            if !self.fresh.contains(place) && !self.replaying.contains(place) {
                return Err(format!(
                    "{place} is parked, and nobody had it parked: {:?}",
                    self.events.get(place)
                ));
            }
        }
        for place in known.iter().filter(|place| !listed.contains_key(place)) {
            if !self.fresh.contains(place) {
                return Err(format!("{place} is not parked any more, and nobody replayed it"));
            }
        }
        Ok(())
    }

    /// What is parked is replayed.
    pub(super) fn replay(&mut self, listed: &BTreeMap<u64, bool>) {
        for (place, is_replayed) in listed {
            if !is_replayed && self.events.get(place).is_some_and(|(_, state)| *state == State::Parked) {
                self.set(*place, State::Replayed);
                self.replaying.insert(*place);
                self.fresh.insert(*place);
                self.failures.remove(place);
            }
        }
    }

    /// What is parked is forgotten. What is being delivered once more goes on.
    pub(super) fn truncate(&mut self, listed: &BTreeMap<u64, bool>) {
        for place in listed.keys() {
            if self.events.get(place).is_some_and(|(_, state)| *state == State::Parked) {
                self.set(*place, State::Settled);
            }
        }
        self.fresh.extend(listed.keys());
    }

    /// Another emitter serves the subscription. `checkpoint` and `listed`, what is parked, are what is stored by then: what it
    /// has from the checkpoint on is delivered again.
    pub(super) fn restarted(&mut self, checkpoint: u64, listed: &BTreeMap<u64, bool>) -> Result<(), String> {
        let open = self.places(|state| matches!(state, State::Waits | State::With(_)));
        let first_open = open.into_iter().find(|place| !self.replaying.contains(place)).unwrap_or(u64::MAX);
        if checkpoint > first_open {
            return Err(format!("the checkpoint is {checkpoint}, and {first_open} is not settled"));
        }
        self.looked_at(listed)?;
        self.failures.clear();
        let places: Vec<u64> = self.events.keys().copied().collect();
        for place in places {
            let was_parked = self.events.get(&place).is_some_and(|(_, state)| matches!(state, State::Parked));
            let state = match listed.get(&place) {
                Some(true) => State::Replayed,
                Some(false) => State::Parked,
                None if place >= checkpoint => State::Waits,
                None if was_parked && !self.fresh.contains(&place) => {
                    return Err(format!("{place} was parked, and is lost"));
                }
                None => State::Settled,
            };
            self.set(place, state);
        }
        self.fresh.clear();
        self.replaying =
            listed.iter().filter(|(_, is_replayed)| **is_replayed).map(|(place, _)| *place).collect();
        Ok(())
    }
}
