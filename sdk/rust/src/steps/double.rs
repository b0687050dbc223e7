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
        body: Body { bytes: body, at: 0, last: 0, ended: false },
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
    /// That was the end of the body.
    ended: bool,
}

impl Body {
    fn piece(&mut self, intake: Intake, usual: usize) -> Piece {
        let Intake { used, at_least, until, at_most } = intake;
        let used = used as usize;
        assert!(used <= self.last, "{used} bytes are used of {}", self.last);
        assert!(!self.ended || used < self.last, "`receive` after the end of the body");
        self.at += used;
        let rest = &self.bytes[self.at..];
        let found = until.and_then(|until| rest.iter().position(|byte| *byte == until));
        let at_least = found.map_or(at_least, |at| at_least.min(u32::try_from(at + 1).unwrap_or(u32::MAX)));
        let length = usual.clamp(at_least as usize, at_most as usize).min(rest.len());
        self.last = length;
        let bytes = rest[..length].to_vec();
        self.ended = length == rest.len();
        Piece { bytes, trailers: self.ended.then(Vec::new) }
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

impl Next {
    fn step(step: wire::Step) -> Self {
        Self::Step(Box::new(step))
    }
}

/// What follows a step.
enum Next {
    /// Another one.
    Step(Box<wire::Step>),
    /// Nothing.
    Over(Received),
}

impl<G: Gateway> Driver<G> {
    fn run(&mut self, backend: &mut impl Backend) -> Received {
        let mut step = self.step(|driver| Registered::<G>::begin(driver.request.clone()));
        loop {
            match self.follow(backend, step) {
                Next::Step(next) => step = *next,
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
                    Err(error) => Next::step(self.resume(&token, &Event::Failed(error))),
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
            return Next::step(self.resume(token, &Event::Draining(1_000)));
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
                    return Next::step(wire::Step::Respond(response));
                }
                self.request.body = RequestBody::Whole(piece.bytes);
                return Next::step(self.run_again());
            }
            return Next::step(self.resume(token, &Event::Body(piece)));
        }
        let called = self.open.outcomes(backend, self.conditions.delivery);
        assert!(!called.is_empty(), "nothing is open that could bring an event");
        if token.is_empty() {
            self.outcomes.extend(called.into_iter().map(|called| called.outcome));
            return Next::step(self.run_again());
        }
        Next::step(self.resume(token, &Event::Called(called)))
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

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Backend, Call, Conditions, Delivery, exchange};
    use crate::events::{EventData, pack};
    use crate::steps::{
        Action, Answer, Caller, Event, Gateway, Holding, Horizon, Intake, NumberedCall, Outcome, Pending,
        Reply, Request, RequestBody, Response, ResponseHead, Step, WriteCall,
    };
    use crate::types::{Append, ExpectedVersion, WriteRequest};

    /// Counts the bytes of a body, of which it uses one in each step, and makes two calls for each.
    struct Counter;

    #[derive(Serialize, Deserialize)]
    struct Counting {
        used: u32,
        ended: bool,
        answered: u32,
        seen: Vec<u8>,
    }

    fn request(body: &[u8]) -> Request {
        Request {
            id: "r".into(),
            method: "POST".into(),
            path: "/".into(),
            query: None,
            headers: Vec::new(),
            body: RequestBody::Whole(body.to_vec()),
            store: "s".into(),
            mount: "m".into(),
            caller: Caller { identity: None, scopes: Vec::new() },
            traceparent: None,
            fields: Vec::new(),
        }
    }

    fn named(of: u8) -> Outcome {
        let horizon = Horizon { history_id: 1, end: 2 };
        Ok(Answer { reply: Reply::Named(vec![of]), horizon })
    }

    fn receive(used: u32) -> Action {
        Action::Receive(Intake { used, at_least: 1, until: None, at_most: 3 })
    }

    impl Gateway for Counter {
        type State = Counting;
        type Representation = ();

        fn begin(_: Request) -> Step<Counting, ()> {
            let state = Counting { used: 0, ended: false, answered: 0, seen: Vec::new() };
            Pending::new(state).action(Action::Start(ResponseHead::new(200))).action(receive(0)).into()
        }

        fn resume(mut state: Counting, event: Event) -> Step<Counting, ()> {
            let mut actions = Vec::new();
            match event {
                Event::Body(piece) => {
                    if let Some(first) = piece.bytes.first() {
                        let call = |id, payload| {
                            let call = Call::Named(crate::steps::NamedCall { name: "n".into(), payload });
                            NumberedCall::new(2 * state.used + id, call)
                        };
                        let ordered = call(0, vec![*first]).in_order();
                        actions.push(Action::Call(vec![ordered, call(1, vec![b'-'])]));
                        state.used += 1;
                    }
                    state.ended = piece.trailers.is_some() && piece.bytes.len() <= 1;
                    if !state.ended {
                        actions.push(receive(1));
                    }
                }
                Event::Called(called) => {
                    for called in called {
                        state.answered += 1;
                        match called.outcome.map(|answer| answer.reply) {
                            Ok(Reply::Named(bytes)) => state.seen.extend(bytes),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
            if state.ended && state.answered == 2 * state.used {
                actions.push(Action::Send(state.seen.clone()));
                actions.push(Action::Finish(Vec::new()));
            }
            actions.into_iter().fold(Pending::new(state), Pending::action).into()
        }
    }

    #[test]
    fn unused_bytes_come_again_and_ordered_outcomes_stay_in_order() {
        for delivery in [Delivery::Together, Delivery::Alone, Delivery::Reversed] {
            for (inline_body, outcomes_first) in [(0, false), (0, true), (100, false), (100, true)] {
                let conditions =
                    Conditions { delivery, inline_body, outcomes_first, ..Conditions::default() };
                let mut backend = |call| match call {
                    Call::Named(call) => named(call.payload[0]),
                    other => panic!("{other:?}"),
                };
                let received = exchange::<Counter>(&mut backend, conditions, request(b"abcd"));
                let ordered: Vec<u8> = received.body.iter().copied().filter(|byte| *byte != b'-').collect();
                assert_eq!(ordered, b"abcd", "{conditions:?}");
                assert_eq!((received.body.len(), received.is_whole), (8, true));
            }
        }
    }

    /// Sends one write in two parts, of which the first is held.
    struct Holder;

    impl Gateway for Holder {
        type State = ();
        type Representation = ();

        fn begin(_: Request) -> Step<(), ()> {
            let event = |id: &str| pack("s", [&EventData { id: id.into(), ..EventData::default() }]).unwrap();
            let expected = ExpectedVersion::Any;
            let append = Append { stream_id: "s".into(), expected, events: event("b") };
            let (checks, conditions, options) = (Vec::new(), Vec::new(), Vec::new());
            let request = WriteRequest { appends: vec![append], checks, conditions, options };
            let call = Call::Write(WriteCall { request, histories: Vec::new() });
            Pending::new(())
                .action(Action::Hold(Holding { id: 1, events: event("a") }))
                .action(Action::Call(vec![NumberedCall { held: Some(1), ..NumberedCall::new(2, call) }]))
                .into()
        }

        fn resume((): (), _: Event) -> Step<(), ()> {
            Response::new(204).into()
        }
    }

    #[derive(Default)]
    struct Written(Vec<String>);

    impl Backend for Written {
        fn call(&mut self, call: Call) -> Outcome {
            let Call::Write(write) = call else { panic!("{call:?}") };
            let events = crate::events::unpack(&write.request.appends[0].events).unwrap();
            self.0.extend(events.into_iter().map(|event| event.id));
            named(0)
        }
    }

    #[test]
    fn held_events_precede_those_of_the_call() {
        let mut written = Written::default();
        let received = exchange::<Holder>(&mut written, Conditions::default(), request(b""));
        assert_eq!((received.head.status, written.0), (204, vec!["a".to_owned(), "b".to_owned()]));
    }

    /// Breaks the contract in the way that the path says.
    struct Breaker;

    impl Gateway for Breaker {
        type State = Vec<u8>;
        type Representation = ();

        fn begin(request: Request) -> Step<Vec<u8>, ()> {
            let start = || Action::Start(ResponseHead::new(200));
            let call = |id| Action::Call(vec![NumberedCall::new(id, Call::LogEnd)]);
            let pending = Pending::new(Vec::new());
            match request.path.as_str() {
                "/nothing open" => pending.into(),
                "/two starts" => pending.action(start()).action(start()).into(),
                "/send before start" => pending.action(Action::Send(Vec::new())).into(),
                "/two receipts" => pending.action(receive(0)).action(receive(0)).into(),
                "/a number twice" => pending.action(call(1)).action(call(1)).into(),
                "/more used than given" => pending.action(receive(1)).into(),
                "/a long token" => Pending::new(vec![0; 64 << 10]).action(call(1)).into(),
                "/many actions" => (0..257).fold(pending, |pending, id| pending.action(call(id))).into(),
                other => panic!("{other}"),
            }
        }

        fn resume(_: Vec<u8>, _: Event) -> Step<Vec<u8>, ()> {
            Response::new(204).into()
        }
    }

    #[test]
    fn what_breaks_the_contract_is_a_panic() {
        for path in [
            "/nothing open",
            "/two starts",
            "/send before start",
            "/two receipts",
            "/a number twice",
            "/more used than given",
            "/a long token",
            "/many actions",
        ] {
            let request = Request { path: path.into(), ..request(b"body") };
            let broken = std::panic::catch_unwind(|| {
                exchange::<Breaker>(&mut |_| named(0), Conditions::default(), request.clone())
            });
            assert!(broken.is_err(), "{path}");
        }
    }
}
