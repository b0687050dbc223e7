//! What the gateway asks of its store, and how the store's errors become problems.

use exesdb_sdk::gateway::wasip2::clocks::monotonic_clock;
use exesdb_sdk::gateway::wasip2::random::random::get_random_bytes;
use exesdb_sdk::gateway::{live, snapshots, streams};
use exesdb_sdk::logging;

use crate::problem::{Kind, Member, Problem, quoted};

pub use exesdb_sdk::gateway::live::Wake;
pub use exesdb_sdk::gateway::snapshots::{RecordedSnapshot, SnapshotData, SnapshotInfo, SnapshotPage};
pub use exesdb_sdk::gateway::streams::{AppendRequest, AppendResult, EventPage, StreamInfo, StreamPage};
pub use exesdb_sdk::types::{Direction, Error, EventData, ExpectedVersion, RecordedEvent};

/// The store's interfaces, the clock, the source of chance and the log: everything that the gateway reaches outside of
/// itself, so that the tests can stand in for it.
pub trait Store {
    /// `streams.append` of one request.
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error>;
    /// `streams.read-stream`, or `streams.read-all` without a stream.
    fn read(
        &mut self,
        stream: Option<&str>,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error>;
    /// `streams.list-streams`.
    fn list_streams(&mut self, prefix: &str, after: Option<&str>, count: u32) -> Result<StreamPage, Error>;
    /// `streams.get-stream-info`.
    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error>;
    /// `snapshots.record-snapshot`.
    fn record_snapshot(&mut self, stream: &str, version: u64, snapshot: &SnapshotData) -> Result<(), Error>;
    /// `snapshots.read-snapshot`, or `snapshots.read-latest` without a version.
    fn read_snapshot(&mut self, stream: &str, version: Option<u64>) -> Result<RecordedSnapshot, Error>;
    /// `snapshots.list-snapshots`.
    fn list_snapshots(
        &mut self,
        stream: &str,
        before: Option<u64>,
        count: u32,
    ) -> Result<SnapshotPage, Error>;
    /// `snapshots.delete-snapshot`.
    fn delete_snapshot(&mut self, stream: &str, version: u64) -> Result<(), Error>;
    /// `live.wait`.
    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake;
    /// Milliseconds on a clock that only goes forward.
    fn clock_ms(&mut self) -> u64;
    /// That many bytes that nobody can guess.
    fn random(&mut self, length: usize) -> Vec<u8>;
    /// Tells the operator of a failure that a client met.
    fn log_failure(&mut self, message: &str);
}

/// The store that the component is linked to.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkedStore;

impl Store for LinkedStore {
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        match streams::append(&[request]).pop() {
            Some(result) => result,
            None => Err(Error::Other("the streams component gave no result for the append".to_owned())),
        }
    }

    fn read(
        &mut self,
        stream: Option<&str>,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        match stream {
            Some(stream) => streams::read_stream(stream, from, count, direction),
            None => streams::read_all(from, count, direction),
        }
    }

    fn list_streams(&mut self, prefix: &str, after: Option<&str>, count: u32) -> Result<StreamPage, Error> {
        streams::list_streams(prefix, after, count)
    }

    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error> {
        streams::get_stream_info(stream)
    }

    fn record_snapshot(&mut self, stream: &str, version: u64, snapshot: &SnapshotData) -> Result<(), Error> {
        snapshots::record_snapshot(stream, version, snapshot)
    }

    fn read_snapshot(&mut self, stream: &str, version: Option<u64>) -> Result<RecordedSnapshot, Error> {
        match version {
            Some(version) => snapshots::read_snapshot(stream, version),
            None => snapshots::read_latest(stream),
        }
    }

    fn list_snapshots(
        &mut self,
        stream: &str,
        before: Option<u64>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        snapshots::list_snapshots(stream, before, count)
    }

    fn delete_snapshot(&mut self, stream: &str, version: u64) -> Result<(), Error> {
        snapshots::delete_snapshot(stream, version)
    }

    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake {
        live::wait(stream, seen, timeout_ms)
    }

    fn clock_ms(&mut self) -> u64 {
        monotonic_clock::now() / 1_000_000
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        get_random_bytes(length as u64)
    }

    fn log_failure(&mut self, message: &str) {
        logging::error(message);
    }
}

/// What a call was about, for the words of its problem.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The whole store.
    Store,
    /// A stream.
    Stream(&'a str),
    /// A stream's snapshot at a version, or its latest.
    Snapshot(&'a str, Option<u64>),
}

/// The problem that answers a request which the store refused.
pub fn problem(error: Error, subject: Subject<'_>) -> Problem {
    match error {
        Error::WrongExpectedVersion(actual) => {
            let (detail, member) = match actual {
                Some(version) => {
                    (format!("the stream's last event has version {version}"), Member::Number(version))
                }
                None => ("the stream has no events".to_owned(), Member::Null),
            };
            Problem::new(Kind::WrongExpectedVersion, detail).with("actual_version", member)
        }
        Error::IdConflict(id) => {
            let detail = format!(
                "the id {} is in the stream already, and not from an append of just these events; \
                 give new events new ids",
                quoted(&id)
            );
            Problem::new(Kind::EventIdConflict, detail).with("id", Member::Text(id))
        }
        Error::NotFound => not_found(subject),
        Error::Invalid(invalid) => Problem::invalid(field_of_argument(&invalid.argument), invalid.message),
        Error::TooLarge(text) => Problem::new(Kind::TooLarge, text),
        Error::Restarting(text) => Problem::new(
            Kind::Restarting,
            format!("{text}; try again: an append with the same event ids is applied once"),
        ),
        Error::Quarantined(text) => Problem::new(Kind::Quarantined, text),
        Error::Overloaded => Problem::new(
            Kind::Overloaded,
            "a queue of the store is full and nothing was done; try again later",
        ),
        Error::Denied(text) => Problem::new(Kind::Denied, text),
        Error::Other(text) => Problem::new(Kind::Internal, text),
    }
}

fn not_found(subject: Subject<'_>) -> Problem {
    match subject {
        Subject::Store => Problem::new(Kind::Internal, "the store did not find itself"),
        Subject::Stream(stream) => {
            Problem::new(Kind::StreamNotFound, format!("the stream {} has no events", quoted(stream)))
        }
        Subject::Snapshot(stream, None) => {
            Problem::new(Kind::SnapshotNotFound, format!("the stream {} has no snapshot", quoted(stream)))
        }
        Subject::Snapshot(stream, Some(version)) => Problem::new(
            Kind::SnapshotNotFound,
            format!("the stream {} has no snapshot at version {version}", quoted(stream)),
        ),
    }
}

/// The field of the HTTP API that an argument of the store's interfaces came from: `requests[0].events[3].event-type`
/// is `events[3].type`.
fn field_of_argument(argument: &str) -> String {
    let argument = argument.strip_prefix("requests[0].").unwrap_or(argument);
    let argument = argument.strip_prefix("snapshot.").unwrap_or(argument);
    let (list, name) = match argument.rsplit_once('.') {
        Some((list, name)) => (Some(list), name),
        None => (None, argument),
    };
    let name = match name {
        "stream-id" => "stream".to_owned(),
        "event-type" => "type".to_owned(),
        "expected" => "expected_version".to_owned(),
        other => other.replace('-', "_"),
    };
    match list {
        Some(list) => format!("{list}.{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::InvalidArgument;

    use super::{Error, Subject, field_of_argument, problem};

    #[test]
    fn arguments_are_named_as_fields() {
        for (argument, field) in [
            ("stream-id", "stream"),
            ("requests[0].stream-id", "stream"),
            ("requests[0].events[3].event-type", "events[3].type"),
            ("events[3].id", "events[3].id"),
            ("events[12].content-type", "events[12].content_type"),
            ("expected", "expected_version"),
            ("snapshot.content-type", "content_type"),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(field_of_argument(argument), field);
        }
    }

    #[test]
    fn every_error_has_its_status() {
        let invalid =
            InvalidArgument { argument: "events[1].event-type".to_owned(), message: "is long".to_owned() };
        let text = || "why".to_owned();
        let stream = Subject::Stream("s");
        for (error, subject, status, uri, json) in [
            (
                Error::WrongExpectedVersion(Some(3)),
                stream,
                409,
                "wrong-expected-version",
                r#""actual_version":3"#,
            ),
            (
                Error::WrongExpectedVersion(None),
                stream,
                409,
                "wrong-expected-version",
                r#""actual_version":null"#,
            ),
            (Error::IdConflict("x".to_owned()), stream, 409, "event-id-conflict", r#""id":"x""#),
            (Error::NotFound, stream, 404, "stream-not-found", "`s`"),
            (Error::NotFound, Subject::Snapshot("s", None), 404, "snapshot-not-found", "`s`"),
            (Error::NotFound, Subject::Snapshot("s", Some(7)), 404, "snapshot-not-found", "version 7"),
            (Error::NotFound, Subject::Store, 500, "internal", "detail"),
            (Error::Invalid(invalid), stream, 400, "invalid-argument", r#""field":"events[1].type""#),
            (Error::TooLarge(text()), stream, 413, "too-large", "why"),
            (Error::Restarting(text()), stream, 503, "restarting", "why"),
            (Error::Quarantined(text()), stream, 500, "quarantined", "why"),
            (Error::Overloaded, stream, 503, "overloaded", "later"),
            (Error::Denied(text()), stream, 403, "denied", "why"),
            (Error::Other(text()), stream, 500, "internal", "why"),
        ] {
            let problem = problem(error, subject);
            assert_eq!(problem.kind.status(), status);
            assert_eq!(problem.kind.uri(), format!("urn:exesdb:problem:{uri}"));
            assert_eq!(problem.retry_after().is_some(), status == 503);
            let encoded = String::from_utf8(problem.encode()).unwrap();
            assert!(encoded.contains(json), "{encoded}");
        }
    }
}
