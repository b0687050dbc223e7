//! Subscriptions and timers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::{Backend, Call, Conditions, Page, Received, Supply, Wake, exchange};
use super::{log_end, named, panic_of, receive, request, words};
use crate::events::EventData;
use crate::packed::Events;
use crate::steps::{
    Action, Answer, Event, Feed, Gateway, Grant, Horizon, NamedCall, Outcome, Pending, Query, Reply, Request,
    ResponseHead, Step, Subscription, Timer,
};
use crate::types::{AllSelection, Direction, Error, Packed, PackedPage, Selection, Source, code, problem};

/// Notes each event, and does what the story in the path says.
struct Teller;

#[derive(Clone, Serialize, Deserialize)]
struct Told {
    story: String,
    seen: Vec<String>,
}

fn subscribe(id: u32, feed: Feed, credit: Option<u32>) -> Action {
    Action::Subscribe(Subscription { id, feed, credit })
}

fn timer(id: u32, ms: u32) -> Action {
    Action::Timer(Timer { id, ms })
}

fn query(count: u32) -> Feed {
    let source = Source::All(AllSelection { from: None, until: None });
    let (direction, options) = (Direction::Forward, Vec::new());
    let selection = Selection { source, direction, count, max_bytes: 1 << 20, options };
    Feed::Query(Query { selection, filter: None, at_least: None, history_id: None })
}

/// An event in a word.
fn word(event: &Event) -> String {
    match event {
        Event::Page(page) => {
            let count = Events::check(&page.events).expect("they are events");
            let next = page.next.map_or_else(String::new, |next| format!("<{next}"));
            format!("page {} of {count}{next}{}", page.id, if page.caught_up { "!" } else { "" })
        }
        Event::Stopped(stopped) => match &stopped.error {
            None => format!("end {}", stopped.id),
            Some(Error::Problem(problem)) => format!("end {} {}", stopped.id, problem.code),
            Some(other) => format!("end {} {other:?}", stopped.id),
        },
        Event::Timer(id) => format!("timer {id}"),
        Event::Called(called) => called.iter().map(|called| format!("called {}", called.id)).collect(),
        Event::Body(piece) => format!("body of {}", piece.bytes.len()),
        Event::Draining(_) => "draining".to_owned(),
        Event::Failed(error) => format!("{error:?}"),
    }
}

impl Gateway for Teller {
    type State = Told;
    type Representation = ();

    fn begin(request: Request) -> Step<Told, ()> {
        let named = |credit| subscribe(0, words(), credit);
        let actions = match request.path.as_str() {
            "feed" | "swap" => vec![named(None)],
            "bounded" | "granted" => vec![named(Some(2))],
            "ticking" => vec![named(None), timer(1, 1_000)],
            "timers" => vec![timer(3, 50), timer(1, 20), timer(2, 20), timer(4, 30), Action::Cancel(4)],
            "call" => vec![timer(1, 20), log_end(2), timer(3, 50)],
            "query" => vec![subscribe(0, query(0), None)],
            "three" => vec![subscribe(0, query(3), Some(2)), timer(1, 5)],
            "two" => vec![named(None), subscribe(1, query(0), None), timer(2, 1_000)],
            "order" => vec![receive(0), log_end(2), named(None)],
            other => panic!("{other}"),
        };
        let told = Told { story: request.path, seen: Vec::new() };
        let pending = Pending::new(told).action(Action::Start(ResponseHead::new(200)));
        actions.into_iter().fold(pending, Pending::action).into()
    }

    fn resume(mut told: Told, event: Event) -> Step<Told, ()> {
        let last = word(&event);
        told.seen.push(last.clone());
        // The token of a long story stays short.
        told.seen.drain(..told.seen.len().saturating_sub(8));
        let seen = told.seen.join(", ");
        let mut actions = vec![Action::Send(format!("{last}, ").into_bytes())];
        let finish = || Action::Finish(Vec::new());
        match (told.story.as_str(), &event) {
            (_, Event::Draining(_)) => actions.push(finish()),
            ("granted", Event::Page(_)) => actions.push(Action::Credit(Grant { id: 0, credit: 3 })),
            ("ticking", Event::Timer(_)) => actions.push(timer(1, 1_000)),
            ("swap", Event::Page(page)) if page.id == 0 => {
                actions.extend([Action::Cancel(0), subscribe(1, words(), None)]);
            }
            ("three", Event::Timer(_)) => actions.push(Action::Credit(Grant { id: 0, credit: 5 })),
            ("timers", _) if told.seen.len() == 3 => actions.push(finish()),
            ("call", _) if told.seen.len() == 3 => actions.push(finish()),
            (_, Event::Stopped(_)) => actions.push(finish()),
            ("order", _) if seen.contains("body") && seen.contains("called") && seen.contains("page") => {
                actions.push(finish());
            }
            _ => {}
        }
        actions.into_iter().fold(Pending::new(told), Pending::action).into()
    }
}

/// A store with a script.
#[derive(Default)]
struct Script {
    supplies: VecDeque<Supply>,
    /// The subscriptions that were asked, and for how many events.
    asked: Vec<(u32, u32)>,
    /// What waits bring; a number is the events that are there by then.
    waits: VecDeque<Result<u64, Wake>>,
    waited: Vec<(u64, u32)>,
    events: u64,
    clock_ms: u64,
    call_ms: u64,
}

fn events(positions: std::ops::Range<u64>) -> Packed {
    let mut packed = Vec::new();
    for position in positions {
        let event = EventData { id: position.to_string(), ..EventData::default() };
        let parts = event.parts("s", position, 0);
        crate::packed::push_event(&mut packed, position, &parts).expect("it is short");
    }
    packed
}

fn page(count: u64) -> Supply {
    Supply::Page(Page { events: events(0..count), caught_up: count == 0, ..Page::default() })
}

impl Backend for Script {
    fn call(&mut self, call: Call) -> Outcome {
        self.clock_ms += self.call_ms;
        let Call::Read(read) = call else { return named(0) };
        let Source::All(all) = read.selection.source else { panic!("reads are of the whole store") };
        let from = all.from.unwrap_or(0);
        let next = self.events.min(from + u64::from(read.selection.count));
        let (end, events) = (next == self.events, events(from..next));
        let reply = Reply::Page(PackedPage { events, next: Some(next), end, last_version: None });
        Ok(Answer { reply, horizon: Horizon { history_id: 1, end: self.events } })
    }

    fn supply(&mut self, id: u32, feed: &NamedCall, most: u32) -> Supply {
        assert_eq!(feed.name, "words");
        self.asked.push((id, most));
        self.supplies.pop_front().unwrap_or(Supply::Stopping)
    }

    fn wait(&mut self, _: &Query, next: u64, ms: u32) -> Wake {
        self.waited.push((next, ms));
        match self.waits.pop_front() {
            None => Wake::Stopping,
            Some(Ok(events)) => {
                self.events = events;
                Wake::Events
            }
            Some(Err(wake)) => wake,
        }
    }

    fn clock_ms(&mut self) -> u64 {
        self.clock_ms
    }
}

fn send(story: &str, script: &mut Script, conditions: Conditions) -> Received {
    exchange::<Teller>(script, conditions, Request { path: story.into(), ..request(b"body") })
}

#[track_caller]
fn tell(story: &str, script: &mut Script, expected: &[&str]) {
    let received = send(story, script, Conditions::default());
    let told = String::from_utf8(received.body).expect("it is text");
    assert_eq!(told.trim_end_matches(", ").split(", ").collect::<Vec<_>>(), expected, "{story}");
    assert!(received.is_whole, "{story}");
}

fn supplies<const N: usize>(supplies: [Supply; N]) -> Script {
    Script { supplies: supplies.into(), ..Script::default() }
}

#[test]
fn a_named_feed_brings_pages_and_its_end() {
    let last = Supply::Last(Page { events: events(0..1), next: Some(7), ..Page::default() });
    tell(
        "feed",
        &mut supplies([page(0), page(2), last]),
        &["page 0 of 0!", "page 0 of 2", "page 0 of 1<7", "end 0"],
    );
    tell("feed", &mut supplies([page(1), Supply::End(None)]), &["page 0 of 1", "end 0"]);
    let error = Supply::End(Some(problem(code::OVERLOADED, "too many")));
    tell("feed", &mut supplies([error]), &["end 0 overloaded"]);
    tell("feed", &mut supplies([page(1), Supply::Stopping, page(1)]), &["page 0 of 1", "draining"]);
}

#[test]
fn a_store_that_is_a_function_has_no_named_feeds() {
    let request = Request { path: "feed".into(), ..request(b"") };
    let received = exchange::<Teller>(&mut |_| named(0), Conditions::default(), request);
    assert_eq!(received.body, b"end 0 unsupported, ");
}

#[test]
fn no_more_is_asked_for_than_there_is_credit() {
    let mut script = supplies([page(1), page(1), page(0), page(1_000)]);
    script.supplies[3] = page(4);
    // Two, of which one is used, and three more; and so on.
    tell("granted", &mut script, &["page 0 of 1", "page 0 of 1", "page 0 of 0!", "page 0 of 4", "draining"]);
    assert_eq!(script.asked, [(0, 2), (0, 4), (0, 6), (0, 9), (0, 8)]);
    let mut script = supplies([page(1), page(1), page(1)]);
    let message = panic_of(|| send("bounded", &mut script, Conditions::default()));
    assert_eq!(message, "nothing more can come: a subscription waits for credit");
    assert_eq!(script.asked, [(0, 2), (0, 1)]);
    let message = panic_of(|| send("bounded", &mut supplies([page(3)]), Conditions::default()));
    assert!(message.contains("3 events where 2 may be delivered (P31)"), "{message}");
}

#[test]
fn an_end_comes_with_the_last_page_or_when_there_is_credit_to_ask_for_it() {
    let last = Supply::Last(Page { events: events(0..2), ..Page::default() });
    tell("bounded", &mut supplies([last]), &["page 0 of 2", "end 0"]);
    let message =
        panic_of(|| send("bounded", &mut supplies([page(2), Supply::End(None)]), Conditions::default()));
    assert!(message.ends_with("waits for credit"), "{message}");
}

#[test]
fn timers_fire_in_the_order_of_their_times() {
    for clock_ms in [0, 7_000] {
        let mut script = Script { clock_ms, ..Script::default() };
        tell("timers", &mut script, &["timer 1", "timer 2", "timer 3"]);
    }
}

#[test]
fn a_timer_fires_before_the_outcome_of_a_call_that_takes_longer() {
    for (call_ms, expected) in [
        (0, ["called 2", "timer 1", "timer 3"]),
        (30, ["timer 1", "called 2", "timer 3"]),
        (60, ["timer 1", "timer 3", "called 2"]),
    ] {
        tell("call", &mut Script { call_ms, ..Script::default() }, &expected);
    }
}

#[test]
fn a_feed_and_a_timer_share_the_clock() {
    let mut script = supplies([page(1), Supply::Later(2_500), page(1), Supply::Later(500), page(0)]);
    let expected =
        ["page 0 of 1", "timer 1", "timer 1", "page 0 of 1", "timer 1", "page 0 of 0!", "draining"];
    tell("ticking", &mut script, &expected);
    // The store says when the client leaves.
    let received =
        send("ticking", &mut supplies([page(1), Supply::Later(1), Supply::Left]), Conditions::default());
    assert_eq!((received.body, received.is_whole), (b"page 0 of 1, ".to_vec(), false));
    let message = panic_of(|| send("ticking", &mut supplies([Supply::Nothing]), Conditions::default()));
    assert_eq!(message, "only timers fire, and nothing else can come");
    let message = panic_of(|| send("feed", &mut supplies([Supply::Nothing]), Conditions::default()));
    assert_eq!(message, "nothing more can come: the store supplies nothing more");
}

#[test]
fn a_cancelled_subscription_brings_nothing_more() {
    let mut script = supplies([page(1), page(2), Supply::End(None)]);
    tell("swap", &mut script, &["page 0 of 1", "page 1 of 2", "end 1"]);
    assert_eq!(script.asked.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn a_query_is_read_and_then_followed() {
    let mut script = Script { events: 1_200, ..Script::default() };
    script.waits = [Ok(1_203), Ok(1_203), Ok(1_204)].into();
    let expected = ["page 0 of 1000<1000", "page 0 of 200<1200!", "page 0 of 3<1203!", "page 0 of 1<1204!"];
    tell("query", &mut script, &[&expected[..], &["draining"]].concat());
    assert_eq!(script.waited.iter().map(|(next, _)| *next).collect::<Vec<_>>(), [1_200, 1_203, 1_203, 1_204]);
    assert!(script.waited.iter().all(|(_, ms)| *ms == u32::MAX), "there is nothing else to wait for");
    // A store without events is followed, too.
    tell("query", &mut Script::default(), &["page 0 of 0<0!", "draining"]);
    let message = panic_of(|| {
        send(
            "query",
            &mut Script { waits: [Err(Wake::Timeout)].into(), ..Script::default() },
            Conditions::default(),
        )
    });
    assert!(message.starts_with("nothing more can come"), "{message}");
    for wake in [Wake::Left, Wake::Slow] {
        let mut script = Script { waits: [Err(wake)].into(), ..Script::default() };
        assert!(!send("query", &mut script, Conditions::default()).is_whole);
    }
}

#[test]
fn a_query_ends_after_its_count_of_events() {
    let mut script = Script { events: 10, ..Script::default() };
    tell("three", &mut script, &["page 0 of 2<2", "timer 1", "page 0 of 1<3", "end 0"]);
    assert_eq!(script.waited, []);
}

#[test]
fn waits_end_when_something_else_is_due() {
    let mut script = supplies([Supply::Later(300), page(1), Supply::Nothing]);
    script.waits = [Err(Wake::Timeout), Ok(2), Err(Wake::Timeout)].into();
    let expected = ["page 1 of 0<0!", "page 0 of 1", "page 1 of 2<2!", "timer 2", "draining"];
    tell("two", &mut script, &expected);
    assert_eq!(script.waited, [(0, 300), (0, 700), (2, 700), (2, u32::MAX)]);
}

#[test]
fn pages_come_after_the_body_and_outcomes_or_before_them() {
    for (outcomes_first, pages_first, expected) in [
        (false, false, "body of 3, called 2, page 0 of 1, "),
        (true, false, "called 2, body of 3, page 0 of 1, "),
        (false, true, "page 0 of 1, body of 3, called 2, "),
        (true, true, "page 0 of 1, called 2, body of 3, "),
    ] {
        let conditions = Conditions { outcomes_first, pages_first, ..Conditions::default() };
        let mut script = supplies([page(1), Supply::Nothing]);
        let received = send("order", &mut script, conditions);
        assert_eq!(String::from_utf8(received.body).unwrap(), expected);
    }
}

#[test]
fn a_host_that_stops_delivers_nothing_more() {
    let conditions = Conditions { draining_after: 2, ..Conditions::default() };
    let received = send("feed", &mut supplies([page(1), page(1), page(1)]), conditions);
    assert_eq!(received.body, b"page 0 of 1, page 0 of 1, draining, ");
}
