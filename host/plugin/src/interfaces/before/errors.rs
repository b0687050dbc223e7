//! Errors of version 0.2 as those of version 0.1.

use crate::bindings::next::types as next;
use crate::bindings::types::{Error, InvalidArgument};
use crate::problem::code;

impl From<next::Error> for Error {
    fn from(error: next::Error) -> Self {
        match error {
            next::Error::WrongExpectedVersion(conflict) => Self::WrongExpectedVersion(conflict.into()),
            next::Error::ConditionFailed(failure) => Self::ConditionFailed(failure.into()),
            next::Error::StreamDeleted(stream_id) => Self::StreamDeleted(stream_id),
            next::Error::IdConflict(conflict) => Self::IdConflict(conflict.id),
            next::Error::NotFound => Self::NotFound,
            next::Error::NoSuchVersion(missing) => Self::NoSuchVersion(missing.into()),
            next::Error::HistoryChanged(change) => Self::HistoryChanged(change.into()),
            next::Error::Invalid(invalid) => Self::Invalid(invalid.into()),
            next::Error::Problem(problem) => of_problem(problem),
        }
    }
}

fn of_problem(problem: next::Problem) -> Error {
    let message = problem.message;
    match problem.code.as_str() {
        // A request whose time is over, or that was withdrawn, was one of an instance that was stopped.
        code::RESTARTING | code::TIMEOUT | code::CANCELLED => Error::Restarting(message),
        code::UNAVAILABLE | code::NOT_LEADER | code::NO_LEADER => Error::Unavailable(message),
        code::QUARANTINED => Error::Quarantined(message),
        code::OVERLOADED => Error::Overloaded,
        code::READ_ONLY => Error::ReadOnly(message),
        code::TOO_LARGE => Error::TooLarge(message),
        code::DENIED => Error::Denied(message),
        code::DAMAGED => Error::Damaged(message),
        _ => Error::Other(message),
    }
}

/// The error of a plain append, which is the only one of its request.
pub(in crate::interfaces) fn of_append(error: next::Error) -> Error {
    renamed(
        error.into(),
        |argument| argument.strip_prefix("appends[0].").map(str::to_owned),
        |message| {
            let all =
                message.strip_prefix("the events of all appends: ").map(|rest| format!("events: {rest}"));
            all.or_else(|| message.strip_prefix("appends[0]: ").map(str::to_owned))
        },
    )
}

/// The error of an import, whose events were records within records.
pub(super) fn of_import(error: impl Into<Error>) -> Error {
    const OF_EVENTS: [&str; 4] = ["id", "event-type", "content-type", "tags["];
    const TOO_LARGE: [&str; 2] = ["data and metadata", "tags:"];
    renamed(
        error.into(),
        |argument| {
            let (event, member) = event_of(argument, ".")?;
            OF_EVENTS.iter().any(|name| member.starts_with(name)).then(|| format!("{event}.event.{member}"))
        },
        |message| {
            let (event, rest) = event_of(message, ": ")?;
            TOO_LARGE.iter().any(|begin| rest.starts_with(begin)).then(|| format!("{event}.event: {rest}"))
        },
    )
}

/// Splits a text that begins with an element of the list `events`.
fn event_of<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (event, rest) = text.split_once(separator)?;
    let index = event.strip_prefix("events[")?.strip_suffix(']')?;
    index.bytes().all(|byte| byte.is_ascii_digit()).then_some((event, rest))
}

/// Changes the argument's name or the message about a limit, if there is a new one.
fn renamed(
    error: Error,
    argument: impl FnOnce(&str) -> Option<String>,
    message: impl FnOnce(&str) -> Option<String>,
) -> Error {
    match error {
        Error::Invalid(invalid) => {
            let argument = argument(&invalid.argument).unwrap_or(invalid.argument);
            Error::Invalid(InvalidArgument { argument, message: invalid.message })
        }
        Error::TooLarge(text) => Error::TooLarge(message(&text).unwrap_or(text)),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::{of_append, of_import};
    use crate::bindings::next::types as next;
    use crate::bindings::types::Error;
    use crate::problem::{code, problem};

    /// A name for the case, with its text.
    fn shown(error: &Error) -> String {
        match error {
            Error::Invalid(invalid) => format!("invalid {} {}", invalid.argument, invalid.message),
            Error::TooLarge(text) => format!("too-large {text}"),
            error => format!("{error:?}"),
        }
    }

    #[test]
    fn every_problem_has_a_case() {
        let text = || "why".to_owned();
        let table = [
            (code::RESTARTING, Error::Restarting(text())),
            (code::TIMEOUT, Error::Restarting(text())),
            (code::CANCELLED, Error::Restarting(text())),
            (code::UNAVAILABLE, Error::Unavailable(text())),
            (code::NOT_LEADER, Error::Unavailable(text())),
            (code::NO_LEADER, Error::Unavailable(text())),
            (code::QUARANTINED, Error::Quarantined(text())),
            (code::OVERLOADED, Error::Overloaded),
            (code::READ_ONLY, Error::ReadOnly(text())),
            (code::TOO_LARGE, Error::TooLarge(text())),
            (code::DENIED, Error::Denied(text())),
            (code::DAMAGED, Error::Damaged(text())),
            (code::UNSUPPORTED, Error::Other(text())),
            (code::OTHER, Error::Other(text())),
            ("a-code-of-a-later-version", Error::Other(text())),
        ];
        for (code, expected) in table {
            assert_eq!(shown(&problem(code, "why").into()), shown(&expected), "{code}");
        }
    }

    #[test]
    fn every_other_error_keeps_its_case_and_its_fields() {
        let stream_id = || "s".to_owned();
        let life = Some(next::StreamLife { first_version: 3, last_version: 5 });
        let table = [
            (
                next::Error::WrongExpectedVersion(next::VersionConflict {
                    stream_id: stream_id(),
                    expected: next::ExpectedVersion::Exact(4),
                    last_version: Some(5),
                    is_deleted: true,
                }),
                r#"WrongExpectedVersion(VersionConflict { stream-id: "s", expected: ExpectedVersion::Exact(4), last-version: Some(5), is-deleted: true })"#,
            ),
            (
                next::Error::ConditionFailed(next::ConditionFailure { condition: 2, position: 9 }),
                "ConditionFailed(ConditionFailure { condition: 2, position: 9 })",
            ),
            (next::Error::StreamDeleted(stream_id()), r#"StreamDeleted("s")"#),
            (
                next::Error::IdConflict(next::IdConflict {
                    stream_id: stream_id(),
                    id: "i".to_owned(),
                    last_version: 7,
                }),
                r#"IdConflict("i")"#,
            ),
            (next::Error::NotFound, "NotFound"),
            (
                next::Error::NoSuchVersion(next::MissingVersion { stream_id: stream_id(), version: 8, life }),
                r#"NoSuchVersion(MissingVersion { stream-id: "s", version: 8, life: Some(StreamLife { first-version: 3, last-version: 5 }) })"#,
            ),
            (
                next::Error::HistoryChanged(next::HistoryChange { history_id: 1, end: 2 }),
                "HistoryChanged(HistoryChange { history: 1, end: 2 })",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(shown(&Error::from(error)), format!("Error::{expected}"));
        }
    }

    fn invalid(argument: &str) -> next::Error {
        let (argument, message) = (argument.to_owned(), "is long".to_owned());
        next::Error::Invalid(next::InvalidArgument { argument, message })
    }

    #[test]
    fn a_plain_append_is_no_list_of_appends() {
        let argument = |argument: &str| shown(&of_append(invalid(argument)));
        assert_eq!(argument("appends[0].stream-id"), "invalid stream-id is long");
        assert_eq!(argument("appends[0].events[3].id"), "invalid events[3].id is long");
        assert_eq!(argument("appends"), "invalid appends is long");
        let limit = |text: &str| shown(&of_append(problem(code::TOO_LARGE, text)));
        assert_eq!(limit("appends[0]: events: 1001 of them"), "too-large events: 1001 of them");
        assert_eq!(limit("appends[0]: events[1]: tags: 33 of them"), "too-large events[1]: tags: 33 of them");
        assert_eq!(limit("the events of all appends: they have"), "too-large events: they have");
        assert_eq!(limit("the request as a whole"), "too-large the request as a whole");
    }

    #[test]
    fn an_imported_event_is_a_record_within_a_record() {
        let argument = |argument: &str| shown(&of_import(invalid(argument)));
        for member in ["id", "event-type", "content-type", "tags[2]"] {
            let said = argument(&format!("events[12].{member}"));
            assert_eq!(said, format!("invalid events[12].event.{member} is long"));
        }
        for same in
            ["events[1].stream-id", "events[1].version", "events[1].position", "marks[0].rows", "events"]
        {
            assert_eq!(argument(same), format!("invalid {same} is long"));
        }
        let limit = |text: &str| shown(&of_import(problem(code::TOO_LARGE, text)));
        assert_eq!(limit("events[1]: tags: 33 of them"), "too-large events[1].event: tags: 33 of them");
        assert_eq!(limit("events[1]: data and metadata"), "too-large events[1].event: data and metadata");
        assert_eq!(limit("events[1]: its position"), "too-large events[1]: its position");
        assert_eq!(limit("events: 1001 of them"), "too-large events: 1001 of them");
    }
}
