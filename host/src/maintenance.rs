//! What a component's results mean to an operator.

use exesdb_plugin::contract::code;
use exesdb_plugin::contract::types::{Error, Problem};

/// Whether a step that began at `from` made progress: the next one begins elsewhere, or something was removed. A step
/// that did not would be repeated for ever. Whether the steps end at all is up to the component; the operator can stop
/// them.
pub fn has_advanced<Cursor: PartialEq>(from: Option<&Cursor>, next: Option<&Cursor>, removed: u64) -> bool {
    next != from || removed > 0
}

/// Whether the same call may succeed a moment later.
pub fn is_passing(error: &Error) -> bool {
    let Error::Problem(problem) = error else { return false };
    matches!(problem.code.as_str(), code::RESTARTING | code::OVERLOADED)
}

/// Whether the component lacks what the call needs.
pub fn is_unsupported(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if problem.code == code::UNSUPPORTED)
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
        Error::IdConflict(conflict) => {
            format!("some, but not all, of the events are there already: {}", conflict.id)
        }
        Error::HistoryChanged(change) => format!(
            "the store is at history {:016x}, position {}, and has not come to the position asked for",
            change.history_id, change.end
        ),
        Error::NoSuchVersion(missing) => {
            format!("stream {:?} has no version {} in its present life", missing.stream_id, missing.version)
        }
        Error::NotFound => "there is no such stream or snapshot".to_owned(),
        Error::Invalid(invalid) => format!("{}: {}", invalid.argument, invalid.message),
        Error::Problem(Problem { code, message, .. }) => match code.as_str() {
            code::QUARANTINED => format!("the component failed twice at the same request: {message}"),
            code::OVERLOADED => "too many calls wait already".to_owned(),
            _ => message.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use exesdb_plugin::contract::code;
    use exesdb_plugin::contract::types::{Error, Problem};

    use super::{explain, has_advanced, is_passing};

    #[test]
    fn some_problems_pass_and_all_are_explained() {
        let twice = "the component failed twice at the same request: why";
        let table = [
            (code::RESTARTING, true, "why"),
            (code::OVERLOADED, true, "too many calls wait already"),
            (code::QUARANTINED, false, twice),
            (code::UNAVAILABLE, false, "why"),
            (code::DAMAGED, false, "why"),
            ("a-code-of-a-later-version", false, "why"),
        ];
        for (code, passes, text) in table {
            let (code, message) = (code.to_owned(), "why".to_owned());
            let error = Error::Problem(Problem { code, message, outcome_unknown: false, fields: Vec::new() });
            assert_eq!((is_passing(&error), explain(&error).as_str()), (passes, text), "{error:?}");
        }
        assert!(!is_passing(&Error::NotFound));
    }

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
