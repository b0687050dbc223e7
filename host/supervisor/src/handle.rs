//! Controls a running tree from outside, by path.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decide::{Call, CallRejection, Counts, Process, Reply, Rule};
use crate::driver::cell::{Env, Live, SupervisorCell};
use crate::pid::Pid;
use crate::reason::Reason;
use crate::spec::{ChildSpec, Growth, Kind, SpecError};
use crate::tree::{self, Node, NodeState};

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No supervisor runs at this path, or it ended before it replied.
    #[error("no supervisor runs at `{path}`; see the tree for the paths there are")]
    NoProc {
        /// The path that was called.
        path: String,
    },
    /// No process runs at this path.
    #[error("nothing runs at `{path}`; see the tree for the paths there are")]
    NotRunning {
        /// The path that was named.
        path: String,
    },
    /// The supervisor has no such child.
    #[error("supervisor `{path}` has no child `{id}`")]
    NotFound {
        /// The supervisor.
        path: String,
        /// The child that was named.
        id: String,
    },
    /// start_child: a child with this id is running.
    #[error(
        "supervisor `{path}` runs a child with the id of the new one already; terminate and delete it first"
    )]
    AlreadyStarted {
        /// The supervisor.
        path: String,
    },
    /// start_child: a child with this id is listed without a process.
    #[error(
        "supervisor `{path}` lists a child with the id of the new one already; restart it or delete it first"
    )]
    AlreadyPresent {
        /// The supervisor.
        path: String,
    },
    /// restart_child, delete_child: the child is running.
    #[error("the child of `{path}` runs; end it first")]
    Running {
        /// The supervisor.
        path: String,
    },
    /// restart_child, delete_child: a retry of the child is due.
    #[error("the child of `{path}` is being restarted already")]
    Restarting {
        /// The supervisor.
        path: String,
    },
    /// The call does not suit a simple_one_for_one or dynamic supervisor, or suits only those.
    #[error(
        "`{path}`: this call does not suit the supervisor's strategy; simple_one_for_one children are started by start_instance and addressed by process, others by specification and id"
    )]
    SimpleOneForOne {
        /// The supervisor.
        path: String,
    },
    /// start_child: the supervisor has as many children as it may have.
    #[error("supervisor `{path}` has its {max_children} children (max_children); let one end first")]
    MaxChildren {
        /// The supervisor.
        path: String,
        /// The maximum.
        max_children: usize,
    },
    /// start_child, restart_child: the start function failed. It is not retried.
    #[error("the child of `{path}` did not start: {}", reason.message())]
    StartFailed {
        /// The supervisor.
        path: String,
        /// The reason that the start function returned.
        reason: Reason,
    },
    /// start_child: the specification is invalid.
    #[error("`{path}`: {error}")]
    BadSpec {
        /// The supervisor.
        path: String,
        /// The field, and how to correct it.
        error: SpecError,
    },
}

/// The outcome of a successful start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A process.
    Running(Pid),
    /// No process: the start function returned [`Start::Ignore`](crate::Start::Ignore).
    Ignored,
}

/// One child in the result of which_children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id; not unique below simple_one_for_one.
    pub id: String,
    /// Worker or supervisor.
    pub kind: Kind,
    /// `Running`, `Restarting`, `Undefined` or `Parked`.
    pub state: NodeState,
    /// Its process, if it runs.
    pub pid: Option<Pid>,
}

/// The numbers of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCounts {
    /// Specifications in the list; 1 for simple_one_for_one.
    pub specs: usize,
    /// Children with a process.
    pub active: usize,
    /// Supervisors in the list.
    pub supervisors: usize,
    /// Workers in the list.
    pub workers: usize,
}

/// Controls a tree from outside. Clones control the same tree. A handle does not keep the tree running.
#[derive(Clone)]
pub struct Handle {
    root: Arc<SupervisorCell>,
    started_at_micros: u64,
}

impl Handle {
    pub(crate) fn new(root: Arc<SupervisorCell>, started_at_micros: u64) -> Handle {
        Handle { root, started_at_micros }
    }

    fn env(&self) -> &Env {
        &self.root.env
    }

    /// The current tree. A root that has ended is shown as `Undefined`.
    pub async fn tree(&self) -> Node {
        let mut node = tree::of_supervisor(&self.root, self.started_at_micros);
        if self.root.done.get().is_some() {
            node.state = NodeState::Undefined;
        }
        node
    }

    /// Sends an exit signal; does not wait for its effect.
    ///
    /// [`Reason::Killed`] kills: a worker at its next await point, a supervisor with all that is below it. With
    /// any other reason the process ends by itself: a worker is ended and its exit has that reason; a
    /// supervisor stops its children first, in order. The supervisor above sees an exit like any other.
    pub async fn exit(&self, path: &str, reason: Reason) -> Result<(), CallError> {
        let live = self.live(path).ok_or_else(|| CallError::NotRunning { path: path.to_owned() })?;
        live.exit(reason);
        Ok(())
    }

    /// As [`Handle::exit`], by process: for simple_one_for_one, whose children have no id of their own.
    pub async fn exit_process(&self, sup: &str, pid: Pid, reason: Reason) -> Result<(), CallError> {
        match self.process(sup, pid) {
            Some(live) => live.exit(reason),
            None => return Err(CallError::NotRunning { path: format!("{sup} {pid}") }),
        }
        Ok(())
    }

    /// Whether a process runs at `path`. A killed supervisor runs until everything below it has ended.
    pub fn is_running(&self, path: &str) -> bool {
        self.live(path).is_some()
    }

    /// As [`Handle::is_running`], by process.
    pub fn is_running_process(&self, sup: &str, pid: Pid) -> bool {
        self.process(sup, pid).is_some()
    }

    fn process(&self, sup: &str, pid: Pid) -> Option<Live> {
        let cell = self.supervisor(sup).ok()?;
        let live = cell.board.lock().entries.get(&pid.key)?.live.clone()?;
        (live.pid() == pid && !live.has_ended()).then_some(live)
    }

    /// The process at `path`, started or starting.
    fn live(&self, path: &str) -> Option<Live> {
        if let Some(cell) = self.env().directory.read().get(path) {
            return Some(Live::Supervisor(Arc::clone(cell)));
        }
        let (parent, id) = path.rsplit_once('/')?;
        let parent = self.supervisor(parent).ok()?;
        let board = parent.board.lock();
        let live = board.entries.get(&board.state.children().find(id)?)?.live.clone()?;
        (!live.has_ended()).then_some(live)
    }

    fn supervisor(&self, path: &str) -> Result<Arc<SupervisorCell>, CallError> {
        let found = self.env().directory.read().get(path).cloned();
        found.ok_or_else(|| CallError::NoProc { path: path.to_owned() })
    }

    async fn call(&self, path: &str, call: Call, spec: Option<ChildSpec>) -> Result<Reply, CallError> {
        let id = match &call {
            Call::TerminateChild(id) | Call::RestartChild(id) | Call::DeleteChild(id) => id.clone(),
            _ => String::new(),
        };
        let result = self.supervisor(path)?.mailbox.call(call, spec).await;
        let path = path.to_owned();
        match result {
            None => Err(CallError::NoProc { path }),
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error)) => Err(match error {
                CallRejection::AlreadyStarted => CallError::AlreadyStarted { path },
                CallRejection::AlreadyPresent => CallError::AlreadyPresent { path },
                CallRejection::Running => CallError::Running { path },
                CallRejection::Restarting => CallError::Restarting { path },
                CallRejection::NotFound => CallError::NotFound { path, id },
                CallRejection::Simple => CallError::SimpleOneForOne { path },
                CallRejection::MaxChildren(max_children) => CallError::MaxChildren { path, max_children },
                CallRejection::StartFailed(reason) => CallError::StartFailed { path, reason },
            }),
        }
    }

    async fn start(&self, cell: &SupervisorCell, spec: ChildSpec) -> Result<Started, CallError> {
        let path = &*cell.path;
        spec.check(&cell.spec).map_err(|error| CallError::BadSpec { path: path.to_owned(), error })?;
        match self.call(path, Call::StartChild(Rule::of(&spec)), Some(spec)).await? {
            Reply::Started(pid) => Ok(Started::Running(pid)),
            _ => Ok(Started::Ignored),
        }
    }

    /// Adds a child at the end of the start order and starts it. If the start fails, the child is not added.
    pub async fn start_child(&self, sup: &str, spec: ChildSpec) -> Result<Started, CallError> {
        let cell = self.supervisor(sup)?;
        if matches!(cell.spec.growth, Growth::Simple(_)) {
            return Err(CallError::SimpleOneForOne { path: sup.to_owned() });
        }
        self.start(&cell, spec).await
    }

    /// Starts one more child of a simple_one_for_one or dynamic supervisor. The template makes its specification from
    /// `argument`; restarts use the same specification.
    pub async fn start_instance(&self, sup: &str, argument: Value) -> Result<Started, CallError> {
        let cell = self.supervisor(sup)?;
        let spec = match &cell.spec.growth {
            Growth::Listed => return Err(CallError::SimpleOneForOne { path: sup.to_owned() }),
            Growth::Simple(template) | Growth::Dynamic { template, .. } => template(argument),
        };
        self.start(&cell, spec).await
    }

    /// Stops a child. Its specification stays, unless it is temporary or the supervisor is dynamic.
    pub async fn terminate_child(&self, sup: &str, id: &str) -> Result<(), CallError> {
        self.call(sup, Call::TerminateChild(id.to_owned()), None).await.map(|_| ())
    }

    /// Stops a child by process: for simple_one_for_one, whose children have no id of their own. It is no error if the
    /// process has ended.
    pub async fn terminate_process(&self, sup: &str, pid: Pid) -> Result<(), CallError> {
        self.call(sup, Call::TerminateProcess(pid), None).await.map(|_| ())
    }

    /// Starts a child that has no process (undefined or parked). If the start fails, the child stays as it was.
    pub async fn restart_child(&self, sup: &str, id: &str) -> Result<Started, CallError> {
        match self.call(sup, Call::RestartChild(id.to_owned()), None).await? {
            Reply::Started(pid) => Ok(Started::Running(pid)),
            _ => Ok(Started::Ignored),
        }
    }

    /// Removes a child that has no process from the list.
    pub async fn delete_child(&self, sup: &str, id: &str) -> Result<(), CallError> {
        self.call(sup, Call::DeleteChild(id.to_owned()), None).await.map(|_| ())
    }

    /// The children in reverse start order, as in OTP.
    pub async fn which_children(&self, sup: &str) -> Result<Vec<ChildInfo>, CallError> {
        let Reply::Children(children) = self.call(sup, Call::WhichChildren, None).await? else {
            unreachable!("the reply to which_children is a list of children")
        };
        let info = |child: crate::decide::ListedChild| {
            let (state, pid) = match child.process {
                Process::Running(pid) => (NodeState::Running, Some(pid)),
                Process::Restarting(_) => (NodeState::Restarting, None),
                Process::Undefined => (NodeState::Undefined, None),
                Process::Parked => (NodeState::Parked, None),
            };
            ChildInfo { id: child.id.to_string(), kind: child.kind, state, pid }
        };
        Ok(children.into_iter().map(info).collect())
    }

    /// The numbers of children.
    pub async fn count_children(&self, sup: &str) -> Result<ChildCounts, CallError> {
        let Reply::Counts(counts) = self.call(sup, Call::CountChildren, None).await? else {
            unreachable!("the reply to count_children is counts")
        };
        let Counts { specs, active, supervisors, workers } = counts;
        Ok(ChildCounts { specs, active, supervisors, workers })
    }

    /// The supervisor reads no messages until [`Handle::resume`], as with OTP's `sys:suspend`: to inspect a system that
    /// stands still, and for tests. It can still be stopped.
    pub async fn suspend(&self, sup: &str) -> Result<(), CallError> {
        self.supervisor(sup)?.mailbox.suspend();
        Ok(())
    }

    /// Undoes [`Handle::suspend`].
    pub async fn resume(&self, sup: &str) -> Result<(), CallError> {
        self.supervisor(sup)?.mailbox.resume();
        Ok(())
    }

    /// Whether every supervisor is suspended or waits for a message. Under a virtual clock, and when no task is ready,
    /// this means that nothing will happen any more.
    pub fn is_idle(&self) -> bool {
        let running: Vec<Arc<SupervisorCell>> = self.env().directory.read().values().cloned().collect();
        running.iter().all(|cell| cell.is_idle())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("root", &self.root.path).finish_non_exhaustive()
    }
}
