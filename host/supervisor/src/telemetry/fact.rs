//! What supervisors report, as data. It becomes the `detail` of an [`Event`](super::Event) only when it is read, because
//! supervisors report every step and are rarely read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::decide::Limit;
use crate::pid::Pid;
use crate::reason::Reason;
use crate::spec::Strategy;

/// A kind of event with its data.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Started,
    Ignored,
    StartFailed(Reason),
    Terminated(Reason),
    SupStarted,
    SupStartFailed(Reason),
    SupTerminated(Reason),
    Restarting { child: Option<Arc<str>>, strategy: Strategy, limit: Limit, used: u32, left: u32 },
    GaveUp { child: Option<Arc<str>>, limit: Limit, used: u32 },
    AutoShutdown { child: Option<Arc<str>> },
    Pausing { child: Option<Arc<str>>, after: Duration },
    Parked(Reason),
    SupStoppingChildren(usize),
    KillPending { after: Duration },
}

/// The subject of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// A process, and its supervisor's if it has one.
    Process { pid: Pid, parent: Option<Pid>, incarnation: u64 },
    /// A child of this supervisor, without a process.
    ChildOf(Pid),
    /// No process: only the path.
    Path,
}

/// The kinds of events that supervisors report, and `missed`, for events that a reader was too late for. Children report
/// kinds of their own.
pub const EVENT_KINDS: [&str; 15] = [
    "started",
    "ignored",
    "start_failed",
    "terminated",
    "sup_started",
    "sup_start_failed",
    "sup_terminated",
    "restarting",
    "gave_up",
    "auto_shutdown",
    "pausing",
    "parked",
    "sup_stopping_children",
    "kill_pending",
    "missed",
];

impl Fact {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Fact::Started => "started",
            Fact::Ignored => "ignored",
            Fact::StartFailed(_) => "start_failed",
            Fact::Terminated(_) => "terminated",
            Fact::SupStarted => "sup_started",
            Fact::SupStartFailed(_) => "sup_start_failed",
            Fact::SupTerminated(_) => "sup_terminated",
            Fact::Restarting { .. } => "restarting",
            Fact::GaveUp { .. } => "gave_up",
            Fact::AutoShutdown { .. } => "auto_shutdown",
            Fact::Pausing { .. } => "pausing",
            Fact::Parked(_) => "parked",
            Fact::SupStoppingChildren(_) => "sup_stopping_children",
            Fact::KillPending { .. } => "kill_pending",
        }
    }

    pub(crate) fn detail(&self, who: Who) -> Value {
        let mut detail = match self {
            Fact::Started | Fact::Ignored | Fact::SupStarted => json!({}),
            Fact::StartFailed(reason)
            | Fact::Terminated(reason)
            | Fact::SupStartFailed(reason)
            | Fact::SupTerminated(reason)
            | Fact::Parked(reason) => json!({ "reason": reason.to_string() }),
            Fact::Restarting { child, strategy, limit, used, left } => json!({
                "child": child.as_deref(), "strategy": strategy.name(),
                "intensity": intensity(limit), "used": used, "left": left,
            }),
            Fact::GaveUp { child, limit, used } => {
                json!({ "child": child.as_deref(), "intensity": intensity(limit), "used": used })
            }
            Fact::AutoShutdown { child } => json!({ "child": child.as_deref() }),
            Fact::Pausing { child, after } => {
                json!({ "child": child.as_deref(), "after_ms": millis(*after) })
            }
            Fact::SupStoppingChildren(children) => json!({ "children": children }),
            Fact::KillPending { after } => json!({ "after_ms": millis(*after) }),
        };
        match who {
            Who::Process { pid, parent, incarnation } => {
                detail["incarnation"] = incarnation.into();
                detail["pid"] = pid.to_string().into();
                detail["parent"] = parent.map(|pid| pid.to_string()).into();
            }
            Who::ChildOf(parent) => detail["parent"] = parent.to_string().into(),
            Who::Path => {}
        }
        detail
    }
}

fn intensity(limit: &Limit) -> Value {
    json!({ "restarts": limit.restarts, "period_ms": millis(limit.period) })
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
