//! The table of heads: what each asks for, or why it is refused.

use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::route::{Call, Head, Range, Resource, Start, route};
use exesdb_gateway_http::store::Direction;

type Headers = &'static [(&'static str, &'static str)];

const SSE: Headers = &[("accept", "text/event-stream")];

fn call(method: &str, target: &str, headers: Headers) -> Result<Call, (Kind, String)> {
    let headers: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let head = Head { method, target, headers: &headers };
    route(&head).map(|route| route.call).map_err(|problem| (problem.kind, problem.detail))
}

fn range(from: Option<u64>, count: u32, direction: Direction) -> Range {
    Range { from, count, direction }
}

#[test]
fn every_call_has_its_head() {
    let s = || "s".to_owned();
    let forward = |from, count| range(from, count, Direction::Forward);
    for (method, target, headers, expected) in [
        ("GET", "/openapi.json", &[][..], Call::OpenApi),
        ("POST", "/v1/stores/main/streams/s/events", &[], Call::Append { stream: s() }),
        (
            "POST",
            "/v1/stores/main/streams/s/events",
            &[("Content-Type", "Application/JSON ; charset=utf-8"), ("content-encoding", "identity")],
            Call::Append { stream: s() },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/events",
            &[],
            Call::Read { stream: Some(s()), range: forward(None, 100) },
        ),
        (
            "GET",
            "/v1/stores/x/streams/s/events?from=3&count=1000&direction=backward",
            &[],
            Call::Read { stream: Some(s()), range: range(Some(3), 1000, Direction::Backward) },
        ),
        (
            "GET",
            "/v1/stores/%00/events?direction=forward&count=1&from=18446744073709551615",
            &[],
            Call::Read { stream: None, range: forward(Some(u64::MAX), 1) },
        ),
        ("GET", "/v1/stores/main/events", SSE, Call::Follow { stream: None, start: Start::From(0) }),
        ("GET", "/v1/stores/main/events?from=7", SSE, Call::Follow { stream: None, start: Start::From(7) }),
        ("GET", "/v1/stores/main/events?from=end", SSE, Call::Follow { stream: None, start: Start::End }),
        (
            "GET",
            "/v1/stores/main/streams/s/events?from=end&direction=forward",
            &[("accept", "text/event-stream"), ("Last-Event-ID", " 9 ")],
            Call::Follow { stream: Some(s()), start: Start::After(9) },
        ),
        (
            "GET",
            "/v1/stores/main/events?from=4",
            &[("accept", "text/event-stream"), ("last-event-id", "")],
            Call::Follow { stream: None, start: Start::From(4) },
        ),
        // Only an event stream resumes.
        (
            "GET",
            "/v1/stores/main/events",
            &[("last-event-id", "9")],
            Call::Read { stream: None, range: forward(None, 100) },
        ),
        (
            "GET",
            "/v1/stores/main/streams",
            &[],
            Call::ListStreams { prefix: String::new(), after: None, count: 100 },
        ),
        (
            "GET",
            "/v1/stores/main/streams?prefix=a%2Fb+c&after=a&count=2",
            &[],
            Call::ListStreams { prefix: "a/b c".to_owned(), after: Some("a".to_owned()), count: 2 },
        ),
        ("GET", "/v1/stores/main/streams/s", &[], Call::StreamInfo { stream: s() }),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots?before=3",
            &[],
            Call::ListSnapshots { stream: s(), before: Some(3), count: 100 },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/latest",
            &[],
            Call::ReadSnapshot { stream: s(), version: None },
        ),
        (
            "GET",
            "/v1/stores/main/streams/s/snapshots/0",
            &[],
            Call::ReadSnapshot { stream: s(), version: Some(0) },
        ),
        (
            "PUT",
            "/v1/stores/main/streams/s/snapshots/5",
            &[("content-type", "application/json")],
            Call::RecordSnapshot { stream: s(), version: 5 },
        ),
        (
            "DELETE",
            "/v1/stores/main/streams/s/snapshots/5?",
            &[],
            Call::DeleteSnapshot { stream: s(), version: 5 },
        ),
    ] {
        assert_eq!(call(method, target, headers), Ok(expected), "{method} {target}");
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
fn every_refusal_names_its_culprit() {
    let long = format!("/v1/stores/main/streams/{}", "x".repeat(257));
    let long_prefix = format!("/v1/stores/main/streams?prefix={}", "x".repeat(257));
    let invalid = Kind::InvalidArgument;
    for (method, target, headers, kind, culprit) in [
        ("GET", "", &[][..], Kind::PathNotFound, "``"),
        ("GET", "*", &[], Kind::PathNotFound, "`*`"),
        ("GET", "/", &[], Kind::PathNotFound, "`/`"),
        ("GET", "//", &[], Kind::PathNotFound, "`//`"),
        ("GET", "/openapi.json/", &[], Kind::PathNotFound, "/openapi.json/"),
        ("GET", "/v1/stores/main", &[], Kind::PathNotFound, "/v1/stores/main"),
        ("GET", "/v1/stores/main/events/", &[], Kind::PathNotFound, "/v1/stores/main/events/"),
        ("GET", "/v1/stores/main/streams/s/nothing", &[], Kind::PathNotFound, "nothing"),
        ("GET", "/v1/stores/main/streams/s/snapshots/latest/x", &[], Kind::PathNotFound, "latest"),
        ("GET", "/v1/stores/main/streams/a/b/c/d/e/f/g/h/i", &[], Kind::PathNotFound, "/v1"),
        ("GET", "/v2/stores/main/events", &[], Kind::PathNotFound, "/v2"),
        ("GET", "/V1/stores/main/events", &[], Kind::PathNotFound, "/V1"),
        ("GET", "/health/live", &[], Kind::PathNotFound, "/health/live"),
        ("GET", "/v1/stores/main/streams/", &[], invalid, "stream: is empty"),
        ("GET", "/v1/stores/main/streams//events", &[], invalid, "stream: is empty"),
        ("GET", "/v1/stores/main/streams/%", &[], invalid, "stream: "),
        ("GET", "/v1/stores/main/streams/%zz", &[], invalid, "stream: "),
        ("GET", "/v1/stores/main/streams/%ff", &[], invalid, "stream: is not UTF-8"),
        ("GET", "/v1/stores/main/streams/%C0%AF", &[], invalid, "stream: is not UTF-8"),
        ("GET", "/v1/stores/main/streams/%ED%A0%80", &[], invalid, "stream: is not UTF-8"),
        ("GET", "/v1/stores/main/streams/a%00b", &[], invalid, "stream: has the control character U+0000"),
        ("GET", "/v1/stores/main/streams/%C2%85", &[], invalid, "U+0085"),
        ("GET", &long, &[], invalid, "stream: has 257 bytes"),
        ("GET", &long_prefix, &[], invalid, "prefix: has 257 bytes"),
        ("GET", "/v1/stores/main/streams?after=", &[], invalid, "after: "),
        ("GET", "/v1/stores/main/streams?after=%0a", &[], invalid, "after: "),
        ("GET", "/v1/stores/main/streams?prefix=%ff", &[], invalid, "prefix: "),
        ("GET", "/v1/stores/main/streams?from=1", &[], invalid, "from: is not a known"),
        ("GET", "/v1/stores/main/events?count=0", &[], invalid, "count: "),
        ("GET", "/v1/stores/main/events?count=1001", &[], invalid, "count: "),
        ("GET", "/v1/stores/main/events?count=-1", &[], invalid, "count: "),
        ("GET", "/v1/stores/main/events?count=99999999999999999999", &[], invalid, "count: "),
        ("GET", "/v1/stores/main/events?count=1&count=1", &[], invalid, "count: must be given only once"),
        ("GET", "/v1/stores/main/events?from=-1", &[], invalid, "from: "),
        ("GET", "/v1/stores/main/events?from=end", &[], invalid, "from: `end` needs"),
        ("GET", "/v1/stores/main/events?direction=sideways", &[], invalid, "direction: "),
        ("GET", "/v1/stores/main/events?form=1", &[], invalid, "form: is not a known"),
        ("GET", "/openapi.json?x", &[], invalid, "x: is not a known query parameter; this route has none"),
        ("POST", "/v1/stores/main/streams/s/events?count=1", &[], invalid, "count: "),
        ("GET", "/v1/stores/main/events?direction=backward", SSE, invalid, "direction: "),
        ("GET", "/v1/stores/main/events?count=5", SSE, invalid, "count: "),
        ("GET", "/v1/stores/main/events?from=ending", SSE, invalid, "from: "),
        (
            "GET",
            "/v1/stores/main/events",
            &[("accept", "text/event-stream"), ("last-event-id", "-1")],
            invalid,
            "last-event-id: ",
        ),
        (
            "GET",
            "/v1/stores/main/events",
            &[("accept", "text/event-stream"), ("last-event-id", "1"), ("last-event-id", "2")],
            invalid,
            "last-event-id: ",
        ),
        ("GET", "/v1/stores/main/streams/s/snapshots/-1", &[], invalid, "version: "),
        ("GET", "/v1/stores/main/streams/s/snapshots/", &[], invalid, "version: "),
        ("PUT", "/v1/stores/main/streams/s/snapshots/18446744073709551616", &[], invalid, "version: "),
        ("GET", "/v1/stores/main/streams/s", SSE, Kind::NotAcceptable, "accept: "),
        ("GET", "/openapi.json", &[("accept", "text/html")], Kind::NotAcceptable, "accept: `text/html`"),
        (
            "POST",
            "/v1/stores/main/streams/s/events",
            &[("content-type", "application/x-www-form-urlencoded")],
            Kind::UnsupportedMediaType,
            "content-type: `application/x-www-form-urlencoded`",
        ),
        (
            "PUT",
            "/v1/stores/main/streams/s/snapshots/1",
            &[("content-type", "")],
            Kind::UnsupportedMediaType,
            "content-type: ",
        ),
        (
            "POST",
            "/v1/stores/main/streams/s/events",
            &[("content-encoding", "gzip")],
            Kind::UnsupportedMediaType,
            "content-encoding: `gzip`",
        ),
    ] {
        let (found, detail) = call(method, target, headers).expect_err(target);
        assert_eq!(found, kind, "{method} {target}: {detail}");
        assert!(detail.contains(culprit), "{method} {target}: {detail}");
    }
}

#[test]
fn a_header_that_is_not_utf8_is_named() {
    for name in ["accept", "last-event-id"] {
        let headers =
            [("accept".to_owned(), b"text/event-stream".to_vec()), (name.to_owned(), b"\xff".to_vec())];
        let head = Head { method: "GET", target: "/v1/stores/main/events", headers: &headers };
        assert_eq!(route(&head).unwrap_err().detail, format!("{name}: is not UTF-8"));
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
            let head = Head { method, target: &target, headers: &[] };
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
