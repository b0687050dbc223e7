//! What a wasmtime `Store` of ours holds: one instance, one tenant, until the instance ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use exesdb_storage::Snapshot;
use exesdb_supervisor::{Registry, Telemetry};
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::beside::Disk;
use crate::crash::Crash;
use crate::engine::Engine;
use crate::interfaces::logging::LogRate;
use crate::limits::{HANDLES_MAX, HOSTCALL_BYTES_MAX, Limits, Meter, RANDOM_BYTES_MAX};
use crate::persistence::Caller;
use crate::request::RequestControl;
use crate::trace::Trace;

/// Everything that the instances of one component of one store have in common.
pub struct Tenancy {
    /// The store's name.
    pub store: String,
    /// What the component is to the store: `streams`, `snapshots`, `gateway`. Names its keyspaces too, so that a
    /// replacement finds its predecessor's data.
    pub role: &'static str,
    /// The operator's settings for the component.
    pub settings: BTreeMap<String, String>,
    /// What each instance may use.
    pub limits: Limits,
    /// Where the store's other parts are found at the time of use.
    pub registry: Registry,
    /// Where what happens is told.
    pub telemetry: Telemetry,
}

impl Tenancy {
    /// The tenancy of a component in a store.
    pub fn new(
        store: &str,
        role: &'static str,
        settings: BTreeMap<String, String>,
        limits: Limits,
        registry: Registry,
        telemetry: Telemetry,
    ) -> Arc<Self> {
        Arc::new(Self { store: store.to_owned(), role, settings, limits, registry, telemetry })
    }

    /// Whether the component's batches may take positions: only the one that keeps the events, so that
    /// positions stay dense in the eyes of readers.
    pub(crate) fn may_take_positions(&self) -> bool {
        self.role == "streams"
    }
}

/// Traces that are told of a call that many requests share.
const TRACES_TOLD_MAX: usize = 4;

/// The data of a wasmtime `Store`. Public because [`crate::Pool`] is generic over kinds that name it; it has nothing
/// public in it.
pub struct State {
    pub(crate) tenancy: Arc<Tenancy>,
    /// Path of the child in the supervision tree that the instance belongs to.
    pub(crate) path: Arc<str>,
    pub(crate) meter: Meter,
    /// What this call reads from; none before its first read and after a commit.
    pub(crate) reading: Option<Snapshot>,
    pub(crate) disk: Disk,
    /// Something was committed in this call.
    pub(crate) committed: bool,
    /// What this call commits makes room, and may use what is kept in reserve on the disk.
    pub(crate) makes_room: bool,
    /// The last error that the guest logged in this call: its panic message, if it panics.
    pub(crate) last_words: Option<String>,
    pub(crate) log_rate: LogRate,
    /// Traces of the requests that this call serves: one, or those that share a call.
    pub(crate) traces: Vec<Trace>,
    /// The gateway request that is being served.
    pub(crate) request: Option<Arc<RequestControl>>,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    no_calls_out: NoCallsOut,
}

impl State {
    /// A wasmtime `Store` for one instance, with every limit set.
    pub(crate) fn store(engine: &Engine, tenancy: &Arc<Tenancy>, path: &Arc<str>) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let state = Self {
            tenancy: tenancy.clone(),
            path: path.clone(),
            meter: Meter::new(&tenancy.limits),
            reading: None,
            disk: Disk::default(),
            committed: false,
            makes_room: false,
            last_words: None,
            log_rate: LogRate::default(),
            traces: Vec::new(),
            request: None,
            table,
            // Empty: no files, no sockets, no environment, no arguments, output goes nowhere.
            wasi: WasiCtxBuilder::new().max_random_size(RANDOM_BYTES_MAX).build(),
            http: WasiHttpCtx::new(),
            no_calls_out: NoCallsOut,
        };
        let mut store = Store::new(&engine.wasmtime, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            if context.data_mut().meter.tick() {
                // To the back of the queue: a plain yield would come straight back to this guest.
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            } else {
                Ok(UpdateDeadline::Interrupt)
            }
        });
        store
    }

    /// A call into the guest begins.
    pub(crate) fn begin_call(store: &mut Store<Self>, traces: Vec<Trace>) {
        // Ticks that passed since the last call are not this one's.
        store.set_epoch_deadline(1);
        let state = store.data_mut();
        state.traces = traces;
        state.meter.begin();
        state.committed = false;
        state.makes_room = false;
        state.last_words = None;
    }

    /// A call into the guest ended. An idle instance must not hold on to a state of the store: as long as anybody
    /// does, the database keeps every version since.
    pub(crate) fn end_call(&mut self) {
        self.reading = None;
        self.request = None;
    }

    /// On whose behalf this instance calls others.
    pub(crate) fn caller(&self) -> Caller {
        let trace = self.traces.first().cloned().unwrap_or_else(Trace::new);
        Caller { trace, request: self.request.clone() }
    }

    /// The traces of this call as text: of a call that many share, the first few.
    pub(crate) fn trace(&self) -> String {
        self.traces.iter().take(TRACES_TOLD_MAX).map(Trace::to_string).collect::<Vec<_>>().join(",")
    }

    /// What ended the instance, from the error that came out of it.
    pub(crate) fn crash(&self, error: &wasmtime::Error) -> Crash {
        Crash::of(error, &self.meter, self.last_words.as_deref())
    }

    /// Tells the telemetry stream that the instance ended.
    pub(crate) fn report(&self, crash: &Crash, incident: Option<&str>) {
        let detail = serde_json::json!({
            "component": self.tenancy.role,
            "kind": crash.kind,
            "reason": crash.message,
            "backtrace": crash.backtrace,
            "memory_bytes": self.meter.memory_bytes(),
            "trace": self.trace(),
            "incident": incident,
        });
        self.tenancy.telemetry.emit(&self.path, "trap", detail);
    }
}

/// Denies outgoing requests. A second lock: `outgoing-handler` is not linked.
struct NoCallsOut;

type Transmission = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for NoCallsOut {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _transmission: Transmission,
    ) -> Box<
        dyn Future<Output = Result<(http::Response<WasiBody>, Transmission), wasmtime_wasi_http::Error>>
            + Send,
    > {
        Box::new(std::future::ready(Err(wasmtime_wasi_http::Error::HttpRequestDenied)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.no_calls_out }
    }
}
