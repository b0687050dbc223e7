//! Calls from outside. None of them counts for the intensity, and none applies the strategy.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Effect, Key, Next, Pid, Process, Rule, Shape, State, Why};
use crate::reason::Reason;
use crate::spec::Kind;

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    StartChild(Rule),
    TerminateChild(String),
    TerminateProcess(Pid),
    RestartChild(String),
    DeleteChild(String),
    WhichChildren,
    CountChildren,
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Started(Pid),
    Ignored,
    Done,
    Children(Vec<ListedChild>),
    Counts(Counts),
}

/// One child in the reply to which_children.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListedChild {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) process: Process,
}

/// The reply to count_children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) specs: usize,
    pub(crate) active: usize,
    pub(crate) supervisors: usize,
    pub(crate) workers: usize,
}

/// Why a call is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallRejection {
    AlreadyStarted,
    AlreadyPresent,
    Running,
    Restarting,
    NotFound,
    Simple,
    MaxChildren(usize),
    StartFailed(Reason),
}

impl State {
    pub(super) fn call(&mut self, call: Call, effects: &mut Vec<Effect>) {
        let result = match call {
            Call::StartChild(rule) => self.start_child(rule, effects),
            Call::TerminateChild(id) => self.by_id(&id).map(|key| self.terminate(key, effects)),
            Call::TerminateProcess(pid) => self.terminate_process(pid, effects),
            Call::RestartChild(id) => self.restart_child(&id, effects),
            Call::DeleteChild(id) => self.delete_child(&id, effects),
            Call::WhichChildren => {
                effects.push(Effect::Reply(Ok(Reply::Children(self.which_children()))));
                Ok(())
            }
            Call::CountChildren => {
                effects.push(Effect::Reply(Ok(Reply::Counts(self.count_children()))));
                Ok(())
            }
        };
        if let Err(rejection) = result {
            effects.push(Effect::Reply(Err(rejection)));
        }
    }

    /// The child that a call names.
    fn by_id(&self, id: &str) -> Result<Key, CallRejection> {
        match self.flags.shape {
            Shape::Simple => Err(CallRejection::Simple),
            Shape::Listed | Shape::Dynamic { .. } => self.children.find(id).ok_or(CallRejection::NotFound),
        }
    }

    fn start_child(&mut self, rule: Rule, effects: &mut Vec<Effect>) -> Result<(), CallRejection> {
        if self.flags.shape != Shape::Simple
            && let Some(child) = self.children.find(&rule.id).and_then(|key| self.children.get(key))
        {
            return Err(match child.process {
                Process::Running(_) => CallRejection::AlreadyStarted,
                Process::Undefined | Process::Restarting(_) | Process::Parked => {
                    CallRejection::AlreadyPresent
                }
            });
        }
        if let Shape::Dynamic { max_children } = self.flags.shape
            && self.children.len() >= max_children
        {
            return Err(CallRejection::MaxChildren(max_children));
        }
        let key = self.children.add(rule);
        effects.push(Effect::Added(key));
        self.start(VecDeque::from([key]), Why::StartChild, effects);
        Ok(())
    }

    /// Stops a child. It is no error if the child does not run.
    fn terminate(&mut self, key: Key, effects: &mut Vec<Effect>) {
        if self.children.get(key).is_some_and(super::Child::is_running) {
            self.stop(vec![vec![key]], Next::Reply, effects);
        } else {
            self.undefine(key, effects);
            effects.push(Effect::Reply(Ok(Reply::Done)));
        }
    }

    fn terminate_process(&mut self, pid: Pid, effects: &mut Vec<Effect>) -> Result<(), CallRejection> {
        let is_current = |process| match process {
            Process::Running(current) => current == pid,
            Process::Restarting(last) => last == Some(pid),
            Process::Undefined | Process::Parked => false,
        };
        if self.children.get(pid.key).is_some_and(|child| is_current(child.process)) {
            self.terminate(pid.key, effects);
        } else {
            // As in OTP, it is no error if the process has ended.
            effects.push(Effect::Reply(Ok(Reply::Done)));
        }
        Ok(())
    }

    /// The child that a call names, if it neither runs nor waits for a retry.
    fn without_process(&self, id: &str) -> Result<(Key, Process), CallRejection> {
        if self.flags.shape != Shape::Listed {
            return Err(CallRejection::Simple);
        }
        let key = self.by_id(id)?;
        match self.children.get(key).map(|child| child.process) {
            Some(Process::Running(_)) => Err(CallRejection::Running),
            Some(Process::Restarting(_)) => Err(CallRejection::Restarting),
            Some(process @ (Process::Undefined | Process::Parked)) => Ok((key, process)),
            None => Err(CallRejection::NotFound),
        }
    }

    fn restart_child(&mut self, id: &str, effects: &mut Vec<Effect>) -> Result<(), CallRejection> {
        let (key, process) = self.without_process(id)?;
        let why = Why::RestartChild { parked: process == Process::Parked };
        self.start(VecDeque::from([key]), why, effects);
        Ok(())
    }

    fn delete_child(&mut self, id: &str, effects: &mut Vec<Effect>) -> Result<(), CallRejection> {
        let (key, _) = self.without_process(id)?;
        self.remove(key, effects);
        effects.push(Effect::Reply(Ok(Reply::Done)));
        Ok(())
    }

    /// In reverse start order, as in OTP.
    fn which_children(&self) -> Vec<ListedChild> {
        let listed = |child: &super::Child| ListedChild {
            id: Arc::clone(&child.rule.id),
            kind: child.rule.kind,
            process: child.process,
        };
        self.children.iter().rev().map(|(_, child)| listed(child)).collect()
    }

    fn count_children(&self) -> Counts {
        let mut counts = Counts { specs: self.children.len(), active: 0, supervisors: 0, workers: 0 };
        if self.flags.shape == Shape::Simple {
            counts.specs = 1;
        }
        for (_, child) in self.children.iter() {
            counts.active += usize::from(child.is_running());
            match child.rule.kind {
                Kind::Supervisor => counts.supervisors += 1,
                Kind::Worker => counts.workers += 1,
            }
        }
        counts
    }
}
