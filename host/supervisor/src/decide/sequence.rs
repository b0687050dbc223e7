//! Starts children one after the other, and stops them in reverse order.

use std::collections::VecDeque;

use super::{
    CallRejection, Child, Effect, End, Key, Next, Phase, Pid, Process, Reply, State, Why, child_mut,
};
use crate::reason::Reason;
use crate::spec::Strategy;

impl State {
    /// Stops all children, in reverse order, and ends.
    pub(super) fn end(&mut self, reason: Reason, why: End, effects: &mut Vec<Effect>) {
        let keys: Vec<Key> = self.children.keys().into_iter().rev().collect();
        let running = self.running_in_stop_order(keys.into_iter());
        self.stop(running, Next::End { reason, why }, effects);
    }

    /// The running ones of these children, in groups that stop at once: one child each, or all of them in a
    /// simple_one_for_one supervisor, whose children have no order.
    pub(super) fn running_in_stop_order(&self, keys: impl Iterator<Item = Key>) -> Vec<Vec<Key>> {
        let running = keys.filter(|key| self.children.get(*key).is_some_and(Child::is_running));
        match self.flags.strategy {
            Strategy::SimpleOneForOne => {
                let all: Vec<Key> = running.collect();
                if all.is_empty() { Vec::new() } else { vec![all] }
            }
            _ => running.map(|key| vec![key]).collect(),
        }
    }

    pub(super) fn stop(&mut self, mut groups: Vec<Vec<Key>>, next: Next, effects: &mut Vec<Effect>) {
        groups.reverse(); // groups are taken from the end
        self.phase = Phase::Stopping { current: Vec::new(), rest: groups, next };
        self.next_stop(effects);
    }

    pub(super) fn next_stop(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Stopping { current, rest, next } = &mut self.phase else { return };
        if let Some(keys) = rest.pop() {
            current.clone_from(&keys);
            effects.push(Effect::Stop(keys));
            return;
        }
        match next.clone() {
            Next::Start(group) => {
                // Temporary children of the group were forgotten when they stopped; parked ones stay down.
                self.start(group.into(), Why::RestartGroup, effects);
            }
            Next::End { reason, why } => {
                self.phase = Phase::Ended;
                effects.push(Effect::End { reason, why });
            }
            Next::Reply => {
                self.phase = Phase::Idle;
                effects.push(Effect::Reply(Ok(Reply::Done)));
            }
        }
    }

    pub(super) fn start(&mut self, mut keys: VecDeque<Key>, why: Why, effects: &mut Vec<Effect>) {
        keys.retain(|key| match self.children.get(*key) {
            None => false,
            // Only restart_child starts a parked child.
            Some(child) => child.process != Process::Parked || matches!(why, Why::RestartChild { .. }),
        });
        match keys.pop_front() {
            Some(current) => {
                self.phase = Phase::Starting { current, rest: keys, why };
                self.begin_start(current, effects);
            }
            None => {
                self.phase = Phase::Idle;
                if why == Why::Init {
                    effects.push(Effect::Up);
                }
            }
        }
    }

    fn begin_start(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let child = child_mut(&mut self.children, key);
        if let Process::Restarting(last) = child.process {
            child.last = last;
        }
        child.process = Process::Undefined;
        effects.push(Effect::Start(key));
    }

    pub(super) fn next_start(&mut self, outcome: Result<Option<Pid>, Reason>, effects: &mut Vec<Effect>) {
        let Phase::Starting { current, rest, why } = &mut self.phase else { return };
        if let Some(key) = rest.pop_front() {
            *current = key;
            self.begin_start(key, effects);
            return;
        }
        let why = *why;
        self.phase = Phase::Idle;
        match why {
            Why::Init => effects.push(Effect::Up),
            Why::Restart | Why::RestartGroup => {}
            Why::StartChild | Why::RestartChild { .. } => {
                effects.push(Effect::Reply(match outcome {
                    Ok(Some(pid)) => Ok(Reply::Started(pid)),
                    Ok(None) => Ok(Reply::Ignored),
                    Err(reason) => Err(CallRejection::StartFailed(reason)),
                }));
            }
        }
    }
}
