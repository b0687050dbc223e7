//! Tests decisions: which children are stopped and started after which events.
//!
//! `Play` simulates the driver: starts succeed unless a script says otherwise, stops succeed, retries and exits wait in a
//! mailbox. Its log is one line of text.

mod invariants;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Call, CallRejection, Effect, Event, Flags, Key, Limit, Note, Pid, Process, Reply, Rule, Shape, State,
};
use crate::reason::Reason;
use crate::spec::{AutoShutdown, Backoff, Kind, Restart, Strategy};

const SECOND: Duration = Duration::from_secs(1);

/// The simulated outcome of a start.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Ok,
    Ignore,
    Fail,
}

struct Play {
    state: State,
    now: Duration,
    mailbox: VecDeque<Event>,
    /// Outcomes of the next starts of a child; `Ok` when there is none.
    script: HashMap<String, VecDeque<Start>>,
    serial: u64,
    log: Vec<String>,
    /// The running processes, by key.
    running: HashMap<Key, Pid>,
    replies: Vec<Result<Reply, CallRejection>>,
    noted: Vec<Note>,
    ended: bool,
}

fn rule(id: &str, restart: Restart) -> Rule {
    Rule { id: Arc::from(id), kind: Kind::Worker, restart, significant: false, backoff: None, park: false }
}

fn flags(strategy: Strategy) -> Flags {
    let shape = if strategy == Strategy::SimpleOneForOne { Shape::Simple } else { Shape::Listed };
    let limit = Limit { restarts: 3, period: 5 * SECOND };
    Flags { strategy, limit, auto_shutdown: AutoShutdown::Never, shape }
}

impl Play {
    fn new(flags: Flags, rules: Vec<Rule>) -> Play {
        Play::scripted(flags, rules, &[])
    }

    /// With the outcomes of first starts.
    fn scripted(flags: Flags, rules: Vec<Rule>, script: &[(&str, &[Start])]) -> Play {
        let outcomes = |(id, starts): &(&str, &[Start])| ((*id).to_owned(), starts.iter().copied().collect());
        let mut play = Play {
            state: State::new(flags, rules, 0),
            now: Duration::ZERO,
            mailbox: VecDeque::new(),
            script: script.iter().map(outcomes).collect(),
            serial: 0,
            log: Vec::new(),
            running: HashMap::new(),
            replies: Vec::new(),
            noted: Vec::new(),
            ended: false,
        };
        play.feed(Event::Init);
        play
    }

    /// a, b and c, of which b has this restart type; started, with a clean log.
    fn abc(strategy: Strategy, b: Restart) -> Play {
        let rules = vec![rule("a", Restart::Permanent), rule("b", b), rule("c", Restart::Permanent)];
        let mut play = Play::new(flags(strategy), rules);
        assert_eq!(play.take_log(), "+a +b +c up");
        play
    }

    fn id(&self, key: Key) -> String {
        self.state.children().get(key).map_or_else(|| format!("({})", key.0), |c| c.rule.id.to_string())
    }

    fn key(&self, id: &str) -> Key {
        self.state.children().find(id).expect("a child of the test")
    }

    fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(" ")
    }

    /// Handles an event and everything that follows from it.
    fn feed(&mut self, event: Event) {
        let mut effects = VecDeque::from(self.state.decide(self.now, event));
        while let Some(effect) = effects.pop_front() {
            if let Some(outcome) = self.carry_out(effect) {
                assert!(effects.is_empty(), "an effect with an outcome is the last");
                effects.extend(self.state.decide(self.now, outcome));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        assert!(!self.ended, "nothing happens after the end: {effect:?}");
        match effect {
            Effect::Start(key) => return Some(self.start(key)),
            Effect::Stop(keys) => {
                for key in &keys {
                    let id = self.id(*key);
                    self.log.push(format!("-{id}"));
                    // It may have ended by itself, with its notice unread.
                    self.running.remove(key);
                }
                return Some(Event::Stopped { keys });
            }
            Effect::Retry { key, after } => {
                self.log.push(format!("retry:{}", self.id(key)));
                if after.is_zero() {
                    self.mailbox.push_back(Event::Retry { key });
                }
            }
            Effect::Reply(reply) => self.replies.push(reply),
            Effect::Up => self.log.push("up".to_owned()),
            Effect::End { reason, .. } => {
                self.log.push(format!("end:{reason}"));
                self.ended = true;
            }
            Effect::Note(note) => {
                if let Note::Parked { key, reason } = &note {
                    self.log.push(format!("parked:{}({reason})", self.id(*key)));
                }
                self.noted.push(note);
            }
            Effect::Added(_) | Effect::Removed(_) => {}
        }
        None
    }

    fn start(&mut self, key: Key) -> Event {
        let id = self.id(key);
        let outcome = self.script.get_mut(&id).and_then(VecDeque::pop_front).unwrap_or(Start::Ok);
        match outcome {
            Start::Ok => {
                self.log.push(format!("+{id}"));
                self.serial += 1;
                let pid = Pid { key, serial: self.serial };
                let twin = self.running.insert(key, pid);
                assert_eq!(twin, None, "{id} runs twice");
                Event::Started { key, pid }
            }
            Start::Ignore => {
                self.log.push(format!("~{id}"));
                Event::Ignored { key }
            }
            Start::Fail => {
                self.log.push(format!("!{id}"));
                Event::StartFailed { key, reason: Reason::error("x") }
            }
        }
    }

    /// The child ends by itself; its notice waits.
    fn dies(&mut self, id: &str, reason: &str) {
        let pid = self.running.remove(&self.key(id)).expect("it runs");
        let reason = reason.parse().expect("a reason");
        self.mailbox.push_back(Event::Exited { pid, reason, gave_up: false });
    }

    fn read_mail(&mut self) {
        while !self.ended
            && let Some(event) = self.mailbox.pop_front()
        {
            self.feed(event);
        }
    }

    fn crash(&mut self, id: &str, reason: &str) -> String {
        self.dies(id, reason);
        self.read_mail();
        self.take_log()
    }

    fn call(&mut self, call: Call) -> Result<Reply, CallRejection> {
        self.feed(Event::Call(call));
        self.replies.pop().expect("a call is answered")
    }
}

#[test]
fn restart_type_exit_reason_and_strategy_determine_the_restarts() {
    use Restart::{Permanent, Temporary, Transient};
    use Strategy::{OneForAll, OneForOne, RestForOne};
    // b, in the middle of a b c, exits.
    let all = "-c -a +a +b +c";
    let rest = "-c +b +c";
    let table = [
        // restart   reason           one_for_one  one_for_all  rest_for_one
        (Permanent, "normal", "+b", all, rest),
        (Permanent, "shutdown", "+b", all, rest),
        (Permanent, "shutdown:late", "+b", all, rest),
        (Permanent, "killed", "+b", all, rest),
        (Permanent, "error:boom", "+b", all, rest),
        (Transient, "normal", "", "", ""),
        (Transient, "shutdown", "", "", ""),
        (Transient, "shutdown:late", "", "", ""),
        (Transient, "killed", "+b", all, rest),
        (Transient, "error:boom", "+b", all, rest),
        (Temporary, "normal", "", "", ""),
        (Temporary, "shutdown", "", "", ""),
        (Temporary, "shutdown:late", "", "", ""),
        (Temporary, "killed", "", "", ""),
        (Temporary, "error:boom", "", "", ""),
    ];
    for (restart, reason, one_for_one, one_for_all, rest_for_one) in table {
        for (strategy, expected) in
            [(OneForOne, one_for_one), (OneForAll, one_for_all), (RestForOne, rest_for_one)]
        {
            let mut play = Play::abc(strategy, restart);
            assert_eq!(play.crash("b", reason), expected, "{restart:?}, {reason}, {strategy:?}");
        }
    }
}

#[test]
fn a_temporary_child_is_forgotten_and_a_finished_transient_one_stays_listed() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Temporary);
    play.crash("b", "error:boom");
    assert_eq!(play.state.children().find("b"), None);
    let mut play = Play::abc(Strategy::OneForOne, Restart::Transient);
    play.crash("b", "normal");
    let key = play.key("b");
    assert_eq!(play.state.children().get(key).map(|child| child.process), Some(Process::Undefined));
}

#[test]
fn a_group_restart_starts_finished_children_but_not_temporary_ones() {
    let mut play = Play::abc(Strategy::OneForAll, Restart::Transient);
    play.crash("b", "normal");
    assert_eq!(play.crash("a", "killed"), "-c +a +b +c");
    let mut play = Play::abc(Strategy::OneForAll, Restart::Temporary);
    assert_eq!(play.crash("a", "killed"), "-c -b +a +c");
}

#[test]
fn exceeding_the_intensity_ends_the_supervisor_in_reverse_order() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    for _ in 0..3 {
        assert_eq!(play.crash("b", "error:boom"), "+b");
    }
    assert_eq!(play.crash("b", "error:boom"), "-c -a end:shutdown");
}

#[test]
fn restarts_older_than_the_period_do_not_count() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    for _ in 0..20 {
        play.now += 2 * SECOND;
        assert_eq!(play.crash("b", "error:boom"), "+b");
    }
}

#[test]
fn a_failed_start_fails_the_whole_start_in_reverse_order() {
    let rules = vec![rule("a", Restart::Permanent), rule("b", Restart::Permanent)];
    let mut play = Play::scripted(flags(Strategy::OneForOne), rules, &[("b", &[Start::Fail])]);
    assert_eq!(play.take_log(), "+a !b -a end:shutdown:failed_to_start_child(b,error:x)");
}

#[test]
fn a_start_that_fails_in_a_restart_is_retried_through_the_mailbox_and_counts() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    play.script.insert("b".to_owned(), VecDeque::from([Start::Fail, Start::Fail, Start::Ok]));
    assert_eq!(play.crash("b", "killed"), "!b retry:b !b retry:b +b");
    assert_eq!(play.crash("b", "killed"), "-c -a end:shutdown", "three restarts were used up");
}

#[test]
fn a_retry_under_rest_for_one_begins_at_the_failed_child() {
    let mut play = Play::abc(Strategy::RestForOne, Restart::Permanent);
    play.script.insert("b".to_owned(), VecDeque::from([Start::Fail]));
    assert_eq!(play.crash("a", "killed"), "-c -b +a !b retry:b +b +c");
}

#[test]
fn a_retry_under_one_for_all_restarts_the_whole_group() {
    let mut play = Play::abc(Strategy::OneForAll, Restart::Permanent);
    play.script.insert("c".to_owned(), VecDeque::from([Start::Fail]));
    assert_eq!(play.crash("a", "killed"), "-c -b +a +b !c retry:c -b -a +a +b +c");
}

#[test]
fn a_retry_is_ignored_after_the_child_was_terminated() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    play.script.insert("b".to_owned(), VecDeque::from([Start::Fail]));
    play.dies("b", "killed");
    let exit = play.mailbox.pop_front().expect("the notice");
    play.feed(exit);
    assert_eq!(play.call(Call::TerminateChild("b".into())), Ok(Reply::Done));
    play.read_mail();
    assert_eq!(play.take_log(), "!b retry:b");
}

#[test]
fn exits_within_one_group_count_as_one_restart() {
    let mut play = Play::abc(Strategy::OneForAll, Restart::Permanent);
    for id in ["a", "b", "c"] {
        play.dies(id, "killed");
    }
    play.read_mail();
    // b and c are dead, but their notices are unread: for the supervisor they run, and are stopped.
    assert_eq!(play.take_log(), "-c -b +a +b +c");
}

#[test]
fn a_shutdown_interrupts_starts_and_stops() {
    let mut play = Play::abc(Strategy::OneForAll, Restart::Permanent);
    let pid = play.running[&play.key("b")];
    let effects = play.state.decide(play.now, Event::Exited { pid, reason: Reason::Killed, gave_up: false });
    assert!(matches!(effects.last(), Some(Effect::Stop(_))), "{effects:?}");
    play.feed(Event::Shutdown(Reason::Shutdown));
    assert_eq!(play.take_log(), "-c -a end:shutdown");
}

#[test]
fn significant_children_end_their_supervisor() {
    use AutoShutdown::{AllSignificant, AnySignificant};
    let table = [
        (AnySignificant, &["a"][..], "-c -b end:shutdown"),
        (AnySignificant, &["c"][..], ""), // not significant
        (AllSignificant, &["a"][..], ""),
        (AllSignificant, &["a", "b"][..], "-c end:shutdown"),
    ];
    for (auto_shutdown, finished, expected) in table {
        let significant = |id| Rule { significant: true, ..rule(id, Restart::Transient) };
        let flags = Flags { auto_shutdown, ..flags(Strategy::OneForOne) };
        let rules = vec![significant("a"), significant("b"), rule("c", Restart::Transient)];
        let mut play = Play::new(flags, rules);
        play.take_log();
        for id in finished {
            play.dies(id, "normal");
        }
        play.read_mail();
        assert_eq!(play.take_log(), expected, "{auto_shutdown:?} {finished:?}");
    }
}

#[test]
fn calls_succeed_or_are_rejected() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    let b = || "b".to_owned();
    assert_eq!(play.call(Call::RestartChild(b())), Err(CallRejection::Running));
    assert_eq!(play.call(Call::DeleteChild(b())), Err(CallRejection::Running));
    assert_eq!(
        play.call(Call::StartChild(rule("b", Restart::Permanent))),
        Err(CallRejection::AlreadyStarted)
    );
    assert_eq!(play.call(Call::TerminateChild(b())), Ok(Reply::Done));
    assert_eq!(play.call(Call::TerminateChild(b())), Ok(Reply::Done), "also when it does not run");
    assert_eq!(
        play.call(Call::StartChild(rule("b", Restart::Permanent))),
        Err(CallRejection::AlreadyPresent)
    );
    assert!(matches!(play.call(Call::RestartChild(b())), Ok(Reply::Started(_))));
    assert_eq!(play.call(Call::TerminateChild(b())), Ok(Reply::Done));
    assert_eq!(play.call(Call::DeleteChild(b())), Ok(Reply::Done));
    assert_eq!(play.call(Call::DeleteChild(b())), Err(CallRejection::NotFound));
    assert!(matches!(play.call(Call::StartChild(rule("b", Restart::Permanent))), Ok(Reply::Started(_))));
    play.feed(Event::Shutdown(Reason::Shutdown));
    assert_eq!(play.take_log(), "-b +b -b +b -b -c -a end:shutdown", "added again, b is the last");
}

#[test]
fn dynamic_children_are_limited() {
    let flags = Flags { shape: Shape::Dynamic { max_children: 2 }, ..flags(Strategy::SimpleOneForOne) };
    let mut play = Play::new(flags, Vec::new());
    for id in ["x", "y"] {
        assert!(matches!(play.call(Call::StartChild(rule(id, Restart::Permanent))), Ok(Reply::Started(_))));
    }
    let third = Call::StartChild(rule("z", Restart::Permanent));
    assert_eq!(play.call(third.clone()), Err(CallRejection::MaxChildren(2)));
    assert_eq!(play.call(Call::TerminateChild("x".into())), Ok(Reply::Done));
    assert!(matches!(play.call(third), Ok(Reply::Started(_))));
}

#[test]
fn a_child_that_gave_up_is_parked_without_affecting_its_siblings() {
    let mut play = a_b_that_parks_c(Strategy::OneForAll, &[]);
    play.take_log();
    let pid = play.running.remove(&play.key("b")).expect("it runs");
    play.feed(Event::Exited { pid, reason: Reason::Shutdown, gave_up: true });
    assert_eq!(play.take_log(), "parked:b(shutdown)");
    assert_eq!(play.state.used(play.now), 0);
    assert_eq!(play.crash("a", "killed"), "-c +a +c", "a group restart leaves it down");
    assert!(matches!(play.call(Call::RestartChild("b".into())), Ok(Reply::Started(_))));
}

/// a, b and c, of which b can be parked; started, with these outcomes of b's starts.
fn a_b_that_parks_c(strategy: Strategy, starts: &[Start]) -> Play {
    let parks = Rule { park: true, ..rule("b", Restart::Permanent) };
    let rules = vec![rule("a", Restart::Permanent), parks, rule("c", Restart::Permanent)];
    Play::scripted(flags(strategy), rules, &[("b", starts)])
}

#[test]
fn a_parked_start_failure_does_not_stop_the_others_from_starting() {
    use Start::{Fail, Ok};
    use Strategy::{OneForAll, OneForOne, RestForOne};
    let first = "+a !b parked:b(error:x) +c up";
    let table: [(Strategy, &[Start], &str, &str, &str); 8] = [
        // strategy  starts of b    first start        crashes  what follows
        (OneForOne, &[Fail], first, "a", "+a"),
        (OneForAll, &[Fail], first, "a", "-c +a +c"),
        (RestForOne, &[Fail], first, "a", "-c +a +c"),
        // by itself: retried until its own count is used up
        (OneForOne, &[Ok, Fail], "+a +b +c up", "b", "!b retry:b +b"),
        (
            OneForOne,
            &[Ok, Fail, Fail, Fail],
            "+a +b +c up",
            "b",
            "!b retry:b !b retry:b !b retry:b parked:b(error:x)",
        ),
        // in a group: the group does not wait for it, also if it was the cause
        (OneForAll, &[Ok, Fail], "+a +b +c up", "a", "-c -b +a !b parked:b(error:x) +c"),
        (RestForOne, &[Ok, Fail], "+a +b +c up", "a", "-c -b +a !b parked:b(error:x) +c"),
        (RestForOne, &[Ok, Fail], "+a +b +c up", "b", "-c !b parked:b(error:x) +c"),
    ];
    for (strategy, starts, first, crashes, follows) in table {
        let mut play = a_b_that_parks_c(strategy, starts);
        assert_eq!(play.take_log(), first, "{strategy:?} {starts:?}");
        assert_eq!(play.crash(crashes, "killed"), follows, "{strategy:?} {starts:?}, {crashes} crashes");
        let used = u32::from(crashes == "a");
        assert_eq!(play.state.used(play.now), used, "{strategy:?} {starts:?}: its restarts are its own");
    }
}

#[test]
fn a_parked_child_stays_parked_until_it_is_started_by_call() {
    use Start::Fail;
    let mut play = a_b_that_parks_c(Strategy::OneForOne, &[Fail, Fail]);
    play.take_log();
    let again = Call::RestartChild("b".into());
    assert_eq!(play.call(again.clone()), Err(CallRejection::StartFailed(Reason::error("x"))));
    assert_eq!(play.take_log(), "!b parked:b(error:x)");
    assert!(matches!(play.call(again), Ok(Reply::Started(_))));
    assert_eq!(play.take_log(), "+b");
    for _ in 0..3 {
        assert_eq!(play.crash("b", "killed"), "+b", "its count begins anew");
    }
    assert_eq!(play.crash("b", "error:boom"), "parked:b(error:boom)");
    assert_eq!(play.call(Call::TerminateChild("b".into())), Ok(Reply::Done));
    assert_eq!(play.call(Call::DeleteChild("b".into())), Ok(Reply::Done));
}

#[test]
fn the_second_restart_is_delayed_and_counted_once() {
    let backoff = Some(Backoff::new(SECOND, 10 * SECOND));
    let paused = Rule { backoff, ..rule("a", Restart::Permanent) };
    let mut play = Play::new(flags(Strategy::OneForOne), vec![paused]);
    play.take_log();
    assert_eq!(play.crash("a", "killed"), "+a");
    assert_eq!(play.crash("a", "killed"), "retry:a");
    assert_eq!(play.state.used(play.now), 2);
    let key = play.key("a");
    play.feed(Event::Retry { key });
    assert_eq!((play.take_log().as_str(), play.state.used(play.now)), ("+a", 2));
}

#[test]
fn an_ignored_start_is_a_success_without_a_process() {
    let mut play = Play::abc(Strategy::OneForOne, Restart::Permanent);
    play.script.insert("b".to_owned(), VecDeque::from([Start::Ignore]));
    assert_eq!(play.crash("b", "killed"), "~b");
    assert!(play.mailbox.is_empty(), "no retry");
}
