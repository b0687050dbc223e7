//! The rules of a request as tables: what happens, and which events the gateway gets.

use super::Exchange;
use crate::bindings::gateway::requests::{
    Answer, Call, Header, Horizon, Outcome, Query, Reply, Response, ResponseHead, WriteCall,
};
use crate::bindings::gateway::steps::{
    Action, Delivered, Event, Feed, Grant, Holding, Intake, NumberedCall, Pending, Piece, Step, Stopped,
    Subscription, Timer,
};
use crate::bindings::store::places::Direction;
use crate::bindings::store::types::{
    AllSelection, Append, ExpectedVersion, PackedPage, Selection, Source, WriteRequest,
};
use crate::gateway::steps::rules::Breach;
use crate::problem::problem;

const MIB: usize = 1 << 20;

fn head() -> ResponseHead {
    ResponseHead { status: 200, headers: Vec::new() }
}

fn start() -> Action {
    Action::Start(head())
}

fn send() -> Action {
    Action::Send(b"x".to_vec())
}

fn finish() -> Action {
    Action::Finish(Vec::new())
}

fn numbered(id: u32, in_order: bool, call: Call, held: Option<u32>) -> NumberedCall {
    let (context, options) = (Vec::new(), Vec::new());
    NumberedCall { id, call, context, held, in_order, within_ms: None, options }
}

fn call(ids: impl IntoIterator<Item = u32>) -> Action {
    Action::Call(ids.into_iter().map(|id| numbered(id, false, Call::LogEnd, None)).collect())
}

fn in_order(ids: &[u32]) -> Action {
    Action::Call(ids.iter().map(|id| numbered(*id, true, Call::LogEnd, None)).collect())
}

/// A write of an append with so many bytes of events, and those held under a number.
fn write(id: u32, bytes: usize, held: Option<u32>) -> Action {
    let append = Append { stream_id: "s".into(), expected: ExpectedVersion::Any, events: vec![0; bytes] };
    let (checks, conditions, options) = (Vec::new(), Vec::new(), Vec::new());
    let request = WriteRequest { appends: vec![append], checks, conditions, options };
    let write = Call::Write(WriteCall { request, histories: Vec::new() });
    Action::Call(vec![numbered(id, false, write, held)])
}

fn append_held(id: u32, held: u32) -> Action {
    write(id, 0, Some(held))
}

fn receive(used: u32) -> Action {
    Action::Receive(Intake { used, at_least: 1, until: None, at_most: 100 })
}

fn hold(id: u32) -> Action {
    Action::Hold(Holding { id, events: Vec::new() })
}

fn timer(id: u32) -> Action {
    Action::Timer(Timer { id, ms: 1 })
}

fn query() -> Query {
    let source = Source::All(AllSelection { from: None, until: None });
    let selection =
        Selection { source, direction: Direction::Forward, count: 1, max_bytes: 1, options: Vec::new() };
    Query { selection, filter: None, at_least: None, history_id: None }
}

fn subscribe(id: u32) -> Action {
    Action::Subscribe(Subscription { id, feed: Feed::Query(query()), credit: None })
}

fn credit(id: u32) -> Action {
    Action::Credit(Grant { id, credit: 1 })
}

fn pending(actions: Vec<Action>) -> Step {
    Step::Pending(Pending { token: vec![1], actions })
}

fn again(actions: Vec<Action>) -> Step {
    Step::Pending(Pending { token: Vec::new(), actions })
}

fn respond() -> Step {
    Step::Respond(Response { head: head(), body: Vec::new(), trailers: Vec::new() })
}

/// An outcome with a page of so many bytes.
fn outcome(bytes: usize) -> Outcome {
    let page = PackedPage { events: vec![0; bytes], next: None, end: true, last_version: None };
    Ok(Answer { reply: Reply::Page(page), horizon: Horizon { history_id: 1, end: 0 } })
}

fn shown(event: Option<Event>) -> String {
    match event {
        None => "nothing".into(),
        Some(Event::Called(called)) => {
            let ids: Vec<String> = called.iter().map(|called| called.id.to_string()).collect();
            format!("called {}", ids.join(" "))
        }
        Some(Event::Body(Piece { bytes, trailers: None })) => format!("body {}", bytes.len()),
        Some(Event::Body(Piece { bytes, trailers: Some(_) })) => format!("body {}, end", bytes.len()),
        Some(Event::Page(page)) => format!("page {}", page.id),
        Some(Event::Stopped(stopped)) => format!("stopped {}", stopped.id),
        Some(Event::Timer(id)) => format!("timer {id}"),
        Some(Event::Failed(_)) => "failed".into(),
        Some(Event::Draining(ms)) => format!("draining {ms}"),
    }
}

/// One thing that happens.
enum Happens {
    /// A step that is accepted.
    Says(Step),
    /// A step that breaks the contract; a part of the text.
    Breaks(Step, &'static str),
    /// The outcomes of calls.
    Outcomes(&'static [u32]),
    /// A piece of the body, and whether the body ends with it.
    Body(usize, bool),
    Page(u32),
    Stops(u32),
    Fires(u32),
    Drains,
    /// The next event, with so many bytes that are not taken.
    Next(usize, &'static str),
}
use Happens::{Body, Breaks, Drains, Fires, Next, Outcomes, Page, Says, Stops};

fn run(name: &str, story: Vec<Happens>) {
    let mut exchange = Exchange::<()>::new(false);
    for (index, happens) in story.into_iter().enumerate() {
        let at = format!("{name}, {index}");
        match happens {
            Says(step) => assert_eq!(exchange.follow(&step), Ok(()), "{at}"),
            Breaks(step, expected) => match exchange.follow(&step) {
                Err(Breach(text)) => assert!(text.contains(expected), "{at}: {text}"),
                Ok(()) => panic!("{at}: it was accepted, expected {expected}"),
            },
            Outcomes(ids) => {
                ids.iter().for_each(|id| exchange.call_finished(*id, Vec::new(), outcome(0), ()));
            }
            Body(bytes, ends) => {
                assert!(exchange.wanted_of_body(0).is_some(), "{at}: nobody asked for it");
                exchange.body_came(Piece { bytes: vec![0; bytes], trailers: ends.then(Vec::new) });
            }
            Page(id) => {
                let (events, notes) = (Vec::new(), Vec::new());
                exchange.page_came(Delivered { id, events, next: None, notes, caught_up: true });
            }
            Stops(id) => {
                exchange.feed_stopped(Stopped { id, error: Some(problem("other", "it was dropped")) });
            }
            Fires(id) => exchange.timer_fired(id),
            Drains => exchange.drain(5),
            Next(untaken, expected) => assert_eq!(shown(exchange.next(untaken)), expected, "{at}"),
        }
    }
}

#[test]
fn numbers_are_one_series_and_free_again_after_their_last_event() {
    run(
        "P2",
        vec![
            Says(pending(vec![call([1]), timer(2), subscribe(3), hold(4)])),
            Breaks(pending(vec![timer(1)]), "the number 1 is in use"),
            Breaks(pending(vec![call([2])]), "the number 2 is in use"),
            Breaks(pending(vec![subscribe(3)]), "the number 3 is in use"),
            Breaks(pending(vec![call([4])]), "the number 4 is in use"),
            Breaks(pending(vec![call([7, 7])]), "the number 7 is in use"),
            Breaks(pending(vec![hold(1)]), "the number 1 is in use"),
            Breaks(pending(vec![credit(1)]), "`credit` of 1"),
            Breaks(pending(vec![credit(9)]), "`credit` of 9"),
            Breaks(pending(vec![Action::Cancel(9)]), "`cancel` of 9"),
            Breaks(pending(vec![append_held(9, 1)]), "`held` of 1"),
            Breaks(pending(vec![append_held(9, 8)]), "`held` of 8"),
            Says(pending(vec![hold(4), credit(3)])),
            Outcomes(&[1]),
            Fires(2),
            // A number is in use until its event was delivered.
            Breaks(pending(vec![timer(2)]), "the number 2 is in use"),
            Next(0, "timer 2"),
            Next(0, "called 1"),
            Says(pending(vec![timer(1), call([2])])),
            Stops(3),
            Next(0, "stopped 3"),
            Says(pending(vec![timer(3)])),
            // What was held is used up by the call.
            Says(pending(vec![append_held(5, 4)])),
            Breaks(pending(vec![append_held(6, 4)]), "`held` of 4"),
            Says(pending(vec![hold(4)])),
        ],
    );
}

#[test]
fn after_cancel_no_event_comes() {
    run(
        "cancel",
        vec![
            Says(pending(vec![call([1, 2]), in_order(&[3, 4]), timer(5), subscribe(6), hold(7)])),
            Outcomes(&[1, 3, 4]),
            Fires(5),
            Page(6),
            Says(pending([1, 3, 5, 6, 7].map(Action::Cancel).to_vec())),
            // The one before it in order is gone.
            Next(0, "called 4"),
            Next(0, "nothing"),
            Breaks(pending(vec![timer(1), Action::Cancel(1), call([1])]), "1 is taken twice in one step"),
            Says(pending(vec![Action::Cancel(2), timer(2), timer(1)])),
            Says(pending(vec![Action::Cancel(1), call([1])])),
            Outcomes(&[1]),
            Fires(2),
            Page(6),
            Next(0, "timer 2"),
            Next(0, "called 1"),
            Next(0, "nothing"),
        ],
    );
}

#[test]
fn a_step_that_waits_has_something_to_wait_for() {
    let nothing = "nothing is open that could bring an event";
    run(
        "P3",
        vec![
            Breaks(pending(vec![]), nothing),
            Breaks(pending(vec![hold(1)]), nothing),
            Breaks(pending(vec![start(), send()]), nothing),
            Breaks(pending(vec![timer(1), Action::Cancel(1)]), nothing),
            Says(pending(vec![timer(1)])),
            Says(pending(vec![])),
            Breaks(pending(vec![Action::Cancel(1)]), nothing),
            Fires(1),
            Next(0, "timer 1"),
            Breaks(pending(vec![]), nothing),
            Says(pending(vec![receive(0)])),
            Breaks(pending(vec![receive(0)]), "`receive` while one is open"),
            Says(pending(vec![])),
            Body(3, true),
            Next(0, "body 3, end"),
            Breaks(pending(vec![]), nothing),
        ],
    );
    run(
        "P3, what ends all",
        vec![
            Says(pending(vec![start(), call([1]), subscribe(2)])),
            Says(pending(vec![finish()])),
            Outcomes(&[1]),
            Page(2),
            Next(0, "nothing"),
        ],
    );
    run(
        "P3, respond",
        vec![Says(pending(vec![call([1])])), Outcomes(&[1]), Says(respond()), Next(0, "nothing")],
    );
}

#[test]
fn a_body_is_used_piece_by_piece() {
    run(
        "receive",
        vec![
            Breaks(pending(vec![receive(1)]), "1 bytes of a piece of 0 were used"),
            Says(pending(vec![receive(0)])),
            Body(10, false),
            Next(0, "body 10"),
            Breaks(pending(vec![receive(11)]), "11 bytes of a piece of 10 were used"),
            Breaks(pending(vec![receive(3), receive(3)]), "`receive` while one is open"),
            Says(pending(vec![receive(4)])),
            Body(6, true),
            Next(0, "body 6, end"),
            // Bytes that are not used are said again, with the end.
            Says(pending(vec![receive(5)])),
            Body(1, true),
            Next(0, "body 1, end"),
            Breaks(pending(vec![receive(1)]), "`receive` after the end of the body"),
            Breaks(
                pending(vec![Action::Receive(Intake { used: 0, at_least: 2, until: None, at_most: 1 })]),
                "at least 2 and at most 1",
            ),
        ],
    );
}

#[test]
fn a_response_has_one_beginning() {
    let bad = |name: &str| vec![Header { name: name.into(), value: Vec::new() }];
    run(
        "P5",
        vec![
            Breaks(pending(vec![send()]), "`send` before `start`"),
            Breaks(pending(vec![finish()]), "`finish` before `start`"),
            Breaks(pending(vec![send(), start(), timer(1)]), "`send` before `start`"),
            Breaks(pending(vec![start(), start(), timer(1)]), "`start` comes a second time"),
            Breaks(pending(vec![start(), finish(), send()]), "an action after `finish`"),
            Breaks(pending(vec![start(), Action::Finish(bad("A"))]), "lower case"),
            Says(pending(vec![timer(1), start(), send()])),
            Breaks(pending(vec![start()]), "`start` comes a second time"),
            Breaks(respond(), "`respond` after `start`"),
            Says(pending(vec![send(), finish()])),
        ],
    );
    run("P5, at once", vec![Says(pending(vec![start(), send(), finish()]))]);
    let trailers = Response { head: head(), body: Vec::new(), trailers: bad("A") };
    run("P5, trailers", vec![Breaks(Step::Respond(trailers), "lower case")]);
}

#[test]
fn what_breaks_the_contract_has_no_effect() {
    run(
        "P7",
        vec![
            Says(pending(vec![call([1])])),
            Breaks(pending(vec![start(), timer(2), Action::Cancel(1), receive(0), receive(0)]), "`receive`"),
            // Made once more, it is another step.
            Says(pending(vec![timer(2)])),
            Outcomes(&[1]),
            Next(0, "called 1"),
            Says(respond()),
        ],
    );
}

#[test]
fn a_client_that_takes_nothing_delays_events_by_their_kind() {
    run(
        "P6",
        vec![
            Says(pending(vec![start(), call([1]), timer(2), subscribe(3), subscribe(4), receive(0)])),
            Body(1, false),
            Page(3),
            Outcomes(&[1]),
            Stops(4),
            Fires(2),
            Next(100 * MIB, "timer 2"),
            Next(100 * MIB, "stopped 4"),
            Next(4 * MIB, "nothing"),
            Next(4 * MIB - 1, "called 1"),
            Next(4 * MIB - 1, "body 1"),
            Next(4 * MIB - 1, "nothing"),
            Next(MIB + 1, "nothing"),
            Next(MIB, "page 3"),
        ],
    );
    run(
        "P6, the end of a feed comes after its pages",
        vec![
            Says(pending(vec![start(), subscribe(1)])),
            Page(1),
            Stops(1),
            Next(MIB + 1, "nothing"),
            Next(0, "page 1"),
            Next(0, "stopped 1"),
        ],
    );
}

#[test]
fn bodies_and_pages_take_turns() {
    run(
        "turns",
        vec![
            Says(pending(vec![subscribe(1), receive(0)])),
            Body(1, false),
            Page(1),
            Next(0, "body 1"),
            Says(pending(vec![receive(1)])),
            Body(2, false),
            Next(0, "page 1"),
            Page(1),
            Next(0, "body 2"),
            Next(0, "page 1"),
        ],
    );
}

#[test]
fn the_body_waits_while_many_calls_are_open() {
    let mut exchange = Exchange::<()>::new(false);
    assert_eq!(exchange.follow(&pending(vec![call(0..255), receive(0)])), Ok(()));
    assert!(exchange.wanted_of_body(0).is_some());
    assert!(exchange.wanted_of_body(4 * MIB).is_none());
    assert_eq!(exchange.follow(&pending(vec![call([255])])), Ok(()));
    assert!(exchange.wanted_of_body(0).is_none());
    exchange.call_finished(7, Vec::new(), outcome(0), ());
    assert_eq!(shown(exchange.next(0)), "called 7");
    assert!(exchange.wanted_of_body(0).is_some());
}

#[test]
fn the_body_waits_while_calls_of_many_bytes_are_open() {
    let mut exchange = Exchange::<()>::new(false);
    assert_eq!(exchange.follow(&pending(vec![write(1, 9 * MIB, None), receive(0)])), Ok(()));
    assert!(exchange.wanted_of_body(0).is_some());
    exchange.body_came(Piece { bytes: vec![0; 3], trailers: None });
    assert_eq!(exchange.follow(&pending(vec![write(2, 7 * MIB, None)])), Ok(()));
    assert_eq!(shown(exchange.next(0)), "nothing", "16 MiB are open");
    exchange.call_finished(2, Vec::new(), outcome(0), ());
    assert_eq!(shown(exchange.next(0)), "called 2");
    assert_eq!(shown(exchange.next(0)), "body 3");
    // What is cancelled counts no more.
    assert_eq!(exchange.follow(&pending(vec![write(3, 7 * MIB, None), receive(0)])), Ok(()));
    assert!(exchange.wanted_of_body(0).is_none());
    assert_eq!(exchange.follow(&pending(vec![Action::Cancel(1)])), Ok(()));
    assert!(exchange.wanted_of_body(0).is_some());
}

#[test]
fn what_is_open_is_bounded() {
    let calls = |count: u32| pending(vec![call(0..count)]);
    run("calls", vec![Breaks(calls(1_025), "more than 1024 calls"), Says(calls(1_024))]);
    run("calls", vec![Says(calls(1_024)), Breaks(pending(vec![call([9_999])]), "more than 1024 calls")]);
    let many = |action: fn(u32) -> Action, count: u32| pending((0..count).map(action).collect());
    run("subscriptions", vec![Breaks(many(subscribe, 17), "more than 16"), Says(many(subscribe, 16))]);
    let two =
        |first: fn(u32) -> Action| vec![Says(many(first, 256)), Breaks(pending(vec![timer(999)]), "256")];
    run("timers", two(timer));
    run("actions", vec![Breaks(many(timer, 257), "257 actions"), Says(many(timer, 256))]);
    let token = |bytes: usize| Step::Pending(Pending { token: vec![0; bytes], actions: vec![timer(1)] });
    run("token", vec![Breaks(token((64 << 10) + 1), "65537 bytes"), Says(token(64 << 10))]);
    let broken = Action::Hold(Holding { id: 2, events: vec![0; 5] });
    run("hold", vec![Breaks(pending(vec![timer(1), broken]), "hold 2: ")]);
}

#[test]
fn outcomes_that_are_there_come_together_in_the_order_of_the_calls() {
    run(
        "P11",
        vec![
            Says(pending(vec![call([5, 3, 4]), call([1])])),
            Outcomes(&[1, 4, 5]),
            Next(0, "called 5 4 1"),
            Outcomes(&[3]),
            Next(0, "called 3"),
        ],
    );
    run(
        "in order",
        vec![
            Says(pending(vec![in_order(&[1, 2, 3]), call([4])])),
            Outcomes(&[2, 4]),
            Next(0, "called 4"),
            Next(0, "nothing"),
            Says(pending(vec![in_order(&[4])])),
            Outcomes(&[1, 4]),
            Next(0, "called 1 2"),
            Outcomes(&[3]),
            Next(0, "called 3 4"),
        ],
    );
    // Pages are large: an event has several of them only while they are small.
    let mut exchange = Exchange::<()>::new(false);
    assert_eq!(exchange.follow(&pending(vec![call([1, 2, 3])])), Ok(()));
    [1, 2, 3].into_iter().for_each(|id| exchange.call_finished(id, Vec::new(), outcome(3 * MIB), ()));
    assert_eq!(shown(exchange.next(0)), "called 1 2");
    assert_eq!(shown(exchange.next(0)), "called 3");
}

#[test]
fn a_host_that_stops_delivers_nothing_more() {
    run(
        "draining",
        vec![
            Says(pending(vec![start(), call([1]), subscribe(2), receive(0)])),
            Body(1, false),
            Page(2),
            Drains,
            Next(100 * MIB, "draining 5"),
            Next(0, "nothing"),
            Outcomes(&[1]),
            Next(0, "called 1"),
            // What is awaited is open all the same.
            Says(pending(vec![send()])),
            Drains,
            Next(0, "nothing"),
            Says(pending(vec![finish()])),
        ],
    );
    run(
        "draining before `start`",
        vec![
            Says(pending(vec![receive(0)])),
            Drains,
            Body(1, true),
            Next(0, "body 1, end"),
            Says(pending(vec![start(), call([1])])),
            Next(0, "draining 5"),
        ],
    );
}

#[test]
fn a_request_that_runs_again_waits_for_all_of_its_calls() {
    run(
        "run again",
        vec![
            Breaks(again(vec![timer(1)]), "empty token"),
            Breaks(again(vec![start(), call([1])]), "empty token"),
            Says(again(vec![call([2, 1])])),
            Outcomes(&[1]),
            Next(0, "nothing"),
            Outcomes(&[2]),
            Next(0, "called 2 1"),
            Says(again(vec![call([1]), receive(0)])),
            Body(4, true),
            Next(0, "body 4, end"),
            Outcomes(&[1]),
            Next(0, "called 1"),
            Says(respond()),
        ],
    );
    run(
        "run again with many calls",
        vec![
            Breaks(again(vec![call(0..17)]), "17 calls of a request that runs again"),
            Says(again(vec![call(0..16)])),
        ],
    );
    run(
        "run again after start",
        vec![Says(pending(vec![start(), timer(1)])), Breaks(again(vec![call([2])]), "after `start`")],
    );
}

#[test]
fn pages_are_wanted_while_they_can_be_delivered() {
    let mut exchange = Exchange::<()>::new(false);
    assert_eq!(exchange.follow(&pending(vec![start(), subscribe(1), timer(2)])), Ok(()));
    assert!(exchange.wants_page(1, MIB));
    assert!(!exchange.wants_page(1, MIB + 1), "the client takes nothing");
    assert!(!exchange.wants_page(2, 0) && !exchange.wants_page(3, 0), "there is no such subscription");
    let (events, notes) = (Vec::new(), Vec::new());
    exchange.page_came(Delivered { id: 1, events, next: None, notes, caught_up: false });
    assert!(!exchange.wants_page(1, 0), "one is there already");
    assert_eq!(shown(exchange.next(0)), "page 1");
    assert!(exchange.wants_page(1, 0) && exchange.waits_for_events());
    exchange.drain(1);
    assert!(!exchange.wants_page(1, 0));
}
