//! The subscriptions: what each selects, how it delivers, and how its consumers behave.

use serde_json::{Value, json};

use crate::load::Event;

/// How many there are.
const SUBSCRIPTIONS: usize = 50;

/// Which consumer gets an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    RoundRobin,
    DispatchToSingle,
    Pinned,
    PinnedByCorrelation,
}

const STRATEGIES: [(Strategy, &str); 4] = [
    (Strategy::RoundRobin, "round_robin"),
    (Strategy::DispatchToSingle, "dispatch_to_single"),
    (Strategy::Pinned, "pinned"),
    (Strategy::PinnedByCorrelation, "pinned_by_correlation"),
];

/// How consumers get events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Server-sent events.
    Stream,
    /// One batch with each request.
    Batch,
    /// The command `exesdb consume`.
    Command,
}

/// What a consumer does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Acknowledge,
    Skip,
    Park,
    /// The first time; then it is acknowledged.
    Retry,
}

/// A subscription.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) name: String,
    pub(crate) selector: Value,
    pub(crate) selects: fn(&Event) -> bool,
    pub(crate) strategy: Strategy,
    pub(crate) settings: Value,
    pub(crate) ack_timeout_ms: u64,
    pub(crate) transport: Transport,
    pub(crate) consumers: usize,
    pub(crate) window: usize,
    /// An event whose number has this rest in a division by [`PARKED_EACH`] and so on is not just acknowledged; none if all
    /// are.
    pub(crate) refuses: Option<usize>,
    /// Its consumers never fail by themselves, and its events are parked soon: so a park would show that what the host has ended
    /// counts against an event.
    pub(crate) is_steady: bool,
}

/// How long a consumer may take that must not fail because the machine is busy: far longer than a storm and a quiet time.
const STEADY_TIMEOUT_MS: u64 = 600_000;

const PARKED_EACH: usize = 41;
const SKIPPED_EACH: usize = 23;
const RETRIED_EACH: usize = 13;

impl Subscription {
    /// Whether the places of its events are versions.
    pub(crate) fn is_of_stream(&self) -> bool {
        self.selector["stream"].is_string()
    }

    /// Whether it selects an event, and its dispatcher can be given it.
    pub(crate) fn delivers(&self, event: &Event) -> bool {
        (self.selects)(event) && !event.is_poison()
    }

    /// Whether its dispatcher is given all events, of which its pattern selects.
    pub(crate) fn reads_all(&self) -> bool {
        self.selector.as_object().is_some_and(|selector| selector.keys().all(|key| key == "pattern"))
    }

    /// The place of an event that is stored there.
    pub(crate) fn place(&self, (version, position): (u64, u64)) -> u64 {
        if self.is_of_stream() { version } else { position }
    }

    /// Events with the same lane are delivered in order.
    pub(crate) fn lane<'a>(&self, event: &'a Event) -> Option<&'a str> {
        match self.strategy {
            Strategy::RoundRobin | Strategy::DispatchToSingle => None,
            Strategy::Pinned => Some(event.stream),
            Strategy::PinnedByCorrelation => Some(event.correlation.unwrap_or(event.stream)),
        }
    }

    /// What its consumers do with an event.
    pub(crate) fn decision(&self, number: usize) -> Decision {
        let Some(rest) = self.refuses else { return Decision::Acknowledge };
        let is_it = |each: usize| number % each == rest % each;
        if is_it(PARKED_EACH) {
            Decision::Park
        } else if is_it(SKIPPED_EACH) {
            Decision::Skip
        } else if is_it(RETRIED_EACH) {
            Decision::Retry
        } else {
            Decision::Acknowledge
        }
    }

    /// What creates it.
    pub(crate) fn request(&self) -> Value {
        json!({ "selector": self.selector, "settings": self.settings })
    }
}

/// A selector, and the events that it selects.
type Selection = (Value, fn(&Event) -> bool);

fn selections() -> Vec<Selection> {
    vec![
        (json!({}), |_| true),
        (json!({ "stream": "order-3" }), |event| event.stream == "order-3"),
        (json!({ "query": [{ "types": ["placed", "paid"] }] }), |event| {
            ["placed", "paid"].contains(&event.kind)
        }),
        (json!({ "query": [{ "tags": ["t1"] }] }), |event| event.tag == "t1"),
        (json!({ "type_pattern": "^(sent|canc)" }), |event| ["sent", "cancelled"].contains(&event.kind)),
        (json!({ "stream_prefixes": ["invoice-"] }), |event| event.stream.starts_with("invoice-")),
        (json!({ "pattern": { "data": { "to": { "country": "BE" } } } }), |event| event.country == "BE"),
        (json!({ "pattern": { "type": "sent", "tags": ["t2"] } }), |event| {
            event.kind == "sent" && event.tag == "t2"
        }),
        (json!({ "stream": "order-1", "pattern": { "data": { "amount": 3 } } }), |event| {
            event.stream == "order-1" && event.amount == 3
        }),
        (json!({ "stream_pattern": "-[13]$" }), |event| event.stream.ends_with(['1', '3'])),
        (
            json!({ "query": [{ "types": ["sent"], "tags": ["t0"] }, { "tags": ["t3"] }], "pattern": { "data": { "to": {} } } }),
            |event| event.kind == "sent" && event.tag == "t0" || event.tag == "t3",
        ),
        (json!({ "stream": "invoice-2" }), |event| event.stream == "invoice-2"),
        (json!({ "pattern": { "metadata": { "$correlationId": "c1" } } }), |event| {
            event.correlation == Some("c1")
        }),
    ]
}

/// All subscriptions of the test. Their kinds are combined by numbers without a common divisor, so that no two are alike.
pub(crate) fn subscriptions() -> Vec<Subscription> {
    let selections = selections();
    let subscription = |at: usize| {
        let (selector, selects) = selections[at % selections.len()].clone();
        let (strategy, strategy_name) = STRATEGIES[at % STRATEGIES.len()];
        // Only of a stream the host knows who has ended it: what is lost of a batch is lost until its time is over.
        let is_steady = at % 7 == 5;
        let transport = match at % 7 {
            0 | 2 | 5 => Transport::Stream,
            6 => Transport::Command,
            _ => Transport::Batch,
        };
        // Who dies without a connection that is cut is noticed by its timeout alone.
        let ack_timeout_ms = match transport {
            Transport::Stream if is_steady => STEADY_TIMEOUT_MS,
            Transport::Stream => [4_000, 10_000, 30_000][at % 3],
            Transport::Batch => [2_000, 4_000][at % 2],
            Transport::Command => 4_000,
        };
        let window = [5, 1, 20, 100, 300][at % 5];
        Subscription {
            name: format!("s{at}-{strategy_name}"),
            selector,
            selects,
            strategy,
            settings: json!({
                "strategy": strategy_name,
                "ack_timeout_ms": ack_timeout_ms,
                // Only what consumers park is parked, although they fail.
                "retries_max": (if is_steady { at % 3 } else { 1_000 }),
                "consumers_max": 1_000,
                "buffer_events": ([1, 30, 1_000][at % 3]),
                "checkpoint_events_max": ([1, 10, 1_000][(at / 3) % 3]),
                "checkpoint_ms": ([10, 200, 1_000][(at / 2) % 3]),
                "checkpoint_events_min": ([0, 10][at % 2]),
            }),
            ack_timeout_ms,
            transport,
            consumers: 1 + at % 3,
            window: if transport == Transport::Batch { window.max(5) } else { window },
            refuses: (transport != Transport::Command && !is_steady && at.is_multiple_of(2)).then_some(at),
            is_steady,
        }
    };
    (0..SUBSCRIPTIONS).map(subscription).collect()
}
