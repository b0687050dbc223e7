//! Control of a running tree from outside, by path.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decide::{Call, CallRefusal, Counts, Pid, Process, Reply, Rule};
use crate::driver::cell::{Env, Live, SupervisorCell};
use crate::reason::Reason;
use crate::spec::{ChildSpec, Growth, Kind, SpecError};
use crate::tree::{self, Node, NodeState};

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No supervisor runs at this path, or it ended before it answered.
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
    /// start_child: a child with this id runs.
    #[error(
        "supervisor `{path}` runs a child with the id of the new one already; terminate and delete it first"
    )]
    AlreadyStarted {
        /// The supervisor.
        path: String,
    },
    /// start_child: a child with this id is in the list, without a process.
    #[error(
        "supervisor `{path}` lists a child with the id of the new one already; restart it or delete it first"
    )]
    AlreadyPresent {
        /// The supervisor.
        path: String,
    },
    /// restart_child, delete_child: the child runs.
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
    /// start_child: there are as many children as there may be.
    #[error("supervisor `{path}` has its {max_children} children (max_children); let one end first")]
    MaxChildren {
        /// The supervisor.
        path: String,
        /// How many there may be.
        max_children: usize,
    },
    /// start_child, restart_child: the start function failed. It is not retried.
    #[error("the child of `{path}` did not start: {}", reason.message())]
    StartFailed {
        /// The supervisor.
        path: String,
        /// What the start function said.
        reason: Reason,
    },
    /// start_child: the specification is refused.
    #[error("`{path}`: {error}")]
    BadSpec {
        /// The supervisor.
        path: String,
        /// The field, and what to do.
        error: SpecError,
    },
}

/// What a successful start led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A process.
    Running(Pid),
    /// No process: the start function said [`Start::Ignore`](crate::Start::Ignore).
    Ignored,
}

/// One child, as which_children tells it.
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

/// The children in numbers.
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

/// Control from outside, by path. Clones control the same tree. A handle keeps nothing running.
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

    /// The tree as it is now. A root that has ended is shown as `Undefined`.
    pub async fn tree(&self) -> Node {
        let mut node = tree::of_supervisor(&self.root, self.started_at_micros);
        if self.root.done.get().is_some() {
            node.state = NodeState::Undefined;
        }
        node
    }

    /// Sends an exit signal; does not wait for what comes of it.
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

    /// Whether there is a process at `path`. A killed supervisor is one until all below it has ended.
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

    /// What runs at `path`, up or not.
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
        let answer = self.supervisor(path)?.mailbox.call(call, spec).await;
        let path = path.to_owned();
        match answer {
            None => Err(CallError::NoProc { path }),
            Some(Ok(reply)) => Ok(reply),
            Some(Err(refusal)) => Err(match refusal {
                CallRefusal::AlreadyStarted => CallError::AlreadyStarted { path },
                CallRefusal::AlreadyPresent => CallError::AlreadyPresent { path },
                CallRefusal::Running => CallError::Running { path },
                CallRefusal::Restarting => CallError::Restarting { path },
                CallRefusal::NotFound => CallError::NotFound { path, id },
                CallRefusal::Simple => CallError::SimpleOneForOne { path },
                CallRefusal::MaxChildren(max_children) => CallError::MaxChildren { path, max_children },
                CallRefusal::StartFailed(reason) => CallError::StartFailed { path, reason },
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

    /// Adds a child at the end of the start order and starts it. If that fails nothing is left in the list.
    pub async fn start_child(&self, sup: &str, spec: ChildSpec) -> Result<Started, CallError> {
        let cell = self.supervisor(sup)?;
        if matches!(cell.spec.growth, Growth::Simple(_)) {
            return Err(CallError::SimpleOneForOne { path: sup.to_owned() });
        }
        self.start(&cell, spec).await
    }

    /// Starts one more child of a simple_one_for_one or dynamic supervisor, which its template makes from
    /// `argument`. A restart uses the specification that was made then.
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

    /// Stops a child by process: for simple_one_for_one, whose children have no id of their own. A process
    /// that has ended is no mistake.
    pub async fn terminate_process(&self, sup: &str, pid: Pid) -> Result<(), CallError> {
        self.call(sup, Call::TerminateProcess(pid), None).await.map(|_| ())
    }

    /// Starts a child that has no process (undefined or parked). If that fails the child stays as it was, and
    /// the answer is [`CallError::StartFailed`].
    pub async fn restart_child(&self, sup: &str, id: &str) -> Result<Started, CallError> {
        match self.call(sup, Call::RestartChild(id.to_owned()), None).await? {
            Reply::Started(pid) => Ok(Started::Running(pid)),
            _ => Ok(Started::Ignored),
        }
    }

    /// Takes a child that has no process out of the list.
    pub async fn delete_child(&self, sup: &str, id: &str) -> Result<(), CallError> {
        self.call(sup, Call::DeleteChild(id.to_owned()), None).await.map(|_| ())
    }

    /// The children, the one that stands last in the start order first, as OTP answers.
    pub async fn which_children(&self, sup: &str) -> Result<Vec<ChildInfo>, CallError> {
        let Reply::Children(children) = self.call(sup, Call::WhichChildren, None).await? else {
            unreachable!("which_children is answered with children")
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

    /// The children in numbers.
    pub async fn count_children(&self, sup: &str) -> Result<ChildCounts, CallError> {
        let Reply::Counts(counts) = self.call(sup, Call::CountChildren, None).await? else {
            unreachable!("count_children is answered with counts")
        };
        let Counts { specs, active, supervisors, workers } = counts;
        Ok(ChildCounts { specs, active, supervisors, workers })
    }

    /// The supervisor reads no more messages until [`Handle::resume`], as OTP's `sys:suspend`: to look at a
    /// system that stands still, and for tests. It still hears when it is to end.
    pub async fn suspend(&self, sup: &str) -> Result<(), CallError> {
        self.supervisor(sup)?.mailbox.suspend();
        Ok(())
    }

    /// Undoes [`Handle::suspend`].
    pub async fn resume(&self, sup: &str) -> Result<(), CallError> {
        self.supervisor(sup)?.mailbox.resume();
        Ok(())
    }

    /// Whether every supervisor waits for its next message and none is there (or it is suspended). Under a
    /// virtual clock, and when no task is ready, this means that nothing moves any more.
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
