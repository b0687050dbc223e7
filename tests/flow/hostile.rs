//! Invalid requests get a response that names the wrong part, and crash no component.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Host, NO_EVENTS, encoded};

/// Bodies of appends, and the field that the response names.
fn bodies() -> Vec<(Vec<u8>, &'static str)> {
    let mut bodies: Vec<(Vec<u8>, &'static str)> = [
        ("", ""),
        ("{", ""),
        ("null", "body"),
        ("[]", "body"),
        ("\"text\"", "body"),
        ("{}", "events"),
        (r#"{"events":[]}"#, "events"),
        (r#"{"events":null}"#, "events"),
        (r#"{"events":{}}"#, "events"),
        (r#"{"events":[{"type":"t","data":1}],}"#, ""),
        (r#"{"events":[{"type":"t","data":1}]} {}"#, ""),
        (r#"{"events":[{"type":"t","data":1}],"events":[]}"#, "events"),
        (r#"{"events":[{"type":"t","data":1}],"unknown":1}"#, "unknown"),
        (r#"{"events":[null]}"#, "events[0]"),
        (r#"{"events":["text"]}"#, "events[0]"),
        (r#"{"events":[{"data":1}]}"#, "events[0].type"),
        (r#"{"events":[{"type":"t"}]}"#, "events[0].data"),
        (r#"{"events":[{"type":7,"data":1}]}"#, "events[0].type"),
        (r#"{"events":[{"type":"","data":1}]}"#, "events[0].type"),
        (r#"{"events":[{"type":"a\u0000b","data":1}]}"#, "events[0].type"),
        (r#"{"events":[{"type":"a\nb","data":1}]}"#, ""),
        (r#"{"events":[{"type":"t","data":1,"id":""}]}"#, "events[0].id"),
        (r#"{"events":[{"type":"t","data":1,"id":5}]}"#, "events[0].id"),
        (r#"{"events":[{"type":"t","data":1,"id":"\u007f"}]}"#, "events[0].id"),
        (r#"{"events":[{"type":"t","data":1},{"type":"t","dta":1}]}"#, "events[1].dta"),
        (
            r#"{"events":[{"type":"t","data":1,"data_base64":"AA==","content_type":"a/b"}]}"#,
            "events[0].data_base64",
        ),
        (r#"{"events":[{"type":"t","data_base64":"AA=="}]}"#, "events[0].content_type"),
        (r#"{"events":[{"type":"t","data_base64":"%%","content_type":"a/b"}]}"#, "events[0].data_base64"),
        (
            r#"{"events":[{"type":"t","data_base64":"AA==","content_type":"a\u0001b"}]}"#,
            "events[0].content_type",
        ),
        (
            r#"{"events":[{"type":"t","data_base64":"AA==","content_type":"application/json"}]}"#,
            "events[0].data_base64",
        ),
        (r#"{"events":[{"type":"t","data":"\ud800"}]}"#, "events[0].data"),
        (r#"{"events":[{"type":"t","data":1,"metadata":"\udc00"}]}"#, "events[0].metadata"),
        (r#"{"expected_version":-1,"events":[{"type":"t","data":1}]}"#, "expected_version"),
        (r#"{"expected_version":1.5,"events":[{"type":"t","data":1}]}"#, "expected_version"),
        (r#"{"expected_version":18446744073709551616,"events":[{"type":"t","data":1}]}"#, "expected_version"),
        (r#"{"expected_version":"some","events":[{"type":"t","data":1}]}"#, "expected_version"),
        (r#"{"expected_version":null,"events":[{"type":"t","data":1}]}"#, "expected_version"),
    ]
    .map(|(text, field)| (text.as_bytes().to_vec(), field))
    .to_vec();
    let event = |name: &str, value: &str| {
        format!(r#"{{"events":[{{"type":"t","data":1,"{name}":"{value}"}}]}}"#).into_bytes()
    };
    bodies.push((event("id", &"i".repeat(129)), "events[0].id"));
    bodies.push((
        format!(r#"{{"events":[{{"type":"{}","data":1}}]}}"#, "t".repeat(257)).into_bytes(),
        "events[0].type",
    ));
    bodies.push((b"{\"events\":[{\"type\":\"t\",\"data\":\"\xff\"}]}".to_vec(), "body"));
    bodies.push((vec![0xff; 1_000], "body"));
    bodies.push((vec![0; 1_000], ""));
    let deep = |depth: usize| {
        format!(r#"{{"events":[{{"type":"t","data":{}{}}}]}}"#, "[".repeat(depth), "]".repeat(depth))
            .into_bytes()
    };
    bodies.push((deep(129), "events[0].data"));
    bodies.push((deep(100_000), ""));
    bodies.push((vec![b'['; 1 << 20], ""));
    bodies.push((b"{\"a\":".repeat(100_000), ""));
    bodies
}

#[test]
fn a_refused_body_is_reported_with_the_field() {
    let host = Host::start();
    let path = format!("{}/events", host.http.stream("s"));
    for (body, field) in bodies() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let response = host.http.post_bytes(&path, "application/json", &body);
        assert_eq!((response.status, response.cut_off), (400, false), "{shown}: {}", response.text);
        assert!(
            ["malformed-body", "invalid-argument"].contains(&response.problem()),
            "{shown}: {}",
            response.text
        );
        let named = response.json["field"].as_str().unwrap_or_default();
        assert!(!named.is_empty() && (field.is_empty() || named == field), "{shown}: {}", response.text);
        assert!(response.detail().starts_with(named), "{shown}: {}", response.text);
    }
    host.http.get(&path).expect_problem(404, "stream-not-found");
    assert_eq!(host.http.read_all().len(), 0);
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn a_refused_head_is_reported_with_the_parameter() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    let long_name = "x".repeat(257);
    // path, status, text of the response
    let table = [
        ("/v1/stores/main/events?count=-1".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=0".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=1001".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=1e2".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=%2B1".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=18446744073709551616".to_owned(), 400, "count"),
        ("/v1/stores/main/events?count=1&count=2".to_owned(), 400, "count"),
        ("/v1/stores/main/events?from=-1".to_owned(), 400, "from"),
        ("/v1/stores/main/events?from=%FF".to_owned(), 400, "from"),
        ("/v1/stores/main/events?from=18446744073709551616".to_owned(), 400, "from"),
        ("/v1/stores/main/events?direction=up".to_owned(), 400, "direction"),
        ("/v1/stores/main/events?frm=1".to_owned(), 400, "frm"),
        ("/v1/stores/main/streams?prefix=%00".to_owned(), 400, "prefix"),
        ("/v1/stores/main/streams?prefix=%C3%28".to_owned(), 400, "prefix"),
        (format!("/v1/stores/main/streams?prefix={long_name}"), 400, "prefix"),
        (format!("/v1/stores/main/streams?after={long_name}"), 400, "after"),
        ("/v1/stores/main/streams?after=%0a".to_owned(), 400, "after"),
        (format!("/v1/stores/main/streams/{long_name}"), 400, "stream"),
        (format!("/v1/stores/main/streams/{}", encoded(&"ä".repeat(129))), 400, "stream"),
        ("/v1/stores/main/streams/a%00b/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/a%0Ab/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%C2%85/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%ff/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%ed%a0%80/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%2/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/%zz/events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams//events".to_owned(), 400, "stream"),
        ("/v1/stores/main/streams/s/snapshots/-1".to_owned(), 400, "version"),
        ("/v1/stores/main/streams/s/snapshots/x".to_owned(), 400, "version"),
        ("/v1/stores/main/streams/s/snapshots/18446744073709551616".to_owned(), 400, "version"),
        ("/v1/stores/main/streams/s/snapshots?before=-1".to_owned(), 400, "before"),
        ("/v1/stores/main/streams/s/snapshots?count=-1".to_owned(), 400, "count"),
    ];
    for (path, status, field) in table {
        let response = host.http.get(&path).expect_problem(status, "invalid-argument");
        assert_eq!(response.json["field"], field, "{path}: {}", response.text);
        assert!(response.detail().starts_with(field), "{path}: {}", response.text);
    }
    for id in ["-1", "x", "18446744073709551616", "1.5", ""] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", id)];
        // A client that has seen no event sends an empty one.
        if !id.is_empty() {
            let response = host.http.get_with("/v1/stores/main/events", &headers);
            assert_eq!(response.expect_problem(400, "invalid-argument").json["field"], "last-event-id");
        }
    }
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn bytes_that_are_not_http_do_no_harm() {
    let host = Host::start();
    let requests: [&[u8]; 9] = [
        b"\r\n\r\n\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/stores/main/streams/\xff\xfe/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /v1/stores/main/streams/\xc3\xa4/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /v1/stores/main/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: \xff\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n",
        b"POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\nconnection: close\r\n\r\n",
        b"POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\n",
    ];
    for request in requests {
        // Some get no response; none gets a success or a server error.
        let mut connection = host.http.connect();
        connection.write_all(request).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut response = Vec::new();
        // The host may reset the connection after its response.
        drop(connection.read_to_end(&mut response));
        let response = String::from_utf8_lossy(&response);
        let shown = String::from_utf8_lossy(request);
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{shown}: {response}");
    }
    // An incomplete body is not appended.
    let mut connection = host.http.connect();
    let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    connection.write_all(format!("{head}{{\"events\":[{{").as_bytes()).unwrap();
    drop(connection);
    assert_eq!(host.http.read_all().len(), 0);
    assert_eq!(host.traps(), NO_EVENTS);
    host.http.append_one("s").expect(200);
}
