//! Which events of the telemetry belong to which system topic, and what listeners see of them. Pure.

use exesdb_supervisor::Event;
use serde::Serialize;
use serde_json::{Map, Value};

use super::topic::SystemTopic;
use crate::context::SUBSCRIPTION;

/// What a sink is when an operator should know: its events do not arrive.
const SINK_ALERTS: [&str; 3] = ["retrying", "unavailable", "open"];

/// What a system topic says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Record {
    pub(super) at_us: u64,
    pub(super) kind: String,
    /// The child of the supervision tree that it concerns.
    pub(super) path: String,
    pub(super) detail: Value,
}

impl Record {
    /// What listeners see of an event.
    pub(super) fn of(event: &Event) -> Self {
        let detail = shown(&event.kind, &event.detail);
        Self { at_us: event.at_micros, kind: event.kind.clone(), path: event.path.clone(), detail }
    }
}

/// What listeners see of an event's detail. What a guest printed and where it failed is only the operator's; crashes have it in their
/// reasons, too, and the reasons of ends have those of crashes.
fn shown(kind: &str, detail: &Value) -> Value {
    match kind {
        "trap" => only(detail, &["component", "sha256", "kind", "limit", "incident"]),
        "breaker" => only(detail, &["component", "is"]),
        "quarantined" => only(detail, &["component", "incident"]),
        "sink" => only(detail, &["sink", "is"]),
        SUBSCRIPTION => detail.clone(),
        _ => {
            let mut detail = detail.clone();
            if let Some(Value::String(reason)) = detail.get_mut("reason") {
                // The words of exit reasons: `killed`, `error:WHY`.
                reason.truncate(reason.find(':').unwrap_or(reason.len()));
            }
            detail
        }
    }
}

fn only(detail: &Value, shown: &[&str]) -> Value {
    let member = |name: &&str| Some(((*name).to_owned(), detail.get(*name)?.clone()));
    Value::Object(shown.iter().filter_map(member).collect::<Map<_, _>>())
}

/// Whether an event belongs to a topic of the store whose child of the tree has this path.
pub(super) fn belongs(event: &Event, topic: SystemTopic, store: &str) -> bool {
    let below = event.path.strip_prefix(store);
    let is_of_store = below.is_some_and(|below| below.is_empty() || below.starts_with('/'));
    is_of_store && is_about(&event.kind, &event.detail, topic)
}

fn is_about(kind: &str, detail: &Value, topic: SystemTopic) -> bool {
    use SystemTopic::{Alerts, Lifecycle, Subscriptions};
    match kind {
        "gave_up" | "parked" => matches!(topic, Lifecycle | Alerts),
        "trap" | "breaker" | "quarantined" => topic == Alerts,
        "sink" => topic == Alerts && SINK_ALERTS.iter().any(|is| detail["is"] == *is),
        SUBSCRIPTION => topic == Subscriptions || topic == Alerts && detail["is"] == "halted",
        "started" | "start_failed" | "terminated" | "restarting" | "sup_started" | "sup_start_failed"
        | "sup_terminated" | "pausing" | "kill_pending" | "loaded" => topic == Lifecycle,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use exesdb_supervisor::{EVENT_KINDS, Event};
    use serde_json::json;

    use super::SystemTopic::{Alerts, Health, Lifecycle, Metrics, Subscriptions};
    use super::{Record, SystemTopic, belongs};

    const TOPICS: [SystemTopic; 5] = [Health, Metrics, Lifecycle, Alerts, Subscriptions];

    fn event(path: &str, kind: &str, is: &str) -> Event {
        Event {
            seq: 1,
            at_micros: 2,
            path: path.to_owned(),
            kind: kind.to_owned(),
            detail: json!({ "is": is }),
        }
    }

    fn topics(event: &Event) -> Vec<SystemTopic> {
        TOPICS.into_iter().filter(|topic| belongs(event, *topic, "host/main")).collect()
    }

    #[test]
    fn each_kind_of_event_has_its_topics() {
        for (kind, is, expected) in [
            ("started", "", &[Lifecycle][..]),
            ("terminated", "", &[Lifecycle]),
            ("restarting", "", &[Lifecycle]),
            ("loaded", "", &[Lifecycle]),
            ("gave_up", "", &[Lifecycle, Alerts]),
            ("parked", "", &[Lifecycle, Alerts]),
            ("trap", "", &[Alerts]),
            ("breaker", "open", &[Alerts]),
            ("quarantined", "", &[Alerts]),
            ("sink", "unavailable", &[Alerts]),
            ("sink", "retrying", &[Alerts]),
            ("sink", "open", &[Alerts]),
            ("sink", "serving", &[]),
            ("subscription", "created", &[Subscriptions]),
            ("subscription", "halted", &[Alerts, Subscriptions]),
            ("missed", "", &[]),
            ("membership", "", &[]),
            ("unheard-of", "halted", &[]),
        ] {
            assert_eq!(topics(&event("host/main/system", kind, is)), expected, "{kind} {is}");
        }
        for kind in EVENT_KINDS {
            assert!(
                topics(&event("host/main", kind, "")).iter().all(|topic| [Lifecycle, Alerts].contains(topic))
            );
        }
    }

    #[test]
    fn a_store_hears_nothing_of_others() {
        for (path, is_own) in [
            ("host/main", true),
            ("host/main/system/core-system", true),
            ("host/main2/system", false),
            ("host/other/main", false),
            ("host", false),
            ("", false),
        ] {
            assert_eq!(!topics(&event(path, "started", "")).is_empty(), is_own, "{path}");
        }
    }

    #[test]
    fn nobody_hears_what_a_guest_printed_or_where_it_failed() {
        let trap = json!({
            "component": "streams", "sha256": "ab", "kind": "trap", "reason": "secret", "limit": null, "incident": "i",
            "place": "secret", "backtrace": "secret", "stderr": ["secret"], "trace": "secret", "memory_bytes": 1,
        });
        for (kind, detail, expected) in [
            (
                "trap",
                trap,
                json!({ "component": "streams", "sha256": "ab", "kind": "trap", "limit": null, "incident": "i" }),
            ),
            (
                "breaker",
                json!({ "component": "streams", "is": "open", "reason": "trap: secret" }),
                json!({ "component": "streams", "is": "open" }),
            ),
            (
                "quarantined",
                json!({ "component": "streams", "reason": "trap: secret", "incident": "i" }),
                json!({ "component": "streams", "incident": "i" }),
            ),
            (
                "terminated",
                json!({ "reason": "error:trap: secret", "pid": "1" }),
                json!({ "reason": "error", "pid": "1" }),
            ),
            ("terminated", json!({ "reason": "killed" }), json!({ "reason": "killed" })),
            ("restarting", json!({ "child": "a", "used": 1 }), json!({ "child": "a", "used": 1 })),
            (
                "subscription",
                json!({ "name": "s", "is": "halted", "reason": "a: b" }),
                json!({ "name": "s", "is": "halted", "reason": "a: b" }),
            ),
            ("gave_up", json!(null), json!(null)),
        ] {
            let record = Record::of(&Event { detail, ..event("host/main/a", kind, "") });
            assert_eq!((record.at_us, record.detail), (2, expected), "{kind}");
        }
    }
}
