//! Encodes responses as JSON.

mod event;
mod snapshot;

pub(crate) use event::{
    Delivery, event_page, push_data, push_delivered, push_end_line, push_end_message, push_message,
    push_progress,
};
pub(crate) use snapshot::{deleted, snapshot, snapshot_line, snapshot_page};

use serde::Serialize;

use exesdb_json::Timestamp;
use exesdb_sdk::types::{ImportState, Placed, Retention, StreamInfo, StreamPage, StreamState};

use crate::history::HistoryId;

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
    fn new(stream: Option<&'a str>, placed: &Placed, history: Option<HistoryId>) -> Self {
        let Placed { first_version, last_version, position, .. } = *placed;
        Self { stream, first_version, last_version, position, history }
    }
}

/// The result of an append.
pub(crate) fn append_result(placed: &Placed, history: HistoryId) -> Vec<u8> {
    to_json(&Appended::new(None, placed, Some(history)))
}

#[derive(Serialize)]
struct TransactionResults<'a> {
    results: Vec<Appended<'a>>,
    history: HistoryId,
}

/// The results of a transaction, one for each of its appends.
pub(crate) fn transaction_results(placed: &[Placed], history: HistoryId) -> Vec<u8> {
    let results = placed.iter().map(|placed| Appended::new(Some(&placed.stream_id), placed, None)).collect();
    to_json(&TransactionResults { results, history })
}

/// The result of an import.
#[derive(Serialize)]
pub(crate) struct Imported {
    pub(crate) added: u64,
    pub(crate) repeated: u64,
    pub(crate) hidden: u64,
    pub(crate) durable_position: u64,
    pub(crate) history: HistoryId,
}

impl Imported {
    pub(crate) fn encode(&self) -> Vec<u8> {
        to_json(self)
    }
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
    use exesdb_sdk::types::{Placed, Retention, StreamInfo, StreamState};

    use crate::history::HistoryId;

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
        let placed = |stream_id: &str, first_version| Placed {
            stream_id: stream_id.to_owned(),
            first_version,
            last_version: 8,
            position: 9,
        };
        assert_eq!(
            String::from_utf8(transaction_results(&[placed("a", 1), placed("b", 2)], HistoryId(0xab)))
                .unwrap(),
            "{\"results\":[{\"stream\":\"a\",\"first_version\":1,\"last_version\":8,\"position\":9},\
             {\"stream\":\"b\",\"first_version\":2,\"last_version\":8,\"position\":9}],\"history\":\"00000000000000ab\"}"
        );
    }
}
