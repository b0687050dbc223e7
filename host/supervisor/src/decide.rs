//! What a supervisor does next: a pure function over data.
//!
//! [`State::decide`] takes an event and returns effects; it starts nothing, waits for nothing and reads no
//! clock. The driver carries the effects out in order and reports their outcomes as events.
//!
//! Invariants:
//! - At most one of the effects that a call returns has an outcome ([`Effect::Start`], [`Effect::Stop`]), and it
//!   is the last.
//! - While an outcome is outstanding ([`Phase`] is not `Idle`), no message is taken from the mailbox. Only
//!   [`Event::Shutdown`] may interrupt, so that a supervisor can always be stopped.
//! - A child has at most one process. Its key, given when it is added, is its place in the start order.
//!
//! Paths, start functions, tasks and telemetry are unknown here on purpose.

mod backoff;
mod calls;
mod children;
mod exit_action;
mod intensity;
mod restart;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;

use self::backoff::Streak;
pub(crate) use self::calls::{Call, CallRejection, Counts, ListedChild, Reply};
pub(crate) use self::children::{Child, Children, Process, Rule};
use self::exit_action::{ExitAction, exit_action};
pub(crate) use self::intensity::{Limit, Times};
use crate::pid::{Key, Pid};
use crate::reason::Reason;
use crate::spec::{AutoShutdown, Restart, Strategy};

/// How children are listed and addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// By id; what has no process stays in the list.
    Listed,
    /// simple_one_for_one: by process; what has ended is forgotten.
    Simple,
    /// Elixir's DynamicSupervisor: as simple, by id too, up to a number of children.
    Dynamic { max_children: usize },
}

/// What does not change while a supervisor runs (OTP's supervisor flags).
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    pub(crate) strategy: Strategy,
    pub(crate) limit: Limit,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) shape: Shape,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The supervisor starts.
    Init,
    /// Outcome of [`Effect::Start`].
    Started { key: Key, pid: Pid },
    /// Outcome of [`Effect::Start`]: success without a process.
    Ignored { key: Key },
    /// Outcome of [`Effect::Start`].
    StartFailed { key: Key, reason: Reason },
    /// Outcome of [`Effect::Stop`]: all of them have ended, with whatever reason.
    Stopped { keys: Vec<Key> },
    /// A child has ended by itself. Ignored if the child was stopped before this notice was read.
    Exited { pid: Pid, reason: Reason, gave_up: bool },
    /// A retry is due.
    Retry { key: Key },
    /// A call from outside.
    Call(Call),
    /// The supervisor has to stop its children in order and end with this reason.
    Shutdown(Reason),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Start this child; the outcome is `Started`, `Ignored` or `StartFailed`.
    Start(Key),
    /// Stop these children, all at once; the outcome is `Stopped`.
    Stop(Vec<Key>),
    /// Put a retry at the end of the mailbox, after a pause if it is not zero.
    Retry { key: Key, after: Duration },
    /// The child of the call being handled was added with this key.
    Added(Key),
    /// The child is no longer in the list.
    Removed(Key),
    /// Reply to the call being handled.
    Reply(Result<Reply, CallRejection>),
    /// All children are up for the first time.
    Up,
    /// End: none of the children runs any more.
    End { reason: Reason, why: End },
    /// Report this to observers.
    Note(Note),
}

/// Why a supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A child did not start in the supervisor's own start.
    StartFailed,
    /// It was told to.
    Requested,
    /// Too many restarts.
    GaveUp,
    /// Its significant children have ended.
    AutoShutdown,
}

/// A report for observers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A restart was decided and counted.
    Restarting { key: Key, used: u32, left: u32 },
    /// The restart of this child was one too many.
    GaveUp { key: Key, used: u32 },
    /// This child stays down until it is restarted by call; the reason is that of its last end or failed start.
    Parked { key: Key, reason: Reason },
    /// The restart of this child is delayed.
    Pausing { key: Key, after: Duration },
    /// The end of this significant child ends the supervisor.
    AutoShutdown { key: Key },
}

/// What the supervisor is doing.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Nothing: the next message may be read.
    Idle,
    /// Children start, one after the other.
    Starting { current: Key, rest: VecDeque<Key>, why: Why },
    /// Children stop, and then something follows.
    Stopping { current: Vec<Key>, rest: Vec<Vec<Key>>, next: Next },
    /// The supervisor has ended.
    Ended,
}

/// Why children start: determines what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Init,
    /// The restart of one child.
    Restart,
    /// The restart of a child and the siblings that the strategy adds.
    RestartGroup,
    StartChild,
    RestartChild {
        parked: bool,
    },
}

/// What follows once all are stopped.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    /// The second half of a group restart.
    Start(Vec<Key>),
    End {
        reason: Reason,
        why: End,
    },
    Reply,
}

/// The state of a supervisor.
#[derive(Clone, Debug)]
pub(crate) struct State {
    flags: Flags,
    children: Children,
    times: Times,
    phase: Phase,
    jitter: Rng,
}

impl State {
    /// A supervisor that has not started; none of the children has a process.
    pub(crate) fn new(flags: Flags, rules: Vec<Rule>, seed: u64) -> State {
        let mut children = Children::default();
        for rule in rules {
            children.add(rule);
        }
        State { flags, children, times: Times::default(), phase: Phase::Idle, jitter: Rng::with_seed(seed) }
    }

    pub(crate) fn children(&self) -> &Children {
        &self.children
    }

    /// Restarts that count at `now`.
    pub(crate) fn used(&self, now: Duration) -> u32 {
        self.times.used(self.flags.limit, now)
    }

    /// Whether the next message may be read.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether it is ending or has ended.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Stopping { next: Next::End { .. }, .. } | Phase::Ended)
    }

    /// Handles an event. `now` is the time since any fixed point.
    pub(crate) fn decide(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Init => {
                let all = self.children.keys();
                self.start(all, Why::Init, &mut effects);
            }
            Event::Started { key, pid } => self.started(now, key, pid, &mut effects),
            Event::Ignored { key } => self.ignored(key, &mut effects),
            Event::StartFailed { key, reason } => self.start_failed(now, key, &reason, &mut effects),
            Event::Stopped { keys } => self.stopped(&keys, &mut effects),
            Event::Exited { pid, reason, gave_up } => self.exited(now, pid, &reason, gave_up, &mut effects),
            Event::Retry { key } => self.retry(now, key, &mut effects),
            Event::Call(call) => self.call(call, &mut effects),
            Event::Shutdown(reason) => {
                if !self.is_ending() {
                    self.end(reason, End::Requested, &mut effects);
                }
            }
        }
        effects
    }

    // ---- outcomes of effects

    fn started(&mut self, now: Duration, key: Key, pid: Pid, effects: &mut Vec<Effect>) {
        if let Some(child) = self.children.get_mut(key) {
            child.process = Process::Running(pid);
            child.started = now;
        }
        self.next_start(Ok(Some(pid)), effects);
    }

    fn ignored(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let kept = self.flags.shape == Shape::Listed
            && self.children.get(key).is_some_and(|child| child.rule.restart != Restart::Temporary);
        if kept {
            self.set(key, Process::Undefined);
        } else {
            self.remove(key, effects);
        }
        self.next_start(Ok(None), effects);
    }

    fn start_failed(&mut self, now: Duration, key: Key, reason: &Reason, effects: &mut Vec<Effect>) {
        let Phase::Starting { why, .. } = &self.phase else { return };
        let parks = self.children.get(key).is_some_and(|child| child.rule.park);
        match *why {
            Why::Init | Why::RestartGroup if parks => {
                // Beyond OTP: children that start after it are not affected.
                self.park(key, reason.clone(), effects);
                self.next_start(Ok(None), effects);
            }
            Why::Init => {
                let id = self.children.get(key).map(|child| child.rule.id.to_string()).unwrap_or_default();
                let reason = Reason::failed_to_start_child(&id, reason);
                self.end(reason, End::StartFailed, effects);
            }
            Why::Restart | Why::RestartGroup => {
                // As in OTP, the retry is a message at the end of the mailbox, not a loop.
                self.phase = Phase::Idle;
                let Some(child) = self.children.get_mut(key) else { return };
                child.process = Process::Restarting(child.last);
                child.keep_reason(reason);
                let jitter = self.jitter.u64(..);
                let after = child.next_pause(now, jitter);
                if !after.is_zero() {
                    effects.push(Effect::Note(Note::Pausing { key, after }));
                }
                effects.push(Effect::Retry { key, after });
            }
            Why::StartChild => {
                self.remove(key, effects);
                self.next_start(Err(reason.clone()), effects);
            }
            Why::RestartChild { parked } => {
                // The child stays as it was.
                if parked {
                    self.park(key, reason.clone(), effects);
                } else {
                    self.set(key, Process::Undefined);
                }
                self.next_start(Err(reason.clone()), effects);
            }
        }
    }

    fn stopped(&mut self, keys: &[Key], effects: &mut Vec<Effect>) {
        for key in keys {
            self.undefine(*key, effects);
        }
        self.next_stop(effects);
    }

    // ---- messages

    fn exited(&mut self, now: Duration, pid: Pid, reason: &Reason, gave_up: bool, effects: &mut Vec<Effect>) {
        let key = pid.key;
        let Some(child) = self.children.get_mut(key) else { return };
        if child.process != Process::Running(pid) {
            return; // it was stopped or replaced before this notice was read
        }
        child.process = Process::Undefined;
        child.last = Some(pid);
        child.keep_reason(reason);
        if gave_up && child.rule.park {
            self.park(key, reason.clone(), effects);
            return;
        }
        match exit_action(child.rule.restart, reason) {
            ExitAction::Restart => {
                let jitter = self.jitter.u64(..);
                let after = child.next_pause(now, jitter);
                if after.is_zero() {
                    self.restart(now, key, effects);
                } else if self.count(now, key, effects) {
                    child_mut(&mut self.children, key).restart_counted = true;
                    self.set(key, Process::Restarting(Some(pid)));
                    effects.push(Effect::Note(Note::Pausing { key, after }));
                    effects.push(Effect::Retry { key, after });
                }
            }
            ExitAction::Keep if self.flags.shape == Shape::Listed => self.ended(key, effects),
            ExitAction::Keep | ExitAction::Drop => self.ended_and_forgotten(key, effects),
        }
    }

    fn retry(&mut self, now: Duration, key: Key, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(key) else { return };
        if !matches!(child.process, Process::Restarting(_)) {
            return; // terminated by call, or covered by a group restart
        }
        if std::mem::take(&mut child.restart_counted) {
            self.apply_strategy(key, effects);
        } else {
            self.restart(now, key, effects);
        }
    }

    // ---- exits without restart

    /// A child has ended and stays in the list.
    fn ended(&mut self, key: Key, effects: &mut Vec<Effect>) {
        self.set(key, Process::Undefined);
        let significant = self.children.get(key).is_some_and(|child| child.rule.significant);
        self.consider_auto_shutdown(key, significant, effects);
    }

    /// A child has ended and is forgotten.
    fn ended_and_forgotten(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let significant = self.children.get(key).is_some_and(|child| child.rule.significant);
        self.remove(key, effects);
        self.consider_auto_shutdown(key, significant, effects);
    }

    fn consider_auto_shutdown(&mut self, key: Key, significant: bool, effects: &mut Vec<Effect>) {
        let ends = significant
            && match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self
                    .children
                    .iter()
                    .any(|(_, child)| child.rule.significant && child.process.counts_as_process()),
            };
        if ends {
            effects.push(Effect::Note(Note::AutoShutdown { key }));
            self.end(Reason::Shutdown, End::AutoShutdown, effects);
        }
    }

    // ---- the list

    fn set(&mut self, key: Key, process: Process) {
        if let Some(child) = self.children.get_mut(key) {
            child.process = process;
        }
    }

    /// The child has no process any more because it was stopped.
    fn undefine(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let forgotten = self.flags.shape != Shape::Listed
            || self.children.get(key).is_some_and(|child| child.rule.restart == Restart::Temporary);
        if forgotten {
            self.remove(key, effects);
        } else {
            self.set(key, Process::Undefined);
        }
    }

    fn remove(&mut self, key: Key, effects: &mut Vec<Effect>) {
        if self.children.remove(key) {
            effects.push(Effect::Removed(key));
        }
    }
}

/// The child with a key that was just taken from the list.
fn child_mut(children: &mut Children, key: Key) -> &mut Child {
    children.get_mut(key).expect("a key that was just taken from the list is in the list")
}
