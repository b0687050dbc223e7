//! What the consumers of one subscription were given, and what they said about it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use crate::load::{Clock, Event, Events};
use crate::plan::{Decision, Subscription};

/// A delivery of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) at: u64,
    /// Deliveries to any consumer of the subscription that were received before.
    pub(crate) order: usize,
    /// The number of the consumer's session.
    pub(crate) session: u32,
    /// The place of the event, as the host says.
    pub(crate) place: u64,
    /// How often the event was delivered before, as the host says.
    pub(crate) earlier: u64,
}

/// A consumer's word with which an event was done: it was acknowledged, skipped or parked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settlement {
    pub(crate) session: u32,
    pub(crate) begun: u64,
    /// When the host confirmed it.
    pub(crate) confirmed: Option<u64>,
    pub(crate) parked: bool,
}

/// What is known about one event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// In the order in which they were received.
    pub(crate) deliveries: Vec<Delivery>,
    /// In the order in which they were sent.
    pub(crate) settlements: Vec<Settlement>,
    /// How often it was refused, to be delivered again.
    pub(crate) retried: usize,
}

/// What is known about the events of one subscription.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) subscription: &'a Subscription,
    pub(crate) events: &'a [Event],
    pub(crate) seen: &'a BTreeMap<usize, Seen>,
}

/// An event that a consumer has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) number: usize,
    pub(crate) place: u64,
    pub(crate) decision: Decision,
}

/// What happened to one subscription.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) subscription: Subscription,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: u32,
    deliveries: usize,
    seen: BTreeMap<usize, Seen>,
    violations: Vec<String>,
    /// Everything is acknowledged from now on.
    acknowledges_all: bool,
}

/// Violations that are kept of one subscription.
const VIOLATIONS_MAX: usize = 20;

impl Record {
    pub(crate) fn new(subscription: Subscription, clock: Clock) -> Self {
        Self { subscription, clock, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics")
    }

    /// A consumer begins. Returns the number of its session.
    pub(crate) fn begin_session(&self) -> u32 {
        let mut state = self.state();
        state.sessions += 1;
        state.sessions
    }

    pub(crate) fn sessions(&self) -> u32 {
        self.state().sessions
    }

    /// From now on, consumers acknowledge what they are given.
    pub(crate) fn acknowledge_all(&self) {
        self.state().acknowledges_all = true;
    }

    /// Records what a consumer was given, and returns what it does with it.
    pub(crate) fn delivered(&self, events: &Events, session: u32, delivered: &[Value]) -> Vec<Taken> {
        let mut state = self.state();
        let at = self.clock.now();
        let mut taken = Vec::new();
        for value in delivered {
            match self.check(events, value) {
                Ok((number, place, earlier)) => {
                    let (acknowledges_all, order) = (state.acknowledges_all, state.deliveries);
                    state.deliveries += 1;
                    let seen = state.seen.entry(number).or_default();
                    seen.deliveries.push(Delivery { at, order, session, place, earlier });
                    let decision = match self.subscription.decision(number) {
                        Decision::Retry if seen.retried > 0 => Decision::Acknowledge,
                        _ if acknowledges_all => Decision::Acknowledge,
                        decision => decision,
                    };
                    taken.push(Taken { number, place, decision });
                }
                Err(violation) => {
                    let violation = format!("{}: {violation}", self.subscription.name);
                    if state.violations.len() < VIOLATIONS_MAX {
                        state.violations.push(violation);
                    }
                }
            }
        }
        taken
    }

    /// Checks an event. Returns its number, its place, and how often it was delivered before.
    fn check(&self, events: &Events, value: &Value) -> Result<(usize, u64, u64), String> {
        let (number, event) = events.find(value)?;
        if !self.subscription.delivers(&event) {
            return Err(format!("was given {value}, which it does not deliver"));
        }
        let number_at = |name: &str| value["delivery"][name].as_u64();
        let place = if self.subscription.is_of_stream() { &value["version"] } else { &value["position"] };
        match (number_at("place"), number_at("earlier")) {
            (Some(at), Some(earlier)) if *place == at => Ok((number, at, earlier)),
            _ => Err(format!("was given {value}, whose delivery does not fit its place")),
        }
    }

    /// Records what a consumer is about to say.
    pub(crate) fn settling(&self, session: u32, taken: &[Taken]) {
        let mut state = self.state();
        let begun = self.clock.now();
        for Taken { number, decision, .. } in taken {
            let seen = state.seen.entry(*number).or_default();
            if *decision == Decision::Retry {
                seen.retried += 1;
                continue;
            }
            let parked = *decision == Decision::Park;
            seen.settlements.push(Settlement { session, begun, confirmed: None, parked });
        }
    }

    /// Records that the host confirmed what was said in a session.
    pub(crate) fn settled(&self, session: u32, taken: impl Iterator<Item = Taken>) {
        let mut state = self.state();
        let confirmed = Some(self.clock.now());
        for Taken { number, .. } in taken {
            let seen = state.seen.entry(number).or_default();
            let last = seen.settlements.iter_mut().rev().find(|settlement| settlement.session == session);
            if let Some(settlement) = last {
                settlement.confirmed = confirmed;
            }
        }
    }

    /// Looks at what is known about each event.
    pub(crate) fn known<T>(&self, events: &[Event], look: impl FnOnce(Known<'_>) -> T) -> T {
        look(Known { subscription: &self.subscription, events, seen: &self.state().seen })
    }

    /// What was seen at once to be wrong.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }
}
