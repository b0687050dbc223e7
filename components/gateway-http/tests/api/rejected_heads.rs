//! Heads of requests that are refused, and what their problems name.

use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::request::Head;
use exesdb_gateway_http::route::route;
use exesdb_sdk::steps::Header;

use crate::client::Request;
use crate::routes::{LINES, PACKED, SSE, routed};
use crate::store::TestStore;

/// A read with a parameter that is given this many times.
fn many(name: &str, times: usize) -> String {
    format!("/v1/stores/main/events?{}", vec![format!("{name}=a"); times].join("&"))
}

/// A read with a parameter that is one byte too long.
fn long_value(name: &str) -> String {
    format!("/v1/stores/main/events?{name}={}", "x".repeat(257))
}

#[test]
fn problems_name_the_field_at_fault() {
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
        (
            "POST",
            "/v1/stores/main/streams/s/events?expected_version=1",
            &[],
            invalid,
            "expected_version: belongs",
        ),
        (
            "POST",
            "/v1/stores/main/streams/s/events?expected_version=-1",
            PACKED,
            invalid,
            "expected_version: ",
        ),
        ("POST", "/v1/stores/main/streams/s/events?expected_version=", PACKED, invalid, "expected_version: "),
        ("POST", "/v1/stores/main/transactions", PACKED, Kind::UnsupportedMediaType, "content-type: "),
        ("POST", "/v1/stores/main/transactions?x=1", &[], invalid, "x: is not a known"),
        ("POST", "/v1/stores/main/append", &[], Kind::UnsupportedMediaType, "send `application/x-ndjson` or"),
        ("POST", "/v1/stores/main/append?count=1", PACKED, invalid, "count: is not a known"),
        (
            "POST",
            "/v1/stores/main/append",
            &[("content-type", "application/x-ndjson"), ("accept", "application/json")],
            Kind::NotAcceptable,
            "accept: ",
        ),
        ("GET", "/v1/stores/main/events?at_least=x", &[], invalid, "at_least: must be"),
        ("GET", "/v1/stores/main/streams/s/events?at_least=-1", SSE, invalid, "at_least: must be"),
        ("GET", "/v1/stores/main/streams/s/events?history=1", &[], invalid, "history: must be"),
        ("POST", "/v1/stores/main/import", PACKED, Kind::UnsupportedMediaType, "content-type: "),
        ("POST", "/v1/stores/main/import?count=1", &[], invalid, "count: is not a known"),
        ("POST", "/v1/stores/main/import/states", PACKED, Kind::UnsupportedMediaType, "content-type: "),
        ("POST", "/v1/stores/main/import/states?count=1", &[], invalid, "count: is not a known"),
        ("PUT", "/v1/stores/main/streams/s/retention", PACKED, Kind::UnsupportedMediaType, "content-type: "),
        ("PUT", "/v1/stores/main/streams/%ff/retention", &[], invalid, "stream: "),
        ("PUT", "/v1/stores/main/streams/s/retention?max_count=1", &[], invalid, "max_count: is not a known"),
        ("DELETE", "/v1/stores/main/streams/s?tombstone=yes", &[], invalid, "tombstone: "),
        ("DELETE", "/v1/stores/main/streams/s?tombstone", &[], invalid, "tombstone: "),
        ("GET", "/v1/stores/main/streams?deleted=1", &[], invalid, "deleted: "),
        ("GET", "/v1/stores/main/streams?deleted", &[], invalid, "deleted: "),
        ("DELETE", "/v1/stores/main/streams/s?expected_version=Any", &[], invalid, "expected_version: "),
        (
            "DELETE",
            "/v1/stores/main/streams/s?expected_version=1&expected_version=1",
            &[],
            invalid,
            "only once",
        ),
        ("DELETE", "/v1/stores/main/streams/%00", &[], invalid, "stream: "),
        ("GET", "/v1/stores/main/events?type=", &[], invalid, "type: is empty"),
        ("GET", "/v1/stores/main/events?type=%00", &[], invalid, "type: has the control"),
        ("GET", "/v1/stores/main/events?tag=", &[], invalid, "tag: is empty"),
        ("GET", &many("type", 65), &[], invalid, "type: is given 65 times"),
        ("GET", &many("tag", 33), &[], invalid, "tag: is given 33 times"),
        ("GET", &many("stream_prefix", 65), &[], invalid, "stream_prefix: is given 65 times"),
        ("GET", &long_value("type"), &[], invalid, "type: has 257 bytes"),
        ("GET", &long_value("tag"), &[], invalid, "tag: has 257 bytes"),
        ("GET", &long_value("stream_prefix"), &[], invalid, "stream_prefix: has 257 bytes"),
        ("GET", &long_value("correlation_id"), &[], invalid, "correlation_id: has 257 bytes"),
        ("GET", &long_value("causation_id"), &[], invalid, "causation_id: has 257 bytes"),
        ("GET", &long_value("stream_pattern"), &[], invalid, "stream_pattern: has 257 bytes"),
        ("GET", &long_value("type_pattern"), &[], invalid, "type_pattern: has 257 bytes"),
        ("GET", "/v1/stores/main/events?stream_prefix=%0a", &[], invalid, "stream_prefix: "),
        ("GET", "/v1/stores/main/events?correlation_id=", &[], invalid, "correlation_id: is empty"),
        (
            "GET",
            "/v1/stores/main/events?causation_id=a&causation_id=b",
            &[],
            invalid,
            "causation_id: must be given",
        ),
        ("GET", "/v1/stores/main/events?stream_pattern=", &[], invalid, "stream_pattern: has 0 bytes"),
        (
            "GET",
            "/v1/stores/main/events?query=[{}]&type=a",
            &[],
            invalid,
            "type: cannot stand beside `query`",
        ),
        ("GET", "/v1/stores/main/events?query=[{}]&tag=a", &[], invalid, "tag: cannot stand beside `query`"),
        (
            "GET",
            "/v1/stores/main/events?query=[{}]&query=[{}]",
            &[],
            invalid,
            "query: must be given only once",
        ),
        ("GET", "/v1/stores/main/events?query=", &[], Kind::MalformedBody, "query: "),
        ("GET", "/v1/stores/main/events?query=[", SSE, Kind::MalformedBody, "query"),
        ("GET", "/v1/stores/main/events?query=[]", &[], invalid, "query: must hold 1 to 16 items"),
        ("GET", "/v1/stores/main/events?query={}", &[], invalid, "query: "),
        ("GET", "/v1/stores/main/events?query=[1]", &[], invalid, "query[0]: "),
        (
            "GET",
            "/v1/stores/main/events?query=[{},{%22tag%22:[]}]",
            &[],
            invalid,
            "query[1].tag: is not a known",
        ),
        (
            "GET",
            "/v1/stores/main/events?query=[{%22types%22:[%22%22]}]",
            &[],
            invalid,
            "query[0].types[0]: is empty",
        ),
        ("GET", "/v1/stores/main/streams/s/events?type=a", &[], invalid, "type: is not a known"),
        ("GET", "/v1/stores/main/events?count=0", LINES, invalid, "count: "),
        ("GET", "/v1/stores/main/events?from=end", LINES, invalid, "from: `end` needs"),
        ("GET", "/v1/stores/main/streams", LINES, Kind::NotAcceptable, "accept: "),
        ("GET", "/v1/stores/main/streams/s/snapshots?before=3", &[], invalid, "before: is not a known"),
        ("GET", "/v1/stores/main/streams/s/snapshots?stream=t", &[], invalid, "stream: is not a known"),
        ("GET", "/v1/stores/main/snapshots?after=x", &[], invalid, "after: is not a place"),
        ("GET", "/v1/stores/main/snapshots?after=", &[], invalid, "after: is not a place"),
        ("GET", "/v1/stores/main/snapshots?stream=", &[], invalid, "stream: is empty"),
        ("GET", "/v1/stores/main/snapshots?source=%00", &[], invalid, "source: has the control"),
        ("GET", "/v1/stores/main/snapshots?count=1001", &[], invalid, "count: "),
        ("DELETE", "/v1/stores/main/streams/s/snapshots", &[], invalid, "keep: is required"),
        ("DELETE", "/v1/stores/main/streams/s/snapshots?keep=0", &[], invalid, "keep: must be"),
        ("DELETE", "/v1/stores/main/streams/s/snapshots?keep=4294967296", &[], invalid, "keep: must be"),
        ("GET", "/v1/stores/main/streams/s/snapshots/latest?at_most=-1", &[], invalid, "at_most: "),
        ("GET", "/v1/stores/main/streams/s/snapshots/1?created=1", &[], invalid, "created: is not a known"),
        ("PUT", "/v1/stores/main/streams/s/snapshots/1?created=", &[], invalid, "created: must be a time"),
        ("PUT", "/v1/stores/main/streams/s/snapshots/1?created=now", &[], invalid, "created: must be a time"),
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
        let (found, detail) = routed(method, target, headers).expect_err(target);
        assert_eq!(found, kind, "{method} {target}: {detail}");
        assert!(detail.contains(culprit), "{method} {target}: {detail}");
    }
}

/// Any web page can make a browser send a body without a type, or with the type of an HTML form, to a local server.
#[test]
fn a_body_needs_a_supported_type() {
    let forms =
        ["", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "json", ","];
    for (method, target) in [
        ("POST", "/v1/stores/main/streams/s/events"),
        ("POST", "/v1/stores/main/transactions"),
        ("POST", "/v1/stores/main/import"),
        ("POST", "/v1/stores/main/import/states"),
        ("PUT", "/v1/stores/main/streams/s/retention"),
        ("PUT", "/v1/stores/main/streams/s/snapshots/1"),
    ] {
        let head = Head { method, path: target, query: "", headers: &[] };
        let problem = route(&head).expect_err(target);
        assert_eq!(problem.kind, Kind::UnsupportedMediaType, "{method} {target}");
        assert!(
            problem.detail.starts_with("content-type: is missing; send `application/json`"),
            "{problem:?}"
        );
        for form in forms {
            let (kind, _) = routed(method, target, &[("content-type", form)]).expect_err(form);
            assert_eq!(kind, Kind::UnsupportedMediaType, "{method} {target} {form}");
        }
        routed(method, target, &[("content-type", "Application/JSON; charset=utf-8")]).expect(target);
    }
}

#[test]
fn a_path_with_too_many_segments_hints_at_the_slash() {
    for (path, hints) in [
        ("/v1/stores/main/streams/a/b", true),
        ("/v1/stores/main/streams/a/b/events", true),
        ("/v1/stores/main/streams/a/b/snapshots/1", true),
        ("/v1/stores/main/streams/a/b/c/d/e/f/g/h/events", true),
        ("/v1/stores/main/nothing", false),
        ("/v1/stores/main/events/1", false),
        ("/v1/streams/a/b/c/d", false),
        ("/", false),
    ] {
        let (kind, detail) = routed("GET", path, &[]).expect_err(path);
        assert_eq!(kind, Kind::PathNotFound, "{path}");
        assert_eq!(detail.contains("%2F"), hints, "{path}: {detail}");
    }
}

#[test]
fn the_tags_of_a_request_are_bounded_together() {
    let event = |bytes: usize| {
        let tags: Vec<String> =
            (0..32).map(|tag| format!("{tag:02}{}", "t".repeat(bytes / 32 - 2))).collect();
        format!(r#"{{"type":"t","data":1,"tags":{}}}"#, serde_json::json!(tags))
    };
    for (last, fits) in [(4_096, true), (4_128, false)] {
        let mut events = vec![event(8_192); 127];
        events.extend([event(4_096), event(last)]);
        let events = events.join(",");
        let body = format!(r#"{{"events":[{events}]}}"#);
        let response = Request::append("s", body).send(&mut TestStore::default());
        assert_eq!(response.status, if fits { 200 } else { 413 }, "{}", response.text());
        if !fits {
            assert_eq!(
                (&response.json()["field"], &response.json()["limit"]),
                (&"events".into(), &1_048_576.into())
            );
        }
        let body = format!(r#"{{"appends":[{{"stream":"s","events":[{events}]}}]}}"#);
        let response =
            Request::new("POST", "/v1/stores/main/transactions").body(body).send(&mut TestStore::default());
        assert_eq!(response.status, if fits { 200 } else { 413 }, "{}", response.text());
    }
}

#[test]
fn a_header_that_is_not_utf8_is_named() {
    for name in ["accept", "last-event-id"] {
        let headers = [("accept", b"text/event-stream".to_vec()), (name, b"\xff".to_vec())]
            .map(|(name, value)| Header { name: name.to_owned(), value });
        let head = Head { method: "GET", path: "/v1/stores/main/events", query: "", headers: &headers };
        assert_eq!(route(&head).expect_err("it is not UTF-8").detail, format!("{name}: is not UTF-8"));
    }
}
