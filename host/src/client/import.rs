//! Putting back what was read elsewhere: events at their versions, with their times.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, ClientError, StreamInfo};

/// Events in one import: the most that the API takes.
pub const IMPORT_EVENTS_MAX: usize = 1_000;
/// Bytes of a source's name: the most that the API takes.
pub const IMPORT_SOURCE_BYTES_MAX: usize = 256;

/// The body of an import.
#[derive(Debug, Serialize)]
pub struct ImportRequest<'a, E> {
    /// 1 to 1,000 events as the gateway writes them: all are added, or none.
    pub events: &'a [E],
}

/// The body of an import of rows.
#[derive(Debug, Serialize)]
pub struct RowsRequest<'a, E> {
    /// At most 1,000 events: all are added, or none.
    pub events: &'a [E],
    /// How many rows their streams have had then.
    pub marks: &'a [ImportMark<'a>],
}

/// How many rows of a source a stream has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    /// How many.
    pub rows: u64,
    /// The first so many rows of the source are all among them.
    pub leading_rows: u64,
}

impl RowCount {
    /// Whether they are the first rows of the source, and no others.
    pub fn is_complete(self) -> bool {
        self.leading_rows == self.rows
    }
}

/// What a store is told of the rows of a source that a stream has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImportMark<'a> {
    /// Which stream.
    pub stream: &'a str,
    /// What the rows come from: 1 to [`IMPORT_SOURCE_BYTES_MAX`] bytes without control characters.
    pub source: &'a str,
    /// How many.
    #[serde(flatten)]
    pub count: RowCount,
}

/// What an import of rows begins with in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImportState {
    /// How many rows of the source were imported into it.
    #[serde(flatten)]
    pub count: RowCount,
    /// What is known of the stream, if it ever had events.
    #[serde(default)]
    pub info: Option<StreamInfo>,
}

/// A question about streams.
#[derive(Serialize)]
struct ImportQuestion<'a> {
    source: &'a str,
    streams: &'a [&'a str],
}

#[derive(Deserialize)]
struct ImportStates {
    states: Vec<ImportState>,
}

/// What became of the events of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// How many were added.
    pub added: u64,
    /// How many were there already.
    pub repeated: u64,
    /// How many were not added because their streams had their versions, and hide them.
    pub hidden: u64,
}

impl Client {
    /// Puts events where they were in another store.
    pub async fn import<E: Serialize>(
        &self,
        request: &ImportRequest<'_, E>,
    ) -> Result<Imported, ClientError> {
        self.json(Method::POST, &self.path(&["import"]), Some(request)).await
    }

    /// Adds rows as events at versions, and tells the store how many rows their streams have had then.
    pub async fn import_rows<E: Serialize>(
        &self,
        request: &RowsRequest<'_, E>,
    ) -> Result<Imported, ClientError> {
        self.json(Method::POST, &self.path(&["import"]), Some(request)).await
    }

    /// For each of at most [`IMPORT_EVENTS_MAX`] streams, in order, how many rows of a source it has had, and what is known
    /// of it.
    pub async fn import_states(
        &self,
        source: &str,
        streams: &[&str],
    ) -> Result<Vec<ImportState>, ClientError> {
        let url = self.path(&["import", "states"]);
        let question = ImportQuestion { source, streams };
        let ImportStates { states } = self.json(Method::POST, &url, Some(&question)).await?;
        if states.len() == streams.len() {
            return Ok(states);
        }
        let detail = format!("it told of {} streams and was asked about {}", states.len(), streams.len());
        Err(ClientError::Unreadable { url, detail })
    }
}
