//! Requests whose host is the double.

mod live;

use serde::{Deserialize, Serialize};

use super::{Backend, Call, Conditions, Delivery, Received, exchange};
use crate::events::{EventData, pack};
use crate::steps::{
    Action, Answer, Caller, Event, Feed, Gateway, Grant, Holding, Horizon, Intake, NamedCall, NumberedCall,
    Outcome, Pending, Reply, Request, RequestBody, Response, ResponseHead, Step, Subscription, Timer,
    WriteCall,
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

/// The feed of a test's own.
fn words() -> Feed {
    Feed::Named(NamedCall { name: "words".into(), payload: Vec::new() })
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
            let conditions = Conditions { delivery, inline_body, outcomes_first, ..Conditions::default() };
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

/// The message of the panic with which an exchange ends.
fn panic_of(exchange: impl FnOnce() -> Received) -> String {
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(exchange)).expect_err("it is a panic");
    let text = broken.downcast_ref::<String>().cloned();
    text.or_else(|| broken.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("its message is a text")
}

/// Breaks the contract in the way that the path says.
struct Breaker;

fn head_with(name: &str, value: &str) -> Action {
    Action::Start(ResponseHead::new(200).header(name, value))
}

fn log_end(id: u32) -> Action {
    Action::Call(vec![NumberedCall::new(id, Call::LogEnd)])
}

impl Gateway for Breaker {
    type State = Vec<u8>;
    type Representation = ();

    fn begin(request: Request) -> Step<Vec<u8>, ()> {
        let start = || Action::Start(ResponseHead::new(200));
        let pending = Pending::new(Vec::new());
        let with = |actions: Vec<Action>| actions.into_iter().fold(pending.clone(), Pending::action).into();
        let subscribe = |id| Action::Subscribe(Subscription { id, feed: words(), credit: None });
        let timer = |id| Action::Timer(Timer { id, ms: 1 });
        let credit = |id| Action::Credit(Grant { id, credit: 1 });
        let call = |change: fn(&mut NumberedCall)| {
            let mut call = NumberedCall::new(9, Call::LogEnd);
            change(&mut call);
            Action::Call(vec![call])
        };
        let take = |at_least, at_most| Action::Receive(Intake { used: 0, at_least, until: None, at_most });
        match request.path.as_str() {
            "/nothing open" => pending.into(),
            "/a hold alone" => with(vec![Action::Hold(Holding { id: 1, events: Vec::new() })]),
            "/two starts" => with(vec![start(), start()]),
            "/send before start" => with(vec![Action::Send(Vec::new())]),
            "/after finish" => with(vec![start(), Action::Finish(Vec::new()), start()]),
            "/status" => with(vec![Action::Start(ResponseHead::new(101))]),
            "/upper case" => with(vec![head_with("Content-Type", "x")]),
            "/of the connection" => with(vec![head_with("connection", "close")]),
            "/two receipts" => with(vec![receive(0), receive(0)]),
            "/a piece of nothing" => with(vec![take(0, 0)]),
            "/more used than given" => with(vec![receive(1)]),
            "/a number twice" => with(vec![log_end(1), log_end(1)]),
            "/a number of two kinds" => with(vec![subscribe(1), timer(1)]),
            "/a number freed and taken" => with(vec![subscribe(1), Action::Cancel(1), subscribe(1)]),
            "/cancel of nothing" => with(vec![timer(1), Action::Cancel(2)]),
            "/credit of a timer" => with(vec![timer(1), credit(1)]),
            "/held by nobody" => with(vec![call(|call| call.held = Some(1))]),
            "/a long context" => with(vec![call(|call| call.context = vec![0; (4 << 10) + 1])]),
            "/a long token" => Pending::new(vec![0; 64 << 10]).action(log_end(1)).into(),
            "/many actions" => with((0..257).map(log_end).collect()),
            "/many calls" => {
                let calls = (0..1_025).map(|id| NumberedCall::new(id, Call::LogEnd)).collect();
                with(vec![Action::Call(calls)])
            }
            "/many subscriptions" => with((0..17).map(subscribe).collect()),
            "/a subscription that runs again" => Step::RunAgain(vec![subscribe(1)]),
            "/many calls that run again" => Step::RunAgain((0..17).map(log_end).collect()),
            other => panic!("{other}"),
        }
    }

    fn resume(_: Vec<u8>, _: Event) -> Step<Vec<u8>, ()> {
        Response::new(204).into()
    }
}

#[test]
fn what_breaks_the_contract_is_a_panic_that_names_the_rule() {
    for (path, rule) in [
        ("/nothing open", "(P3)"),
        ("/a hold alone", "(P3)"),
        ("/two starts", "(P5)"),
        ("/send before start", "(P5)"),
        ("/after finish", "(P5)"),
        ("/status", "(Q7)"),
        ("/upper case", "(Q9)"),
        ("/of the connection", "(Q8)"),
        ("/two receipts", "(P3)"),
        ("/a piece of nothing", "(P29)"),
        ("/more used than given", "(P29)"),
        ("/a number twice", "(P2)"),
        ("/a number of two kinds", "(P2)"),
        ("/a number freed and taken", "(P2)"),
        ("/cancel of nothing", "(P2)"),
        ("/credit of a timer", "(P2)"),
        ("/held by nobody", "(P25)"),
        ("/a long context", "(P24)"),
        ("/a long token", "(P18)"),
        ("/many actions", "(P32)"),
        ("/many calls", "(P6)"),
        ("/many subscriptions", "(P6)"),
        ("/a subscription that runs again", "(P16)"),
        ("/many calls that run again", "(P16)"),
    ] {
        let request = Request { path: path.into(), ..request(b"body") };
        let message =
            panic_of(|| exchange::<Breaker>(&mut |_| named(0), Conditions::default(), request.clone()));
        assert!(message.contains(rule), "{path}: {message}");
    }
}

/// A handler that asks for two things side by side.
struct Pair;

impl Gateway for Pair {
    type State = ();
    type Representation = ();

    fn begin(_: Request) -> Step<(), ()> {
        Step::RunAgain(vec![log_end(1), log_end(2)])
    }

    fn resume((): (), event: Event) -> Step<(), ()> {
        panic!("{event:?}")
    }

    fn run_again(_: Request, outcomes: Vec<Outcome>) -> Step<(), ()> {
        let brought = |outcome: Outcome| match outcome.map(|answer| answer.reply) {
            Ok(Reply::Named(bytes)) => bytes,
            other => panic!("{other:?}"),
        };
        Response::new(200).body(outcomes.into_iter().flat_map(brought).collect::<Vec<u8>>()).into()
    }
}

#[test]
fn a_handler_that_runs_again_gets_all_outcomes_together() {
    for delivery in [Delivery::Together, Delivery::Alone, Delivery::Reversed] {
        let conditions = Conditions { delivery, ..Conditions::default() };
        let mut count = 0;
        let mut backend = |_| {
            count += 1;
            named(count)
        };
        assert_eq!(exchange::<Pair>(&mut backend, conditions, request(b"")).body, [1, 2]);
    }
}
