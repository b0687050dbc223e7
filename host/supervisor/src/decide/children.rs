//! The list of children, in start order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Key, Pid, Streak, Times};
use crate::reason::Reason;
use crate::spec::{Backoff, ChildSpec, Kind, Restart};

/// The part of a specification that decisions use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) park: bool,
}

impl Rule {
    pub(crate) fn of(spec: &ChildSpec) -> Rule {
        Rule {
            id: Arc::clone(&spec.id),
            kind: spec.kind(),
            restart: spec.restart,
            significant: spec.significant,
            backoff: spec.backoff,
            park: spec.park,
        }
    }
}

/// The process of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// No process.
    Undefined,
    Running(Pid),
    /// A retry will start it: its start failed, or its pause has not ended. The process is the last one.
    Restarting(Option<Pid>),
    /// It has given up or did not start, and stays down (beyond OTP).
    Parked,
}

impl Process {
    /// As in OTP, `restarting` counts as a process.
    pub(crate) fn counts_as_process(self) -> bool {
        matches!(self, Process::Running(_) | Process::Restarting(_))
    }
}

/// One child.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) rule: Rule,
    pub(crate) process: Process,
    /// The last process, while the next one is being started.
    pub(super) last: Option<Pid>,
    /// When it last started.
    pub(super) started: Duration,
    /// The restart of its pending retry was counted already.
    pub(super) restart_counted: bool,
    /// Its own restarts, if it can be parked.
    pub(super) times: Times,
    /// Why it last ended or did not start, if it can be parked.
    pub(super) reason: Option<Reason>,
    streak: Streak,
}

impl Child {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.process, Process::Running(_))
    }

    /// Remembers the reason with which it would be parked.
    pub(super) fn keep_reason(&mut self, reason: &Reason) {
        if self.rule.park {
            self.reason = Some(reason.clone());
        }
    }

    /// The pause before its next start.
    pub(super) fn next_pause(&mut self, now: Duration, jitter: u64) -> Duration {
        match self.rule.backoff {
            None => Duration::ZERO,
            Some(backoff) => self.streak.next(backoff, now.saturating_sub(self.started), jitter),
        }
    }
}

/// All children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    next: u64,
    list: BTreeMap<Key, Child>,
    /// The child of each id. In a simple supervisor ids are not unique: the latest child.
    ids: HashMap<Arc<str>, Key>,
}

impl Children {
    /// Adds a child at the end of the start order.
    pub(super) fn add(&mut self, rule: Rule) -> Key {
        let key = Key(self.next);
        self.next += 1;
        self.ids.insert(Arc::clone(&rule.id), key);
        let child = Child {
            rule,
            process: Process::Undefined,
            last: None,
            started: Duration::ZERO,
            restart_counted: false,
            times: Times::default(),
            reason: None,
            streak: Streak::default(),
        };
        self.list.insert(key, child);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> bool {
        let Some(child) = self.list.remove(&key) else { return false };
        if self.ids.get(&child.rule.id) == Some(&key) {
            self.ids.remove(&child.rule.id);
        }
        true
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Child> {
        self.list.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Child> {
        self.list.get_mut(&key)
    }

    pub(crate) fn find(&self, id: &str) -> Option<Key> {
        self.ids.get(id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// In start order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Key, &Child)> {
        self.list.iter().map(|(key, child)| (*key, child))
    }

    pub(super) fn keys(&self) -> VecDeque<Key> {
        self.list.keys().copied().collect()
    }

    /// This child and those after it.
    pub(super) fn keys_from(&self, key: Key) -> VecDeque<Key> {
        self.list.range(key..).map(|(key, _)| *key).collect()
    }
}
