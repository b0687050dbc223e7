//! Measures what it costs to pass values between the host and a guest: batches in several forms, and a gateway's handler
//! that is resumed or run again. First `cargo xtask components tests/crossing-probe`, then
//! `cargo bench --workspace --bench crossing`.
//!
//! Figures are medians of processor time, of rounds in which the forms are interleaved. The guest decides as a streams
//! component does, but reads nothing: that would cost the same in each form.
#![allow(clippy::print_stdout)] // a benchmark is for the person who runs it

#[path = "crossing/plan.rs"]
mod plan;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ResourceLimiter, Store,
    UpdateDeadline,
};

#[allow(missing_docs, clippy::wildcard_imports, unreachable_pub)] // generated
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../tests/guests/crossing-probe/wit",
        exports: { default: async },
        require_store_data_send: true,
    });
}

use bindings::Crossing;
use bindings::exports::tests::crossing::batches::{Append, Appends, Form, Ids};
use bindings::exports::tests::crossing::handler::{Form as Handler, Header, Placed, Request, Step};
use plan::{Batches, Size};

/// The allocator of the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 61;
/// How long one measurement takes.
const ROUND: Duration = Duration::from_millis(2);

fn main() -> wasmtime::Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let engine = engine()?;
    let component = Component::from_file(&engine, target.join("components/tests/crossing-probe.wasm"))?;
    let bench = Bench { engine, component };
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        bench.batches(1, 1, Ids::Each).await?;
        bench.batches(32, 1, Ids::Each).await?;
        for ids in [Ids::Each, Ids::Stamped, Ids::Together] {
            bench.batches(8, 100, ids).await?;
        }
        bench.handlers(1).await?;
        bench.handlers(100).await
    })
}

/// An engine like the host's (`src/engine.rs`), for few instances.
fn engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(16).total_memories(16).total_tables(32).total_stacks(16);
    pool.max_memory_size(1 << 30);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .cranelift_opt_level(OptLevel::Speed);
    let engine = Engine::new(&config)?;
    let ticking = engine.clone();
    std::thread::spawn(move || {
        loop {
            ticking.increment_epoch();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    Ok(engine)
}

/// Bytes of an instance's memory.
struct Memory(usize);

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.0 = desired;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

struct Bench {
    engine: Engine,
    component: Component,
}

impl Bench {
    async fn guest(&self) -> wasmtime::Result<Guest> {
        let mut store = Store::new(&self.engine, Memory(0));
        store.limiter(|memory| memory);
        store.set_hostcall_fuel(32 << 20);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        let linker = Linker::new(&self.engine);
        let crossing = Crossing::instantiate_async(&mut store, &self.component, &linker).await?;
        Ok(Guest { store, crossing })
    }

    /// Decides so many appends of so many events, in each form. Prints the time of the whole, of a call that builds the
    /// batches and drops them, and the difference.
    async fn batches(&self, appends: usize, events: usize, ids: Ids) -> wasmtime::Result<()> {
        let Step::Pending(pending) = self.guest().await?.begin(Handler::States, &request(events)).await?
        else {
            unreachable!("the handler begins with a write")
        };
        let append =
            |number| Append { stream_id: format!("order-4711-{number:04}"), ..pending.write.clone() };
        let appends =
            Appends { appends: (0..appends).map(append).collect(), now: 1_764_000_000_000_000, ids };
        let mut rows = Vec::new();
        for form in [
            Form::Nothing,
            Form::Typed,
            Form::LogPacked,
            Form::PutsPacked,
            Form::EntriesPacked,
            Form::Packed,
            Form::Flat,
        ] {
            rows.push((form, self.guest().await?, Times::default(), Times::default()));
        }
        let expected = rows[1].1.decide(Form::Typed, &appends).await?;
        for _ in 0..ROUNDS {
            for (form, guest, built, decided) in &mut rows {
                built.measure(async || guest.build(*form, &appends).await).await?;
                decided
                    .measure(async || {
                        let size = guest.decide(*form, &appends).await?;
                        assert!(*form == Form::Nothing || size == expected, "all forms say the same");
                        Ok(())
                    })
                    .await?;
            }
        }
        let bytes = pending.write.events.len() / events;
        println!("\nappends: {}; events of each: {events}, of {bytes} bytes; {ids:?}", appends.appends.len());
        println!("{:22} {:>9} {:>9} {:>9} {:>9} {:>9}", "us", "all", "an event", "guest", "return", "memory");
        for (form, guest, built, decided) in rows {
            let (built, all, memory) = (built.median(), decided.median(), guest.store.data().0 >> 10);
            let event = all / (appends.appends.len() * events) as f64;
            let form = format!("{form:?}").replace("Form::", "");
            println!("{form:22} {all:>9.2} {event:>9.3} {built:>9.2} {:>9.2} {memory:>5} KiB", all - built);
        }
        Ok(())
    }

    /// Handles a request to append so many events, in each form.
    async fn handlers(&self, events: usize) -> wasmtime::Result<()> {
        let request = request(events);
        let mut rows = Vec::new();
        for form in
            [Handler::States, Handler::RerunOfToken, Handler::RerunOfRequest, Handler::RerunWithoutArguments]
        {
            rows.push((form, self.guest().await?, Times::default(), Times::default()));
        }
        for _ in 0..ROUNDS {
            for (form, guest, begun, handled) in &mut rows {
                begun.measure(async || guest.begin(*form, &request).await.map(drop)).await?;
                handled.measure(async || guest.handle(*form, &request).await).await?;
            }
        }
        println!("\nrequest: {events} events, {} bytes", request.body.len());
        println!("{:22} {:>9} {:>9} {:>9} {:>9}", "us", "all", "begin", "resume", "memory");
        for (form, guest, begun, handled) in rows {
            let (begun, all, memory) = (begun.median(), handled.median(), guest.store.data().0 >> 10);
            let form = format!("{form:?}").replace("Form::", "");
            println!("{form:22} {all:>9.2} {begun:>9.2} {:>9.2} {memory:>5} KiB", all - begun);
        }
        Ok(())
    }
}

/// An instance.
struct Guest {
    store: Store<Memory>,
    crossing: Crossing,
}

impl Guest {
    /// Builds batches that are not returned.
    async fn build(&mut self, form: Form, appends: &Appends) -> wasmtime::Result<()> {
        self.crossing.tests_crossing_batches().call_build(&mut self.store, form, appends).await
    }

    /// Decides, and makes of the batches what a committer needs.
    async fn decide(&mut self, form: Form, appends: &Appends) -> wasmtime::Result<Size> {
        let (guest, store) = (self.crossing.tests_crossing_batches(), &mut self.store);
        Ok(match form {
            Form::Nothing => guest.call_build(store, form, appends).await.map(|()| Size::default())?,
            Form::Typed => black_box(guest.call_decide_typed(store, appends).await?.plan()).size(),
            Form::LogPacked => black_box(guest.call_decide_log_packed(store, appends).await?.plan()).size(),
            Form::PutsPacked => black_box(guest.call_decide_puts_packed(store, appends).await?.plan()).size(),
            Form::EntriesPacked => {
                black_box(guest.call_decide_entries_packed(store, appends).await?.plan()).size()
            }
            Form::Packed => black_box(guest.call_decide_packed(store, appends).await?.plan()).size(),
            Form::Flat => black_box(guest.call_decide_flat(store, appends).await?.plan()).size(),
        })
    }

    async fn begin(&mut self, form: Handler, request: &Request) -> wasmtime::Result<Step> {
        self.crossing.tests_crossing_handler().call_begin(&mut self.store, form, request).await
    }

    /// Handles a request, whose call has its outcome at once.
    async fn handle(&mut self, form: Handler, request: &Request) -> wasmtime::Result<()> {
        let Step::Pending(pending) = self.begin(form, request).await? else {
            unreachable!("the handler begins with a write")
        };
        let stream_id = pending.write.stream_id;
        let outcome = Ok(Placed { stream_id, first_version: 42, last_version: 42, position: 1_000_000 });
        let (guest, store) = (self.crossing.tests_crossing_handler(), &mut self.store);
        let step = match form {
            Handler::States | Handler::RerunOfToken => {
                guest.call_resume(store, form, &pending.token, &outcome).await?
            }
            Handler::RerunOfRequest | Handler::RerunWithoutArguments => {
                guest.call_run_again(store, form, request, &[outcome]).await?
            }
        };
        let Step::Respond(response) = step else { unreachable!("the handler ends with a response") };
        assert_eq!(response.status, 200);
        Ok(())
    }
}

/// Of this thread, so that it does not matter what else the machine does.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The times of a call, one of each round.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// Repeats a call for a round.
    async fn measure(&mut self, mut call: impl AsyncFnMut() -> wasmtime::Result<()>) -> wasmtime::Result<()> {
        let (end, begin, mut calls) = (Instant::now() + ROUND, processor_time(), 0);
        while calls == 0 || Instant::now() < end {
            call().await?;
            calls += 1;
        }
        self.0.push((processor_time() - begin) / calls);
        Ok(())
    }

    /// Microseconds.
    fn median(mut self) -> f64 {
        self.0.sort_unstable();
        self.0[self.0.len() / 2].as_secs_f64() * 1e6
    }
}

/// A request to append events. Each has about 330 bytes in its envelope, and one or two tags.
fn request(events: usize) -> Request {
    let text = "x".repeat(165);
    let event = |number: usize| {
        let tag =
            if number.is_multiple_of(2) { String::new() } else { format!(r#","region:{}""#, number % 4) };
        format!(r#"{{"id":"7d444840-9dc0-11d1-b245-5ffd{number:08}","type":"order-line-added","#)
            + &format!(r#""data":{{"line":{number},"text":"{text}"}},"tags":["order:4711"{tag}]}}"#)
    };
    let events: Vec<_> = (0..events).map(event).collect();
    let headers = [("host", "127.0.0.1:4000"), ("accept", "*/*"), ("content-type", "application/json")];
    Request {
        id: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".into(),
        method: "POST".into(),
        path: "/streams/order-4711-0000/append".into(),
        headers: headers.map(|(name, value)| Header { name: name.into(), value: value.into() }).into(),
        body: format!(r#"{{"events":[{}]}}"#, events.join(",")).into_bytes(),
    }
}
