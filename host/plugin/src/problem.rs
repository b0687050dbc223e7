//! Errors that have no case of their own: `exesdb:store/types.problem`.

use exesdb_storage::CommitError;

use crate::access::{CommitFailure, LeaderAddress};
use crate::bindings::store::types::{Error, Field, Problem};

/// The codes of problems, as the interface says.
pub mod code {
    /// The component or the store is being restarted.
    pub const RESTARTING: &str = "restarting";
    /// The component crashes repeatedly or does not start, or the store is stopped.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The same request crashed an instance twice and is not tried again.
    pub const QUARANTINED: &str = "quarantined";
    /// A queue is full.
    pub const OVERLOADED: &str = "overloaded";
    /// The disk is full or failing.
    pub const READ_ONLY: &str = "read-only";
    /// A limit is exceeded.
    pub const TOO_LARGE: &str = "too-large";
    /// The component or this host does not have what was asked for.
    pub const UNSUPPORTED: &str = "unsupported";
    /// The caller lacks a right.
    pub const DENIED: &str = "denied";
    /// The request's time is over.
    pub const TIMEOUT: &str = "timeout";
    /// The request was withdrawn before it was begun.
    pub const CANCELLED: &str = "cancelled";
    /// The request needs data that is damaged.
    pub const DAMAGED: &str = "damaged";
    /// Another node has to be asked.
    pub const NOT_LEADER: &str = "not-leader";
    /// The cluster is choosing a leader.
    pub const NO_LEADER: &str = "no-leader";
    /// Anything else.
    pub const OTHER: &str = "other";
}

/// An error in words.
pub(crate) fn message_of(error: &Error) -> String {
    match error {
        Error::Problem(Problem { message, .. }) => message.clone(),
        Error::Invalid(invalid) => format!("{} {}", invalid.argument, invalid.message),
        Error::StreamDeleted(stream) => format!("the stream {stream} is deleted for good"),
        Error::HistoryChanged(change) => {
            format!("the store was restored, and ends at position {} now", change.end)
        }
        other => format!("{other:?}"),
    }
}

/// A problem of which nothing was done.
pub(crate) fn problem(code: &str, message: impl Into<String>) -> Error {
    Error::Problem(Problem {
        code: code.to_owned(),
        message: message.into(),
        outcome_unknown: false,
        fields: Vec::new(),
    })
}

/// The error of a request that was not committed, or of which nobody knows whether it was.
pub(crate) fn not_committed(failure: &CommitFailure) -> Error {
    let error = match failure {
        CommitFailure::Store(error) => error,
        CommitFailure::NotLeader { leader } => {
            return not_leader(failure.to_string(), leader.as_ref());
        }
        CommitFailure::NoLeader => return problem(code::NO_LEADER, failure.to_string()),
        CommitFailure::Unknown { .. } => return unknown_outcome(code::UNAVAILABLE, failure.to_string()),
    };
    let code = match error {
        CommitError::Overloaded { .. } => code::OVERLOADED,
        CommitError::Invalid(_) => code::OTHER,
        CommitError::ReadOnly { .. } => code::READ_ONLY,
        CommitError::Poisoned { .. } => {
            return unknown_outcome(code::UNAVAILABLE, error.to_string());
        }
        CommitError::Closed => code::RESTARTING,
    };
    problem(code, error.to_string())
}

/// The problem of a request that another node has to be asked. Nothing was done.
fn not_leader(message: String, leader: Option<&LeaderAddress>) -> Error {
    let fields = leader.into_iter().flat_map(|LeaderAddress { host, port }| {
        [("leader-host", host.clone()), ("leader-port", port.to_string())]
    });
    let fields = fields.map(|(name, value)| Field { name: name.to_owned(), value }).collect();
    Error::Problem(Problem { code: code::NOT_LEADER.to_owned(), message, outcome_unknown: false, fields })
}

/// A problem of a request of which nobody knows whether it was applied.
pub(crate) fn unknown_outcome(code: &str, message: impl Into<String>) -> Error {
    Error::Problem(Problem {
        code: code.to_owned(),
        message: message.into(),
        outcome_unknown: true,
        fields: Vec::new(),
    })
}
