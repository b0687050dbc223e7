//! The instance pool of a gateway worker: which instances are kept warm, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::plugin::{GatewayPlugin, Indices};
use super::steps;
use crate::context::ComponentContext;
use crate::load::{LoadError, STARTED};
use crate::state::State;

/// Idle instances that a worker keeps, so that a burst of requests finds warm ones.
const IDLE_INSTANCES_MAX: usize = 32;

/// Bytes that an instance may have grown by and still be kept: four times what ours needs for a request of ordinary size.
/// The initial size does not count; it depends on the language: 1 MB in Rust, 13 MB in Python.
const IDLE_GROWTH_MAX: usize = 8 << 20;

/// Requests after which an instance is replaced, so that a guest's leaks are bounded. Each instance adds up to a tenth, so
/// that they are not all replaced at once.
const REQUESTS_PER_INSTANCE: u64 = 20_000;

/// The instances of one worker.
pub(super) struct Instances {
    plugin: Arc<GatewayPlugin>,
    context: Arc<ComponentContext>,
    path: Arc<str>,
    idle: Mutex<Idle>,
    /// Once set, no instance is kept.
    closed: AtomicBool,
}

/// Idle instances. The one that served last serves next, so that unneeded ones stay at the front.
#[derive(Default)]
struct Idle {
    warm: Vec<Warm>,
    /// The lowest number of idle instances since the last trim.
    fewest: usize,
}

impl Idle {
    fn take(&mut self) -> Option<Warm> {
        let warm = self.warm.pop();
        self.fewest = self.fewest.min(self.warm.len());
        warm
    }

    /// Removes instances that were idle since the last trim, but leaves one.
    fn trim(&mut self) -> Vec<Warm> {
        let unneeded = self.fewest.min(self.warm.len().saturating_sub(1));
        let removed = self.warm.drain(..unneeded).collect();
        self.fewest = self.warm.len();
        removed
    }
}

/// A warm instance.
pub(super) struct Warm {
    pub(super) store: Store<State>,
    pub(super) exports: Exports,
    requests_left: u64,
}

/// What an instance exports.
pub(super) enum Exports {
    Http(Proxy),
    Steps(steps::Exports),
}

impl Instances {
    pub(super) fn new(plugin: Arc<GatewayPlugin>, context: Arc<ComponentContext>, path: Arc<str>) -> Self {
        Self { plugin, context, path, idle: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// Makes the first instance.
    pub(super) async fn warm_up(&self) -> Result<(), LoadError> {
        let first = self.make(0).await?;
        self.idle.lock().warm.push(first);
        Ok(())
    }

    /// An idle instance, or a new one, for the request with this number.
    pub(super) async fn take(&self, request: u64) -> Result<Warm, LoadError> {
        let idle = self.idle.lock().take();
        match idle {
            Some(warm) => Ok(warm),
            None => self.make(request).await,
        }
    }

    /// A new instance, for a call that another one has not survived.
    pub(super) async fn fresh(&self, request: u64) -> Result<Warm, LoadError> {
        self.make(request).await
    }

    async fn make(&self, request: u64) -> Result<Warm, LoadError> {
        let (plugin, context) = (&self.plugin, &self.context);
        let mut store = State::store(&plugin.engine.wasmtime, &plugin.loaded.identity, context, &self.path);
        let instance = match plugin.loaded.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                return Err(plugin.loaded.not_started("gateway", STARTED, &crash, &context.limits));
            }
        };
        let exports = match &plugin.indices {
            Indices::Http(indices) => indices.load(&mut store, &instance).map(Exports::Http),
            Indices::Steps(indices) => indices.load(&mut store, &instance).map(Exports::Steps),
        };
        let exports = exports.map_err(|error| plugin.loaded.mistyped("gateway", &error))?;
        store.data_mut().meter.set_initial_memory();
        let requests_left = REQUESTS_PER_INSTANCE + request % (REQUESTS_PER_INSTANCE / 10);
        Ok(Warm { store, exports, requests_left })
    }

    /// Takes back an instance that has served a request, and keeps it if it is fit for another one.
    pub(super) fn give_back(&self, mut warm: Warm) {
        warm.requests_left -= 1;
        let state = warm.store.data_mut();
        state.end_call();
        let (grown, room) = state.meter.growth();
        let mut idle = self.idle.lock();
        let wanted = idle.warm.len() < IDLE_INSTANCES_MAX && !self.closed.load(Ordering::Acquire);
        if warm.requests_left > 0 && stays_small(grown, room) && wanted {
            idle.warm.push(warm);
        }
    }

    /// Drops instances that were not needed since the last call, but one.
    pub(super) fn trim(&self) {
        // Dropped without the lock.
        let removed = self.idle.lock().trim();
        drop(removed);
    }

    /// Drops idle instances; those that are in use are not kept afterwards.
    pub(super) fn clear(&self) {
        self.idle.lock().warm.clear();
    }

    /// Keeps no instance that is given back from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// Whether an instance that has grown by `grown` bytes is kept; `room` is how much it could grow by. An instance that has
/// used half of its room is replaced now, before it reaches the limit during a request.
fn stays_small(grown: usize, room: usize) -> bool {
    grown <= IDLE_GROWTH_MAX && grown <= room / 2
}

#[cfg(test)]
mod tests {
    use super::stays_small;

    #[test]
    fn an_instance_is_kept_while_it_has_grown_little() {
        const MIB: usize = 1 << 20;
        // grown, room
        let table = [
            ((0, 54 * MIB), true),
            ((8 * MIB, 54 * MIB), true),
            ((8 * MIB + 1, 54 * MIB), false),
            ((2 * MIB, 4 * MIB), true),
            ((3 * MIB, 4 * MIB), false),
            ((0, 0), true),
        ];
        for ((grown, room), kept) in table {
            assert_eq!(stays_small(grown, room), kept, "{grown} of {room}");
        }
    }
}
