//! The process's one wasmtime engine, and the host functions that components may import.

use std::path::PathBuf;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Cache, CacheConfig, Config, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel,
    PoolingAllocationConfig,
};

use crate::bindings::{gateway, store};
use crate::limits::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX, TICK_MS, WASM_STACK_BYTES};
use crate::state::State;

/// Component instances of the whole process at a time. An idle one costs address space: a memory slot of 4 GiB each, which
/// spares bounds checks, makes 64 TiB of the 128 TiB that a process has. The sum of the stores' limits must not
/// exceed this, so that no store can take another's instances.
pub const INSTANCES_MAX: u32 = 16_000;

/// Core instances of one component. Rust makes one to four, Python 43, and many linked libraries make hundreds. Their
/// memory has a limit of its own.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 10_000;

/// Bytes of the engine's own data about one component instance, its core instances included: functions, globals, handle
/// types. A component made from Python has about 200 KiB.
const COMPONENT_INSTANCE_BYTES_MAX: usize = 2 << 20;

/// Linear memories and tables of one component: usually one of each; an adapter adds one.
const MEMORIES_PER_COMPONENT_MAX: u32 = 4;
const TABLES_PER_COMPONENT_MAX: u32 = 8;

/// Bytes of the whole fiber stack. Host functions use what the wasm stack leaves: an overflow there would end the process,
/// so that part is large and host functions do not recurse.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// The version that cached code is tied to: the full one, because the engine compares only the major version, and the
/// next patch release must not run code that a faulty compiler made.
const CODE_VERSION: &str = "wasmtime-48.0.8/exesdb-1";

/// Why the engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the WebAssembly engine did not start: {reason}. If it speaks of memory, raise the limits on address space (ulimit -v) or vm.overcommit_memory"
)]
pub struct EngineError {
    reason: String,
}

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self { reason: format!("{error:#}") }
    }
}

/// The engine with its linkers. There is one per process; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) persistence: Linker<State>,
    pub(crate) gateway: Linker<State>,
    pub(crate) sink: Linker<State>,
}

impl Engine {
    /// Makes the engine and starts its tick thread, which ends with the engine's last clone. With `cache`, compiled
    /// components are kept in that folder. Only the host's user may write there: its content is run as machine code.
    ///
    /// # Errors
    ///
    /// There is not enough address space for the instance pool, or the cache folder cannot be used.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(&config(cache)?)?;
        start_ticking(&wasmtime);
        let persistence = persistence_linker(&wasmtime)?;
        let gateway = gateway_linker(&wasmtime)?;
        let sink = sink_linker(&wasmtime)?;
        Ok(Self { wasmtime, persistence, gateway, sink })
    }
}

fn config(cache: Option<PathBuf>) -> Result<Config, EngineError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        // Not a real limit: the number of component instances bounds them.
        .total_core_instances(INSTANCES_MAX * CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_component_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
        .max_core_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_stacks(INSTANCES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_memory_size(MEMORY_BYTES_MAX);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable)
        .wasm_memory64(false)
        .module_version(ModuleVersionStrategy::Custom(CODE_VERSION.into()))?;
    if let Some(folder) = cache {
        let mut settings = CacheConfig::new();
        settings.with_directory(folder);
        config.cache(Some(Cache::new(settings)?));
    }
    Ok(config)
}

/// Increments the engine's epoch on a thread of its own, because a guest that does not yield also stops tokio's timers.
fn start_ticking(engine: &wasmtime::Engine) {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(Duration::from_millis(TICK_MS));
        }
    };
    std::thread::Builder::new()
        .name("engine-ticks".into())
        .spawn(tick)
        .expect("the system has a thread for the engine's ticks");
}

fn persistence_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    store::views::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::logging::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::config::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::fields::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::places::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::batches::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::decisions::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::snapshot_types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::subscription_types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    add_wasi(&mut linker)?;
    Ok(linker)
}

fn gateway_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    gateway::store::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    gateway::requests::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::logging::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::config::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::fields::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::places::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::snapshot_types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    add_wasi(&mut linker)?;
    Ok(linker)
}

fn sink_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    store::logging::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::config::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::fields::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::places::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    store::types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    add_wasi(&mut linker)?;
    Ok(linker)
}

/// All of WASI is linked, because toolchains import all of it; the instance's state has no files, sockets or environment,
/// but for what a sink was granted (see [`State::store`]).
fn add_wasi(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
