//! What is said to an operator of a component's answers.

use exesdb_plugin::contract::types::Error;

/// Whether the same may succeed later.
pub fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Restarting(_) | Error::Overloaded)
}

/// A component's error in words.
pub fn explain(error: &Error) -> String {
    match error {
        Error::WrongExpectedVersion(conflict) => {
            format!("stream {:?} is not at the expected version", conflict.stream_id)
        }
        Error::ConditionFailed(failure) => {
            format!("condition {} is broken by the event at position {}", failure.condition, failure.position)
        }
        Error::StreamDeleted(stream) => format!("stream {stream:?} was deleted for good"),
        Error::IdConflict(text) => format!("some, but not all, of the events are there already: {text}"),
        Error::NotFound => "there is no such stream or snapshot".to_owned(),
        Error::Invalid(invalid) => format!("{}: {}", invalid.argument, invalid.message),
        Error::TooLarge(text)
        | Error::Restarting(text)
        | Error::ReadOnly(text)
        | Error::Denied(text)
        | Error::Other(text) => text.clone(),
        Error::Quarantined(text) => format!("the component failed twice at the same request: {text}"),
        Error::Overloaded => "too many calls wait already".to_owned(),
    }
}
