//! Queries over the output of `exesdb events --json`.

use serde_json::Value;

/// No events: of telemetry, or of a stream.
pub const NO_EVENTS: [Value; 0] = [];

/// The sequence number of the last event, if any.
pub fn last_seq(events: &[Value]) -> Option<u64> {
    events.last().and_then(|event| event["seq"].as_u64())
}

/// The events after a sequence number.
pub fn after(events: &[Value], seq: Option<u64>) -> Vec<Value> {
    events.iter().filter(|event| event["seq"].as_u64() > seq).cloned().collect()
}

/// The events of a kind.
pub fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

/// The path that an event concerns.
pub fn path_of(event: &Value) -> &str {
    event["path"].as_str().expect("an event has a path")
}
