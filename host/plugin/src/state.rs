//! What a wasmtime `Store` of ours holds: one instance, one tenant, until the instance ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use exesdb_storage::Snapshot;
use exesdb_supervisor::{Registry, Telemetry};
use parking_lot::Mutex;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::beside::Disk;
use crate::clock::Clock;
use crate::crash::{Crash, Said};
use crate::engine::Engine;
use crate::guest_log::{GuestLog, LogRate, Output};
use crate::limits::{HANDLES_MAX, HOSTCALL_BYTES_MAX, Limits, Meter, RANDOM_BYTES_MAX};
use crate::load::Identity;
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
    /// What they take for the time of day.
    pub clock: Clock,
    /// Where the store's other parts are found at the time of use.
    pub registry: Registry,
    /// Where what happens is told.
    pub telemetry: Telemetry,
    /// Warnings of crashes that were logged: clients choose how many there are.
    crash_rate: Mutex<LogRate>,
    /// The same of reads that met damaged data.
    pub(crate) damage_rate: Mutex<LogRate>,
}

impl Tenancy {
    /// The tenancy of a component in a store.
    pub fn new(
        store: &str,
        role: &'static str,
        settings: BTreeMap<String, String>,
        limits: Limits,
        clock: Clock,
        registry: Registry,
        telemetry: Telemetry,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: store.to_owned(),
            role,
            settings,
            limits,
            clock,
            registry,
            telemetry,
            crash_rate: Mutex::default(),
            damage_rate: Mutex::default(),
        })
    }

    /// Whether the component's batches may take positions: only the one that keeps the events, so that
    /// positions stay dense in the eyes of readers.
    pub(crate) fn may_take_positions(&self) -> bool {
        self.role == "streams"
    }
}

/// The data of a wasmtime `Store`. Public because [`crate::Pool`] is generic over kinds that name it; it has nothing
/// public in it.
pub struct State {
    pub(crate) tenancy: Arc<Tenancy>,
    /// Which component the instance is of.
    component: Arc<Identity>,
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
    pub(crate) log: GuestLog,
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
    pub(crate) fn store(
        engine: &Engine,
        component: &Arc<Identity>,
        tenancy: &Arc<Tenancy>,
        path: &Arc<str>,
    ) -> Store<Self> {
        let log = GuestLog::new(tenancy.clone(), path.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let state = Self {
            tenancy: tenancy.clone(),
            component: component.clone(),
            path: path.clone(),
            meter: Meter::new(&tenancy.limits),
            reading: None,
            disk: Disk::default(),
            committed: false,
            makes_room: false,
            traces: Vec::new(),
            request: None,
            table,
            // Empty: no files, no sockets, no names to look up, no environment, no arguments. What is asked for in vain is
            // answered with WASI's own error, which is an exception or a result in the guest's language. Clocks and
            // random numbers are real for every kind, unless the store has another time of day.
            wasi: WasiCtxBuilder::new()
                .stdout(log.output(Output::Stdout))
                .stderr(log.output(Output::Stderr))
                .max_random_size(RANDOM_BYTES_MAX)
                .wall_clock(tenancy.clock)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build(),
            http: WasiHttpCtx::new(),
            no_calls_out: NoCallsOut,
            log,
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
        state.log.begin_call(&traces);
        state.traces = traces;
        state.meter.begin();
        state.committed = false;
        state.makes_room = false;
    }

    /// A call into the guest ended. An idle instance must not hold on to a state of the store: as long as anybody
    /// does, the database keeps every version since.
    pub(crate) fn end_call(&mut self) {
        self.log.end_call();
        self.reading = None;
        self.request = None;
    }

    /// On whose behalf this instance calls others.
    pub(crate) fn caller(&self) -> Caller {
        let trace = self.traces.first().cloned().unwrap_or_else(Trace::new);
        Caller { trace, request: self.request.clone() }
    }

    /// What ended the instance, from the error that came out of it.
    pub(crate) fn crash(&self, error: &wasmtime::Error) -> Crash {
        self.log.end_call();
        let said = Said { last_error: self.log.last_error(), last_lines: self.log.last_lines() };
        Crash::of(error, &self.meter, said)
    }

    /// Tells the log and the telemetry stream that the instance ended.
    pub(crate) fn report(&self, crash: &Crash) {
        let (tenancy, component) = (&self.tenancy, &self.component);
        let trace = self.log.trace();
        let detail = serde_json::json!({
            "component": tenancy.role,
            "sha256": component.digest,
            "kind": crash.kind,
            "reason": crash.message,
            "limit": crash.limit,
            "place": crash.place,
            "backtrace": crash.backtrace,
            "stderr": crash.stderr,
            "memory_bytes": self.meter.memory_bytes(),
            "trace": trace,
            "incident": crash.incident,
        });
        tenancy.telemetry.emit(&self.path, "trap", detail);
        let Some(dropped) = tenancy.crash_rate.lock().admit(Instant::now()) else { return };
        tracing::warn!(
            incident = crash.incident,
            store = tenancy.store,
            component = tenancy.role,
            source = component.name,
            sha256 = component.digest,
            kind = %crash.kind,
            reason = crash.message,
            limit = crash.limit,
            place = crash.place,
            stderr = crash.stderr.join("\n"),
            path = %self.path,
            trace,
            dropped,
            "an instance of a component ended; `exesdb events --kind trap` has its backtrace"
        );
    }
}

/// Denies outgoing requests: to the guest each is one that failed with `HTTP-request-denied`.
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
