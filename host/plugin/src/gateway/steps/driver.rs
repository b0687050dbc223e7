//! The task of a request: performs the actions of each step, and waits for the next event.

mod actions;
mod bulk;
mod patience;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::response::Parts;
use http::{Method, Request as HttpRequest, Response, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use self::actions::{Arrived, Hold, Numbered};
use self::patience::{Patience, Waiting};
use super::exchange::Exchange;
use super::exports::NextStep;
use super::feed::Feed;
use super::guest::{Guest, Workers};
use super::intake::{Arrival, LimitedBody, Lost};
use super::limits::{DRAIN_TIME, INLINE_BODY_BYTES_MAX, READS_AT_A_TIME, REQUESTS_MAX};
use super::outflow::{Outflow, StepsBody, outflow};
use super::rules::{self, Content};
use crate::admission::NotAdmitted;
use crate::bindings::gateway::requests::{Outcome, Request, RequestBody};
use crate::bindings::gateway::steps::{Event, Step};
use crate::caller::Caller;
use crate::context::ComponentContext;
use crate::crash::Crash;
use crate::gateway::error::GatewayError;
use crate::gateway::worker::{GatewayWorker, Listed, Running};
use crate::long_read::{Reader, Reading};
use crate::request_control::RequestControl;
use crate::store_calls::StoreCalls;
use crate::trace::Trace;

/// Where the head of the response, or the error in its place, is sent.
type HeadSender = oneshot::Sender<Result<Parts, GatewayError>>;

/// Why a request is over.
enum Over {
    /// Its response is complete, or its client has left.
    Done,
    /// It failed: the response is a problem, or is reset if it has begun.
    Failed(GatewayError),
}

impl From<GatewayError> for Over {
    fn from(error: GatewayError) -> Self {
        Self::Failed(error)
    }
}

impl GatewayWorker {
    /// Serves a request in steps.
    pub(in crate::gateway) async fn handle_in_steps<B>(
        self: &Arc<Self>,
        request: HttpRequest<B>,
    ) -> Result<Response<StepsBody>, GatewayError>
    where
        B: LimitedBody + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let permit = self.admission.enter().await.map_err(|error| match error {
            NotAdmitted::Full => GatewayError::Overloaded,
            NotAdmitted::Closed => GatewayError::Restarting,
        })?;
        // Each step is admitted again: none is made yet.
        drop(permit);
        let control = Arc::new(RequestControl::new(Trace::of(request.headers()), self.long.clone()));
        let (out, body) = outflow(&self.followers.untaken);
        let (sender, head) = oneshot::channel();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        {
            // Under the lock: a worker that stops either sees the request or refuses it.
            let mut requests = self.requests.lock();
            if self.stopping.load(Ordering::Acquire) {
                return Err(GatewayError::Restarting);
            }
            if requests.len() >= REQUESTS_MAX {
                return Err(GatewayError::TooManyRequests(REQUESTS_MAX));
            }
            let serving = serve(self.clone(), number, request, control.clone(), out, sender);
            let task = tokio::spawn(serving).abort_handle();
            requests.insert(number, Running { task, control });
        }
        let head = head.await.unwrap_or(Err(GatewayError::Restarting))?;
        Ok(Response::from_parts(head, body))
    }
}

async fn serve<B>(
    worker: Arc<GatewayWorker>,
    number: u64,
    request: HttpRequest<B>,
    control: Arc<RequestControl>,
    out: Outflow,
    sender: HeadSender,
) where
    B: LimitedBody + Unpin + Send + 'static,
    B::Error: Into<wasmtime_wasi_http::Error>,
{
    let _listed = Listed { worker: &worker, number };
    let mut driver = Driver::of(worker.clone(), request, control, out, sender);
    let Err(over) = driver.run().await;
    match over {
        Over::Done => {}
        Over::Failed(error) => {
            if matches!(error, GatewayError::Crashed { .. }) {
                driver.control.fail();
            }
            if let Some(sender) = driver.head.take() {
                // The client may be gone.
                drop(sender.send(Err(error)));
            }
            driver.out.reset();
        }
    }
}

/// What a request has.
struct Driver {
    worker: Arc<GatewayWorker>,
    control: Arc<RequestControl>,
    calls: StoreCalls,
    request: Arc<Request>,
    is_head: bool,
    arrival: Arrival,
    exchange: Exchange<Option<OwnedSemaphorePermit>>,
    token: Arc<Vec<u8>>,
    /// For a request that runs again: all outcomes so far.
    outcomes: Arc<Vec<Outcome>>,
    /// The same: the most bytes that its body may have.
    whole_at_most: u32,
    /// Calls that change the store: they go on when the client leaves.
    changes: FuturesUnordered<BoxFuture<'static, Arrived>>,
    /// Everything else that may bring an event.
    running: FuturesUnordered<BoxFuture<'static, Arrived>>,
    numbered: HashMap<u32, Numbered>,
    serial: u64,
    holds: HashMap<u32, Hold>,
    feeds: HashMap<u32, Feed>,
    reads: Arc<Semaphore>,
    /// Changes of snapshots wait for one another, because each takes more than one call of a component.
    snapshot_turn: Arc<tokio::sync::Mutex<()>>,
    out: Outflow,
    /// None once the head was sent.
    head: Option<HeadSender>,
    patience: Patience,
}

impl Driver {
    fn of<B>(
        worker: Arc<GatewayWorker>,
        request: HttpRequest<B>,
        control: Arc<RequestControl>,
        out: Outflow,
        head: HeadSender,
    ) -> Self
    where
        B: LimitedBody + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let (parts, body) = request.into_parts();
        let length = body.size_hint().exact();
        let request = request::of(&parts, length, &worker.context);
        Self {
            calls: StoreCalls::of(&worker.context),
            request: Arc::new(request),
            is_head: parts.method == Method::HEAD,
            arrival: Arrival::of(body, worker.room.share()),
            exchange: Exchange::new(parts.method == Method::HEAD),
            token: Arc::default(),
            outcomes: Arc::default(),
            whole_at_most: 0,
            changes: FuturesUnordered::new(),
            running: FuturesUnordered::new(),
            numbered: HashMap::new(),
            serial: 0,
            holds: HashMap::new(),
            feeds: HashMap::new(),
            reads: Arc::new(Semaphore::new(READS_AT_A_TIME)),
            snapshot_turn: Arc::default(),
            out,
            head: Some(head),
            patience: Patience::new(),
            worker,
            control,
        }
    }

    /// Serves the request; always ends with why it is over.
    async fn run(&mut self) -> Result<std::convert::Infallible, Over> {
        self.receive_begin().await?;
        let mut step = self.step(NextStep::Begin(self.request.clone())).await?;
        loop {
            step = match step {
                Step::Respond(response) => {
                    self.respond(response)?;
                    return Err(Over::Done);
                }
                Step::Bulk(bulk) => self.bulk(bulk).await?,
                Step::Pending(pending) => {
                    self.token = Arc::new(pending.token);
                    for action in pending.actions {
                        self.act(action).await?;
                    }
                    let event = self.wait().await?;
                    let next = self.next_step(event)?;
                    self.step(next).await?
                }
            };
        }
    }

    /// Waits for the body, if it comes with the request.
    async fn receive_begin(&mut self) -> Result<(), Over> {
        let RequestBody::Pieces(length) = self.request.body else { return Ok(()) };
        let body = tokio::select! {
            body = self.arrival.at_begin(length, INLINE_BODY_BYTES_MAX) => body.map_err(|error| self.lost(&error))?,
            () = self.out.left() => return Err(self.client_left()),
            () = self.control.closed() => return Err(GatewayError::Restarting.into()),
        };
        Arc::make_mut(&mut self.request).body = body;
        Ok(())
    }

    /// Makes a step, which is in force then.
    async fn step(&mut self, next: NextStep) -> Result<Step, GatewayError> {
        let guest = Guest { workers: Workers::One(&self.worker), trace: &self.control.trace };
        let exchange = &mut self.exchange;
        guest.call(&next, |step| exchange.follow(&step).map(|()| step)).await
    }

    /// The step that follows from an event.
    fn next_step(&mut self, event: Event) -> Result<NextStep, GatewayError> {
        if !self.exchange.runs_again() {
            return Ok(NextStep::Resume(self.token.clone(), Arc::new(event)));
        }
        match event {
            Event::Called(called) => {
                Arc::make_mut(&mut self.outcomes).extend(called.into_iter().map(|called| called.outcome));
            }
            Event::Body(piece) => {
                if piece.trailers.is_none() || piece.bytes.len() > self.whole_at_most as usize {
                    return Err(GatewayError::BodyTooLarge(self.whole_at_most));
                }
                Arc::make_mut(&mut self.request).body = RequestBody::Whole(piece.bytes);
            }
            event => return Ok(NextStep::Resume(self.token.clone(), Arc::new(event))),
        }
        Ok(NextStep::RunAgain(self.request.clone(), self.outcomes.clone()))
    }

    /// Waits for the next event.
    async fn wait(&mut self) -> Result<Event, Over> {
        loop {
            let untaken = self.out.untaken();
            if let Some(event) = self.exchange.next(untaken) {
                if matches!(event, Event::Timer(_) | Event::Page(_) | Event::Stopped(_)) {
                    self.patience.resume();
                }
                return Ok(event);
            }
            self.start_turns(untaken);
            let mut intake = self.exchange.wanted_of_body(untaken);
            if let (Some(intake), true) = (&mut intake, self.exchange.runs_again()) {
                // The whole body, and one byte more of one that is too long (the rule P16).
                self.whole_at_most = intake.at_most;
                intake.at_most += 1;
                intake.at_least = intake.at_most;
            }
            self.arrival.want(intake.is_some());
            let waiting = Waiting {
                has_begun: self.exchange.is_started(),
                for_events: self.exchange.waits_for_events(),
                for_body: intake.is_some(),
                untaken,
            };
            self.patience.taken(self.out.taken(), untaken);
            let deadline = self.patience.until(&waiting, self.arrival.last_part(), self.wall());
            let (changes, running) = (&mut self.changes, &mut self.running);
            tokio::select! {
                Some(arrived) = changes.next(), if !changes.is_empty() => self.arrived(arrived),
                Some(arrived) = running.next(), if !running.is_empty() => self.arrived(arrived),
                piece = self.arrival.piece(intake.unwrap_or(NOTHING)), if intake.is_some() => {
                    let piece = piece.map_err(|error| self.lost(&error))?;
                    self.exchange.body_came(piece);
                }
                () = self.out.more_taken(), if untaken > 0 => {}
                () = self.out.left() => return Err(self.client_left()),
                () = self.control.closed(), if !self.patience.is_draining() => {
                    if !self.exchange.is_started() && self.exchange.waits_only_for_pages() {
                        // It may wait for a long time, and `draining` comes only after `start`.
                        return Err(GatewayError::Restarting.into());
                    }
                    self.patience.drain();
                    self.exchange.drain(u32::try_from(DRAIN_TIME.as_millis()).unwrap_or(u32::MAX));
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(far)), if deadline.is_some() => {
                    return Err(self.overdue());
                }
            }
            // What is there at the same time comes in one event (the rule P11).
            while let Some(Some(arrived)) = self.changes.next().now_or_never() {
                self.arrived(arrived);
            }
            while let Some(Some(arrived)) = self.running.next().now_or_never() {
                self.arrived(arrived);
            }
        }
    }

    /// The error of a request whose body does not come.
    fn lost(&self, lost: &Lost) -> GatewayError {
        match lost {
            Lost::Connection(error) => {
                let too_slow = matches!(error, wasmtime_wasi_http::Error::ConnectionReadTimeout);
                if !too_slow {
                    // The client left.
                    self.control.fail();
                }
                GatewayError::BodyLost { too_slow, nothing_done: !self.exchange.has_made_calls() }
            }
            Lost::NoRoom => GatewayError::NoRoom,
        }
    }

    fn client_left(&self) -> Over {
        self.control.fail();
        Over::Done
    }

    fn overdue(&self) -> Over {
        if !self.patience.is_draining() && self.exchange.is_started() {
            let ComponentContext { store, role, .. } = &*self.worker.context;
            tracing::info!(
                store,
                component = role,
                "a response was cut off: its client took nothing of it, or sent nothing"
            );
        }
        if self.patience.is_draining() || self.exchange.is_started() {
            return GatewayError::Restarting.into();
        }
        let crash = Crash::no_response(self.worker.context.limits.response_wall_ms);
        tracing::warn!(
            incident = crash.incident,
            store = self.worker.context.store,
            component = self.worker.context.role,
            reason = crash.message,
            "a gateway component did not begin its response"
        );
        GatewayError::Crashed { crash: Box::new(crash) }.into()
    }

    /// How long a call, and a request without a response, may take.
    fn wall(&self) -> Duration {
        Duration::from_millis(self.worker.context.limits.response_wall_ms)
    }

    fn caller(&self) -> Caller {
        Caller { trace: self.control.trace.clone(), request: Some(self.control.clone()) }
    }

    fn reader(&self, reading: Reading) -> Reader {
        let turns = self.worker.followers.turns.clone();
        Reader { calls: self.calls.clone(), caller: self.caller(), wall: self.wall(), turns, reading }
    }

    /// Sends the head.
    fn begin(&mut self, head: Parts) {
        self.control.response_began();
        self.arrival.lift_time_limit();
        if let Some(sender) = self.head.take() {
            // The client may be gone.
            drop(sender.send(Ok(head)));
        }
    }

    /// Sends the whole response.
    fn respond(
        &mut self,
        response: crate::bindings::gateway::requests::Response,
    ) -> Result<(), GatewayError> {
        let unchecked = |_| GatewayError::NoResponse;
        let length = response.trailers.is_empty().then_some(response.body.len());
        let body = Content::of(&response, self.is_head);
        let mut head = rules::head(&response.head, body).map_err(unchecked)?;
        let trailers = rules::trailers(&response.trailers).map_err(unchecked)?;
        if self.is_head {
            // A gateway that made no body said its length.
            if let (Some(length), false) = (length, head.headers.contains_key(header::CONTENT_LENGTH)) {
                head.headers.insert(header::CONTENT_LENGTH, length.into());
            }
            self.out.finish(http::HeaderMap::new());
        } else {
            self.out.push(Bytes::from(response.body));
            self.out.finish(trailers);
        }
        self.begin(head);
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Writes that were queued go on, so that nobody has to wonder whether they were made (the rule P8). Without a runtime the
        // host has ended.
        let mut changes = std::mem::take(&mut self.changes);
        if !changes.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { while changes.next().await.is_some() {} });
        }
    }
}

/// What is asked for where nothing is.
const NOTHING: crate::bindings::gateway::steps::Intake =
    crate::bindings::gateway::steps::Intake { used: 0, at_least: 1, until: None, at_most: 1 };

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}
