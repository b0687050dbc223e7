//! The words of the event store, and what a component decides: `exesdb:store/types` and `exesdb:store/decisions`.

pub use crate::bindings::store::common::exesdb::host::fields::Field;
pub use crate::bindings::store::common::exesdb::storage::batches::{
    Batch, Changes, Expectation, Guard, Location,
};
pub use crate::bindings::store::common::exesdb::storage::places::{
    ChainHash, Direction, EndOfLog, Position, Range,
};
pub use crate::bindings::store::common::exesdb::store::decisions::{Decision, Planned, PlannedPlace};
pub use crate::bindings::store::common::exesdb::store::types::{
    AllSelection, Append, AppendCondition, ChangeResult, ConditionFailure, Deletion, DeletionRequest, Error,
    EventFilter, ExpectedVersion, HistoryChange, IdConflict, ImportMark, ImportRequest, ImportState,
    InvalidArgument, MissingVersion, Packed, PackedPage, Placed, Problem, QueryItem, Retention,
    RetentionRequest, Selection, Source, StreamCheck, StreamInfo, StreamLife, StreamPage, StreamSelection,
    StreamState, Version, VersionConflict, WriteRequest,
};

/// The codes of [`Problem`].
pub mod code {
    /// The component or the store is being restarted.
    pub const RESTARTING: &str = "restarting";
    /// The component crashes repeatedly or does not start, or the store is stopped.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The same request crashed an instance twice.
    pub const QUARANTINED: &str = "quarantined";
    /// A queue is full.
    pub const OVERLOADED: &str = "overloaded";
    /// The disk is full or failing.
    pub const READ_ONLY: &str = "read-only";
    /// The caller lacks a right.
    pub const DENIED: &str = "denied";
    /// The request's time is over.
    pub const TIMEOUT: &str = "timeout";
    /// The request was withdrawn.
    pub const CANCELLED: &str = "cancelled";
    /// Another node has to be asked.
    pub const NOT_LEADER: &str = "not-leader";
    /// The cluster is choosing a leader.
    pub const NO_LEADER: &str = "no-leader";
    /// A limit is exceeded.
    pub const TOO_LARGE: &str = "too-large";
    /// The request needs data that is damaged.
    pub const DAMAGED: &str = "damaged";
    /// The component does not have what was asked for.
    pub const UNSUPPORTED: &str = "unsupported";
    /// Anything else.
    pub const OTHER: &str = "other";
}

/// The error for what has no case of its own; `code` is one of [`code`]. Nothing was done.
#[must_use]
pub fn problem(code: &str, message: impl Into<String>) -> Error {
    Error::Problem(Problem {
        code: code.to_owned(),
        message: message.into(),
        outcome_unknown: false,
        fields: Vec::new(),
    })
}

/// The error for a limit that is exceeded. The message names it with its value.
#[must_use]
pub fn too_large(message: impl Into<String>) -> Error {
    problem(code::TOO_LARGE, message)
}

/// The error for an argument that breaks a rule.
#[must_use]
pub fn invalid(argument: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Invalid(InvalidArgument { argument: argument.into(), message: message.into() })
}

/// The error for an entry that is not as the component wrote it, or that is missing although another entry refers to it.
#[must_use]
pub fn damaged(keyspace: &str, key: &[u8], reason: impl std::fmt::Display) -> Error {
    problem(
        code::DAMAGED,
        format!(
            "the store's data is damaged: keyspace `{keyspace}`, key `{}`: {reason}; restore it from a backup",
            key.escape_ascii()
        ),
    )
}

/// Refuses the options of a request whose names say that they must be known: none are.
///
/// # Errors
///
/// The problem `unsupported`, which names the option.
pub fn check_options(options: &[Field]) -> Result<(), Error> {
    match options.iter().find(|option| option.name.starts_with('!')) {
        Some(option) => {
            Err(problem(code::UNSUPPORTED, format!("the option `{}` is not known here", option.name)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Field, check_options};

    #[test]
    fn unknown_options_are_ignored_unless_they_must_be_known() {
        let option = |name: &str| Field { name: name.into(), value: String::new() };
        assert_eq!(check_options(&[]), Ok(()));
        assert_eq!(check_options(&[option("a"), option("b!")]), Ok(()));
        match check_options(&[option("a"), option("!b")]) {
            Err(Error::Problem(problem)) => {
                assert_eq!(problem.code, "unsupported");
                assert!(problem.message.contains("`!b`"), "{}", problem.message);
            }
            other => panic!("{other:?}"),
        }
    }
}
