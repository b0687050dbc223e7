//! All writes against keyspaces in memory: their results, repetitions, concurrent writers, and damage.

mod append;
mod delete;
mod import;
mod marks;
mod overtaken;
#[path = "../rival/mod.rs"]
mod rival;
mod transact;

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces, chain_link};
use exesdb_sdk::streams::{AppendRequest, AppendResult, Retention};
use exesdb_sdk::types::{Direction, Error, EventData, ExpectedVersion, VersionConflict};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{EVENTS, Envelope};
use exesdb_streams::read::read_stream;

/// The default time of day in microseconds.
const NOW: u64 = 1_000_000_000;

const KEEP_ALL: Retention = Retention { max_count: None, max_age_seconds: None, truncate_before: None };

fn event(id: &str) -> EventData {
    EventData {
        id: id.into(),
        event_type: "opened".into(),
        content_type: "application/json".into(),
        data: format!("{{\"id\":\"{id}\"}}").into_bytes(),
        metadata: b"{}".to_vec(),
        tags: Vec::new(),
    }
}

fn tagged(id: &str, event_type: &str, tags: &[&str]) -> EventData {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    EventData { event_type: event_type.into(), tags, ..event(id) }
}

fn wrong(stream_id: &str, expected: ExpectedVersion, last_version: Option<u64>) -> Error {
    let stream_id = stream_id.into();
    Error::WrongExpectedVersion(VersionConflict { stream_id, expected, last_version, is_deleted: false })
}

fn request(stream_id: &str, expected: ExpectedVersion, ids: &[&str]) -> AppendRequest {
    AppendRequest { stream_id: stream_id.into(), expected, events: ids.iter().map(|id| event(id)).collect() }
}

fn any(stream_id: &str, ids: &[&str]) -> AppendRequest {
    request(stream_id, ExpectedVersion::Any, ids)
}

fn append(store: &impl Keyspaces, now: u64, requests: &[AppendRequest]) -> Vec<Result<AppendResult, Error>> {
    exesdb_streams::append::append(store, now, CorrelationIndex::Off, requests)
}

fn at(first_version: u64, last_version: u64, position: u64) -> Result<AppendResult, Error> {
    Ok(AppendResult { first_version, last_version, position })
}

/// The ids of a stream's visible events in order.
fn ids(store: &MemoryKeyspaces, stream_id: &str) -> Vec<String> {
    let page =
        read_stream(store, NOW, stream_id, None, 1_000, Direction::Forward).expect("the stream is there");
    assert!(page.end);
    page.events.into_iter().map(|event| event.id).collect()
}

/// Verifies the hash chain of all events to the end of the log.
fn check_chain(store: &MemoryKeyspaces) {
    let mut link = 0;
    for (key, value) in store.entries(EVENTS) {
        link = chain_link(link, &key, &value, Envelope::LINK_AT as usize).expect("an envelope has a link");
        assert_eq!(Envelope::decode(0, &value).map(|envelope| envelope.link()), Ok(link));
    }
    assert_eq!(store.log_end().map(|end| end.chain), Ok(link));
}
