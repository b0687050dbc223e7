//! Drives a gateway in tests as the host does: it makes the steps of a request, does their actions against a store of the
//! test's, delivers the body in pieces, and reads on for bulk reads. A step that breaks the contract is a panic, as is one that
//! is not the same when it is made once more. It has no clock, no subscriptions and no timers of its own.

mod bulk;
mod open;

use super::{
    Action, Called, Error, Event, Gateway, Guest, Header, Intake, Outcome, Piece, Query, Registered, Reply,
    Request, RequestBody, Response, ResponseHead, wire,
};
use crate::types::{code, problem};
use open::Open;

pub use super::Call;

/// The most bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// The most actions of a step.
const ACTIONS_MAX: usize = 256;

/// The most bytes of the context of a call.
const CONTEXT_BYTES_MAX: usize = 4 << 10;

/// The most bytes of a piece of a body.
const PIECE_BYTES_MAX: u32 = 9 << 20;

/// The calls of a request that may be open before no more of its body is delivered.
const CALLS_OPEN: usize = 256;

/// The calls of a request that may be open at all.
const CALLS_MAX: usize = 4 * CALLS_OPEN;

/// Why a follower is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be events.
    Events,
    /// The time is over.
    Timeout,
    /// The host stops.
    Stopping,
    /// The client takes events too slowly.
    Slow,
    /// The client has left.
    Left,
}

/// The store of a test. A function from calls to outcomes is one without live events.
pub trait Backend {
    /// Makes a call.
    fn call(&mut self, call: Call) -> Outcome;

    /// Waits at most so many milliseconds for events of a query that are not before `next`.
    fn wait(&mut self, query: &Query, next: u64, ms: u32) -> Wake {
        let _ = (query, next, ms);
        Wake::Stopping
    }

    /// The time of a monotonic clock in milliseconds.
    fn clock_ms(&mut self) -> u64 {
        0
    }
}

impl<F: FnMut(Call) -> Outcome> Backend for F {
    fn call(&mut self, call: Call) -> Outcome {
        self(call)
    }
}

/// In which events the outcomes of calls come that are there at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All in one event, in the order of the calls.
    #[default]
    Together,
    /// Each in an event of its own, in the order of the calls.
    Alone,
    /// Each in an event of its own, the last one first, but for those that are in order.
    Reversed,
}

/// The conditions of a request.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The most bytes of a body that comes with the request.
    pub inline_body: usize,
    /// The most bytes of a piece, unless a step asks for more.
    pub piece_bytes: usize,
    /// Whether the client says the length of a body that comes in pieces.
    pub says_length: bool,
    /// How outcomes come.
    pub delivery: Delivery,
    /// Outcomes are awaited before more of the body is delivered.
    pub outcomes_first: bool,
    /// The client leaves after so many writes.
    pub writes: usize,
    /// The host begins to stop after so many events.
    pub draining_after: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            inline_body: 1 << 20,
            piece_bytes: 64 << 10,
            says_length: true,
            delivery: Delivery::Together,
            outcomes_first: false,
            writes: usize::MAX,
            draining_after: usize::MAX,
        }
    }
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The head.
    pub head: ResponseHead,
    /// All bytes of the body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<Header>,
    /// The number of writes after the head; 0 if the body came with it.
    pub writes: usize,
    /// Whether the response came to its end, and was not reset.
    pub is_whole: bool,
    /// The number of steps.
    pub steps: usize,
}

/// Makes a request, whose body is `whole` and is delivered as the conditions say.
///
/// # Panics
///
/// If the gateway breaks the contract.
pub fn exchange<G: Gateway>(
    backend: &mut impl Backend,
    conditions: Conditions,
    mut request: Request,
) -> Received {
    let body = match std::mem::replace(&mut request.body, RequestBody::Whole(Vec::new())) {
        RequestBody::Whole(body) => body,
        RequestBody::Pieces(_) => panic!("the double cuts the body itself"),
    };
    let is_whole = body.len() <= conditions.inline_body;
    request.body = if is_whole {
        RequestBody::Whole(body.clone())
    } else {
        RequestBody::Pieces(conditions.says_length.then_some(body.len() as u64))
    };
    let mut driver = Driver::<G> {
        conditions,
        is_head: request.method == "HEAD",
        body: Body { bytes: body, at: 0, last: 0 },
        open: Open::default(),
        started: None,
        outcomes: Vec::new(),
        request,
        events: 0,
        steps: 0,
        gateway: std::marker::PhantomData,
    };
    driver.run(backend)
}

/// The body of a request.
struct Body {
    bytes: Vec<u8>,
    /// What was used.
    at: usize,
    /// The bytes of the last piece.
    last: usize,
}

impl Body {
    fn piece(&mut self, intake: Intake, usual: usize) -> Piece {
        let Intake { used, at_least, at_most } = intake;
        let used = used as usize;
        assert!(used <= self.last, "{used} bytes are used of {}", self.last);
        self.at += used;
        let rest = &self.bytes[self.at..];
        let length = usual.clamp(at_least as usize, at_most as usize).min(rest.len());
        self.last = length;
        let bytes = rest[..length].to_vec();
        let ends = length == rest.len();
        Piece { bytes, trailers: ends.then(Vec::new) }
    }
}

struct Driver<G> {
    conditions: Conditions,
    is_head: bool,
    request: Request,
    body: Body,
    open: Open,
    /// What was sent since `start`.
    started: Option<Received>,
    /// For handlers that run again.
    outcomes: Vec<Outcome>,
    events: usize,
    steps: usize,
    gateway: std::marker::PhantomData<G>,
}

/// What follows a step.
enum Next {
    /// Another one.
    Step(wire::Step),
    /// Nothing.
    Over(Received),
}

impl<G: Gateway> Driver<G> {
    fn run(&mut self, backend: &mut impl Backend) -> Received {
        let mut step = self.step(|driver| Registered::<G>::begin(driver.request.clone()));
        loop {
            match self.follow(backend, step) {
                Next::Step(next) => step = next,
                Next::Over(received) => return Received { steps: self.steps, ..received },
            }
        }
    }

    /// Makes a step twice, as by another instance after a crash.
    fn step(&mut self, make: impl Fn(&Self) -> wire::Step) -> wire::Step {
        self.steps += 1;
        let step = make(self);
        assert!(step == make(self), "the step is another one when it is made once more: {step:?}");
        step
    }

    fn resume(&mut self, token: &[u8], event: &Event) -> wire::Step {
        self.step(|_| Registered::<G>::resume(token.to_vec(), event.clone()))
    }

    fn follow(&mut self, backend: &mut impl Backend, step: wire::Step) -> Next {
        match step {
            wire::Step::Respond(Response { head, body, trailers }) => {
                assert!(self.started.is_none(), "`respond` after `start`");
                Next::Over(Received { head, body, trailers, writes: 0, is_whole: true, steps: 0 })
            }
            wire::Step::Bulk(bulk) => {
                assert!(self.started.is_none(), "`bulk` after `start`");
                let token = bulk.token.clone();
                match bulk::send::<G>(backend, &bulk, self.is_head, self.conditions.writes) {
                    Ok(received) => Next::Over(received),
                    Err(error) => Next::Step(self.resume(&token, &Event::Failed(error))),
                }
            }
            wire::Step::Pending(wire::Pending { token, actions }) => {
                assert!(token.len() <= TOKEN_BYTES_MAX, "the token has {} bytes", token.len());
                assert!(actions.len() <= ACTIONS_MAX, "the step has {} actions", actions.len());
                for action in actions {
                    if let Some(received) = self.act(action) {
                        return Next::Over(received);
                    }
                }
                self.wait(backend, &token)
            }
        }
    }

    /// Does an action. Returns what the client got if that was the end.
    fn act(&mut self, action: Action) -> Option<Received> {
        match action {
            Action::Start(head) => {
                assert!(self.started.is_none(), "`start` comes once");
                let (body, trailers) = (Vec::new(), Vec::new());
                self.started = Some(Received { head, body, trailers, writes: 0, is_whole: false, steps: 0 });
            }
            Action::Send(bytes) => {
                let received = self.started.as_mut().expect("`send` comes after `start`");
                received.writes += 1;
                if received.writes > self.conditions.writes {
                    return self.started.take();
                }
                received.body.extend_from_slice(&bytes);
            }
            Action::Finish(trailers) => {
                let received = self.started.take().expect("`finish` comes after `start`");
                return Some(Received { trailers, is_whole: true, ..received });
            }
            Action::Receive(intake) => {
                assert!(intake.at_least <= intake.at_most, "at least {} bytes", intake.at_least);
                assert!(intake.at_most <= PIECE_BYTES_MAX, "at most {} bytes", intake.at_most);
                self.open.receive(intake);
            }
            Action::Call(calls) => calls.into_iter().for_each(|call| self.open.add(call)),
            Action::Cancel(id) => self.open.cancel(id),
            Action::Hold(holding) => self.open.hold(holding),
            Action::Subscribe(_) | Action::Credit(_) | Action::Timer(_) => {
                panic!("the double has no subscriptions and no timers")
            }
        }
        None
    }

    /// The step for the next event.
    fn wait(&mut self, backend: &mut impl Backend, token: &[u8]) -> Next {
        let is_draining = self.started.is_some() && self.events == self.conditions.draining_after;
        self.events += 1;
        if is_draining {
            self.open.drain();
            return Next::Step(self.resume(token, &Event::Draining(1_000)));
        }
        let takes_body = self.open.awaits_body()
            && self.open.calls() < CALLS_OPEN
            && !(self.conditions.outcomes_first && self.open.calls() > 0);
        if takes_body {
            let intake = self.open.take_intake().expect("it is open");
            let piece = self.body.piece(intake, self.conditions.piece_bytes);
            if token.is_empty() {
                if piece.trailers.is_none() {
                    let response = Response::new(413);
                    return Next::Step(wire::Step::Respond(response));
                }
                self.request.body = RequestBody::Whole(piece.bytes);
                return Next::Step(self.run_again());
            }
            return Next::Step(self.resume(token, &Event::Body(piece)));
        }
        let called = self.open.outcomes(backend, self.conditions.delivery);
        assert!(!called.is_empty(), "nothing is open that could bring an event");
        if token.is_empty() {
            self.outcomes.extend(called.into_iter().map(|called| called.outcome));
            return Next::Step(self.run_again());
        }
        Next::Step(self.resume(token, &Event::Called(called)))
    }

    fn run_again(&mut self) -> wire::Step {
        self.step(|driver| Registered::<G>::run_again(driver.request.clone(), driver.outcomes.clone()))
    }
}

/// The error for what the double does not have.
fn unsupported(what: &str) -> Error {
    problem(code::UNSUPPORTED, format!("the double has no {what}"))
}

/// The page of an outcome of a read.
fn page_of(outcome: Outcome) -> Result<(crate::types::PackedPage, super::Horizon), Error> {
    let answer = outcome?;
    match answer.reply {
        Reply::Page(page) => Ok((page, answer.horizon)),
        other => panic!("a read brought {other:?}"),
    }
}

/// The calls of a request, as they come.
type CalledList = Vec<Called>;
