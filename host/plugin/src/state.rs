//! The state of one instance: the data of its wasmtime `Store`, from its start to its end.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::caller::Caller;
use crate::context::ComponentContext;
use crate::crash::{CallLog, Crash};
use crate::grants::Grants;
use crate::guest_log::{GuestLog, Output};
use crate::identity::Identity;
use crate::limits::{HANDLES_MAX, HOSTCALL_BYTES_MAX, RANDOM_BYTES_MAX};
use crate::meter::Meter;
use crate::offload::ReadOffload;
use crate::outgoing::{CallsOut, Granted};
use crate::request_control::RequestControl;
use crate::trace::Trace;
use crate::view::View;

/// The data of a wasmtime `Store`. Public because [`crate::Pool`] is generic over kinds that name it; none of its fields
/// are.
pub struct State {
    pub(crate) context: Arc<ComponentContext>,
    /// The component that the instance was made of.
    component: Arc<Identity>,
    /// Path of the instance's child in the supervision tree.
    pub(crate) path: Arc<str>,
    pub(crate) meter: Meter,
    pub(crate) reads: ReadOffload,
    pub(crate) log: GuestLog,
    /// Traces of the requests that this call serves: more than one if they share the call.
    pub(crate) traces: Vec<Trace>,
    /// The gateway request that is being served.
    pub(crate) request: Option<Arc<RequestControl>>,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(crate) calls_out: CallsOut,
}

impl State {
    /// A wasmtime `Store` for one instance, with every limit set.
    pub(crate) fn store(
        engine: &wasmtime::Engine,
        component: &Arc<Identity>,
        context: &Arc<ComponentContext>,
        path: &Arc<str>,
    ) -> Store<Self> {
        let log = GuestLog::new(context.clone(), path.clone());
        let wasi = wasi(&log, context).build();
        Self::with(engine, component, context, path, (log, wasi, CallsOut::Denied))
    }

    /// The same for an instance of a sink, with what it was granted.
    ///
    /// # Errors
    ///
    /// The granted directory cannot be opened.
    pub(crate) fn store_with_grants(
        engine: &wasmtime::Engine,
        component: &Arc<Identity>,
        context: &Arc<ComponentContext>,
        path: &Arc<str>,
        grants: &Grants,
    ) -> wasmtime::Result<Store<Self>> {
        let log = GuestLog::new(context.clone(), path.clone());
        let mut wasi = wasi(&log, context);
        if let Some(directory) = &grants.directory {
            wasi.preopened_dir(directory, GRANTED_DIRECTORY, FsPerms::ReadWrite)?;
        }
        let calls_out = CallsOut::Granted(Granted::new(grants.allowed_hosts.clone(), path.clone()));
        Ok(Self::with(engine, component, context, path, (log, wasi.build(), calls_out)))
    }

    fn with(
        engine: &wasmtime::Engine,
        component: &Arc<Identity>,
        context: &Arc<ComponentContext>,
        path: &Arc<str>,
        (log, wasi, calls_out): (GuestLog, WasiCtx, CallsOut),
    ) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let state = Self {
            context: context.clone(),
            component: component.clone(),
            path: path.clone(),
            meter: Meter::new(&context.limits),
            reads: ReadOffload::default(),
            traces: Vec::new(),
            request: None,
            table,
            wasi,
            http: WasiHttpCtx::new(),
            calls_out,
            log,
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            if store.data_mut().meter.tick() {
                // To the back of the task queue: a plain yield would continue this guest at once.
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            } else {
                Ok(UpdateDeadline::Interrupt)
            }
        });
        store
    }

    /// Prepares for a call into the guest.
    pub(crate) fn begin_call(store: &mut Store<Self>, traces: Vec<Trace>) {
        // Ticks since the last call do not count for this one.
        store.set_epoch_deadline(1);
        let state = store.data_mut();
        state.log.begin_call(&traces);
        state.traces = traces;
        state.meter.begin_call();
    }

    /// Cleans up after a call into the guest.
    pub(crate) fn end_call(&mut self) {
        self.log.end_call();
        self.request = None;
    }

    /// Gives a view to the next call. It lives until [`drop_view`](Self::drop_view).
    pub(crate) fn push_view(&mut self, view: View) -> wasmtime::Result<Resource<View>> {
        Ok(self.table.push(view)?)
    }

    /// A view that a guest uses. The engine has checked that the handle is of a view.
    pub(crate) fn view(&self, view: &Resource<View>) -> &View {
        self.table.get(view).expect("the call that the view was given to has not ended")
    }

    /// Ends a view, so that its snapshot keeps nothing from being reclaimed.
    pub(crate) fn drop_view(&mut self, view: Resource<View>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }

    /// On whose behalf this instance calls other components.
    pub(crate) fn caller(&self) -> Caller {
        let trace = self.traces.first().cloned().unwrap_or_else(Trace::new);
        Caller { trace, request: self.request.clone() }
    }

    /// The crash that an error from a call into the guest stands for.
    pub(crate) fn crash(&self, error: &wasmtime::Error) -> Crash {
        self.log.end_call();
        let log = CallLog { last_error: self.log.last_error(), last_lines: self.log.last_lines() };
        Crash::of(error, &self.meter, log)
    }

    /// Writes the crash to the log and the telemetry stream.
    pub(crate) fn report(&self, crash: &Crash) {
        let (context, component) = (&self.context, &self.component);
        let trace = self.log.trace();
        let detail = serde_json::json!({
            "component": context.role,
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
        context.telemetry.emit(&self.path, "trap", detail);
        let Some(dropped) = context.crash_rate.lock().admit(Instant::now()) else { return };
        tracing::warn!(
            incident = crash.incident,
            store = context.store,
            component = context.role,
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

/// The granted directory's name in the component. Relative paths lead there, too.
const GRANTED_DIRECTORY: &str = "/";

/// No files, no sockets, no name lookup, no environment, no arguments: a guest that asks for them gets WASI's own error, which
/// is an exception or a result in its language. Random numbers are real, and so are clocks, unless the store has another
/// time of day.
fn wasi(log: &GuestLog, context: &ComponentContext) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(log.output(Output::Stdout))
        .stderr(log.output(Output::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        .wall_clock(context.clock)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    wasi
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.calls_out }
    }
}
