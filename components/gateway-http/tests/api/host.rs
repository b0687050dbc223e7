//! What the host adds to the components of a store: the replies to named calls, and the pages of named feeds.

use std::ops::Range;

use exesdb_sdk::steps::double::{Page, Supply};
use exesdb_sdk::types::{Error, code, problem};
use serde_json::{Value, json};

use crate::store::{TestStore, packed};

/// The reply to a named call.
pub(crate) fn reply(name: &str) -> Option<Value> {
    let consumer = json!({"consumer": 17, "in_flight": 1, "window": 100, "acknowledged": 41});
    let subscription = json!({
        "name": "invoices", "selector": {"type_pattern": "^order-"}, "from": 0,
        "settings": {"strategy": "pinned", "poison": "park", "ack_timeout_ms": 10_000}, "state": "halted",
        "reason": "no template", "checkpoint": 42, "parked": 1,
        "created": "2026-11-23T16:46:00.000001Z", "updated": "2026-11-23T16:46:00.000001Z",
        "lag": {"events": 3, "ms": 7},
        "emitter": {
            "read": 45, "in_flight": 1, "waiting": 2, "retrying": 0, "acknowledged": 41, "redelivered": 1,
            "acknowledged_per_second": 4, "consumers": [consumer],
        },
    });
    let parked = json!({
        "place": 43, "deliveries": 2, "reason": "no template", "parked": "2026-11-23T16:46:00.000001Z",
        "is_replayed": false,
    });
    Some(match name.strip_prefix("subscriptions/")? {
        "list" => json!({"subscriptions": [subscription], "more": false}),
        "info" => subscription,
        "create" => json!({"created": true}),
        "update" | "pause" | "resume" | "remove" | "replay" | "truncate" => json!({"count": 1}),
        "parked" => json!({"parked": [parked], "more": true}),
        "settle" => json!({"acknowledged": 2, "refused": 1}),
        _ => return None,
    })
}

/// The error of a named call or feed that the host does not have.
pub(crate) fn unsupported(name: &str) -> Error {
    problem(code::UNSUPPORTED, format!("this host does not have `{name}`"))
}

fn page(store: &TestStore, positions: &[u64], next: Option<u64>, notes: &Value) -> Page {
    let events = store.events().into_iter().filter(|event| positions.contains(&event.position));
    let events = packed(&events.collect::<Vec<_>>());
    Page { events, next, notes: notes.to_string().into_bytes(), caught_up: positions.is_empty() }
}

/// What a durable subscription delivers to a consumer: the events of these places, and how often each was delivered before.
pub(crate) fn delivered(store: &TestStore, consumer: u64, events: &[(u64, u32)]) -> Page {
    let (places, earlier): (Vec<u64>, Vec<u32>) = events.iter().copied().unzip();
    let notes = json!({"consumer": consumer, "places": places, "earlier": earlier});
    page(store, &places, None, &notes)
}

/// The first page of a topic.
pub(crate) fn begun(topic: &str, from: Option<u64>) -> Supply {
    let begun = from.map_or_else(|| json!({"topic": topic}), |from| json!({"topic": topic, "from": from}));
    noted(&json!({"begun": begun}))
}

/// A page of a topic without events.
pub(crate) fn noted(notes: &Value) -> Supply {
    Supply::Page(Page { notes: notes.to_string().into_bytes(), caught_up: true, ..Page::default() })
}

/// The events at these positions, of a topic.
pub(crate) fn heard(store: &TestStore, positions: Range<u64>) -> Supply {
    let next = Some(positions.end);
    Supply::Page(page(store, &positions.collect::<Vec<_>>(), next, &json!({})))
}
