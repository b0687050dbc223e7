//! Measures what a dispatcher of durable subscriptions costs as a component: pages into the guest, deliveries out of it, and
//! acknowledgements back. First `cargo xtask components subscriptions`, then `cargo bench --workspace --bench dispatch`.
//!
//! Figures are the time of all on one thread, without packing the pages. Nothing is read, stored or sent.
#![allow(clippy::print_stdout)] // a benchmark is for the person who runs it

use std::path::Path;
use std::time::{Duration, Instant};

use exesdb_packed::{EventParts, push_event};
use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{Config, Engine, Store};

#[allow(missing_docs, clippy::wildcard_imports, unreachable_pub)] // generated
mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/host", "../../wit/storage", "../../wit/store"],
        inline: "
            package exesdb:bench-dispatch;
            world dispatching {
                export exesdb:store/dispatch@0.2.0;
            }
        ",
        world: "exesdb:bench-dispatch/dispatching",
        exports: { default: async },
        require_store_data_send: true,
    });
}

use bindings::Dispatching;
use bindings::exesdb::store::subscription_types::{
    PoisonPolicy, Progress, Selector, Settings, Strategy, Subscribed, Subscription, SubscriptionState,
};
use bindings::exports::exesdb::store::dispatch::{
    Beginning, EventNames, Fed, Guest, Input, Joining, Output, Settling,
};

/// The allocator of the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 300_000;
const ROUNDS: usize = 5;

/// A way in which a subscription is used.
struct Case {
    name: &'static str,
    strategy: Strategy,
    pattern: Option<&'static str>,
    consumers: u64,
    window: u32,
}

fn main() -> wasmtime::Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let engine = Engine::new(Config::new().concurrency_support(false))?;
    let component = Component::from_file(&engine, target.join("components/subscriptions.wasm"))?;
    let case =
        |name, strategy, pattern, consumers, window| Case { name, strategy, pattern, consumers, window };
    let cases = [
        case("one consumer, window 2,000", Strategy::RoundRobin, None, 1, 2_000),
        case("five consumers, window 1,000", Strategy::RoundRobin, None, 5, 1_000),
        case("five consumers, window 10", Strategy::RoundRobin, None, 5, 10),
        case("five consumers, pinned, window 1,000", Strategy::Pinned, None, 5, 1_000),
        case(
            "one consumer, a pattern that matches all",
            Strategy::RoundRobin,
            Some(r#"{"data":{"n":1}}"#),
            1,
            2_000,
        ),
    ];
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        for case in cases {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(run(&engine, &component, &case).await?);
            }
            rounds.sort_unstable();
            let each =
                rounds[ROUNDS / 2].as_secs_f64() * 1e6 / f64::from(u32::try_from(EVENTS).unwrap_or(u32::MAX));
            println!("{:<42} {each:>6.2} us for an event", case.name);
        }
        Ok(())
    })
}

/// The time in which all events are delivered and acknowledged.
async fn run(engine: &Engine, component: &Component, case: &Case) -> wasmtime::Result<Duration> {
    let mut linker: Linker<()> = Linker::new(engine);
    linker.define_unknown_imports_as_traps(component)?;
    let mut store = Store::new(engine, ());
    store.set_hostcall_fuel(32 << 20);
    let guest = Dispatching::instantiate_async(&mut store, component, &linker).await?;
    let guest: &Guest = guest.exesdb_store_dispatch();
    let dispatcher: ResourceAny = guest.dispatcher().call_constructor(&mut store, &beginning(case)).await?;
    let join = |consumer| Input::Joined(Joining { consumer, window: case.window, by_id: false });
    let mut inputs: Vec<Input> = (1..=case.consumers).map(join).collect();
    let (mut acknowledged, mut now, mut packing) = (0, 0, Duration::ZERO);
    let begun = Instant::now();
    while acknowledged < EVENTS {
        now += 100;
        let step = guest.dispatcher().call_step(&mut store, dispatcher, now, &inputs).await?;
        inputs.clear();
        for output in step.outputs {
            match output {
                Output::Read(reading) if reading.from < EVENTS => {
                    let packed = Instant::now();
                    let next = EVENTS.min(reading.from + u64::from(reading.count));
                    let events = page(reading.from..next);
                    packing += packed.elapsed();
                    inputs.push(Input::Page(Fed { from: reading.from, events, next }));
                }
                Output::Deliver(delivery) => {
                    acknowledged += delivery.events.len() as u64;
                    let places = delivery.events.iter().map(|event| event.place).collect();
                    let events = EventNames::Places(places);
                    inputs.push(Input::Acknowledged(Settling { consumer: delivery.consumer, events }));
                }
                Output::Store(_) => inputs.push(Input::Stored),
                _ => {}
            }
        }
    }
    Ok(begun.elapsed().saturating_sub(packing))
}

fn beginning(case: &Case) -> Beginning {
    let settings = Settings {
        strategy: case.strategy,
        poison: PoisonPolicy::Park,
        ack_timeout_ms: 30_000,
        retries_max: 10,
        consumers_max: 10,
        buffer_events: 2_000,
        checkpoint_events_max: 10_000,
        checkpoint_ms: 1_000,
        checkpoint_events_min: 1,
        options: Vec::new(),
    };
    let pattern = case.pattern.map(str::to_owned);
    let subscription = Subscription {
        name: "measured".to_owned(),
        selector: Selector { source: Subscribed::All(None), pattern },
        start: 0,
        settings,
        state: SubscriptionState::Active,
        progress: Progress { epoch: 1, checkpoint: 0, parked: 0 },
        created: 0,
        updated: 0,
    };
    Beginning { subscription, epoch: 1, parked: Vec::new() }
}

/// Events of 1,000 streams, of about 330 bytes each.
fn page(places: std::ops::Range<u64>) -> Vec<u8> {
    let data = format!(r#"{{"n":1,"text":"{}"}}"#, "x".repeat(180));
    let mut packed = Vec::new();
    for place in places {
        let parts = EventParts::<'_, String> {
            flags: exesdb_packed::DATA_IS_JSON,
            version: 0,
            created: 0,
            stream_id: &format!("order-4711-{:04}", place % 1_000),
            id: &format!("01234567-89ab-cdef-0123-{place:012}"),
            event_type: "order-placed",
            content_type: "application/json",
            tags: &[],
            data: data.as_bytes(),
            metadata: b"",
        };
        push_event(&mut packed, place, &parts).expect("it is short");
    }
    packed
}
