//! A snapshot of the supervision tree.
//!
//! It is read from the supervisors' shared state without messages, so that a supervisor that waits for a hanging start
//! does not delay it.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::decide::Process;
use crate::driver::cell::{Entry, Live, Stage, SupervisorCell};
use crate::reason::Reason;
use crate::spec::{Kind, Strategy};
use crate::telemetry::millis;

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// A worker's start function runs, or a supervisor starts its children.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop, or ends for another reason.
    Stopping,
    /// It has ended and will be restarted.
    Restarting,
    /// It has no process: finished, ignored, or terminated by call.
    Undefined,
    /// It has given up or did not start, and stays down until restart_child (beyond OTP).
    Parked,
}

/// How many restarts a supervisor allows, and how many it has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intensity {
    /// Restarts that are allowed within the period.
    pub restarts: u32,
    /// The period in milliseconds.
    pub period_ms: u64,
    /// Restarts within the period that ends now.
    pub used: u32,
    /// Restarts that are left; with one more, the supervisor gives up.
    pub left: u32,
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id among its siblings.
    pub id: String,
    /// The ids from the root, joined by `/`.
    pub path: String,
    /// Worker or supervisor.
    pub kind: Kind,
    /// What it is doing.
    pub state: NodeState,
    /// How often it was restarted since it was listed, for whatever reason.
    pub restarts: u64,
    /// When its process was started, in microseconds of Unix time; 0 without a process.
    pub started_at_micros: u64,
    /// The exit reason of its last process; for a parked child, why it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// A note that whoever shows the tree may add; supervisors leave it empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Only for a running supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Only for a running supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity: Option<Intensity>,
    /// The detail of its specification, for people and tools; supervision does not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
    /// In start order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

impl Node {
    /// The node at `path`, if it is this one or below it.
    pub fn find(&self, path: &str) -> Option<&Node> {
        if self.path == path {
            return Some(self);
        }
        let below = path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/'));
        if !below {
            return None;
        }
        self.children.iter().find_map(|child| child.find(path))
    }

    /// As [`find`](Self::find), mutable.
    pub fn find_mut(&mut self, path: &str) -> Option<&mut Node> {
        if self.path == path {
            return Some(self);
        }
        let below = path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/'));
        if !below {
            return None;
        }
        self.children.iter_mut().find_map(|child| child.find_mut(path))
    }
}

/// The node of a running supervisor, with everything below it.
pub(crate) fn of_supervisor(cell: &SupervisorCell, started_at_micros: u64) -> Node {
    let now = cell.env.now();
    let mut below = Vec::new();
    let (mut children, used) = {
        let board = cell.board.lock();
        let children: Vec<Node> = board
            .state
            .children()
            .iter()
            .filter_map(|(key, child)| Some((board.entries.get(&key)?, child.process)))
            .enumerate()
            .map(|(index, (entry, process))| {
                if let Some(Live::Supervisor(cell)) = &entry.live {
                    below.push((index, std::sync::Arc::clone(cell), entry.started_at_micros));
                }
                of_entry(entry, process)
            })
            .collect();
        (children, board.state.used(now))
    };
    // One lock at a time: the boards below are read after this one is released.
    for (index, child, started_at_micros) in below {
        let (state, detail) = (children[index].state, children[index].detail.take());
        children[index] = Node { detail, ..of_supervisor(&child, started_at_micros) };
        if state == NodeState::Stopping {
            children[index].state = state;
        }
    }
    let limit = cell.spec.restarts;
    Node {
        id: cell.spec.id.to_string(),
        path: cell.path.to_string(),
        kind: Kind::Supervisor,
        state: match cell.stage() {
            Stage::Starting => NodeState::Starting,
            Stage::Running => NodeState::Running,
            Stage::Stopping => NodeState::Stopping,
        },
        restarts: cell.record.starts.load(Ordering::Relaxed).saturating_sub(1),
        started_at_micros,
        last_exit: cell.record.last_exit.lock().as_ref().map(Reason::to_string),
        note: None,
        strategy: Some(cell.spec.strategy),
        intensity: Some(Intensity {
            restarts: limit,
            period_ms: millis(cell.spec.period),
            used,
            left: limit.saturating_sub(used),
        }),
        detail: None,
        children,
    }
}

/// The node of a child in its supervisor's list.
fn of_entry(entry: &Entry, process: Process) -> Node {
    let state = match process {
        Process::Running(_) if entry.stopping => NodeState::Stopping,
        Process::Running(_) => NodeState::Running,
        Process::Restarting(_) => NodeState::Restarting,
        Process::Parked => NodeState::Parked,
        Process::Undefined if entry.starting => NodeState::Starting,
        Process::Undefined => NodeState::Undefined,
    };
    Node {
        id: entry.spec.id.to_string(),
        path: entry.path.to_string(),
        kind: entry.spec.kind(),
        state,
        restarts: entry.record.starts.load(Ordering::Relaxed).saturating_sub(1),
        started_at_micros: if entry.live.is_some() { entry.started_at_micros } else { 0 },
        last_exit: entry.record.last_exit.lock().as_ref().map(Reason::to_string),
        note: None,
        strategy: None,
        intensity: None,
        detail: entry.spec.detail.as_ref().and_then(|detail| detail()),
        children: Vec::new(),
    }
}
