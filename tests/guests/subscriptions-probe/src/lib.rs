//! The subscriptions component that ships with exesdb, whose dispatchers misbehave for tests: they panic when they look at an event
//! of the type `poison`, whether their subscription selects it or not, and some of them do something else, as the name of the
//! subscription says. A dispatcher does not look at what was parked before it began. Everything else behaves like the original.
//!
//! | name begins with | a step |
//! |---|---|
//! | `probe-loop` | loops forever at an event of the type `poison` |
//! | `probe-broken` | panics if it is given any event |
//! | `probe-ahead` | reads from a place after the next one |
//! | `probe-much` | reads more events than a page has |
//! | `probe-two-reads` | reads while a read is open |
//! | `probe-nobody` | delivers to a consumer that is not there |
//! | `probe-flood` | delivers more than a consumer's window |
//! | `probe-two-stores` | stores while a store is open |
//! | `probe-foreign` | stores the checkpoint of another subscription |
//! | `probe-epoch` | stores with another epoch |
//! | `probe-count` | counts a word that nobody said |

use std::collections::BTreeSet;
use std::hint::black_box;

use exesdb_sdk::packed::{Envelope, Events};
use exesdb_sdk::subscriptions::{
    Advance, Beginning, Delivered, Delivery, Dispatch, DispatcherState, GuestDispatcher, Input, Outcome,
    Output, Place, Reading, Subscribed,
};
use exesdb_subscriptions::{InstanceDispatcher, Subscriptions};

struct Probe;

/// The way in which a dispatcher misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    Loop,
    Broken,
    Ahead,
    Much,
    TwoReads,
    Nobody,
    Flood,
    TwoStores,
    Foreign,
    Epoch,
    Count,
}

const MISDEEDS: [(&str, Misdeed); 11] = [
    ("probe-loop", Misdeed::Loop),
    ("probe-broken", Misdeed::Broken),
    ("probe-ahead", Misdeed::Ahead),
    ("probe-much", Misdeed::Much),
    ("probe-two-reads", Misdeed::TwoReads),
    ("probe-nobody", Misdeed::Nobody),
    ("probe-flood", Misdeed::Flood),
    ("probe-two-stores", Misdeed::TwoStores),
    ("probe-foreign", Misdeed::Foreign),
    ("probe-epoch", Misdeed::Epoch),
    ("probe-count", Misdeed::Count),
];

fn misdeed(name: &str) -> Option<Misdeed> {
    MISDEEDS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, misdeed)| *misdeed)
}

struct ProbeDispatcher {
    misdeed: Option<Misdeed>,
    name: String,
    epoch: u64,
    is_of_stream: bool,
    parked: BTreeSet<Place>,
    original: InstanceDispatcher,
}

impl Dispatch for Probe {
    type Dispatcher = ProbeDispatcher;
}

impl GuestDispatcher for ProbeDispatcher {
    fn new(beginning: Beginning) -> Self {
        let source = &beginning.subscription.selector.source;
        Self {
            is_of_stream: matches!(source, Subscribed::OneStream(_)),
            parked: beginning.parked.iter().copied().collect(),
            misdeed: misdeed(&beginning.subscription.name),
            name: beginning.subscription.name.clone(),
            epoch: beginning.epoch,
            original: InstanceDispatcher::new(beginning),
        }
    }

    fn step(&self, now: u64, inputs: Vec<Input>) -> Outcome {
        let is_given = self.looks_at(&inputs, |_| true);
        let is_poison = self.looks_at(&inputs, |event| event.event_type == "poison");
        if is_poison && self.misdeed == Some(Misdeed::Loop) {
            loop {
                black_box(());
            }
        }
        assert!(!is_poison, "the probe traps, as it was told");
        let mut outcome = self.original.step(now, inputs);
        let outputs = &mut outcome.outputs;
        let advance = |name: &str, epoch| {
            let (checkpoint, parked, unparked) = (1, Vec::new(), Vec::new());
            Output::Store(Advance { name: name.to_owned(), epoch, checkpoint, parked, unparked })
        };
        match self.misdeed {
            Some(Misdeed::Broken) if is_given => panic!("the probe is broken, as it was told"),
            Some(Misdeed::Ahead) => outputs.push(Output::Read(Reading { from: 1_000, count: 1 })),
            Some(Misdeed::Much) => outputs.push(Output::Read(Reading { from: 0, count: u32::MAX })),
            Some(Misdeed::TwoReads) => {
                let reads: Vec<Output> =
                    outputs.iter().filter(|output| matches!(output, Output::Read(_))).cloned().collect();
                outputs.extend(reads);
            }
            Some(Misdeed::Nobody) => outputs.push(delivery(u64::MAX, 1)),
            Some(Misdeed::Flood) => {
                let consumer = outputs.iter().find_map(|output| match output {
                    Output::Deliver(delivery) => Some(delivery.consumer),
                    _ => None,
                });
                outputs.extend(consumer.map(|consumer| delivery(consumer, 10_001)));
            }
            Some(Misdeed::TwoStores) => {
                outputs.extend([advance(&self.name, self.epoch), advance(&self.name, self.epoch)]);
            }
            Some(Misdeed::Foreign) => outputs.push(advance("fine", self.epoch)),
            Some(Misdeed::Epoch) => outputs.push(advance(&self.name, u64::MAX)),
            Some(Misdeed::Count) => outcome.counts.push(1),
            None | Some(Misdeed::Broken | Misdeed::Loop) => {}
        }
        outcome
    }

    fn state(&self) -> DispatcherState {
        self.original.state()
    }
}

impl ProbeDispatcher {
    /// Whether one of the events of a page is such a one, and was not parked before.
    fn looks_at(&self, inputs: &[Input], is: fn(&Envelope<'_>) -> bool) -> bool {
        inputs.iter().any(|input| {
            let Input::Page(fed) = input else { return false };
            Events::new(&fed.events).flatten().any(|(position, event)| {
                let place = if self.is_of_stream { event.version } else { position };
                is(&event) && !self.parked.contains(&place)
            })
        })
    }
}

fn delivery(consumer: u64, count: u64) -> Output {
    let events = (0..count).map(|place| Delivered { place, earlier: 0 }).collect();
    Output::Deliver(Delivery { consumer, events })
}

exesdb_sdk::persistence_plugin!(Probe: dispatch);
exesdb_sdk::persistence_plugin!(Subscriptions: subscriptions, maintenance);
// It has the original's description, because it uses the original's state.
exesdb_sdk::describe_component!(exesdb_subscriptions::describe);

#[cfg(test)]
mod tests {
    use super::{Misdeed, misdeed};

    #[test]
    fn a_name_chooses_the_misdeed() {
        assert_eq!(misdeed("orders"), None);
        assert_eq!(misdeed("probe-fine"), None);
        assert_eq!(misdeed("probe-loop"), Some(Misdeed::Loop));
        assert_eq!(misdeed("probe-two-stores-7"), Some(Misdeed::TwoStores));
    }
}
