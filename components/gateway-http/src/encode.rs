//! Encodes responses as JSON.

mod content;
mod event;
mod snapshot;

pub(crate) use event::{event_page, push_end_line, push_end_message, push_line, push_message, push_progress};
pub(crate) use snapshot::{deleted, snapshot, snapshot_line, snapshot_page};

use serde::Serialize;

use crate::history::HistoryId;
use crate::store::{AppendResult, ImportResult, ImportState, Retention, StreamInfo, StreamPage, StreamState};
use crate::timestamp::Timestamp;

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("writing into memory cannot fail")
}

/// The versions and position of appended events: of an append with its history, of a transaction with the stream.
#[derive(Serialize)]
struct Appended<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    first_version: u64,
    last_version: u64,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryId>,
}

impl<'a> Appended<'a> {
    fn new(stream: Option<&'a str>, result: &AppendResult, history: Option<HistoryId>) -> Self {
        let AppendResult { first_version, last_version, position } = *result;
        Self { stream, first_version, last_version, position, history }
    }
}

/// The result of an append.
pub(crate) fn append_result(result: &AppendResult, history: HistoryId) -> Vec<u8> {
    to_json(&Appended::new(None, result, Some(history)))
}

#[derive(Serialize)]
struct TransactionResults<'a> {
    results: Vec<Appended<'a>>,
    history: HistoryId,
}

/// The results of a transaction, one for each of its appends, which are to these streams.
pub(crate) fn transaction_results(
    streams: &[String],
    results: &[AppendResult],
    history: HistoryId,
) -> Vec<u8> {
    let results = streams.iter().zip(results);
    let results = results.map(|(stream, result)| Appended::new(Some(stream), result, None)).collect();
    to_json(&TransactionResults { results, history })
}

#[derive(Serialize)]
struct Imported {
    added: u32,
    repeated: u32,
    hidden: u32,
    durable_position: u64,
    history: HistoryId,
}

/// The result of an import.
pub(crate) fn import_result(result: &ImportResult, history: HistoryId) -> Vec<u8> {
    let ImportResult { added, repeated, hidden, durable_position } = *result;
    to_json(&Imported { added, repeated, hidden, durable_position, history })
}

#[derive(Serialize)]
struct ImportStates<'a> {
    states: Vec<StateOfImport<'a>>,
}

#[derive(Serialize)]
struct StateOfImport<'a> {
    stream: &'a str,
    rows: u64,
    leading_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Info<'a>>,
}

/// The import states of these streams.
pub(crate) fn import_states(streams: &[String], states: &[ImportState]) -> Vec<u8> {
    let states = streams.iter().zip(states).map(|(stream, state)| StateOfImport {
        stream,
        rows: state.rows,
        leading_rows: state.leading_rows,
        info: state.info.as_ref().map(Info::from),
    });
    to_json(&ImportStates { states: states.collect() })
}

#[derive(Serialize)]
struct StreamNames<'a> {
    streams: &'a [String],
    more: bool,
}

/// A page of stream names.
pub(crate) fn stream_page(page: &StreamPage) -> Vec<u8> {
    to_json(&StreamNames { streams: &page.streams, more: page.more })
}

#[derive(Serialize)]
struct Info<'a> {
    stream: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_version: Option<u64>,
    last_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    life_begins: Option<u64>,
    retention: Limits,
    created: Timestamp,
    updated: Timestamp,
}

#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate_before: Option<u64>,
}

impl<'a> From<&'a StreamInfo> for Info<'a> {
    fn from(info: &'a StreamInfo) -> Self {
        let Retention { max_count, max_age_seconds, truncate_before } = info.retention;
        Self {
            stream: &info.stream_id,
            state: match info.state {
                StreamState::Live => "live",
                StreamState::Deleted => "deleted",
                StreamState::Tombstoned => "tombstoned",
            },
            first_version: info.first_version,
            last_version: info.last_version,
            life_begins: info.life_begins,
            retention: Limits { max_count, max_age_seconds, truncate_before },
            created: Timestamp(info.created),
            updated: Timestamp(info.updated),
        }
    }
}

/// The description of a stream.
pub(crate) fn stream_info(info: &StreamInfo) -> Vec<u8> {
    to_json(&Info::from(info))
}

#[cfg(test)]
mod tests {
    use super::{stream_info, transaction_results};
    use crate::history::HistoryId;
    use crate::store::{AppendResult, Retention, StreamInfo, StreamState};

    #[test]
    fn absent_fields_are_omitted() {
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
    fn transaction_results_name_their_streams() {
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
