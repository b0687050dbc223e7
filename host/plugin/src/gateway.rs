//! Gateway components as supervised children: each worker keeps warm instances and lends one to each request.
//!
//! A request that ends its instance costs its client a 500 and the worker nothing: the instance is thrown away and
//! the next request gets another. It does not count for the worker's restart intensity, so that a client who
//! repeats a poison request cannot bring the store down.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, ShutdownSignal, Start, SupervisorSpec};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::crash::Crash;
use crate::describe::Description;
use crate::engine::Engine;
use crate::installed::Installed;
use crate::limits::Limits;
use crate::load::{Identity, LoadError, Loaded, STARTED, Source, load};
use crate::names;
use crate::pause::Watched;
use crate::request::{Overdue, RequestControl};
use crate::share::{Admission, Load, LongShare, NotAdmitted, SHORT_BYTES_MAX, SHORT_TIME_MAX, soonest};
use crate::state::{State, Tenancy};
use crate::trace::Trace;

/// Idle instances that a worker keeps: enough that a burst finds them warm.
const IDLE_INSTANCES_MAX: usize = 32;

/// Bytes that an instance may have grown by since it was made and still be kept: what one of ours needs for a request of
/// ordinary size, times four. Where it began is its language's: 1 MB in Rust, 13 MB in Python.
const IDLE_GROWTH_MAX: usize = 8 << 20;

/// After this time, instances that nobody needed meanwhile are let go, but one.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// Requests after which an instance is replaced, so that what a guest leaks is bounded. Each instance adds up to a
/// tenth by its number, so that they are not all replaced at once.
const REQUESTS_PER_INSTANCE: u64 = 20_000;

/// How long a guest that was asked to finish, because its client is gone or the host stops, may take before its
/// call is cut off. Less than a worker has to shut down.
const FINISH_GRACE: Duration = Duration::from_secs(4);

/// A gateway component, ready to be instantiated.
pub struct GatewayPlugin {
    loaded: Loaded,
    indices: ProxyIndices,
    engine: Engine,
}

impl GatewayPlugin {
    /// Loads a gateway component.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing of the component was run.
    pub fn load(engine: &Engine, source: &Source) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.gateway, "gateway", source)?;
        let indices = ProxyIndices::new(&loaded.pre)
            .map_err(|error| loaded.lacks("gateway", &format!("wasi:http/incoming-handler@0.2 ({error})")))?;
        Ok(Arc::new(Self { loaded, indices, engine: engine.clone() }))
    }

    /// What the component says of itself; none of one that does not.
    ///
    /// # Errors
    ///
    /// It cannot be started, was built against another version of the contract, or gives a wrong answer.
    pub async fn describe(&self, limits: &Limits) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, "gateway", limits).await
    }

    /// SHA-256 of the component's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.loaded.identity.digest
    }

    /// Which component it is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.loaded.identity
    }
}

/// Why a request got no answer from the component.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// All instances are busy, and others wait for them already, or did for too long.
    #[error("all gateway instances of the store are busy; try again later")]
    Overloaded,
    /// The response would be one of too many long ones.
    #[error(
        "{0} long responses are in progress (clients that follow events, read very much, or send or read slowly), and more there may not be; try again later"
    )]
    TooManyLong(usize),
    /// The worker is stopping, or was stopped with the request in its hands.
    #[error(
        "the gateway is being restarted; if the request was an append its outcome is unknown, and sent again with the same event ids it is applied once"
    )]
    Restarting,
    /// No instance could be made.
    #[error("no gateway instance could be made; the host's log says why")]
    Unavailable,
    /// The request ended the instance that served it.
    #[error("the gateway component {}; incident {}", crash.for_client(), crash.incident)]
    Crashed {
        /// What happened: its message is for the operator, not for the client.
        crash: Crash,
    },
    /// The component finished without an answer.
    #[error("the gateway component gave no answer; the host's log says why")]
    NoAnswer,
}

/// The supervisor of a store's gateway workers: so many, with so many instances together.
pub fn workers(
    id: &str,
    count: usize,
    instances: usize,
    installed: &Arc<Installed<GatewayPlugin>>,
) -> ChildSpec {
    let long = LongShare::of(instances);
    let child = |index: usize| {
        let (installed, long) = (installed.clone(), long.clone());
        ChildSpec::worker(index.to_string(), move |context| {
            start(context, index, installed.clone(), long.clone())
        })
    };
    ChildSpec::supervisor(SupervisorSpec::partitions(id, count, child)).detail({
        let installed = installed.clone();
        move || Some(installed.get().ok()?.plugin.loaded.identity.detail())
    })
}

async fn start(
    context: Context,
    index: usize,
    installed: Arc<Installed<GatewayPlugin>>,
    long: LongShare,
) -> Result<Start, Reason> {
    let deployment = installed.get()?;
    let (plugin, tenancy) = (deployment.plugin.clone(), deployment.tenancy.clone());
    let registry = context.registry().clone();
    let name = names::gateway_worker(&tenancy.store, index);
    let worker = Arc::new(GatewayWorker {
        plugin,
        admission: Admission::to(tenancy.limits.gateway_instances_per_worker),
        tenancy,
        path: context.path().into(),
        idle: Mutex::default(),
        requests: Mutex::default(),
        finished: Notify::new(),
        stopping: AtomicBool::new(false),
        long,
        numbers: AtomicU64::new(0),
    });
    // The first instance shows at the start whether there can be any.
    let first = worker.instantiate().await.map_err(Reason::error)?;
    worker.idle.lock().warm.push(first);
    let registration = registry.register(name, worker.clone());
    let aborts = AbortsRequests(worker);
    Ok(Start::running(async move {
        let reason = aborts.0.run(context.shutdown(), registration).await;
        drop(aborts);
        reason
    }))
}

/// When the worker's task ends, killed or not, no request of it goes on.
struct AbortsRequests(Arc<GatewayWorker>);

impl Drop for AbortsRequests {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.admission.close();
        for (_, running) in self.0.requests.lock().drain() {
            running.task.abort();
        }
        self.0.idle.lock().warm.clear();
    }
}

/// One gateway worker: found by [`names::gateway_worker`] as long as it runs.
pub struct GatewayWorker {
    plugin: Arc<GatewayPlugin>,
    tenancy: Arc<Tenancy>,
    path: Arc<str>,
    admission: Admission,
    idle: Mutex<Idle>,
    requests: Mutex<HashMap<u64, Running>>,
    finished: Notify,
    stopping: AtomicBool,
    long: LongShare,
    numbers: AtomicU64,
}

struct Running {
    task: AbortHandle,
    control: Arc<RequestControl>,
}

/// Instances that wait for a request. The one that served last serves next, so that those that are not needed show.
#[derive(Default)]
struct Idle {
    warm: Vec<Warm>,
    /// The fewest that there were since the last check.
    fewest: usize,
}

impl Idle {
    fn take(&mut self) -> Option<Warm> {
        let warm = self.warm.pop();
        self.fewest = self.fewest.min(self.warm.len());
        warm
    }

    /// Lets go of those that nobody needed since the last time.
    fn trim(&mut self) -> Vec<Warm> {
        let unneeded = self.fewest.min(self.warm.len().saturating_sub(1));
        let gone = self.warm.drain(..unneeded).collect();
        self.fewest = self.warm.len();
        gone
    }
}

/// An instance between two requests.
struct Warm {
    store: Store<State>,
    proxy: Proxy,
    requests_left: u64,
}

type Head = Arc<Mutex<Option<oneshot::Sender<Result<Response<HyperOutgoingBody>, Refusal>>>>>;

/// Used when the guest's call has returned; dropped when it ended in any other way.
type EndedWell = oneshot::Sender<()>;

impl GatewayWorker {
    /// A running worker of the store, of its `count` ones: beginning with number `turn`, the first if it has little to do,
    /// or else the one that will serve soonest.
    pub fn pick(registry: &Registry, store: &str, count: usize, turn: usize) -> Option<Arc<Self>> {
        let mut running = (0..count).filter_map(|offset| {
            registry.get::<Self>(&names::gateway_worker(store, turn.wrapping_add(offset) % count))
        });
        let first = running.next()?;
        if first.admission.is_calm() {
            return Some(first);
        }
        let workers: Vec<Arc<Self>> = std::iter::once(first).chain(running).collect();
        let loads: Vec<Load> = workers.iter().map(|worker| worker.load()).collect();
        let soonest = soonest(&loads)?;
        workers.into_iter().nth(soonest)
    }

    fn load(&self) -> Load {
        let long = self.requests.lock().values().filter(|running| running.control.is_long()).count();
        self.admission.load(long)
    }

    /// Has an instance serve a request. The answer's body comes as the instance writes it; dropping it asks the
    /// guest to finish.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub async fn handle<B>(self: &Arc<Self>, request: Request<B>) -> Result<Response<GatewayBody>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let instance = self.admission.enter().await.map_err(|refused| match refused {
            NotAdmitted::Full => Refusal::Overloaded,
            NotAdmitted::Closed => Refusal::Restarting,
        })?;
        let trace = Trace::of(request.headers());
        let control = Arc::new(RequestControl::new(trace, self.long.clone()));
        let (sender, head) = oneshot::channel();
        let (ended_well, has_ended_well) = oneshot::channel();
        let sender: Head = Arc::new(Mutex::new(Some(sender)));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        {
            // Under the lock, so that a worker that stops sees the request or refuses it.
            let mut requests = self.requests.lock();
            if self.stopping.load(Ordering::Acquire) {
                return Err(Refusal::Restarting);
            }
            let request = request.map(|body| ArrivingBody { body, control: control.clone() });
            let serving = self.clone().serve(number, request, sender, ended_well, control.clone());
            let serving = async move {
                serving.await;
                drop(instance);
            };
            let task = tokio::spawn(serving).abort_handle();
            requests.insert(number, Running { task, control: control.clone() });
        }
        let client = Client(control);
        let response = head.await.unwrap_or(Err(Refusal::Restarting))?;
        client.0.takes();
        let (head, body) = response.into_parts();
        let is_bounded = head.headers.contains_key(http::header::CONTENT_LENGTH) || body.is_end_stream();
        let mut body = GatewayBody { held: VecDeque::new(), body, has_ended_well, client };
        // What has a length is a long response when it was not taken soon.
        if !is_bounded && !body.client.0.enter_long() {
            body = body.if_short().await.ok_or_else(|| Refusal::TooManyLong(self.long.max()))?;
        }
        Ok(Response::from_parts(head, body))
    }

    async fn serve<B>(
        self: Arc<Self>,
        number: u64,
        request: Request<B>,
        head: Head,
        ended_well: EndedWell,
        control: Arc<RequestControl>,
    ) where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        // Also when this is aborted, or panics: a worker that stops waits for all of them.
        let _listed = Listed { worker: &self, number };
        let outcome = self.call(request, &head, ended_well, &control).await;
        if let Err(refusal) = outcome
            && let Some(sender) = head.lock().take()
        {
            // The client may be gone, and then nobody wants to know.
            drop(sender.send(Err(refusal)));
        }
    }

    async fn call<B>(
        &self,
        request: Request<B>,
        head: &Head,
        ended_well: EndedWell,
        control: &Arc<RequestControl>,
    ) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let idle = self.idle.lock().take();
        let mut warm = match idle {
            Some(warm) => warm,
            None => self.instantiate().await.map_err(|_| Refusal::Unavailable)?,
        };
        let store = &mut warm.store;
        State::begin_call(store, vec![control.trace.clone()]);
        store.data_mut().request = Some(control.clone());
        let store_name = self.tenancy.store.clone();
        let no_answer = move |why: &dyn std::fmt::Display| {
            tracing::warn!(store = store_name, why = %why, "a gateway component gave no answer");
            Refusal::NoAnswer
        };
        let unusable = |error: wasmtime::Error| no_answer(&error);
        let request =
            store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(unusable)?;
        let (answer, no_response) = (head.clone(), no_answer.clone());
        let answering = control.clone();
        let respond = move |response: Result<_, ErrorCode>| {
            answering.responds();
            if let Some(sender) = answer.lock().take() {
                let refusal = |code| no_response(&format_args!("it said {code:?}"));
                // The client may be gone.
                drop(sender.send(response.map_err(refusal)));
            }
        };
        let outparam =
            store.data_mut().http().new_response_outparam_from_callback(respond).map_err(unusable)?;
        let pauses = store.data().meter.pauses();
        let wall = Duration::from_millis(self.tenancy.limits.response_wall_ms);
        let handler = warm.proxy.wasi_http_incoming_handler();
        let served = tokio::select! {
            served = Watched::new(handler.call_handle(&mut *store, request, outparam), pauses) => served,
            (crash, refusal) = self.cut_off(control) => {
                store.data().report(&crash);
                return Err(refusal);
            }
            () = control.unanswered(wall) => {
                let crash = Crash::unanswered(self.tenancy.limits.response_wall_ms);
                store.data().report(&crash);
                return Err(Refusal::Crashed { crash });
            }
        };
        match served {
            Ok(()) => {
                // The client may have left with the answer's last byte.
                let _ = ended_well.send(());
                self.give_back(warm);
                Err(Refusal::NoAnswer)
            }
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                Err(Refusal::Crashed { crash })
            }
        }
    }

    /// Completes when the call has to be cut off, with the reason for the operator and the one for a client that has no
    /// response yet.
    async fn cut_off(&self, control: &RequestControl) -> (Crash, Refusal) {
        let unfinished = async {
            control.closed().await;
            tokio::time::sleep(FINISH_GRACE).await;
        };
        tokio::select! {
            () = unfinished => {
                (Crash::cut_off("the guest did not finish when it was asked to"), Refusal::Restarting)
            }
            overdue = control.overdue() => match overdue {
                Overdue::Stalled => {
                    (Crash::cut_off("the client took nothing of the answer for too long"), Refusal::Restarting)
                }
                Overdue::LongShareFull => {
                    let message = "the request or its response took long, and there were as many of those as there may be";
                    (Crash::cut_off(message), Refusal::TooManyLong(self.long.max()))
                }
            },
        }
    }

    async fn instantiate(&self) -> Result<Warm, LoadError> {
        let (plugin, tenancy) = (&self.plugin, &self.tenancy);
        let mut store = State::store(&plugin.engine, &plugin.loaded.identity, tenancy, &self.path);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let instance = match plugin.loaded.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                return Err(plugin.loaded.not_started("gateway", STARTED, &crash, &tenancy.limits));
            }
        };
        let proxy = plugin.indices.load(&mut store, &instance);
        let proxy = proxy.map_err(|error| plugin.loaded.mistyped("gateway", &error))?;
        store.data_mut().meter.made();
        let requests_left = REQUESTS_PER_INSTANCE + number % (REQUESTS_PER_INSTANCE / 10);
        Ok(Warm { store, proxy, requests_left })
    }

    fn give_back(&self, mut warm: Warm) {
        warm.requests_left -= 1;
        let state = warm.store.data_mut();
        state.end_call();
        let (grown, room) = state.meter.growth();
        let mut idle = self.idle.lock();
        let wanted = idle.warm.len() < IDLE_INSTANCES_MAX && !self.stopping.load(Ordering::Acquire);
        if warm.requests_left > 0 && stays_small(grown, room) && wanted {
            idle.warm.push(warm);
        }
    }

    /// Takes no more requests, and asks those in progress to finish.
    pub fn finish(&self) {
        self.stopping.store(true, Ordering::Release);
        self.admission.close();
        self.requests.lock().values().for_each(|running| running.control.close());
    }

    /// Waits to be stopped; then finishes what was accepted.
    async fn run(&self, shutdown: ShutdownSignal, registration: exesdb_supervisor::Registration) -> Reason {
        let mut checks = tokio::time::interval(IDLE_CHECK);
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                _ = checks.tick() => drop(self.trim()),
            }
        }
        drop(registration);
        self.finish();
        while !self.requests.lock().is_empty() {
            self.finished.notified().await;
        }
        Reason::Shutdown
    }

    /// The instances that are let go, to be dropped where no lock is held.
    fn trim(&self) -> Vec<Warm> {
        self.idle.lock().trim()
    }
}

/// Whether an instance that has grown by so many bytes, of those that it had room for when it was made, is kept. One that
/// has used half of its room is better begun anew than ended in somebody's request.
fn stays_small(grown: usize, room: usize) -> bool {
    grown <= IDLE_GROWTH_MAX && grown <= room / 2
}

/// A request in the worker's list, as long as it is served.
struct Listed<'a> {
    worker: &'a GatewayWorker,
    number: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.worker.requests.lock().remove(&self.number) {
            running.control.leave_long();
        }
        self.worker.finished.notify_one();
    }
}

/// Asks the guest to finish when the client's side is dropped.
struct Client(Arc<RequestControl>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The body of an answer, as the instance writes it.
///
/// To the engine a body whose instance is gone ends like any other. Here it ends when the guest's call has returned,
/// and otherwise breaks off, so that no client takes the beginning of an answer for the whole.
pub struct GatewayBody {
    /// What was taken of the body already.
    held: VecDeque<Frame<Bytes>>,
    body: HyperOutgoingBody,
    has_ended_well: oneshot::Receiver<()>,
    client: Client,
}

impl GatewayBody {
    /// The whole body, if it is there soon and not large. Otherwise it is given up.
    async fn if_short(mut self) -> Option<Self> {
        let until = tokio::time::Instant::now() + SHORT_TIME_MAX;
        let (mut held, mut bytes) = (VecDeque::new(), 0);
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context));
            match tokio::time::timeout_at(until, frame).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    if bytes > SHORT_BYTES_MAX {
                        return None;
                    }
                    held.push_back(frame);
                }
                Ok(Some(Err(_))) | Err(_) => return None,
            }
        }
        self.held = held;
        Some(self)
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(frame) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.client.0.asks();
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None if self.has_ended_well.is_terminated() => None,
            None => match ready!(Pin::new(&mut self.has_ended_well).poll(context)) {
                Ok(()) => None,
                Err(_) => Some(Err(Self::Error::HttpProtocolError)),
            },
            frame => frame,
        };
        self.client.0.takes();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// The body of a request, of which the host knows when its last part came.
struct ArrivingBody<B> {
    body: B,
    control: Arc<RequestControl>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for ArrivingBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.control.body_comes();
        } else {
            self.control.awaits_body();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::stays_small;

    #[test]
    fn an_instance_is_kept_by_what_it_has_grown_since_it_was_made() {
        const MIB: usize = 1 << 20;
        // grown, room when it was made
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
