//! Why a request with many responses ended without its last one.

use super::connection::{Connection, Disconnected};
use super::protocol::{Refusal, Response};

/// A request cannot go on.
pub(super) enum Stopped {
    /// The client is gone.
    Disconnected,
    /// The client gets this reason.
    Refused(Refusal),
}

impl Stopped {
    pub(super) fn failed(detail: impl ToString) -> Self {
        Self::Refused(Refusal::Failed { detail: detail.to_string() })
    }
}

impl From<Disconnected> for Stopped {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Sends the last response.
pub(super) async fn send_last(
    outcome: Result<Response, Stopped>,
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    match outcome {
        Ok(response) => connection.send(&response).await,
        Err(Stopped::Refused(error)) => connection.send(&Response::Error { error }).await,
        Err(Stopped::Disconnected) => Err(Disconnected),
    }
}
