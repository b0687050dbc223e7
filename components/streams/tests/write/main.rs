//! All writes against keyspaces in memory: their results, repetitions, concurrent writers, and damage.

mod append;
mod delete;
#[path = "../driver/mod.rs"]
mod driver;
mod import;
mod lists;
mod marks;
mod overtaken;
mod transact;

use exesdb_reference::{AppendRequest, AppendResult};
use exesdb_sdk::events::EventData;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, IdConflict, Retention, VersionConflict};
use exesdb_streams::correlation::CorrelationIndex;

use driver::{Target, read_stream};

/// The default time of day in microseconds.
const NOW: u64 = 1_000_000_000;

const KEEP_ALL: Retention = Retention { max_count: None, max_age_seconds: None, truncate_before: None };

fn wrong(stream_id: &str, expected: ExpectedVersion, last_version: Option<u64>) -> Error {
    let stream_id = stream_id.into();
    Error::WrongExpectedVersion(VersionConflict { stream_id, expected, last_version, is_deleted: false })
}

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

fn request(stream_id: &str, expected: ExpectedVersion, ids: &[&str]) -> AppendRequest {
    AppendRequest { stream_id: stream_id.into(), expected, events: ids.iter().map(|id| event(id)).collect() }
}

fn any(stream_id: &str, ids: &[&str]) -> AppendRequest {
    request(stream_id, ExpectedVersion::Any, ids)
}

fn append(target: &impl Target, now: u64, requests: &[AppendRequest]) -> Vec<Result<AppendResult, Error>> {
    driver::append(target, now, CorrelationIndex::Off, requests)
}

fn at(first_version: u64, last_version: u64, position: u64) -> Result<AppendResult, Error> {
    Ok(AppendResult { first_version, last_version, position })
}

/// The ids of a stream's visible events in order.
fn ids(store: &MemoryStore, stream_id: &str) -> Vec<String> {
    let page =
        read_stream(store, NOW, stream_id, None, 1_000, Direction::Forward).expect("the stream is there");
    assert!(page.end);
    page.events.into_iter().map(|event| event.id).collect()
}

/// The error for an id that a stream has already.
fn taken(stream_id: &str, id: &str, last_version: u64) -> Error {
    Error::IdConflict(IdConflict { stream_id: stream_id.into(), id: id.into(), last_version })
}

/// The message of a problem with this code.
fn message<T: std::fmt::Debug>(code: &str, result: &Result<T, Error>) -> String {
    match result {
        Err(Error::Problem(problem)) if problem.code == code => problem.message.clone(),
        other => panic!("no {code}: {other:?}"),
    }
}
