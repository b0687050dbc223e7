//! Restarting: first the intensity, then the strategy.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Effect, End, Key, Next, Note, Process, State, Times, Why, child_mut};
use crate::reason::Reason;
use crate::spec::Strategy;

impl State {
    pub(super) fn restart(&mut self, now: Duration, key: Key, effects: &mut Vec<Effect>) {
        if self.count(now, key, effects) {
            self.apply_strategy(key, effects);
        }
    }

    /// Counts a restart of this child. If it exceeds the intensity, the child is parked or the supervisor ends, and the
    /// result is false.
    pub(super) fn count(&mut self, now: Duration, key: Key, effects: &mut Vec<Effect>) -> bool {
        let limit = self.flags.limit;
        let child = child_mut(&mut self.children, key);
        let parks = child.rule.park;
        // A child that can be parked has its own count, so that it cannot use up its siblings'.
        let times = if parks { &mut child.times } else { &mut self.times };
        let allowed = times.record(limit, now);
        let used = times.recorded();
        if allowed {
            let left = limit.restarts.saturating_sub(used);
            effects.push(Effect::Note(Note::Restarting { key, used, left }));
        } else if parks {
            let reason = child.reason.take().expect("a child is restarted because it ended or did not start");
            self.park(key, reason, effects);
        } else {
            child.process = Process::Undefined;
            effects.push(Effect::Note(Note::GaveUp { key, used }));
            self.end(Reason::Shutdown, End::GaveUp, effects);
        }
        allowed
    }

    pub(super) fn apply_strategy(&mut self, key: Key, effects: &mut Vec<Effect>) {
        match self.flags.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => {
                self.start(VecDeque::from([key]), Why::Restart, effects);
            }
            Strategy::OneForAll => {
                let group = self.children.keys();
                self.restart_group(group, effects);
            }
            Strategy::RestForOne => {
                let group = self.children.keys_from(key);
                self.restart_group(group, effects);
            }
        }
    }

    /// Stops the running children of the group in reverse order, then starts those that are still in the list.
    fn restart_group(&mut self, group: VecDeque<Key>, effects: &mut Vec<Effect>) {
        // This restart covers children of the group that wait for a retry of their own.
        for key in &group {
            let child = child_mut(&mut self.children, *key);
            if matches!(child.process, Process::Restarting(_)) {
                child.process = Process::Undefined;
            }
            child.restart_counted = false;
        }
        let running = self.running_in_stop_order(group.iter().rev().copied());
        self.stop(running, Next::Start(group.into()), effects);
    }

    pub(super) fn park(&mut self, key: Key, reason: Reason, effects: &mut Vec<Effect>) {
        let child = child_mut(&mut self.children, key);
        child.process = Process::Parked;
        child.times = Times::default(); // a restart by call begins a new count
        effects.push(Effect::Note(Note::Parked { key, reason }));
    }
}
