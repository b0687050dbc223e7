//! The random operations. Numbers of events and consumers are taken modulo how many there are.

use proptest::prelude::{Just, Strategy, any};
use proptest::{prop_oneof, sample};

/// The number of streams that are appended to.
pub(super) const STREAMS: usize = 4;

/// The number of subscriptions: see [`super::model::SELECTORS`].
pub(super) const SUBSCRIPTIONS: usize = super::model::SELECTORS.len();

/// Consumers of each subscription.
pub(super) const CONSUMERS: usize = 3;

/// How a consumer refuses an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Retry,
    Park,
    Skip,
}

/// What is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Emitter,
    Pool,
    Readers,
    EmitterSystem,
    Gateway,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Appends events, whose types take turns.
    Append {
        stream: usize,
        events: usize,
    },
    /// A consumer asks for a batch. One that is not there joins, with this window.
    Take {
        subscription: usize,
        consumer: usize,
        window: usize,
    },
    /// A consumer acknowledges so many of its events, from this one on.
    Acknowledge {
        subscription: usize,
        consumer: usize,
        from: usize,
        events: usize,
    },
    Refuse {
        subscription: usize,
        consumer: usize,
        event: usize,
        refusal: Refusal,
    },
    Leave {
        subscription: usize,
        consumer: usize,
    },
    /// All that is parked is to be delivered once more.
    Replay {
        subscription: usize,
    },
    /// All that is parked is forgotten.
    Truncate {
        subscription: usize,
    },
    /// Nothing is delivered until it is resumed, which is at once: the emitter ends, and another one begins.
    Pause {
        subscription: usize,
    },
    Kill {
        part: Part,
        subscription: usize,
    },
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let refusal = sample::select(vec![Refusal::Retry, Refusal::Park, Refusal::Skip]);
    let part =
        sample::select(vec![Part::Emitter, Part::Pool, Part::Readers, Part::EmitterSystem, Part::Gateway]);
    let subscription = 0..SUBSCRIPTIONS;
    let consumer = 0..CONSUMERS;
    prop_oneof![
        6 => (0..STREAMS, 1..8_usize).prop_map(|(stream, events)| Operation::Append { stream, events }),
        12 => (subscription.clone(), consumer.clone(), 1..9_usize)
            .prop_map(|(subscription, consumer, window)| Operation::Take { subscription, consumer, window }),
        10 => (subscription.clone(), consumer.clone(), any::<usize>(), 1..9_usize).prop_map(
            |(subscription, consumer, from, events)| Operation::Acknowledge { subscription, consumer, from, events }
        ),
        5 => (subscription.clone(), consumer.clone(), any::<usize>(), refusal).prop_map(
            |(subscription, consumer, event, refusal)| Operation::Refuse { subscription, consumer, event, refusal }
        ),
        2 => (subscription.clone(), consumer)
            .prop_map(|(subscription, consumer)| Operation::Leave { subscription, consumer }),
        2 => subscription.clone().prop_map(|subscription| Operation::Replay { subscription }),
        1 => subscription.clone().prop_map(|subscription| Operation::Truncate { subscription }),
        1 => subscription.clone().prop_map(|subscription| Operation::Pause { subscription }),
        1 => (part, subscription).prop_map(|(part, subscription)| Operation::Kill { part, subscription }),
        1 => Just(Operation::Append { stream: 0, events: 30 }),
    ]
}
