//! The trace: what happened, from the telemetry, in the order of cause and effect.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use exesdb_supervisor::Event;
use serde::Serialize;

/// One line's worth of an event, in the order of keys that the oracle writes.
#[derive(Clone, Debug, Serialize)]
pub struct TraceEvent {
    ev: String,
    path: String,
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// An event, or the mark that a simple_one_for_one supervisor begins to stop its children.
#[derive(Clone, Debug)]
struct Raw {
    pid: String,
    parent: Option<String>,
    id: String,
    event: Option<TraceEvent>,
}

/// What has to be remembered over the steps.
#[derive(Default)]
pub struct Recorder {
    attempts: HashMap<String, u64>,
    /// The attempt that a process belongs to.
    n: HashMap<String, u64>,
    /// Of each process: the supervisor above, and its id there.
    above: HashMap<String, (Option<String>, String)>,
    /// The process that last had this path.
    latest: HashMap<String, String>,
}

impl Recorder {
    pub fn n(&self, pid: &str) -> u64 {
        self.n[pid]
    }

    pub fn latest(&self, path: &str) -> Option<&str> {
        self.latest.get(path).map(String::as_str)
    }

    /// The events of one step.
    pub fn step(&mut self, events: &[Arc<Event>]) -> Vec<TraceEvent> {
        let raw: Vec<Raw> = events.iter().filter_map(|event| self.raw(event)).collect();
        let mut out = Vec::new();
        self.canon(raw, &mut out);
        out
    }

    pub fn raw_pids(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let pid = event.detail["pid"].as_str().unwrap_or_default();
            if matches!(event.kind.as_str(), "started" | "sup_started" | "sup_start_failed") {
                self.latest.insert(event.path.clone(), pid.to_owned());
            }
        }
    }

    fn raw(&mut self, event: &Event) -> Option<Raw> {
        assert_ne!(event.kind, "missed", "the player's ring is too small");
        let attempt = is_attempt(&event.kind);
        if !attempt
            && !matches!(event.kind.as_str(), "terminated" | "sup_terminated" | "sup_stopping_children")
        {
            return None;
        }
        let pid = event.detail["pid"].as_str().expect("a supervision event names its process").to_owned();
        let parent = event.detail["parent"].as_str().map(str::to_owned);
        let id = event.path.rsplit('/').next().expect("a path has an end").to_owned();
        if attempt {
            let n = self.attempts.entry(event.path.clone()).or_default();
            *n += 1;
            self.n.insert(pid.clone(), *n);
            self.above.insert(pid.clone(), (parent.clone(), id.clone()));
        }
        if event.kind == "sup_stopping_children" {
            return Some(Raw { pid, parent, id, event: None });
        }
        let reason = event.detail["reason"].as_str().map(reason_text);
        let (ev, path, n) = (event.kind.clone(), event.path.clone(), self.n[&pid]);
        Some(Raw { pid, parent, id, event: Some(TraceEvent { ev, path, n, reason }) })
    }

    /// Two things happen concurrently and are brought into a fixed order: the ends below a killed supervisor,
    /// and those below a simple_one_for_one supervisor that stops its children.
    fn canon(&self, events: Vec<Raw>, out: &mut Vec<TraceEvent>) {
        let mut rest = std::collections::VecDeque::from(events);
        while let Some(first) = rest.pop_front() {
            match first.event {
                None => {
                    let end = rest.iter().position(|raw| is_end_of(raw, &first.pid)).unwrap_or(rest.len());
                    let after = rest.split_off(end);
                    let (group, mut others) = self.split(&first.pid, rest.into());
                    self.sorted(&first.pid, group, out);
                    others.extend(after);
                    rest = others.into();
                }
                Some(ref event) if event.ev == "sup_terminated" => {
                    out.push(event.clone());
                    let (group, others) = self.split(&first.pid, rest.into());
                    self.sorted(&first.pid, group, out);
                    rest = others.into();
                }
                Some(event) => out.push(event),
            }
        }
    }

    fn split(&self, sup: &str, events: Vec<Raw>) -> (Vec<Raw>, Vec<Raw>) {
        events.into_iter().partition(|raw| self.child_below(sup, raw).is_some())
    }

    fn sorted(&self, sup: &str, group: Vec<Raw>, out: &mut Vec<TraceEvent>) {
        let ids: BTreeSet<String> = group.iter().filter_map(|raw| self.child_below(sup, raw)).collect();
        for id in ids {
            let of_child = group
                .iter()
                .filter(|raw| self.child_below(sup, raw).as_ref() == Some(&id))
                .cloned()
                .collect();
            self.canon(of_child, out);
        }
    }

    /// The direct child of `sup` through which the event belongs to it.
    fn child_below(&self, sup: &str, raw: &Raw) -> Option<String> {
        let (mut parent, mut id) = (raw.parent.clone(), raw.id.clone());
        loop {
            let above = parent?;
            if above == sup {
                return Some(id);
            }
            (parent, id) = self.above.get(&above)?.clone();
        }
    }
}

/// Whether an event of this kind is the outcome of an attempt to start a child.
pub fn is_attempt(kind: &str) -> bool {
    matches!(kind, "started" | "ignored" | "start_failed" | "sup_started" | "sup_start_failed")
}

fn is_end_of(raw: &Raw, pid: &str) -> bool {
    raw.pid == pid && raw.event.as_ref().is_some_and(|event| event.ev == "sup_terminated")
}

/// The oracle's words where ours say more: refused specifications are terms of their own in OTP, and an
/// exception is reported without the word panic.
pub fn reason_text(reason: &str) -> String {
    reason
        .replace("error:bad_spec:", "bad_spec:")
        .replace("error:bad_flags:", "bad_flags:")
        .replace("error:panic: ", "error:")
}
