//! Gateway components as supervised children: each worker keeps warm instances and lends one to each request.
//!
//! A request that ends its instance costs its client a 500 and the worker nothing: the instance is thrown away and
//! the next request gets another. It does not count for the worker's restart intensity, so that a client who
//! repeats a poison request cannot bring the store down.

use std::collections::HashMap;
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
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::crash::Crash;
use crate::describe::Description;
use crate::engine::Engine;
use crate::installed::Installed;
use crate::limits::Limits;
use crate::load::{Identity, LoadError, Loaded, Source, load};
use crate::names;
use crate::pause::Watched;
use crate::request::{LiveRequests, RequestControl};
use crate::state::{State, Tenancy};
use crate::trace::Trace;

/// Idle instances that a worker keeps: enough that a burst finds them warm.
const IDLE_INSTANCES_MAX: usize = 32;

/// Bytes that an instance may have grown by since it was made and still be kept: what one of ours needs for a request of
/// ordinary size, times four. Where it began is its language's: 1 MB in Rust, 13 MB in Python.
const IDLE_GROWTH_MAX: usize = 8 << 20;

/// After this time, instances that nobody needed meanwhile are let go, but one.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// Share of a worker's instances that may be live responses, in percent, so that followers cannot starve ordinary
/// requests.
const LIVE_PERCENT_MAX: usize = 75;

/// Requests after which an instance is replaced, so that what a guest leaks is bounded. Each instance adds up to a
/// tenth by its number, so that they are not all replaced at once.
const REQUESTS_PER_INSTANCE: u64 = 20_000;

/// How long a guest that was asked to finish, because its client is gone or the host stops, may take before its
/// call is cut off. Less than a worker has to shut down.
const FINISH_GRACE: Duration = Duration::from_secs(4);

/// A gateway component, ready to be instantiated.
pub struct GatewayPlugin {
    loaded: Loaded,
    pre: ProxyPre<State>,
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
        let pre = ProxyPre::new(loaded.pre.clone())
            .map_err(|error| loaded.lacks("gateway", format!("wasi:http/incoming-handler@0.2 ({error})")))?;
        Ok(Arc::new(Self { loaded, pre, engine: engine.clone() }))
    }

    /// What the component says of itself; none of one that does not.
    ///
    /// # Errors
    ///
    /// [`LoadError::Describe`].
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
    /// All of the worker's instances are busy.
    #[error("all {0} gateway instances of a worker are busy; try again later")]
    Overloaded(usize),
    /// The worker is stopping, or was stopped with the request in its hands.
    #[error(
        "the gateway is being restarted; if the request was an append its outcome is unknown, and sent again with the same event ids it is applied once"
    )]
    Restarting,
    /// No instance could be made.
    #[error("no gateway instance could be made: {0}")]
    Unavailable(String),
    /// The request ended the instance that served it.
    #[error("the gateway component {}; incident {}", crash.for_client(), crash.incident)]
    Crashed {
        /// What happened: its message is for the operator, not for the client.
        crash: Crash,
    },
    /// The component finished without an answer.
    #[error("the gateway component gave no answer: {0}")]
    NoAnswer(String),
}

/// The supervisor of a store's gateway workers.
pub fn workers(id: &str, count: usize, installed: &Arc<Installed<GatewayPlugin>>) -> ChildSpec {
    let child = |index: usize| {
        let installed = installed.clone();
        ChildSpec::worker(index.to_string(), move |context| start(context, index, installed.clone()))
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
) -> Result<Start, Reason> {
    let deployment = installed.get()?;
    let (plugin, tenancy) = (deployment.plugin.clone(), deployment.tenancy.clone());
    let registry = context.registry().clone();
    let name = names::gateway_worker(&tenancy.store, index);
    let live_max = (tenancy.limits.gateway_instances_per_worker * LIVE_PERCENT_MAX / 100).max(1);
    let worker = Arc::new(GatewayWorker {
        plugin,
        tenancy,
        path: context.path().into(),
        idle: Mutex::default(),
        requests: Mutex::default(),
        finished: Notify::new(),
        stopping: AtomicBool::new(false),
        live: LiveRequests::new(live_max),
        numbers: AtomicU64::new(0),
    });
    // The first instance shows at the start whether there can be any.
    let first = worker.instantiate().await.map_err(|crash| crash.reason())?;
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
    idle: Mutex<Idle>,
    requests: Mutex<HashMap<u64, Running>>,
    finished: Notify,
    stopping: AtomicBool,
    live: LiveRequests,
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
    /// A running worker of the store, of its `count` ones: the first with room, beginning with number `turn`, or
    /// else any.
    pub fn pick(registry: &Registry, store: &str, count: usize, turn: usize) -> Option<Arc<Self>> {
        let mut running = (0..count).filter_map(|offset| {
            registry.get::<Self>(&names::gateway_worker(store, turn.wrapping_add(offset) % count))
        });
        let first = running.next()?;
        if first.has_room() {
            return Some(first);
        }
        running.find(|worker| worker.has_room()).or(Some(first))
    }

    fn has_room(&self) -> bool {
        self.requests.lock().len() < self.tenancy.limits.gateway_instances_per_worker
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
        let trace = Trace::of(request.headers());
        let control = Arc::new(RequestControl::new(trace, self.live.clone()));
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
            let instances = self.tenancy.limits.gateway_instances_per_worker;
            if requests.len() >= instances {
                return Err(Refusal::Overloaded(instances));
            }
            let request = request.map(|body| ArrivingBody { body, control: control.clone() });
            let serving = self.clone().serve(number, request, sender, ended_well, control.clone());
            let task = tokio::spawn(serving).abort_handle();
            requests.insert(number, Running { task, control: control.clone() });
        }
        let client = Client(control);
        let response = head.await.unwrap_or(Err(Refusal::Restarting))?;
        client.0.takes();
        Ok(response.map(|body| GatewayBody { body, has_ended_well, client }))
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
            None => self.instantiate().await.map_err(|crash| Refusal::Unavailable(crash.to_string()))?,
        };
        let store = &mut warm.store;
        State::begin_call(store, vec![control.trace.clone()]);
        store.data_mut().request = Some(control.clone());
        let unusable = |error: wasmtime::Error| Refusal::NoAnswer(error.to_string());
        let request =
            store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(unusable)?;
        let answer = head.clone();
        let answering = control.clone();
        let respond = move |response: Result<_, _>| {
            answering.responds();
            if let Some(sender) = answer.lock().take() {
                let refusal = |code| Refusal::NoAnswer(format!("{code:?}"));
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
            crash = cut_off(control) => {
                store.data().report(&crash);
                return Err(Refusal::Restarting);
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
                Err(Refusal::NoAnswer("it returned without setting a response".into()))
            }
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                Err(Refusal::Crashed { crash })
            }
        }
    }

    async fn instantiate(&self) -> Result<Warm, Crash> {
        let mut store =
            State::store(&self.plugin.engine, &self.plugin.loaded.identity, &self.tenancy, &self.path);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        match self.plugin.pre.instantiate_async(&mut store).await {
            Ok(proxy) => {
                store.data_mut().meter.made();
                let requests_left = REQUESTS_PER_INSTANCE + number % (REQUESTS_PER_INSTANCE / 10);
                Ok(Warm { store, proxy, requests_left })
            }
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                Err(crash)
            }
        }
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
        self.worker.requests.lock().remove(&self.number);
        self.worker.finished.notify_one();
    }
}

/// Completes when the call has to be cut off, with the reason.
async fn cut_off(control: &RequestControl) -> Crash {
    let unfinished = async {
        control.closed().await;
        tokio::time::sleep(FINISH_GRACE).await;
    };
    tokio::select! {
        () = unfinished => Crash::cut_off("the guest did not finish when it was asked to"),
        () = control.stalled() => Crash::cut_off("the client took nothing of the answer for too long"),
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
    body: HyperOutgoingBody,
    has_ended_well: oneshot::Receiver<()>,
    client: Client,
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
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
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.control.body_comes();
        Poll::Ready(frame)
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
