//! The one wasmtime engine of the process, and what is linked into its instances.

use std::path::PathBuf;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Cache, CacheConfig, Config, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel,
    PoolingAllocationConfig,
};

use crate::bindings;
use crate::limits::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use crate::state::State;

/// Milliseconds between two engine ticks: how late a deadline may be noticed, and how long a guest runs before it
/// makes way for others.
pub const TICK_MS: u64 = 10;

/// Component instances of the whole process at a time. Address space is what they cost while idle: a memory slot
/// of 4 GiB each, which spares bounds checks, makes 32 TiB of the 128 TiB that a process has. The stores' limits
/// must add up to no more, so that none of them can take another's.
pub const INSTANCES_MAX: u32 = 8_000;

/// Core instances of one component. Toolchains differ: one to four from Rust, 43 from Python, hundreds where many
/// libraries are linked. What they cost is bytes, which have a bound of their own.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 10_000;

/// Bytes of the engine's own records of one component instance, those of its core instances included: functions, globals,
/// handles' types. A component from Python has some 200 KiB.
const COMPONENT_INSTANCE_BYTES_MAX: usize = 2 << 20;

/// Linear memories and tables of one component: one of each is usual, an adapter adds one.
const MEMORIES_PER_COMPONENT_MAX: u32 = 4;
const TABLES_PER_COMPONENT_MAX: u32 = 8;

/// Bytes of wasm stack and of the whole fiber stack. The difference is what host functions have: overflowing
/// there would end the process, so it is large and host functions do not recurse.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Compiled code is tied to this: the full version, because the engine itself compares only the major one and
/// code compiled by a patch release with a miscompilation must not be used by the next.
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

/// The engine with its linkers. One for the process; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) persistence: Linker<State>,
    pub(crate) gateway: Linker<State>,
}

impl Engine {
    /// Makes the engine and starts its ticking thread, which ends with the engine's last clone.
    /// With `cache`, compiled components are kept in that folder, which only the host's user may write: its
    /// content is run as machine code.
    ///
    /// # Errors
    ///
    /// When address space for the instance pool or the cache's folder cannot be had.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(&config(cache)?)?;
        start_ticking(&wasmtime);
        let persistence = persistence_linker(&wasmtime)?;
        let gateway = gateway_linker(&wasmtime)?;
        Ok(Self { wasmtime, persistence, gateway })
    }
}

fn config(cache: Option<PathBuf>) -> Result<Config, EngineError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        // Only counted: what bounds them is the number of component instances.
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

/// Moves the engine's epoch on. A thread of its own, because a guest that does not yield also keeps tokio's timers
/// from running.
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
    bindings::keyspaces::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    bindings::clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    add_common(&mut linker)?;
    Ok(linker)
}

fn gateway_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    bindings::streams::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    bindings::snapshots::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    bindings::history::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    bindings::live::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    add_common(&mut linker)?;
    Ok(linker)
}

/// What every kind is offered. WASI is there whole, because toolchains link it whole; the instance's state says that there
/// is nothing in it (see [`State::store`]).
fn add_common(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::logging::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    bindings::config::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    bindings::types::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
