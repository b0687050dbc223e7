//! Bodies of appends and snapshots: their contents, or the reasons why they are refused.

use exesdb_gateway_http::body::{decode_append, decode_snapshot};
use exesdb_gateway_http::limits::{APPEND_EVENTS_MAX, EVENT_BYTES_MAX, JSON_NESTING_MAX};
use exesdb_gateway_http::problem::{Kind, Member, Problem};
use exesdb_sdk::types::ExpectedVersion;

/// The body of an append of one event with these fields.
fn event(fields: &str) -> String {
    format!(r#"{{"events":[{{{fields}}}]}}"#)
}

fn field(problem: &Problem) -> &str {
    match problem.members.first() {
        Some(("field", Member::Text(field))) => field,
        other => panic!("the first member names the field, not {other:?}"),
    }
}

#[test]
fn an_append_has_all_its_fields() {
    let body = r#" {"expected_version": 7, "events": [
        {"type":"a", "data": {"x": [1, 2.50, "\u00e9"]} , "id":"one", "metadata":{"by" :"me"}},
        {"data_base64":"/wA=", "content_type":"application/octet-stream", "type":"b"},
        {"data":null, "type":"c", "metadata":null}
    ]} "#;
    let append = decode_append(body.as_bytes()).unwrap();
    assert!(matches!(append.expected, ExpectedVersion::Exact(7)));
    let events: Vec<_> = append
        .events
        .iter()
        .map(|event| (&*event.id, &*event.event_type, &*event.content_type, &*event.data, &*event.metadata))
        .collect();
    assert_eq!(
        events,
        [
            ("one", "a", "application/json", &br#"{"x": [1, 2.50, "\u00e9"]}"#[..], &br#"{"by" :"me"}"#[..]),
            ("", "b", "application/octet-stream", b"\xff\0", b""),
            ("", "c", "application/json", b"null", b""),
        ]
    );
}

#[test]
fn expected_versions_are_decoded() {
    for (json, expected) in [
        ("\"any\"", Some("Any")),
        ("\"no_stream\"", Some("NoStream")),
        ("\"stream_exists\"", Some("StreamExists")),
        ("0", Some("Exact(0)")),
        ("18446744073709551615", Some("Exact(18446744073709551615)")),
        ("18446744073709551616", None),
        ("-1", None),
        ("-0", None),
        ("1.0", None),
        ("1e3", None),
        ("1e999", None),
        ("null", None),
        ("true", None),
        ("\"1\"", None),
        ("\"Any\"", None),
        ("[]", None),
        ("{\"exact\":1}", None),
    ] {
        let body = format!(r#"{{"expected_version":{json},"events":[{{"type":"t","data":1}}]}}"#);
        match (decode_append(body.as_bytes()), expected) {
            (Ok(append), Some(expected)) => {
                let found = format!("{:?}", append.expected);
                assert!(found.ends_with(expected), "{found}");
            }
            (Err(problem), None) => assert_eq!(field(&problem), "expected_version", "{json}"),
            (found, _) => panic!("{json}: {found:?}"),
        }
    }
    let body = event(r#""type":"t","data":1"#);
    let absent = decode_append(body.as_bytes()).unwrap();
    assert!(matches!(absent.expected, ExpectedVersion::Any));
}

#[test]
fn refused_appends_name_their_field() {
    let invalid = Kind::InvalidArgument;
    let malformed = Kind::MalformedBody;
    let deep = "[".repeat(100_000);
    let too_deep = format!("{}{}", "[".repeat(JSON_NESTING_MAX + 1), "]".repeat(JSON_NESTING_MAX + 1));
    let long = "x".repeat(257);
    for (body, kind, named) in [
        (String::new(), malformed, "body"),
        ("\u{feff}{}".to_owned(), malformed, "body"),
        ("{".to_owned(), malformed, "body"),
        ("[]".to_owned(), invalid, "body"),
        ("null".to_owned(), invalid, "body"),
        (deep.clone(), invalid, "body"),
        ("{}".to_owned(), invalid, "events"),
        (r#"{"events":null}"#.to_owned(), invalid, "events"),
        (r#"{"events":{}}"#.to_owned(), invalid, "events"),
        (r#"{"events":[]}"#.to_owned(), invalid, "events"),
        (r#"{"events":[],"events":[]}"#.to_owned(), invalid, "events"),
        (format!(r#"{{"events":{deep}"#), invalid, "events[0]"),
        (r#"{"events":[1]}"#.to_owned(), invalid, "events[0]"),
        (r#"{"event":[]}"#.to_owned(), invalid, "event"),
        (r#"{"\u0000":[]}"#.to_owned(), invalid, "\\0"),
        (
            format!(r#"{{"expected_version":"any","expected_version":0,"{long}":1}}"#),
            invalid,
            "expected_version",
        ),
        (event(""), invalid, "events[0].type"),
        (event(r#""type":"t""#), invalid, "events[0].data"),
        (event(r#""data":1"#), invalid, "events[0].type"),
        (event(r#""type":1,"data":1"#), invalid, "events[0].type"),
        (event(r#""type":null,"data":1"#), invalid, "events[0].type"),
        (event(r#""type":"","data":1"#), invalid, "events[0].type"),
        (event(r#""type":"a\u0000b","data":1"#), invalid, "events[0].type"),
        (event(&format!(r#""type":"{long}","data":1"#)), invalid, "events[0].type"),
        (event(r#""type":"\ud800","data":1"#), malformed, "events[0].type"),
        (event(r#""type":"t","type":"t","data":1"#), invalid, "events[0].type"),
        (event(r#""type":"t","data":1,"data":2"#), invalid, "events[0].data"),
        (event(r#""type":"t","data":1,"id":null"#), invalid, "events[0].id"),
        (event(r#""type":"t","data":1,"id":"""#), invalid, "events[0].id"),
        (event(r#""type":"t","data":1,"id":"\n""#), invalid, "events[0].id"),
        (event(r#""type":"t","data":1,"metdata":{}"#), invalid, "events[0].metdata"),
        (event(r#""type":"t","data":"#), malformed, "events[0].data"),
        (event(r#""type":"t","data":NaN"#), malformed, "events[0].data"),
        (event(r#""type":"t","data":01"#), malformed, "events[0].data"),
        (event("\"type\":\"t\",\"data\":\"\n\""), malformed, "events[0].data"),
        (event(r#""type":"t","data":"\x""#), malformed, "events[0].data"),
        (event(r#""type":"t","data":"\ud800""#), invalid, "events[0].data"),
        (event(r#""type":"t","data":{"\udc00":1}"#), invalid, "events[0].data"),
        (event(&format!(r#""type":"t","data":{too_deep}"#)), invalid, "events[0].data"),
        (event(&format!(r#""type":"t","data":{deep}"#)), malformed, "events[0].data"),
        (event(&format!(r#""type":"t","data":1,"metadata":{too_deep}"#)), invalid, "events[0].metadata"),
        (
            event(r#""type":"t","data":1,"data_base64":"","content_type":"a/b""#),
            invalid,
            "events[0].data_base64",
        ),
        (event(r#""type":"t","data":1,"content_type":"text/plain""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","data":1,"content_type":"""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","data_base64":"""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","content_type":"a/b""#), invalid, "events[0].data_base64"),
        (event(r#""type":"t","data_base64":"","content_type":"""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","data_base64":"","content_type":"a/é""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","data_base64":"","content_type":"a\n""#), invalid, "events[0].content_type"),
        (event(r#""type":"t","data_base64":"_w","content_type":"a/b""#), invalid, "events[0].data_base64"),
        (event(r#""type":"t","data_base64":"/w","content_type":"a/b""#), invalid, "events[0].data_base64"),
        (event(r#""type":"t","data_base64":7,"content_type":"a/b""#), invalid, "events[0].data_base64"),
        (
            event(r#""type":"t","data_base64":"ew==","content_type":"x/y+json""#),
            invalid,
            "events[0].data_base64",
        ),
        (r#"{"events":[{"type":"t","data":1},{"type":"t"}]}"#.to_owned(), invalid, "events[1].data"),
        (r#"{"events":[{"type":"t","data":1},]}"#.to_owned(), malformed, "events[1]"),
        (r#"{"events":[{"type":"t","data":1}]"#.to_owned(), malformed, "body"),
        (r#"{"events":[{"type":"t","data":1}]}}"#.to_owned(), malformed, "body"),
    ] {
        let shown: String = body.chars().take(120).collect();
        let problem = decode_append(body.as_bytes()).expect_err(&shown);
        assert_eq!((problem.kind, field(&problem)), (kind, named), "{shown}: {}", problem.detail);
        assert!(problem.detail.starts_with(&format!("{named}: ")), "{}", problem.detail);
        assert!(problem.detail.len() < 400, "{}", problem.detail);
    }
}

#[test]
fn a_body_that_is_not_utf8_says_from_where() {
    let problem = decode_append(b"{\"events\":[{\"type\":\"\xff\"").unwrap_err();
    assert_eq!(problem.kind, Kind::MalformedBody);
    assert_eq!(problem.detail, "body: is not UTF-8 from byte 20 on");
}

#[test]
fn valid_json_is_kept_byte_for_byte() {
    let nested = format!("{}{}", "[".repeat(JSON_NESTING_MAX), "]".repeat(JSON_NESTING_MAX));
    for data in
        ["1e999", "-0", "123456789012345678901234567890", r#"{"a":1,"a":2}"#, r#""\u0000""#, "[ ]", &nested]
    {
        let body = event(&format!(r#""type":"t","data": {data} "#));
        let append = decode_append(body.as_bytes()).unwrap();
        assert_eq!(append.events.first().map(|event| &*event.data), Some(data.as_bytes()));
    }
}

#[test]
fn problems_state_the_limit() {
    let events = |count: usize| {
        let list = vec![r#"{"type":"t","data":1}"#; count].join(",");
        format!(r#"{{"events":[{list}]}}"#)
    };
    let content = |data: usize, metadata: usize| {
        let (data, metadata) = ("1".repeat(data), "1".repeat(metadata));
        event(&format!(r#""type":"t","data":{data},"metadata":{metadata}"#))
    };
    let bytes = |size: usize| {
        let base64 = "AAAA".repeat(size / 3);
        event(&format!(r#""type":"t","data_base64":"{base64}","content_type":"a/b""#))
    };
    for (body, expected) in [
        (events(APPEND_EVENTS_MAX), None),
        (events(APPEND_EVENTS_MAX + 1), Some(("events", APPEND_EVENTS_MAX))),
        (content(EVENT_BYTES_MAX - 1, 1), None),
        (content(EVENT_BYTES_MAX, 1), Some(("events[0]", EVENT_BYTES_MAX))),
        (content(1, EVENT_BYTES_MAX), Some(("events[0]", EVENT_BYTES_MAX))),
        (bytes(EVENT_BYTES_MAX), None),
        (bytes(EVENT_BYTES_MAX + 3), Some(("events[0]", EVENT_BYTES_MAX))),
    ] {
        match (decode_append(body.as_bytes()), expected) {
            (Ok(_), None) => {}
            (Err(problem), Some((named, limit))) => {
                assert_eq!((problem.kind, field(&problem)), (Kind::TooLarge, named));
                assert!(problem.detail.contains(&limit.to_string()), "{}", problem.detail);
                assert!(problem.members.contains(&("limit", Member::Number(limit as u64))));
            }
            (found, expected) => panic!("{expected:?}: {found:?}"),
        }
    }
}

#[test]
fn snapshots() {
    let snapshot = decode_snapshot(br#"{"metadata":[1],"data": {"sum": 3}}"#).unwrap();
    assert_eq!(snapshot.content_type, "application/json");
    assert_eq!(
        (snapshot.data.as_slice(), snapshot.metadata.as_slice()),
        (&br#"{"sum": 3}"#[..], &b"[1]"[..])
    );
    let bytes = decode_snapshot(br#"{"data_base64":"AQI=","content_type":"a/b"}"#).unwrap();
    assert_eq!((bytes.content_type.as_str(), bytes.data.as_slice()), ("a/b", &[1, 2][..]));
    for (body, named) in [
        ("", "body"),
        ("[]", "body"),
        ("{}", "data"),
        (r#"{"data":1,"type":"t"}"#, "type"),
        (r#"{"data":1,"data":1}"#, "data"),
        (r#"{"data":1,"metadata":"\udfff"}"#, "metadata"),
        (r#"{"data_base64":"AQI="}"#, "content_type"),
        (r#"{"content_type":"a/b"}"#, "data_base64"),
        (r#"{"data":1}x"#, "body"),
    ] {
        let problem = decode_snapshot(body.as_bytes()).expect_err(body);
        assert_eq!(field(&problem), named, "{body}: {}", problem.detail);
    }
    let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(EVENT_BYTES_MAX));
    assert_eq!(decode_snapshot(large.as_bytes()).unwrap_err().kind, Kind::TooLarge);
}
