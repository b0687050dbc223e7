//! Errors of durable subscriptions.

use crate::bindings::store::types::Error;
use crate::problem::{code, problem};

/// The error of a consumer of a subscription that has halted.
pub(crate) fn halted(name: &str, reason: &str) -> Error {
    problem("halted", format!("the subscription {name} has halted, until it is resumed: {reason}"))
}

/// Whether an error passes by itself.
pub(super) fn is_transient(error: &Error) -> bool {
    const CODES: [&str; 5] =
        [code::RESTARTING, code::UNAVAILABLE, code::OVERLOADED, code::TIMEOUT, code::READ_ONLY];
    matches!(error, Error::Problem(problem) if problem.outcome_unknown || CODES.contains(&problem.code.as_str()))
}
