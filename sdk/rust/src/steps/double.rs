//! Drives a gateway in tests as the host does: it makes the steps of a request, does their actions against a store of the
//! test's, delivers the body in pieces and what subscriptions bring, and reads on for bulk reads. A step that breaks the contract
//! is a panic that names the rule, as is one that is not the same when it is made once more, and a request to which nothing more
//! can come.
//!
//! Time passes only when the store says so ([`Backend::clock_ms`]), or when nothing else can happen: then the next timer fires at
//! once. Of an exchange of an hour, a test takes no longer than its steps.
//!
//! ```
//! use exesdb_sdk::steps::double::{Backend, Conditions, Page, Supply, exchange};
//! use exesdb_sdk::steps::{
//!     Action, Call, Caller, Event, Feed, Gateway, NamedCall, Outcome, Pending, Request, RequestBody, ResponseHead, Step,
//!     Subscription, Timer,
//! };
//! use exesdb_sdk::types::Error;
//!
//! /// Sends what a feed says, and a dot in each second without.
//! struct Ticker;
//!
//! fn timer() -> Action {
//!     Action::Timer(Timer { id: 1, ms: 1_000 })
//! }
//!
//! impl Gateway for Ticker {
//!     type State = ();
//!     type Representation = ();
//!
//!     fn begin(_: Request) -> Step<(), ()> {
//!         let feed = Feed::Named(NamedCall { name: "words".into(), payload: Vec::new() });
//!         let subscribe = Action::Subscribe(Subscription { id: 0, feed, credit: None });
//!         Pending::new(()).action(Action::Start(ResponseHead::new(200))).action(subscribe).action(timer()).into()
//!     }
//!
//!     fn resume((): (), event: Event) -> Step<(), ()> {
//!         match event {
//!             Event::Page(page) => Pending::new(()).action(Action::Send(page.notes)).into(),
//!             Event::Timer(_) => Pending::new(()).action(Action::Send(b".".to_vec())).action(timer()).into(),
//!             _ => Pending::new(()).action(Action::Finish(Vec::new())).into(),
//!         }
//!     }
//! }
//!
//! /// What the feed brings, one after the other.
//! struct Words(Vec<Supply>);
//!
//! impl Backend for Words {
//!     fn call(&mut self, _: Call) -> Outcome {
//!         Err(Error::NotFound)
//!     }
//!
//!     fn supply(&mut self, _: u32, _: &NamedCall, _: u32) -> Supply {
//!         self.0.remove(0)
//!     }
//! }
//!
//! let word = |notes: &str| Supply::Page(Page { notes: notes.into(), ..Page::default() });
//! let mut words = Words(vec![word("one"), Supply::Later(2_500), word("two"), Supply::Stopping]);
//! let request = Request {
//!     id: "r".into(),
//!     method: "GET".into(),
//!     path: "/".into(),
//!     query: None,
//!     headers: Vec::new(),
//!     body: RequestBody::Whole(Vec::new()),
//!     store: "main".into(),
//!     mount: "http".into(),
//!     caller: Caller { identity: None, scopes: Vec::new() },
//!     traceparent: None,
//!     fields: Vec::new(),
//! };
//! let received = exchange::<Ticker>(&mut words, Conditions::default(), request);
//! assert_eq!(received.body, b"one..two");
//! ```

mod backend;
mod bulk;
mod conditions;
mod feeds;
mod numbers;
mod open;
mod reader;
mod rules;
mod timers;

use super::{
    Action, Called, Error, Event, Gateway, Guest, Intake, Outcome, Piece, Registered, Request, RequestBody,
    Response, wire,
};
use feeds::Brought;
use open::Open;
use timers::Clock;

pub use super::Call;
pub use backend::{Backend, Page, Supply, Wake};
pub use conditions::{Conditions, Delivery, Received};

/// The calls of a request that may be open before no more of its body is delivered.
const CALLS_OPEN: usize = 256;

/// The calls of a request that runs again.
const CALLS_OF_RERUNS_MAX: usize = 16;

/// Milliseconds that a gateway has when the host stops.
const DRAINING_MS: u32 = 1_000;

/// Timers that fire one after the other without another event between them. More are an exchange that does not end.
const TIMERS_ALONE_MAX: usize = 10_000;

/// Makes a request, whose body is `whole` and is delivered as the conditions say.
///
/// # Panics
///
/// If the gateway breaks the contract, or waits for what cannot come.
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
        clock: Clock::default(),
        started: None,
        outcomes: Vec::new(),
        request,
        stop: Stop::No,
        timers_alone: 0,
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
        assert!(used <= self.last, "{used} bytes are used of {} (P29)", self.last);
        assert!(!self.ended || used < self.last, "`receive` after the end of the body (P14)");
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
    clock: Clock,
    /// What was sent since `start`.
    started: Option<Received>,
    /// For handlers that run again.
    outcomes: Vec<Outcome>,
    stop: Stop,
    /// Timers that have fired since another event.
    timers_alone: usize,
    events: usize,
    steps: usize,
    gateway: std::marker::PhantomData<G>,
}

/// Whether the host stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// The gateway is told so when the response has begun.
    Due,
    /// It was told so.
    Told,
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
            wire::Step::Respond(response) => {
                assert!(self.started.is_none(), "`respond` after `start` (P5)");
                rules::response(&response, self.is_head);
                let Response { head, body, trailers } = response;
                Next::Over(Received { head, body, trailers, writes: 0, is_whole: true, steps: 0 })
            }
            wire::Step::Bulk(bulk) => {
                assert!(self.started.is_none(), "`bulk` after `start` (P5)");
                rules::bulk(&bulk);
                let token = bulk.token.clone();
                match bulk::send::<G>(backend, &bulk, self.is_head, self.conditions.writes) {
                    Ok(received) => Next::Over(received),
                    Err(error) => Next::step(self.resume(&token, &Event::Failed(error))),
                }
            }
            wire::Step::Pending(pending) => {
                rules::pending(&pending);
                let wire::Pending { token, actions } = pending;
                self.open.begin_step();
                for action in actions {
                    if let Some(received) = self.act(backend, action) {
                        return Next::Over(received);
                    }
                }
                if token.is_empty() {
                    assert!(self.started.is_none(), "a step that runs again after `start` (P16)");
                    let calls = self.outcomes.len() + self.open.calls();
                    assert!(calls <= CALLS_OF_RERUNS_MAX, "{calls} calls of a request that runs again (P16)");
                }
                if self.stop != Stop::Told {
                    self.open.end_step();
                }
                self.wait(backend, &token)
            }
        }
    }

    /// Does an action. Returns what the client got if that was the end.
    fn act(&mut self, backend: &mut impl Backend, action: Action) -> Option<Received> {
        match action {
            Action::Start(head) => {
                assert!(self.started.is_none(), "`start` comes once (P5)");
                rules::started(&head);
                let (body, trailers) = (Vec::new(), Vec::new());
                self.started = Some(Received { head, body, trailers, writes: 0, is_whole: false, steps: 0 });
            }
            Action::Send(bytes) => {
                let received = self.started.as_mut().expect("`send` comes after `start` (P5)");
                received.writes += 1;
                if received.writes > self.conditions.writes {
                    return self.started.take();
                }
                received.body.extend_from_slice(&bytes);
            }
            Action::Finish(trailers) => {
                let received = self.started.take().expect("`finish` comes after `start` (P5)");
                rules::trailers(&trailers);
                return Some(Received { trailers, is_whole: true, ..received });
            }
            Action::Receive(intake) => self.open.receive(intake),
            Action::Call(calls) => calls.into_iter().for_each(|call| self.open.add(call)),
            Action::Cancel(id) => self.open.cancel(id),
            Action::Hold(holding) => self.open.hold(holding),
            Action::Subscribe(subscription) => self.open.subscribe(subscription),
            Action::Credit(grant) => self.open.grant(grant),
            Action::Timer(timer) => self.open.set_timer(timer, self.clock.now(backend)),
        }
        None
    }

    /// The step for the next event.
    fn wait(&mut self, backend: &mut impl Backend, token: &[u8]) -> Next {
        let Some(event) = self.event(backend, token.is_empty()) else {
            return Next::Over(
                self.started.take().expect("a client that leaves before `start` gets nothing"),
            );
        };
        self.events += 1;
        self.timers_alone = if matches!(event, Event::Timer(_)) { self.timers_alone + 1 } else { 0 };
        assert!(self.timers_alone <= TIMERS_ALONE_MAX, "only timers fire, and nothing else can come");
        match event {
            Event::Body(piece) if token.is_empty() => {
                if piece.trailers.is_none() {
                    return Next::step(wire::Step::Respond(Response::new(413)));
                }
                self.request.body = RequestBody::Whole(piece.bytes);
                Next::step(self.run_again())
            }
            Event::Called(called) if token.is_empty() => {
                self.outcomes.extend(called.into_iter().map(|called| called.outcome));
                Next::step(self.run_again())
            }
            event => Next::step(self.resume(token, &event)),
        }
    }

    /// The next event, in the order in which the host passes what is there. None if the client has left.
    fn event(&mut self, backend: &mut impl Backend, runs_again: bool) -> Option<Event> {
        let delivery = if runs_again { Delivery::Together } else { self.conditions.delivery };
        loop {
            if let Some(event) = self.draining() {
                return Some(event);
            }
            if let Some(id) = self.fired(backend) {
                return Some(Event::Timer(id));
            }
            let brought = if let Some(stopped) = self.open.feeds.ended() {
                Some(Brought::Stopped(stopped))
            } else if self.conditions.pages_first {
                self.polled(backend)
            } else {
                None
            };
            let brought = match brought {
                Some(brought) => Some(brought),
                None if self.takes_body() => {
                    let intake = self.open.take_intake().expect("it is open");
                    return Some(Event::Body(self.body.piece(intake, self.conditions.piece_bytes)));
                }
                None if self.open.calls() > 0 => {
                    self.open.make_calls(backend);
                    // A call may take longer than a timer.
                    let fired = self.fired(backend).map(Event::Timer);
                    return Some(fired.unwrap_or_else(|| Event::Called(self.open.outcomes(delivery))));
                }
                None => self.polled(backend),
            };
            match brought {
                Some(Brought::Page(page)) => return Some(Event::Page(page)),
                Some(Brought::Stopped(stopped)) => {
                    self.open.is_over(stopped.id);
                    return Some(Event::Stopped(stopped));
                }
                Some(Brought::Stopping) => self.stops(),
                Some(Brought::Left) => return None,
                None if self.let_time_pass(backend) => {}
                None => return None,
            }
        }
    }

    fn takes_body(&self) -> bool {
        let (calls, outcomes_first) = (self.open.calls(), self.conditions.outcomes_first);
        self.open.awaits_body() && calls < CALLS_OPEN && !(outcomes_first && calls > 0)
    }

    fn polled(&mut self, backend: &mut impl Backend) -> Option<Brought> {
        let now = self.clock.now(backend);
        self.open.feeds.poll(backend, now)
    }

    /// The timer whose time is over.
    fn fired(&mut self, backend: &mut impl Backend) -> Option<u32> {
        let id = self.open.timers.fire(self.clock.now(backend))?;
        self.open.is_over(id);
        Some(id)
    }

    fn stops(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Due;
        }
    }

    /// What the gateway is told when the host stops. From then on, nothing is received or delivered.
    fn draining(&mut self) -> Option<Event> {
        if self.events >= self.conditions.draining_after {
            self.stops();
        }
        let is_due = self.stop == Stop::Due && self.started.is_some();
        if is_due {
            self.stop = Stop::Told;
        }
        if self.stop == Stop::Told {
            self.open.drain();
        }
        is_due.then_some(Event::Draining(DRAINING_MS))
    }

    /// Nothing is there: time goes on until something can be. Returns whether the client stays.
    fn let_time_pass(&mut self, backend: &mut impl Backend) -> bool {
        let now = self.clock.now(backend);
        let until = [self.open.timers.next(), self.open.feeds.next()].into_iter().flatten().min();
        let left = until.map_or(u64::MAX, |until| until.saturating_sub(now));
        let wake = self.open.feeds.wait(backend, u32::try_from(left).unwrap_or(u32::MAX));
        match (wake, until) {
            (Some(Wake::Events), _) => {}
            (Some(Wake::Stopping), _) => self.stops(),
            (Some(Wake::Left | Wake::Slow), _) => return false,
            (Some(Wake::Timeout) | None, Some(until)) => self.clock.reach(backend, until),
            (Some(Wake::Timeout) | None, None) => {
                let why = match self.stop {
                    Stop::No => self.open.feeds.why_silent(),
                    Stop::Due | Stop::Told => "the host stops",
                };
                panic!("nothing more can come: {why}");
            }
        }
        true
    }

    fn run_again(&mut self) -> wire::Step {
        self.step(|driver| Registered::<G>::run_again(driver.request.clone(), driver.outcomes.clone()))
    }
}

#[cfg(test)]
mod tests;
