//! Putting back what was read elsewhere: events at their versions, with their times.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, ClientError};

/// Events in one import: the most that the API takes.
pub const IMPORT_EVENTS_MAX: usize = 1_000;

/// The body of an import.
#[derive(Debug, Serialize)]
pub struct ImportRequest<'a, E> {
    /// 1 to 1,000 events as the gateway writes them: all are added, or none.
    pub events: &'a [E],
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
}
