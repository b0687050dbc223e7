//! The six calls. None of them counts for the intensity, and none applies the strategy.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Effect, Key, Next, Pid, Process, Rule, Shape, State, Why};
use crate::reason::Reason;
use crate::spec::Kind;

/// What somebody asks for.
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

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Started(Pid),
    Ignored,
    Done,
    Children(Vec<ListedChild>),
    Counts(Counts),
}

/// One child as which_children tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListedChild {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) process: Process,
}

/// The children in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) specs: usize,
    pub(crate) active: usize,
    pub(crate) supervisors: usize,
    pub(crate) workers: usize,
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallRefusal {
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
        let refusal = match call {
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
        if let Err(refusal) = refusal {
            effects.push(Effect::Reply(Err(refusal)));
        }
    }

    /// The child that a call names.
    fn by_id(&self, id: &str) -> Result<Key, CallRefusal> {
        match self.flags.shape {
            Shape::Simple => Err(CallRefusal::Simple),
            Shape::Listed | Shape::Dynamic { .. } => self.children.find(id).ok_or(CallRefusal::NotFound),
        }
    }

    fn start_child(&mut self, rule: Rule, effects: &mut Vec<Effect>) -> Result<(), CallRefusal> {
        if self.flags.shape != Shape::Simple
            && let Some(child) = self.children.find(&rule.id).and_then(|key| self.children.get(key))
        {
            return Err(match child.process {
                Process::Running(_) => CallRefusal::AlreadyStarted,
                Process::Undefined | Process::Restarting(_) | Process::Parked => CallRefusal::AlreadyPresent,
            });
        }
        if let Shape::Dynamic { max_children } = self.flags.shape
            && self.children.len() >= max_children
        {
            return Err(CallRefusal::MaxChildren(max_children));
        }
        let key = self.children.add(rule);
        effects.push(Effect::Added(key));
        self.start(VecDeque::from([key]), Why::StartChild, effects);
        Ok(())
    }

    /// Stops a child on purpose; that it does not run is no mistake.
    fn terminate(&mut self, key: Key, effects: &mut Vec<Effect>) {
        if self.children.get(key).is_some_and(super::Child::is_running) {
            self.stop(vec![vec![key]], Next::Reply, effects);
        } else {
            self.undefine(key, effects);
            effects.push(Effect::Reply(Ok(Reply::Done)));
        }
    }

    fn terminate_process(&mut self, pid: Pid, effects: &mut Vec<Effect>) -> Result<(), CallRefusal> {
        let stands_for = |process| match process {
            Process::Running(current) => current == pid,
            Process::Restarting(last) => last == Some(pid),
            Process::Undefined | Process::Parked => false,
        };
        if self.children.get(pid.key).is_some_and(|child| stands_for(child.process)) {
            self.terminate(pid.key, effects);
        } else {
            // As OTP: a process that is dead is as terminated as it can be.
            effects.push(Effect::Reply(Ok(Reply::Done)));
        }
        Ok(())
    }

    /// The child that a call names, if it neither runs nor is about to.
    fn without_process(&self, id: &str) -> Result<(Key, Process), CallRefusal> {
        if self.flags.shape != Shape::Listed {
            return Err(CallRefusal::Simple);
        }
        let key = self.by_id(id)?;
        match self.children.get(key).map(|child| child.process) {
            Some(Process::Running(_)) => Err(CallRefusal::Running),
            Some(Process::Restarting(_)) => Err(CallRefusal::Restarting),
            Some(process @ (Process::Undefined | Process::Parked)) => Ok((key, process)),
            None => Err(CallRefusal::NotFound),
        }
    }

    fn restart_child(&mut self, id: &str, effects: &mut Vec<Effect>) -> Result<(), CallRefusal> {
        let (key, process) = self.without_process(id)?;
        let why = Why::RestartChild { parked: process == Process::Parked };
        self.start(VecDeque::from([key]), why, effects);
        Ok(())
    }

    fn delete_child(&mut self, id: &str, effects: &mut Vec<Effect>) -> Result<(), CallRefusal> {
        let (key, _) = self.without_process(id)?;
        self.remove(key, effects);
        effects.push(Effect::Reply(Ok(Reply::Done)));
        Ok(())
    }

    /// The last of the start order first, as OTP answers.
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
