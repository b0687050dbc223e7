//! The replies and lines of a trace, with their keys in the oracle's order.

use exesdb_supervisor::{CallError, Handle, Kind, NodeState, Pid, Reason, Started};
use serde::Serialize;
use serde_json::value::RawValue;

use super::trace::{TraceEvent, reason_text};

/// JSON text with its keys in the order in which they were written.
pub(super) type Json = Box<RawValue>;

/// One child of which_children.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) id: Option<String>,
    pub(super) r#type: Kind,
    pub(super) state: NodeState,
}

/// In the order of OTP; below simple_one_for_one, where OTP leaves the order open, by name, and those that
/// wait for their restart last, without a name.
pub(super) async fn which(
    handle: &Handle,
    sup: &str,
    simple: bool,
) -> Result<Vec<(Listed, Option<Pid>)>, CallError> {
    let children = handle.which_children(sup).await?;
    let mut list: Vec<(Listed, Option<Pid>)> = children
        .into_iter()
        .map(|child| {
            let id = (!simple || child.pid.is_some()).then_some(child.id);
            (Listed { id, r#type: child.kind, state: child.state }, child.pid)
        })
        .collect();
    if simple {
        list.sort_by(|(a, _), (b, _)| (a.id.is_none(), &a.id).cmp(&(b.id.is_none(), &b.id)));
    }
    Ok(list)
}

pub(super) fn started(answer: Result<Started, CallError>) -> Result<Json, CallError> {
    answer.map(|started| match started {
        Started::Running(_) => ok("started"),
        Started::Ignored => ok("ignored"),
    })
}

pub(super) fn refused(refusal: &CallError) -> Json {
    match refusal {
        CallError::NoProc { .. } => error("noproc"),
        CallError::NotFound { .. } => error("not_found"),
        CallError::AlreadyStarted { .. } => error("already_started"),
        CallError::AlreadyPresent { .. } => error("already_present"),
        CallError::Running { .. } => error("running"),
        CallError::Restarting { .. } => error("restarting"),
        CallError::SimpleOneForOne { .. } => error("simple_one_for_one"),
        CallError::StartFailed { reason, .. } => error_because("start_failed", reason),
        CallError::BadSpec { error, .. } => raw(&Refusal { error: "bad_spec", reason: Some(error.code()) }),
        CallError::NotRunning { .. } | CallError::MaxChildren { .. } => {
            panic!("no scenario leads to this: {refusal}")
        }
    }
}

pub(super) fn parse_pid(pid: &str) -> Pid {
    pid.parse().expect("a process from telemetry")
}

#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) scenario: &'a str,
    pub(super) format: u64,
}

#[derive(Serialize)]
pub(super) struct StepLine<'a> {
    pub(super) step: usize,
    pub(super) op: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    pub(super) reply: Json,
    pub(super) events: Vec<TraceEvent>,
}

#[derive(Serialize)]
pub(super) struct Last {
    pub(super) r#final: Option<TreeNode>,
}

#[derive(Serialize)]
pub(super) struct TreeNode {
    pub(super) id: Option<String>,
    pub(super) r#type: Kind,
    pub(super) state: NodeState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counts: Option<exesdb_supervisor::ChildCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) children: Option<Vec<TreeNode>>,
}

#[derive(Serialize)]
pub(super) struct Refusal {
    pub(super) error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Success<T> {
    pub(super) ok: T,
}

pub(super) fn ok(value: impl Serialize) -> Json {
    raw(&Success { ok: value })
}

pub(super) fn error(error: &'static str) -> Json {
    raw(&Refusal { error, reason: None })
}

pub(super) fn error_because(error: &'static str, reason: &Reason) -> Json {
    raw(&Refusal { error, reason: Some(reason_text(&reason.to_string())) })
}

pub(super) fn raw(value: &impl Serialize) -> Json {
    serde_json::value::to_raw_value(value).expect("plain data can be written as JSON")
}

pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written as JSON")
}
