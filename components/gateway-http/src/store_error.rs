//! Translates the store's errors into problems.

use exesdb_sdk::types::{
    Error, ExpectedVersion, HistoryChange, MissingVersion, Problem as StoreProblem, StreamLife,
    VersionConflict, code,
};

use crate::history::HistoryId;
use crate::problem::{Kind, Member, Problem, quoted};

/// The subject of a call, for the text of its problem.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// The whole store.
    Store,
    /// A stream.
    Stream(&'a str),
    /// A snapshot of a stream and a source, at a version.
    Snapshot(&'a str, &'a str, u64),
    /// A durable subscription.
    Subscription(&'a str),
    /// The latest snapshot of a stream and a source.
    LatestSnapshot(&'a str, &'a str),
}

impl<'a> From<Option<&'a str>> for Subject<'a> {
    fn from(stream: Option<&'a str>) -> Self {
        stream.map_or(Self::Store, Self::Stream)
    }
}

/// The problem for a request that the store refused.
pub(crate) fn problem(error: impl Into<Error>, subject: Subject<'_>) -> Problem {
    match error.into() {
        Error::WrongExpectedVersion(conflict) => wrong_expected_version(conflict),
        Error::ConditionFailed(failure) => {
            let detail = format!(
                "conditions[{}] forbids the event at position {}; read again, decide again",
                failure.condition, failure.position
            );
            Problem::new(Kind::ConditionFailed, detail)
                .with("condition", Member::Number(failure.condition.into()))
                .with("position", Member::Number(failure.position))
        }
        Error::HistoryChanged(change) => history_changed(&change),
        Error::StreamDeleted(stream) => {
            let detail = format!("the stream {} has a tombstone; take another name", quoted(&stream));
            Problem::new(Kind::StreamDeleted, detail).with("stream", Member::Text(stream))
        }
        Error::IdConflict(conflict) => {
            let detail = format!(
                "the id {} is in the stream already, and not from an append of just these events; \
                 give new events new ids",
                quoted(&conflict.id)
            );
            Problem::new(Kind::EventIdConflict, detail).with("id", Member::Text(conflict.id))
        }
        Error::NoSuchVersion(missing) => no_such_version(missing),
        Error::NotFound => not_found(subject),
        Error::Invalid(invalid) => Problem::invalid(field_of_argument(&invalid.argument), invalid.message),
        Error::Problem(problem) => of_code(problem),
    }
}

/// The problem for what has no case of its own.
fn of_code(problem: StoreProblem) -> Problem {
    let StoreProblem { code, message, outcome_unknown, .. } = problem;
    let once = "try again: an append with the same event ids is applied once";
    match code.as_str() {
        code::TOO_LARGE => Problem::new(Kind::TooLarge, message),
        code::RESTARTING => Problem::new(Kind::Restarting, format!("{message}; {once}")),
        code::UNAVAILABLE => Problem::new(Kind::Unavailable, message),
        code::NOT_LEADER => Problem::new(
            Kind::NotLeader,
            format!(
                "{message}; nothing was done: send the request to the node that the header exesdb-leader names"
            ),
        ),
        code::NO_LEADER => Problem::new(
            Kind::NoLeader,
            format!("{message}; nothing was done: send the request again, to any node"),
        ),
        code::QUARANTINED => Problem::new(Kind::Quarantined, message),
        code::OVERLOADED => Problem::new(
            Kind::Overloaded,
            "a queue of the store is full and nothing was done; try again later",
        ),
        code::READ_ONLY => Problem::new(
            Kind::ReadOnly,
            format!("{message}; nothing was done, and reads go on; try again when there is room"),
        ),
        "already-exists" => Problem::new(Kind::SubscriptionExists, message),
        "halted" => Problem::new(Kind::SubscriptionHalted, message),
        "paused" => Problem::new(Kind::SubscriptionPaused, message),
        "no-such-consumer" | "cut-off" => Problem::new(Kind::ConsumerNotFound, message),
        "consumer-in-use" => Problem::new(Kind::ConsumerInUse, message),
        "too-many-consumers" => Problem::new(Kind::TooManyConsumers, message),
        code::DENIED => Problem::new(Kind::Denied, message),
        code::DAMAGED => Problem::new(Kind::Damaged, message),
        code::UNSUPPORTED => Problem::new(Kind::Unsupported, message),
        code::TIMEOUT | code::CANCELLED if outcome_unknown => {
            Problem::new(Kind::Timeout, format!("{message}; it may have been done; {once}"))
        }
        code::TIMEOUT | code::CANCELLED => Problem::new(Kind::Timeout, message),
        _ => Problem::new(Kind::Internal, message),
    }
}

/// The problem of a position that does not belong to the store's current history.
pub(crate) fn history_changed(change: &HistoryChange) -> Problem {
    let (history, end) = (HistoryId(change.history_id), change.end);
    let detail = format!(
        "the store is at history {history} and its next event gets position {end}: the position sent is beyond that, or \
         belongs to a history that the store has left because it was restored from a backup; drop what was made of \
         events that are not there, and read again from a position that is known to be good, or from 0"
    );
    Problem::new(Kind::HistoryChanged, detail)
        .with("history", Member::Text(history.to_string()))
        .with("end", Member::Number(end))
}

fn wrong_expected_version(conflict: VersionConflict) -> Problem {
    let VersionConflict { stream_id, expected, last_version, is_deleted } = conflict;
    let (expectation, expected) = match expected {
        ExpectedVersion::Any => ("anything".to_owned(), Member::Text("any".to_owned())),
        ExpectedVersion::NoStream => {
            ("a stream without events (`no_stream`)".to_owned(), Member::Text("no_stream".to_owned()))
        }
        ExpectedVersion::StreamExists => {
            ("a stream with events (`stream_exists`)".to_owned(), Member::Text("stream_exists".to_owned()))
        }
        ExpectedVersion::Exact(version) => (format!("version {version}"), Member::Number(version)),
    };
    let stream = quoted(&stream_id);
    let found = match last_version {
        None => format!("the stream {stream} has never had an event"),
        Some(last) if is_deleted => format!(
            "the stream {stream} was deleted, and its last event had version {last}; `no_stream` or {last} would be right"
        ),
        Some(last) => format!("the last event of the stream {stream} has version {last}"),
    };
    Problem::new(Kind::WrongExpectedVersion, format!("{expectation} was expected, but {found}"))
        .with("stream", Member::Text(stream_id))
        .with("expected_version", expected)
        .with("actual_version", last_version.map_or(Member::Null, Member::Number))
        .with("deleted", Member::Flag(is_deleted))
}

fn no_such_version(missing: MissingVersion) -> Problem {
    let MissingVersion { stream_id, version, life } = missing;
    let stream = quoted(&stream_id);
    let (detail, first, last) = match life {
        Some(StreamLife { first_version, last_version }) => (
            format!(
                "the stream {stream} has versions {first_version} to {last_version} since it began or was begun again; \
                 a snapshot is of one of them, not of {version}"
            ),
            Member::Number(first_version),
            Member::Number(last_version),
        ),
        None => (
            format!("the stream {stream} has no events, so no snapshot can be of its version {version}"),
            Member::Null,
            Member::Null,
        ),
    };
    Problem::new(Kind::NoSuchVersion, detail)
        .with("stream", Member::Text(stream_id))
        .with("version", Member::Number(version))
        .with("first_version", first)
        .with("last_version", last)
}

fn not_found(subject: Subject<'_>) -> Problem {
    let of_source = |source: &str| match source {
        "" => String::new(),
        source => format!(" of {}", quoted(source)),
    };
    match subject {
        Subject::Store => Problem::new(Kind::Internal, "the store did not find itself"),
        Subject::Stream(stream) => {
            Problem::new(Kind::StreamNotFound, format!("the stream {} has no events", quoted(stream)))
        }
        Subject::Subscription(name) => {
            let detail = format!("there is no durable subscription {}", quoted(name));
            Problem::new(Kind::SubscriptionNotFound, detail)
        }
        Subject::LatestSnapshot(stream, source) => Problem::new(
            Kind::SnapshotNotFound,
            format!("the stream {} has no such snapshot{}", quoted(stream), of_source(source)),
        ),
        Subject::Snapshot(stream, source, version) => Problem::new(
            Kind::SnapshotNotFound,
            format!(
                "the stream {} has no snapshot{} at version {version}",
                quoted(stream),
                of_source(source)
            ),
        ),
    }
}

/// Record names of the store's interfaces that have no counterpart in the HTTP API.
const RECORDS: [&str; 6] = ["snapshot.", "id.", "filter.", "scope.", "retention.", "selection."];

/// The problem of a request with one append, whose fields are those of the request.
pub(crate) fn append_problem(error: Error, stream: &str) -> Problem {
    match error {
        Error::Invalid(mut invalid) => {
            if let Some(of_append) = invalid.argument.strip_prefix("appends[0].") {
                invalid.argument = of_append.to_owned();
            }
            problem(Error::Invalid(invalid), Subject::Stream(stream))
        }
        error => problem(error, Subject::Stream(stream)),
    }
}

/// Translates an argument of the store's interfaces into a field of the HTTP API: `appends[0].events[3].event-type`
/// becomes `appends[0].events[3].type`.
fn field_of_argument(argument: &str) -> String {
    let argument = RECORDS.into_iter().find_map(|record| argument.strip_prefix(record)).unwrap_or(argument);
    let (list, name) = match argument.rsplit_once('.') {
        Some((list, name)) => (Some(list), name),
        None => (None, argument),
    };
    let name = match name {
        "stream-id" => "stream".to_owned(),
        "source-id" => "source".to_owned(),
        "event-type" => "type".to_owned(),
        "expected" => "expected_version".to_owned(),
        // A parameter of queries, which is repeated.
        other if other.starts_with("stream-prefixes") && list.is_none() => "stream_prefix".to_owned(),
        other => other.replace('-', "_"),
    };
    match list {
        Some(list) => format!("{list}.{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::{
        self, ConditionFailure, Error, ExpectedVersion, HistoryChange, IdConflict, InvalidArgument,
        VersionConflict,
    };

    use super::{Subject, append_problem, field_of_argument, problem};

    #[test]
    fn arguments_are_translated_to_fields() {
        for (argument, field) in [
            ("stream-id", "stream"),
            ("appends[2].events[3].event-type", "appends[2].events[3].type"),
            ("appends[2].stream-id", "appends[2].stream"),
            ("checks[1].expected", "checks[1].expected_version"),
            ("conditions[1].query[0].tags[2]", "conditions[1].query[0].tags[2]"),
            ("events[3].id", "events[3].id"),
            ("events[3].event-type", "events[3].type"),
            ("selection.source", "source"),
            ("filter.stream-prefixes[2]", "stream_prefix"),
            ("selector.stream-prefixes[2]", "selector.stream_prefixes[2]"),
            ("selector.query[0].tags[1]", "selector.query[0].tags[1]"),
            ("settings.ack-timeout-ms", "settings.ack_timeout_ms"),
            ("events[12].content-type", "events[12].content_type"),
            ("expected", "expected_version"),
            ("snapshot.content-type", "content_type"),
            ("id.source-id", "source"),
            ("scope.stream-id", "stream"),
            ("retention.max-count", "max_count"),
            ("filter.stream-pattern", "stream_pattern"),
            ("filter.stream-prefixes[3]", "stream_prefix"),
            ("filter.query[3].types[1]", "query[3].types[1]"),
            ("at-most", "at_most"),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(field_of_argument(argument), field);
        }
    }

    #[test]
    fn every_error_has_its_status_and_kind() {
        let invalid =
            InvalidArgument { argument: "events[1].event-type".to_owned(), message: "is long".to_owned() };
        let conflict = |expected, last_version, is_deleted| {
            let stream_id = "t".to_owned();
            Error::WrongExpectedVersion(VersionConflict { stream_id, expected, last_version, is_deleted })
        };
        let exact = ExpectedVersion::Exact(2);
        let of = |code: &str| types::problem(code, "why");
        let stream = Subject::Stream("s");
        for (error, subject, status, uri, json) in [
            (
                conflict(exact, Some(3), false),
                stream,
                409,
                "wrong-expected-version",
                r#"version 2 was expected, but the last event of the stream `t` has version 3","stream":"t","expected_version":2,"actual_version":3,"deleted":false"#,
            ),
            (
                conflict(exact, None, false),
                stream,
                409,
                "wrong-expected-version",
                r#"has never had an event","stream":"t","expected_version":2,"actual_version":null"#,
            ),
            (
                conflict(ExpectedVersion::StreamExists, Some(3), true),
                stream,
                409,
                "wrong-expected-version",
                r#"a stream with events (`stream_exists`) was expected, but the stream `t` was deleted, and its last event had version 3; `no_stream` or 3 would be right"#,
            ),
            (
                conflict(ExpectedVersion::NoStream, Some(3), false),
                stream,
                409,
                "wrong-expected-version",
                r#""expected_version":"no_stream""#,
            ),
            (
                Error::ConditionFailed(ConditionFailure { condition: 2, position: 9 }),
                stream,
                409,
                "condition-failed",
                r#""condition":2,"position":9"#,
            ),
            (Error::StreamDeleted("t".to_owned()), stream, 410, "stream-deleted", r#""stream":"t""#),
            (
                Error::IdConflict(IdConflict {
                    stream_id: "s".to_owned(),
                    id: "x".to_owned(),
                    last_version: 1,
                }),
                stream,
                409,
                "event-id-conflict",
                r#""id":"x""#,
            ),
            (
                Error::HistoryChanged(HistoryChange { history_id: 0xab, end: 9 }),
                stream,
                409,
                "history-changed",
                r#""history":"00000000000000ab","end":9"#,
            ),
            (Error::NotFound, stream, 404, "stream-not-found", "`s`"),
            (Error::NotFound, Subject::LatestSnapshot("s", "p"), 404, "snapshot-not-found", "`s`"),
            (Error::NotFound, Subject::LatestSnapshot("s", "p"), 404, "snapshot-not-found", "of `p`"),
            (
                Error::NotFound,
                Subject::Snapshot("s", "", 7),
                404,
                "snapshot-not-found",
                "snapshot at version 7",
            ),
            (
                Error::NotFound,
                Subject::Snapshot("s", "p", 7),
                404,
                "snapshot-not-found",
                "of `p` at version 7",
            ),
            (Error::NotFound, Subject::Store, 500, "internal", "detail"),
            (Error::Invalid(invalid), stream, 400, "invalid-argument", r#""field":"events[1].type""#),
            (of("too-large"), stream, 413, "too-large", "why"),
            (of("restarting"), stream, 503, "restarting", "why; try again"),
            (of("unavailable"), stream, 503, "unavailable", "why"),
            (of("not-leader"), stream, 421, "not-leader", "why; nothing was done"),
            (of("no-leader"), stream, 503, "no-leader", "why; nothing was done"),
            (of("quarantined"), stream, 500, "quarantined", "why"),
            (of("overloaded"), stream, 503, "overloaded", "later"),
            (of("read-only"), stream, 503, "read-only", "why"),
            (of("denied"), stream, 403, "denied", "why"),
            (of("damaged"), stream, 500, "damaged", "why"),
            (of("unsupported"), stream, 501, "unsupported", "why"),
            (of("timeout"), stream, 503, "timeout", "why"),
            (of("cancelled"), stream, 503, "timeout", "why"),
            (of("other"), stream, 500, "internal", "why"),
            (of("a code of a later version"), stream, 500, "internal", "why"),
        ] {
            let problem = problem(error, subject);
            assert_eq!(problem.kind.status(), status);
            assert_eq!(problem.kind.uri(), format!("urn:exesdb:problem:{uri}"));
            assert_eq!(problem.retry_after().is_some(), status == 503);
            let encoded = String::from_utf8(problem.encode()).unwrap();
            assert!(encoded.contains(json), "{encoded}");
        }
    }

    #[test]
    fn the_fields_of_a_lone_append_are_those_of_the_request() {
        for (argument, field) in [
            ("appends[0].events[3].event-type", "events[3].type"),
            ("appends[0].stream-id", "stream"),
            ("x", "x"),
        ] {
            let detail = append_problem(types::invalid(argument, "why"), "s").detail;
            assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
        }
    }
}
