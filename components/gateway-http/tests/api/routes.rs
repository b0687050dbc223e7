//! Heads of requests, and the calls to which they are routed.

use exesdb_gateway_http::accept::Representation;
use exesdb_gateway_http::cursor;
use exesdb_gateway_http::history::HistoryId;
use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::request::RequestHead;
use exesdb_gateway_http::route::{AppendEncoding, BulkRange, Call, Range, Resource, Start, route};
use exesdb_gateway_http::store::{
    Deletion, Direction, EventFilter, EventScope, ExpectedVersion, QueryItem, SnapshotId, SnapshotScope,
};

pub(crate) type Headers = &'static [(&'static str, &'static str)];

pub(crate) const LINES: Headers = &[("accept", "application/x-ndjson")];
pub(crate) const BINARY: Headers = &[("content-type", "application/vnd.exesdb.events")];
pub(crate) const SSE: Headers = &[("accept", "text/event-stream")];

/// The call of a request with these headers. Its body is JSON unless they say otherwise.
pub(crate) fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Call, (Kind, String)> {
    let has_type = headers.iter().any(|(name, _)| *name == "content-type");
    let json = (!has_type).then_some(("content-type", "application/json"));
    let headers: Vec<(String, Vec<u8>)> = headers
        .iter()
        .copied()
        .chain(json)
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    let head = RequestHead { method, target, headers: &headers };
    route(&head).map(|route| route.call).map_err(|problem| (problem.kind, problem.detail))
}

fn range(from: Option<u64>, count: u32, direction: Direction) -> Range {
    Range { from, count, direction, history: None }
}

#[test]
fn heads_are_routed_to_calls() {
    let s = || "s".to_owned();
    let of_s = || EventScope::Stream(s());
    let id = |source: &str, version| SnapshotId { stream_id: s(), source_id: source.to_owned(), version };
    let forward = |from, count| range(from, count, Direction::Forward);
    for (method, target, headers, expected) in [
        ("GET", "/openapi.json", &[][..], Call::OpenApi),
        (
            "POST",
            "/v1/stores/main/streams/s/events",
            &[],
            Call::Append { stream: s(), encoding: AppendEncoding::Json },
        ),
        (
            "POST",
            "/v1/stores/main/streams/s/events",
            &[("Content-Type", "Application/JSON ; charset=utf-8"), ("content-encoding", "identity")],
            Call::Append { stream: s(), encoding: AppendEncoding::Json },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/events",
            &[],
            Call::Read { scope: of_s(), range: forward(None, 100) },
        ),
        (
            "GET",
            "/v1/stores/x/streams/s/events?from=3&count=1000&direction=backward",
            &[],
            Call::Read { scope: of_s(), range: range(Some(3), 1000, Direction::Backward) },
        ),
        (
            "GET",
            "/v1/stores/%00/events?direction=forward&count=1&from=18446744073709551615",
            &[],
            Call::Read { scope: EventScope::Store, range: forward(Some(u64::MAX), 1) },
        ),
        (
            "GET",
            "/v1/stores/main/events",
            SSE,
            Call::Follow { scope: EventScope::Store, start: Start::From(0), history: None },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=7",
            SSE,
            Call::Follow { scope: EventScope::Store, start: Start::From(7), history: None },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=end",
            SSE,
            Call::Follow { scope: EventScope::Store, start: Start::End, history: None },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/events?from=end&direction=forward",
            &[("accept", "text/event-stream"), ("Last-Event-ID", " 9 ")],
            Call::Follow { scope: of_s(), start: Start::After(9), history: None },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=4",
            &[("accept", "text/event-stream"), ("last-event-id", "")],
            Call::Follow { scope: EventScope::Store, start: Start::From(4), history: None },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=4&history=00000000000000ab",
            SSE,
            Call::Follow { scope: EventScope::Store, start: Start::From(4), history: Some(HistoryId(0xab)) },
        ),
        // The history of the last event id takes precedence, as its position does.
        (
            "GET",
            "/v1/stores/main/events?from=4&history=00000000000000ab",
            &[("accept", "text/event-stream"), ("last-event-id", "9@00000000000000cd")],
            Call::Follow { scope: EventScope::Store, start: Start::After(9), history: Some(HistoryId(0xcd)) },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=4&history=00000000000000ab",
            &[("accept", "text/event-stream"), ("last-event-id", "9")],
            Call::Follow { scope: EventScope::Store, start: Start::After(9), history: Some(HistoryId(0xab)) },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=4&history=00000000000000AB",
            &[],
            Call::Read {
                scope: EventScope::Store,
                range: Range { history: Some(HistoryId(0xab)), ..forward(Some(4), 100) },
            },
        ),
        // Only an event stream resumes.
        (
            "GET",
            "/v1/stores/main/events",
            &[("last-event-id", "9")],
            Call::Read { scope: EventScope::Store, range: forward(None, 100) },
        ),
        (
            "GET",
            "/v1/stores/main/streams",
            &[],
            Call::ListStreams { prefix: String::new(), after: None, count: 100, deleted: false },
        ),
        (
            "GET",
            "/v1/stores/main/streams?prefix=a%2Fb+c&after=a&count=2&deleted=true",
            &[],
            Call::ListStreams {
                prefix: "a/b c".to_owned(),
                after: Some("a".to_owned()),
                count: 2,
                deleted: true,
            },
        ),
        ("GET", "/v1/stores/main/streams/s", &[], Call::StreamInfo { stream: s() }),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots",
            &[],
            Call::ListSnapshots {
                scope: SnapshotScope { stream_id: Some(s()), source_id: None },
                after: None,
                count: 100,
            },
        ),
        (
            "GET",
            "/v1/stores/main/snapshots?source=&count=7&stream=s",
            &[],
            Call::ListSnapshots {
                scope: SnapshotScope { stream_id: Some(s()), source_id: Some(String::new()) },
                after: None,
                count: 7,
            },
        ),
        (
            "GET",
            &format!("/v1/stores/main/snapshots?after={}", cursor::encode(&id("p q", 3))),
            &[],
            Call::ListSnapshots {
                scope: SnapshotScope { stream_id: None, source_id: None },
                after: Some(id("p q", 3)),
                count: 100,
            },
        ),
        (
            "DELETE",
            "/v1/stores/main/streams/s/snapshots?keep=4294967295&source=p",
            &[],
            Call::PruneSnapshots { stream: s(), source: "p".to_owned(), keep: u32::MAX },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/latest",
            &[],
            Call::LatestSnapshot { stream: s(), source: String::new(), at_most: None },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/latest?at_most=0&source=p+q",
            &[],
            Call::LatestSnapshot { stream: s(), source: "p q".to_owned(), at_most: Some(0) },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/0",
            &[],
            Call::ReadSnapshot { id: id("", 0), representation: Representation::Json },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/0?source=p",
            LINES,
            Call::ReadSnapshot { id: id("p", 0), representation: Representation::Lines },
        ),
        (
            "PUT",
            "/v1/stores/main/streams/s/snapshots/5",
            &[("content-type", "application/json")],
            Call::RecordSnapshot { id: id("", 5), created: None },
        ),
        (
            "PUT",
            "/v1/stores/main/streams/s/snapshots/5?source=p&created=1970-01-01T00:00:00.000007Z",
            &[],
            Call::RecordSnapshot { id: id("p", 5), created: Some(7) },
        ),
        (
            "PUT",
            "/v1/stores/main/streams/s/snapshots/5?created=7",
            &[],
            Call::RecordSnapshot { id: id("", 5), created: Some(7) },
        ),
        ("DELETE", "/v1/stores/main/streams/s/snapshots/5?", &[], Call::DeleteSnapshot { id: id("", 5) }),
        (
            "DELETE",
            "/v1/stores/main/streams/s/snapshots/5?source=p",
            &[],
            Call::DeleteSnapshot { id: id("p", 5) },
        ),
    ] {
        assert_eq!(call(method, target, headers), Ok(expected), "{method} {target}");
    }
}

#[test]
fn heads_of_writes_are_routed_to_calls() {
    let s = || "s".to_owned();
    let delete = |expected, deletion| Call::DeleteStream { stream: s(), expected, deletion };
    let frames = |expected| Call::Append { stream: s(), encoding: AppendEncoding::Frames(expected) };
    let binary: Headers = &[("content-type", "application/vnd.exesdb.events")];
    for (method, target, headers, expected) in [
        ("POST", "/v1/stores/main/transactions", &[][..], Call::Transact),
        ("POST", "/v1/stores/main/import", &[("content-type", "application/json")], Call::Import),
        ("POST", "/v1/stores/main/import/states", &[], Call::ImportStates),
        ("PUT", "/v1/stores/main/streams/s/retention", &[], Call::SetRetention { stream: s() }),
        ("DELETE", "/v1/stores/main/streams/s", &[], delete(ExpectedVersion::Any, Deletion::Soft)),
        (
            "DELETE",
            "/v1/stores/main/streams/s?tombstone=false&expected_version=7",
            &[],
            delete(ExpectedVersion::Exact(7), Deletion::Soft),
        ),
        (
            "DELETE",
            "/v1/stores/main/streams/s?expected_version=stream_exists&tombstone=true",
            &[],
            delete(ExpectedVersion::StreamExists, Deletion::Tombstone),
        ),
        ("POST", "/v1/stores/main/streams/s/events", binary, frames(ExpectedVersion::Any)),
        (
            "POST",
            "/v1/stores/main/streams/s/events?expected_version=no_stream",
            &[("content-type", "Application/VND.exesdb.Events")],
            frames(ExpectedVersion::NoStream),
        ),
        (
            "POST",
            "/v1/stores/main/streams/s/events?expected_version=18446744073709551615",
            binary,
            frames(ExpectedVersion::Exact(u64::MAX)),
        ),
    ] {
        assert_eq!(call(method, target, headers), Ok(expected), "{method} {target}");
    }
}

#[test]
fn reads_are_routed_with_filter_and_representation() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let item = |types: &[&str], tags: &[&str]| QueryItem { types: texts(types), tags: texts(tags) };
    let all = EventFilter {
        query: Vec::new(),
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
    };
    for (query, filter) in [
        ("type=a", EventFilter { query: vec![item(&["a"], &[])], ..all.clone() }),
        (
            "type=a&tag=x&type=b&tag=y",
            EventFilter { query: vec![item(&["a", "b"], &["x", "y"])], ..all.clone() },
        ),
        (
            "query=%5B%7B%22types%22:%5B%22a%22%5D%7D,%7B%22tags%22:%5B%22x%22%5D%7D,%7B%7D%5D",
            EventFilter { query: vec![item(&["a"], &[]), item(&[], &["x"]), item(&[], &[])], ..all.clone() },
        ),
        ("stream_prefix=a&stream_prefix=", EventFilter { stream_prefixes: texts(&["a", ""]), ..all.clone() }),
        (
            "correlation_id=c&causation_id=d",
            EventFilter {
                correlation_id: Some("c".to_owned()),
                causation_id: Some("d".to_owned()),
                ..all.clone()
            },
        ),
        (
            "stream_pattern=%5Ea&type_pattern=b%24",
            EventFilter { stream_pattern: Some("^a".to_owned()), type_pattern: Some("b$".to_owned()), ..all },
        ),
    ] {
        let target = format!("/v1/stores/main/events?{query}");
        let scope = EventScope::Filtered(filter);
        let follow = Call::Follow { scope: scope.clone(), start: Start::From(0), history: None };
        assert_eq!(call("GET", &target, SSE), Ok(follow), "{query}");
        let read = Call::Read { scope, range: range(None, 100, Direction::Forward) };
        assert_eq!(call("GET", &target, &[]), Ok(read), "{query}");
    }
    for (accept, representation) in [
        (&[("accept", "application/x-ndjson")][..], Representation::Lines),
        (&[("accept", "application/vnd.exesdb.events")], Representation::Frames),
    ] {
        for (target, scope, from, count, direction) in [
            ("events", EventScope::Store, None, None, Direction::Forward),
            ("events?count=1000000&from=5", EventScope::Store, Some(5), Some(1_000_000), Direction::Forward),
            (
                "streams/s/events?direction=backward&count=18446744073709551615",
                EventScope::Stream("s".to_owned()),
                None,
                Some(u64::MAX),
                Direction::Backward,
            ),
        ] {
            let range = BulkRange { from, count, direction, history: None };
            let found = call("GET", &format!("/v1/stores/main/{target}"), accept);
            assert_eq!(found, Ok(Call::ReadBulk { scope, range, representation }), "{target}");
        }
    }
}

#[test]
fn stream_names_are_any_text() {
    let long = "é".repeat(128);
    for (segment, name) in [
        ("plain", "plain"),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("%20", " "),
        ("..", ".."),
        ("%2e%2E", ".."),
        ("events", "events"),
        ("snapshots", "snapshots"),
        ("latest", "latest"),
        ("%3F%23%25", "?#%"),
        ("%F0%9F%98%80", "😀"),
        (long.as_str(), long.as_str()),
    ] {
        let target = format!("/v1/stores/main/streams/{segment}");
        assert_eq!(call("GET", &target, &[]), Ok(Call::StreamInfo { stream: name.to_owned() }), "{segment}");
    }
}

#[test]
fn methods() {
    for resource in Resource::ALL {
        let target = resource.template().replace("{version}", "3").replace(['{', '}'], "");
        for method in
            ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "", "GET, HEAD", "\0"]
        {
            let has = resource.allow().split(", ").any(|allowed| allowed == method);
            // The only method with a required parameter.
            let target = match (resource, method) {
                (Resource::Snapshots, "DELETE") => format!("{target}?keep=1"),
                _ => target.clone(),
            };
            let headers = [("content-type".to_owned(), b"application/json".to_vec())];
            let head = RequestHead { method, target: &target, headers: &headers };
            match route(&head) {
                Ok(route) => {
                    assert!(has, "{method} {target}");
                    assert_eq!(route.head_only, method == "HEAD");
                }
                Err(problem) => {
                    assert!(!has, "{method} {target}: {}", problem.detail);
                    assert_eq!(problem.kind, Kind::MethodNotAllowed);
                    assert_eq!(problem.allow, Some(resource.allow()));
                }
            }
        }
    }
}
