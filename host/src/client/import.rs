//! Imports: events at given versions and with given times, and the number of rows that streams have received of a source.

use http::Method;
use serde::{Deserialize, Serialize};

use super::error::ClientError;
use super::http::Client;
use super::streams::StreamInfo;

/// Maximum number of events in one import.
pub const IMPORT_EVENTS_MAX: usize = 1_000;
/// Bytes of data and metadata in one import: the API takes 4 MiB with names, ids and punctuation.
pub const IMPORT_BYTES_MAX: usize = 3 << 20;
/// Maximum length of a source's name, in bytes.
pub const IMPORT_SOURCE_BYTES_MAX: usize = 256;

/// The body of an import.
#[derive(Debug, Serialize)]
pub struct ImportRequest<'a, E> {
    /// 1 to 1,000 events as the gateway writes them. All of them are added, or none.
    pub events: &'a [E],
}

/// The body of an import of rows.
#[derive(Debug, Serialize)]
pub struct RowsRequest<'a, E> {
    /// At most 1,000 events. All of them are added, or none.
    pub events: &'a [E],
    /// How many rows the streams have received with these events.
    pub marks: &'a [ImportMark<'a>],
}

/// How many rows of a source a stream has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    /// The number of rows.
    pub rows: u64,
    /// The number of rows from the beginning of the source that are all among them.
    pub leading_rows: u64,
}

impl RowCount {
    /// Whether the rows are the first ones of the source, and no others.
    pub fn is_complete(self) -> bool {
        self.leading_rows == self.rows
    }
}

/// What an import tells the store of the rows of a source that a stream has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImportMark<'a> {
    /// The name of the stream.
    pub stream: &'a str,
    /// The name of the source: 1 to [`IMPORT_SOURCE_BYTES_MAX`] bytes without control characters.
    pub source: &'a str,
    /// The number of rows.
    #[serde(flatten)]
    pub count: RowCount,
}

/// What the store knows of a stream before an import of rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImportState {
    /// How many rows of the source the stream has received.
    #[serde(flatten)]
    pub count: RowCount,
    /// The state of the stream; none if it never had events.
    #[serde(default)]
    pub info: Option<StreamInfo>,
}

#[derive(Serialize)]
struct StatesRequest<'a> {
    source: &'a str,
    streams: &'a [&'a str],
}

#[derive(Deserialize)]
struct StatesResponse {
    states: Vec<ImportState>,
}

/// The response to an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// The number of events that were added.
    pub added: u64,
    /// The number of events that the store had already.
    pub repeated: u64,
    /// The number of events that were not added because their streams have these versions and hide them.
    pub hidden: u64,
}

impl Client {
    /// Adds events at the versions that they had in another store.
    pub async fn import<E: Serialize>(
        &self,
        request: &ImportRequest<'_, E>,
    ) -> Result<Imported, ClientError> {
        self.json(Method::POST, &self.path(&["import"]), Some(request)).await
    }

    /// Adds rows as events at given versions, and tells the store how many rows their streams have received.
    pub async fn import_rows<E: Serialize>(
        &self,
        request: &RowsRequest<'_, E>,
    ) -> Result<Imported, ClientError> {
        self.json(Method::POST, &self.path(&["import"]), Some(request)).await
    }

    /// Returns what the store knows of each of at most [`IMPORT_EVENTS_MAX`] streams, in their order.
    pub async fn import_states(
        &self,
        source: &str,
        streams: &[&str],
    ) -> Result<Vec<ImportState>, ClientError> {
        let url = self.path(&["import", "states"]);
        let request = StatesRequest { source, streams };
        let StatesResponse { states } = self.json(Method::POST, &url, Some(&request)).await?;
        if states.len() == streams.len() {
            return Ok(states);
        }
        let detail = format!("it told of {} streams and was asked about {}", states.len(), streams.len());
        Err(ClientError::Unreadable { url, detail })
    }
}
