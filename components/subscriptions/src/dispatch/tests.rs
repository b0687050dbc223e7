//! The rules, as tables. `tests/deliveries.rs` has random courses.

mod consumers;
mod delivery;
mod storing;

use exesdb_sdk::packed::{DATA_IS_JSON, EventParts, METADATA_IS_JSON, push_event};
use exesdb_sdk::subscriptions::{
    Advance, Beginning, EventNames, Fed, Input, Joining, Leaving, Outcome, Output, PoisonPolicy, Progress,
    Reading, Refusal, Refusing, Resizing, Selector, Settings, Settling, Strategy, Subscribed, Subscription,
    SubscriptionState,
};

use super::Dispatcher;

const SECOND: u64 = 1_000_000;

fn settings(strategy: Strategy) -> Settings {
    Settings {
        strategy,
        poison: PoisonPolicy::Park,
        ack_timeout_ms: 10_000,
        retries_max: 2,
        consumers_max: 3,
        buffer_events: 20,
        checkpoint_events_max: 5,
        checkpoint_ms: 2_000,
        checkpoint_events_min: 1,
        options: Vec::new(),
    }
}

fn subscription(settings: Settings, source: Subscribed, pattern: Option<&str>) -> Subscription {
    Subscription {
        name: "n".to_owned(),
        selector: Selector { source, pattern: pattern.map(str::to_owned) },
        start: 0,
        settings,
        state: SubscriptionState::Active,
        progress: Progress { epoch: 7, checkpoint: 0, parked: 0 },
        created: 0,
        updated: 0,
    }
}

fn dispatcher(settings: Settings) -> Dispatcher {
    let subscription = subscription(settings, Subscribed::All(None), None);
    Dispatcher::new(Beginning { subscription, epoch: 7, parked: Vec::new() })
}

/// Events at these positions, each of the stream and the correlation that belong to it.
fn events(of: &[(u64, &str, &str)]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (position, stream, correlation) in of {
        let metadata = if correlation.is_empty() {
            String::new()
        } else {
            format!(r#"{{"$correlationId":"{correlation}"}}"#)
        };
        let data = format!(r#"{{"n":{position}}}"#);
        let id = format!("id-{position}");
        let parts = EventParts::<'_, String> {
            flags: DATA_IS_JSON | METADATA_IS_JSON,
            version: position + 100,
            created: 0,
            stream_id: stream,
            id: &id,
            event_type: "t",
            content_type: "application/json",
            tags: &[],
            data: data.as_bytes(),
            metadata: metadata.as_bytes(),
        };
        push_event(&mut packed, *position, &parts).unwrap();
    }
    packed
}

/// A page of the events from 0 to `count`, all of one stream.
fn page(from: u64, count: u64) -> Input {
    let all: Vec<_> = (from..from + count).map(|position| (position, "s", "")).collect();
    Input::Page(Fed { from, events: events(&all), next: from + count })
}

fn join(consumer: u64, window: u32) -> Input {
    Input::Joined(Joining { consumer, window, by_id: false })
}

fn resize(consumer: u64, window: u32) -> Input {
    Input::Resized(Resizing { consumer, window })
}

/// A consumer fails.
fn left(consumer: u64) -> Input {
    Input::Left(Leaving { consumer, failed: true })
}

fn left_by_itself(consumer: u64) -> Input {
    Input::Left(Leaving { consumer, failed: false })
}

fn acknowledge(consumer: u64, places: &[u64]) -> Input {
    Input::Acknowledged(Settling { consumer, events: EventNames::Places(places.to_vec()) })
}

fn refuse(consumer: u64, places: &[u64], refusal: Refusal) -> Input {
    Input::Refused(Refusing { consumer, events: EventNames::Places(places.to_vec()), refusal })
}

/// What was delivered: consumer, place, how often before.
fn delivered(outcome: &Outcome) -> Vec<(u64, u64, u32)> {
    let deliveries = outcome.outputs.iter().filter_map(|output| match output {
        Output::Deliver(delivery) => Some(delivery),
        _ => None,
    });
    deliveries
        .flat_map(|delivery| {
            delivery.events.iter().map(|event| (delivery.consumer, event.place, event.earlier))
        })
        .collect()
}

fn stored(outcome: &Outcome) -> Option<&Advance> {
    outcome.outputs.iter().find_map(|output| match output {
        Output::Store(advance) => Some(advance),
        _ => None,
    })
}

fn read(outcome: &Outcome) -> Option<Reading> {
    outcome.outputs.iter().find_map(|output| match output {
        Output::Read(reading) => Some(*reading),
        _ => None,
    })
}
