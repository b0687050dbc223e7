//! Heads of requests, and what they are routed to.

use exesdb_gateway_http::cursor;
use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::request::Head;
use exesdb_gateway_http::route::{Resource, Route, route};
use exesdb_sdk::steps::snapshots::{Newest, SnapshotId, SnapshotRequest, SnapshotScope};
use exesdb_sdk::steps::{Call, Header, Latest, Listing, Query, SnapshotListing};
use exesdb_sdk::types::{
    AllSelection, Deletion, DeletionRequest, Direction, EventFilter, ExpectedVersion, QueryItem, Selection,
    Source, StreamSelection,
};

pub(crate) type Headers = &'static [(&'static str, &'static str)];

pub(crate) const LINES: Headers = &[("accept", "application/x-ndjson")];
pub(crate) const PACKED: Headers = &[("content-type", "application/vnd.exesdb.packed")];
pub(crate) const SSE: Headers = &[("accept", "text/event-stream")];

/// What a request with these headers is routed to. Its body is JSON unless they say otherwise.
pub(crate) fn routed(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Route, (Kind, String)> {
    let has_type = headers.iter().any(|(name, _)| *name == "content-type");
    let json = (!has_type).then_some(("content-type", "application/json"));
    let headers: Vec<Header> = headers
        .iter()
        .copied()
        .chain(json)
        .map(|(name, value)| Header { name: name.to_owned(), value: value.as_bytes().to_vec() })
        .collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head = Head { method, path, query, headers: &headers };
    route(&head).map_err(|problem| (problem.kind, problem.detail))
}

/// The only call of a request.
fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> Call {
    match routed(method, target, headers) {
        Ok(Route::Call(_, call)) => call,
        other => panic!("{method} {target}: {other:?}"),
    }
}

/// A read of a page.
fn read(stream: Option<&str>, from: Option<u64>, count: u32, direction: Direction) -> Query {
    let source = match stream {
        Some(stream) => Source::OneStream(StreamSelection { stream_id: stream.to_owned(), from }),
        None => Source::All(AllSelection { from, until: None }),
    };
    let selection = Selection { source, direction, count, max_bytes: 2 << 20, options: Vec::new() };
    Query { selection, filter: None, at_least: None, history_id: None }
}

#[test]
fn reads_of_pages_are_calls() {
    let forward = Direction::Forward;
    for (target, headers, expected) in [
        ("streams/s/events", &[][..], read(Some("s"), None, 100, forward)),
        (
            "streams/s/events?from=3&count=1000&direction=backward",
            &[],
            read(Some("s"), Some(3), 1000, Direction::Backward),
        ),
        (
            "events?direction=forward&count=1&from=18446744073709551615",
            &[],
            read(None, Some(u64::MAX), 1, forward),
        ),
        // Only an event stream resumes.
        ("events", &[("last-event-id", "9")], read(None, None, 100, forward)),
        (
            "events?from=4&history=00000000000000AB",
            &[],
            Query { history_id: Some(0xab), ..read(None, Some(4), 100, forward) },
        ),
        // The store has to be readable with the event that the client has written.
        ("events?at_least=41", &[], Query { at_least: Some(42), ..read(None, None, 100, forward) }),
        (
            "streams/s/events?at_least=0&history=00000000000000ab",
            &[],
            Query { at_least: Some(1), history_id: Some(0xab), ..read(Some("s"), None, 100, forward) },
        ),
        (
            "events?at_least=18446744073709551615",
            &[],
            Query { at_least: Some(u64::MAX), ..read(None, None, 100, forward) },
        ),
    ] {
        assert_eq!(
            call("GET", &format!("/v1/stores/main/{target}"), headers),
            Call::Read(expected),
            "{target}"
        );
    }
}

#[test]
fn heads_are_routed_to_calls() {
    let s = || "s".to_owned();
    let id = |source: &str, version| SnapshotId { stream_id: s(), source_id: source.to_owned(), version };
    let latest = |source: &str, at_most| Latest { stream_id: s(), source_id: source.to_owned(), at_most };
    let listing = |stream_id, source_id, after, count| {
        let scope = SnapshotScope { stream_id, source_id };
        Call::ListSnapshots(SnapshotListing { scope, after, count })
    };
    let remove = |id| Call::ChangeSnapshot(SnapshotRequest::Remove(id));
    let after = format!("snapshots?after={}", cursor::encode(&id("p q", 3)));
    for (method, target, headers, expected) in [
        (
            "GET",
            "streams",
            &[][..],
            Call::ListStreams(Listing { prefix: String::new(), after: None, count: 100, deleted: false }),
        ),
        (
            "GET",
            "streams?prefix=a%2Fb+c&after=a&count=2&deleted=true",
            &[],
            Call::ListStreams(Listing {
                prefix: "a/b c".to_owned(),
                after: Some("a".to_owned()),
                count: 2,
                deleted: true,
            }),
        ),
        ("GET", "streams/s", &[], Call::StreamInfo(s())),
        ("GET", "streams/s/snapshots", &[], listing(Some(s()), None, None, 100)),
        ("GET", "snapshots?source=&count=7&stream=s", &[], listing(Some(s()), Some(String::new()), None, 7)),
        ("GET", &after, &[], listing(None, None, Some(id("p q", 3)), 100)),
        (
            "DELETE",
            "streams/s/snapshots?keep=4294967295&source=p",
            &[],
            Call::ChangeSnapshot(SnapshotRequest::KeepNewest(Newest {
                stream_id: s(),
                source_id: "p".to_owned(),
                keep: u32::MAX,
            })),
        ),
        ("GET", "streams/s/snapshots/latest", &[], Call::LatestSnapshot(latest("", None))),
        (
            "GET",
            "streams/s/snapshots/latest?at_most=0&source=p+q",
            &[],
            Call::LatestSnapshot(latest("p q", Some(0))),
        ),
        ("GET", "streams/s/snapshots/0", &[], Call::ReadSnapshot(id("", 0))),
        ("GET", "streams/s/snapshots/0?source=p", LINES, Call::ReadSnapshot(id("p", 0))),
        ("DELETE", "streams/s/snapshots/5?", &[], remove(id("", 5))),
        ("DELETE", "streams/s/snapshots/5?source=p", &[], remove(id("p", 5))),
    ] {
        let target = format!("/v1/stores/main/{target}");
        assert_eq!(call(method, &target, headers), expected, "{method} {target}");
    }
    for (target, expected, deletion) in [
        ("streams/s", ExpectedVersion::Any, Deletion::Soft),
        ("streams/s?tombstone=false&expected_version=7", ExpectedVersion::Exact(7), Deletion::Soft),
        (
            "streams/s?expected_version=stream_exists&tombstone=true",
            ExpectedVersion::StreamExists,
            Deletion::Tombstone,
        ),
    ] {
        let request = DeletionRequest { stream_id: s(), expected, deletion, options: Vec::new() };
        assert_eq!(
            call("DELETE", &format!("/v1/stores/main/{target}"), &[]),
            Call::Remove(request),
            "{target}"
        );
    }
}

/// What is routed to anything else than a call, as its debug form shows it.
#[test]
fn other_heads_are_routed_with_their_arguments() {
    let body = |waiting: &str| format!("Body({waiting})");
    let append = |encoding: &str| body(&format!("Append(Append {{ stream: \"s\", encoding: {encoding} }})"));
    let follow = |stream: &str, start: &str, history: &str| {
        format!(
            "Follow(Follow {{ scope: Scope {{ stream: {stream}, filter: None, history: {history}, at_least: None }}, \
             start: {start}, caught_up: false }})"
        )
    };
    let bulk = |stream: &str, from: &str, count: u32, direction: &str, form: &str| {
        format!(
            "ReadBulk(ReadBulk {{ scope: Scope {{ stream: {stream}, filter: None, history: None, at_least: None }}, \
             from: {from}, count: {count}, direction: Direction::{direction}, representation: {form} }})"
        )
    };
    let all = |start: &str| follow("None", start, "None");
    let of_s = "Some(\"s\")";
    let sse = |id: &'static str| [("accept", "text/event-stream"), ("Last-Event-ID", id)];
    let packed: Headers = &[("accept", "application/vnd.exesdb.packed")];
    for (method, target, headers, expected) in [
        ("POST", "streams/s/events", &[][..], append("Json")),
        (
            "POST",
            "streams/s/events",
            &[("Content-Type", "Application/JSON ; charset=utf-8"), ("content-encoding", "identity")],
            append("Json"),
        ),
        ("POST", "streams/s/events", PACKED, append("Packed(Any)")),
        (
            "POST",
            "streams/s/events?expected_version=no_stream",
            &[("content-type", "Application/VND.exesdb.Packed")],
            append("Packed(NoStream)"),
        ),
        (
            "POST",
            "streams/s/events?expected_version=18446744073709551615",
            PACKED,
            append("Packed(Exact(18446744073709551615))"),
        ),
        ("POST", "streams/s/events?expected_version=stream_exists", PACKED, append("Packed(StreamExists)")),
        ("POST", "transactions", &[], body("Transact(Transact { conditions: [] })")),
        ("POST", "import", &[("content-type", "application/json")], body("Import(Import)")),
        ("POST", "import/states", &[], "ImportStates".to_owned()),
        ("POST", "append", &[("content-type", "application/x-ndjson")], "Pipeline(Appends)".to_owned()),
        ("POST", "append", PACKED, "Pipeline(PackedAppends)".to_owned()),
        (
            "POST",
            "append",
            &[("content-type", "application/x-ndjson"), ("accept", "application/x-ndjson")],
            "Pipeline(Appends)".to_owned(),
        ),
        ("PUT", "streams/s/retention", &[], body("Retention(SetRetention { stream: \"s\" })")),
        (
            "PUT",
            "streams/s/snapshots/5?source=p&created=1970-01-01T00:00:00.000007Z",
            &[],
            body(
                "RecordSnapshot(RecordSnapshot { stream: \"s\", source: \"p\", version: 5, created: Some(7) })",
            ),
        ),
        (
            "PUT",
            "streams/s/snapshots/5?created=7",
            &[],
            body(
                "RecordSnapshot(RecordSnapshot { stream: \"s\", source: \"\", version: 5, created: Some(7) })",
            ),
        ),
        ("GET", "events", SSE, all("From(0)")),
        ("GET", "events?from=7", SSE, all("From(7)")),
        ("GET", "events?from=end", SSE, all("End")),
        ("GET", "streams/s/events?from=end&direction=forward", &sse(" 9 "), follow(of_s, "After(9)", "None")),
        ("GET", "events?from=4", &sse(""), all("From(4)")),
        ("GET", "events?from=4&history=00000000000000ab", SSE, follow("None", "From(4)", "Some(171)")),
        // The history of the last event id takes precedence, as its position does.
        (
            "GET",
            "events?from=4&history=00000000000000ab",
            &sse("9@00000000000000cd"),
            follow("None", "After(9)", "Some(205)"),
        ),
        ("GET", "events?from=4&history=00000000000000ab", &sse("9"), follow("None", "After(9)", "Some(171)")),
        ("GET", "events", LINES, bulk("None", "None", 0, "Forward", "Lines")),
        (
            "GET",
            "events?count=1000000&from=5",
            packed,
            bulk("None", "Some(5)", 1_000_000, "Forward", "Packed"),
        ),
        // More than a response can have.
        (
            "GET",
            "streams/s/events?direction=backward&count=18446744073709551615",
            packed,
            bulk(of_s, "None", 0, "Backward", "Packed"),
        ),
    ] {
        let found = routed(method, &format!("/v1/stores/main/{target}"), headers);
        assert_eq!(found.map(|route| format!("{route:?}")), Ok(expected), "{method} {target}");
    }
    assert!(matches!(routed("GET", "/openapi.json", &[]), Ok(Route::Respond(_))));
}

#[test]
fn reads_have_the_filter_of_their_parameters() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let item = |types: &[&str], tags: &[&str]| QueryItem { types: texts(types), tags: texts(tags) };
    let all = EventFilter {
        query: Vec::new(),
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
        options: Vec::new(),
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
        let filter = Some(filter);
        let shown = format!("filter: {filter:?}");
        let expected = Query { filter, ..read(None, None, 100, Direction::Forward) };
        assert_eq!(call("GET", &target, &[]), Call::Read(expected), "{query}");
        for headers in [SSE, LINES] {
            let found = format!("{:?}", routed("GET", &target, headers).expect("a read"));
            assert!(found.contains(&shown), "{query}: {found}");
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
        assert_eq!(call("GET", &target, &[]), Call::StreamInfo(name.to_owned()), "{segment}");
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
            let media_type =
                if resource == Resource::Appends { "application/x-ndjson" } else { "application/json" };
            let headers = [Header { name: "content-type".to_owned(), value: media_type.as_bytes().to_vec() }];
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let head = Head { method, path, query, headers: &headers };
            match route(&head) {
                Ok(_) => {
                    assert!(has, "{method} {target}");
                    assert_eq!(head.is_head(), method == "HEAD");
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
