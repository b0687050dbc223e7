//! What a component's results mean to an operator.

use exesdb_plugin::contract::types::Error;

/// Whether a step that began at `from` made progress: the next one begins elsewhere, or something was removed. A step
/// that did not would be repeated for ever. Whether the steps end at all is up to the component; the operator can stop
/// them.
pub fn has_advanced<Cursor: PartialEq>(from: Option<&Cursor>, next: Option<&Cursor>, removed: u64) -> bool {
    next != from || removed > 0
}

/// Whether the same call may succeed a moment later.
pub fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Restarting(_) | Error::Overloaded)
}

/// A component's error, as text for an operator.
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
        Error::HistoryChanged(change) => format!(
            "the store is at history {:016x}, position {}, and has not come to the position asked for",
            change.history, change.end
        ),
        Error::NoSuchVersion(missing) => {
            format!("stream {:?} has no version {} in its present life", missing.stream_id, missing.version)
        }
        Error::NotFound => "there is no such stream or snapshot".to_owned(),
        Error::Invalid(invalid) => format!("{}: {}", invalid.argument, invalid.message),
        Error::TooLarge(text)
        | Error::Restarting(text)
        | Error::Unavailable(text)
        | Error::ReadOnly(text)
        | Error::Damaged(text)
        | Error::Denied(text)
        | Error::Other(text) => text.clone(),
        Error::Quarantined(text) => format!("the component failed twice at the same request: {text}"),
        Error::Overloaded => "too many calls wait already".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::has_advanced;

    /// Where a step began, where the next one begins, what it removed, and whether it advanced.
    type Case<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, u64, bool);

    #[test]
    fn a_step_has_advanced_if_its_cursor_moved_or_something_was_removed() {
        let table: [Case<'_>; 6] = [
            (None, Some(b"a"), 0, true),
            (Some(b"a"), Some(b"b"), 0, true),
            (Some(b"b"), Some(b"a"), 0, true),
            (Some(b"a"), Some(b"a"), 1, true),
            (Some(b"a"), Some(b"a"), 0, false),
            (Some(b""), Some(b""), 0, false),
        ];
        for (from, next, removed, advanced) in table {
            assert_eq!(
                has_advanced(from.as_ref(), next.as_ref(), removed),
                advanced,
                "{from:?} {next:?} {removed}"
            );
        }
    }
}
