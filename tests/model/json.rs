//! What the gateway sends and receives for the values of the model.

use exesdb_reference::{AppendRequest, AppendResult, Transaction};
use exesdb_sdk::events::{EventData, RecordedEvent};
use exesdb_sdk::types::{Error, ExpectedVersion, QueryItem, Retention, StreamInfo, StreamState};
use serde_json::{Value, json};

/// The content type of all events.
pub(crate) const JSON: &str = "application/json";

/// The kind of problem by which the gateway reports that an operation on a stream failed.
pub(crate) fn problem(error: Error) -> &'static str {
    match error {
        Error::WrongExpectedVersion(_) => "wrong-expected-version",
        Error::ConditionFailed(_) => "condition-failed",
        Error::HistoryChanged(_) => "history-changed",
        Error::StreamDeleted(_) => "stream-deleted",
        Error::IdConflict(_) => "event-id-conflict",
        Error::NotFound => "stream-not-found",
        Error::NoSuchVersion(_) => "no-such-version",
        other => panic!("{other:?} is no result of the model"),
    }
}

pub(crate) fn expected_version(expected: ExpectedVersion) -> Value {
    match expected {
        ExpectedVersion::Any => "any".into(),
        ExpectedVersion::NoStream => "no_stream".into(),
        ExpectedVersion::StreamExists => "stream_exists".into(),
        ExpectedVersion::Exact(version) => version.into(),
    }
}

pub(crate) fn query(items: &[QueryItem]) -> Value {
    items.iter().map(|item| json!({ "types": item.types, "tags": item.tags })).collect()
}

pub(crate) fn events(events: &[EventData]) -> Vec<Value> {
    let event = |event: &EventData| {
        let data: Value = serde_json::from_slice(&event.data).expect("the data of all events is JSON");
        json!({ "id": event.id, "type": event.event_type, "tags": event.tags, "data": data })
    };
    events.iter().map(event).collect()
}

pub(crate) fn transaction(transaction: &Transaction) -> Value {
    let Transaction { appends, checks, conditions } = transaction;
    let append = |append: &AppendRequest| {
        json!({
            "stream": append.stream_id,
            "expected_version": expected_version(append.expected),
            "events": events(&append.events),
        })
    };
    let mut body = json!({ "appends": appends.iter().map(append).collect::<Value>() });
    let checks = checks.iter().map(
        |check| json!({ "stream": check.stream_id, "expected_version": expected_version(check.expected) }),
    );
    let conditions = conditions.iter().map(|condition| {
        let mut body = json!({ "query": query(&condition.query) });
        if let Some(after) = condition.after {
            body["after"] = after.into();
        }
        body
    });
    if checks.len() > 0 {
        body["checks"] = checks.collect();
    }
    if conditions.len() > 0 {
        body["conditions"] = conditions.collect();
    }
    body
}

/// The result of an append, or of one of a transaction's.
pub(crate) fn appended(response: &Value) -> AppendResult {
    let number = |name: &str| response[name].as_u64().unwrap_or(u64::MAX);
    AppendResult {
        first_version: number("first_version"),
        last_version: number("last_version"),
        position: number("position"),
    }
}

/// The events of a page. Their time is 0, as in the model.
pub(crate) fn recorded(page: &Value) -> Result<Vec<RecordedEvent>, String> {
    let event = |event: &Value| {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let tags = event["tags"].as_array().into_iter().flatten();
        Some(RecordedEvent {
            stream_id: text("stream")?,
            version: event["version"].as_u64()?,
            position: event["position"].as_u64()?,
            id: text("id")?,
            event_type: text("type")?,
            content_type: JSON.to_owned(),
            data: event["data"].to_string().into_bytes(),
            metadata: Vec::new(),
            tags: tags.map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            created: 0,
        })
    };
    let events = page["events"].as_array().ok_or_else(|| format!("no events in {page}"))?;
    events.iter().map(|value| event(value).ok_or_else(|| format!("no event: {value}"))).collect()
}

/// The description of a stream without its times.
pub(crate) fn description(info: &StreamInfo) -> Value {
    let state = match info.state {
        StreamState::Live => "live",
        StreamState::Deleted => "deleted",
        StreamState::Tombstoned => "tombstoned",
    };
    let mut description = present(&[
        ("first_version", info.first_version),
        ("last_version", Some(info.last_version)),
        ("life_begins", info.life_begins),
    ]);
    description["stream"] = info.stream_id.clone().into();
    description["state"] = state.into();
    description["retention"] = retention(&info.retention);
    description
}

pub(crate) fn retention(retention: &Retention) -> Value {
    let Retention { max_count, max_age_seconds, truncate_before } = *retention;
    present(&[
        ("max_count", max_count),
        ("max_age_seconds", max_age_seconds),
        ("truncate_before", truncate_before),
    ])
}

/// An object with those members that have a value.
fn present(members: &[(&str, Option<u64>)]) -> Value {
    let mut object = json!({});
    for (name, value) in members {
        if let Some(value) = value {
            object[*name] = (*value).into();
        }
    }
    object
}
