//! The requests of the model, as plain values, and their form in the contract.

use exesdb_sdk::events::{EventData, pack};
use exesdb_sdk::packed::push_event;
use exesdb_sdk::types::{
    Append, AppendCondition, ExpectedVersion, ImportMark, ImportRequest, Position, StreamCheck, Version,
    WriteRequest,
};

/// An append to one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The stream.
    pub stream_id: String,
    /// The version at which it is expected.
    pub expected: ExpectedVersion,
    /// At least one event.
    pub events: Vec<EventData>,
}

/// Where the events of an append were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendResult {
    /// The version of the first event.
    pub first_version: Version,
    /// The version of the last event.
    pub last_version: Version,
    /// The position of the last event.
    pub position: Position,
}

/// Appends that are made if all checks and conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The appends, each to another stream.
    pub appends: Vec<AppendRequest>,
    /// The expected versions of other streams.
    pub checks: Vec<StreamCheck>,
    /// Events that must not exist.
    pub conditions: Vec<AppendCondition>,
}

/// An event with the version and the time that it has in another store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedEvent {
    /// Its stream.
    pub stream_id: String,
    /// Its version.
    pub version: Version,
    /// Its position; none for the next one. Either all events of an import have one, or none.
    pub position: Option<Position>,
    /// Its time.
    pub created: u64,
    /// The event.
    pub event: EventData,
}

/// What became of the events of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportResult {
    /// How many were added.
    pub added: u32,
    /// How many were there already.
    pub repeated: u32,
    /// How many were not added because their streams hide their versions.
    pub hidden: u32,
}

impl AppendRequest {
    fn append(&self) -> Append {
        let events = pack(&self.stream_id, &self.events).expect("the texts of tests are short");
        Append { stream_id: self.stream_id.clone(), expected: self.expected, events }
    }

    /// The request for this append alone.
    #[must_use]
    pub fn write_request(&self) -> WriteRequest {
        let (checks, conditions) = (Vec::new(), Vec::new());
        WriteRequest { appends: vec![self.append()], checks, conditions, options: Vec::new() }
    }
}

impl Transaction {
    /// The request for this transaction.
    #[must_use]
    pub fn write_request(&self) -> WriteRequest {
        WriteRequest {
            appends: self.appends.iter().map(AppendRequest::append).collect(),
            checks: self.checks.clone(),
            conditions: self.conditions.clone(),
            options: Vec::new(),
        }
    }
}

/// The request for an import.
///
/// # Panics
///
/// If only some of the events have positions.
#[must_use]
pub fn import_request(events: &[ImportedEvent], marks: &[ImportMark]) -> ImportRequest {
    let at_positions = events.iter().any(|event| event.position.is_some());
    let mut packed = Vec::new();
    for event in events {
        assert_eq!(event.position.is_some(), at_positions, "all have positions, or none");
        let parts = event.event.parts(&event.stream_id, event.version, event.created);
        push_event(&mut packed, event.position.unwrap_or(0), &parts).expect("the texts of tests are short");
    }
    ImportRequest { events: packed, at_positions, marks: marks.to_vec(), options: Vec::new() }
}
