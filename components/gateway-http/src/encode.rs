//! Answers as JSON, written straight into the bytes that are sent.

mod event;
mod snapshot;

pub use event::{event_page, push_end_line, push_end_message, push_line, push_message, push_progress};
pub use snapshot::{deleted, snapshot, snapshot_line, snapshot_page};

use crate::history::HistoryId;
use crate::json::{push_bool, push_number, push_string};
use crate::store::{AppendResult, ImportResult, ImportState, Retention, StreamInfo, StreamPage, StreamState};
use crate::timestamp::push_rfc3339;

/// Where the events of an append stand.
pub fn append_result(result: &AppendResult, history: HistoryId) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(b'{');
    push_places(&mut out, result);
    push_history(&mut out, history);
    out.push(b'}');
    out
}

/// Where the events of a transaction stand: one result for each of its appends, whose streams these are.
pub fn transaction_results(streams: &[String], results: &[AppendResult], history: HistoryId) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + results.len() * 192);
    out.extend_from_slice(b"{\"results\":[");
    push_list(&mut out, streams.iter().zip(results), |out, (stream, result)| {
        out.extend_from_slice(b"{\"stream\":");
        push_string(out, stream);
        out.push(b',');
        push_places(out, result);
        out.push(b'}');
    });
    out.push(b']');
    push_history(&mut out, history);
    out.push(b'}');
    out
}

/// The history that the positions belong to.
fn push_history(out: &mut Vec<u8>, history: HistoryId) {
    push_name(out, "history");
    push_string(out, &history.to_string());
}

fn push_places(out: &mut Vec<u8>, result: &AppendResult) {
    out.extend_from_slice(b"\"first_version\":");
    push_number(out, result.first_version);
    push_member(out, "last_version", result.last_version);
    push_member(out, "position", result.position);
}

/// What became of imported events.
pub fn import_result(result: &ImportResult, history: HistoryId) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(b"{\"added\":");
    push_number(&mut out, result.added.into());
    push_member(&mut out, "repeated", result.repeated.into());
    push_member(&mut out, "hidden", result.hidden.into());
    push_member(&mut out, "durable_position", result.durable_position);
    push_history(&mut out, history);
    out.push(b'}');
    out
}

/// What each of these streams had imported before.
pub fn import_states(streams: &[String], states: &[ImportState]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + states.len() * 384);
    out.extend_from_slice(b"{\"states\":[");
    push_list(&mut out, streams.iter().zip(states), |out, (stream, state)| {
        out.extend_from_slice(b"{\"stream\":");
        push_string(out, stream);
        push_member(out, "rows", state.rows);
        push_member(out, "leading_rows", state.leading_rows);
        if let Some(info) = &state.info {
            push_name(out, "info");
            push_info(out, info);
        }
        out.push(b'}');
    });
    out.extend_from_slice(b"]}");
    out
}

/// A page of stream names.
pub fn stream_page(page: &StreamPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.streams.iter().map(|name| name.len() + 3).sum::<usize>());
    out.extend_from_slice(b"{\"streams\":[");
    push_list(&mut out, &page.streams, |out, name| push_string(out, name));
    out.extend_from_slice(b"],\"more\":");
    push_bool(&mut out, page.more);
    out.push(b'}');
    out
}

/// What is known of a stream.
pub fn stream_info(info: &StreamInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(384 + info.stream_id.len());
    push_info(&mut out, info);
    out
}

fn push_info(out: &mut Vec<u8>, info: &StreamInfo) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, &info.stream_id);
    out.extend_from_slice(match info.state {
        StreamState::Live => b",\"state\":\"live\"".as_slice(),
        StreamState::Deleted => b",\"state\":\"deleted\"",
        StreamState::Tombstoned => b",\"state\":\"tombstoned\"",
    });
    if let Some(version) = info.first_version {
        push_member(out, "first_version", version);
    }
    push_member(out, "last_version", info.last_version);
    if let Some(version) = info.life_begins {
        push_member(out, "life_begins", version);
    }
    push_retention(out, &info.retention);
    push_time(out, "created", info.created);
    push_time(out, "updated", info.updated);
    out.push(b'}');
}

/// The limits that there are.
fn push_retention(out: &mut Vec<u8>, retention: &Retention) {
    out.extend_from_slice(b",\"retention\":{");
    let limits = [
        ("max_count", retention.max_count),
        ("max_age_seconds", retention.max_age_seconds),
        ("truncate_before", retention.truncate_before),
    ];
    let limits = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
    push_list(out, limits, |out, (name, limit)| {
        push_string(out, name);
        out.push(b':');
        push_number(out, limit);
    });
    out.push(b'}');
}

fn push_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_member(out: &mut Vec<u8>, name: &str, number: u64) {
    push_name(out, name);
    push_number(out, number);
}

fn push_time(out: &mut Vec<u8>, name: &str, micros: u64) {
    push_name(out, name);
    out.push(b'"');
    push_rfc3339(out, micros);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::{stream_info, transaction_results};
    use crate::history::HistoryId;
    use crate::store::{AppendResult, Retention, StreamInfo, StreamState};

    #[test]
    fn what_there_is_not_is_left_out() {
        let mut info = StreamInfo {
            stream_id: "s".to_owned(),
            state: StreamState::Tombstoned,
            first_version: None,
            last_version: 9,
            life_begins: None,
            first_position: 2,
            retention: Retention { max_count: None, max_age_seconds: None, truncate_before: None },
            created: 0,
            updated: 1,
        };
        assert_eq!(
            String::from_utf8(stream_info(&info)).unwrap(),
            "{\"stream\":\"s\",\"state\":\"tombstoned\",\"last_version\":9,\"retention\":{},\
             \"created\":\"1970-01-01T00:00:00.000000Z\",\"updated\":\"1970-01-01T00:00:00.000001Z\"}"
        );
        info.state = StreamState::Live;
        info.first_version = Some(3);
        info.life_begins = Some(2);
        info.retention = Retention { max_count: Some(7), max_age_seconds: None, truncate_before: Some(3) };
        let text = String::from_utf8(stream_info(&info)).unwrap();
        assert!(
            text.contains(r#""state":"live","first_version":3,"last_version":9,"life_begins":2,"#),
            "{text}"
        );
        assert!(text.contains(r#""retention":{"max_count":7,"truncate_before":3}"#), "{text}");
    }

    #[test]
    fn results_are_by_stream() {
        let result = |first_version| AppendResult { first_version, last_version: 8, position: 9 };
        assert_eq!(
            String::from_utf8(transaction_results(
                &["a".to_owned(), "b".to_owned()],
                &[result(1), result(2)],
                HistoryId(0xab)
            ))
            .unwrap(),
            "{\"results\":[{\"stream\":\"a\",\"first_version\":1,\"last_version\":8,\"position\":9},\
             {\"stream\":\"b\",\"first_version\":2,\"last_version\":8,\"position\":9}],\"history\":\"00000000000000ab\"}"
        );
    }
}
