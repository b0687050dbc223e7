//! Requests of web pages in a browser on the host's machine.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Client, Down, Host, stderr};
use serde_json::json;

const EVENTS: &str = "/v1/stores/main/streams/s/events";
const BODY: &[u8] = br#"{"events":[{"type":"t","data":1}]}"#;

/// The status and the raw response to a raw request.
fn raw(http: &Client, request: &str) -> (u16, String) {
    let mut connection = http.connect();
    connection.write_all(request.as_bytes()).expect("the host reads");
    let mut response = String::new();
    connection.read_to_string(&mut response).expect("the host responds and closes");
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{request}: {response}")), response)
}

#[test]
fn a_body_without_a_json_content_type_is_refused() {
    let host = Host::start();
    let http = &host.http;
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
    ] {
        // The host closes the connection after an unread body, so the next request needs a new one.
        let mut headers = vec![("connection", "close")];
        headers.extend(content_type.map(|value| ("content-type", value)));
        for path in [EVENTS, "/v1/stores/main/transactions", "/v1/stores/main/import"] {
            let refused = http.post_with(path, &headers, BODY);
            let refused = refused.expect_problem(415, "unsupported-media-type");
            assert_eq!(refused.json["field"], "content-type", "{}", refused.text);
        }
    }
    assert_eq!(http.read_all().len(), 0);
    http.post_with(EVENTS, &[("content-type", "application/json; charset=utf-8")], BODY).expect(200);
}

#[test]
fn a_page_of_another_origin_is_refused() {
    let host = Host::start();
    let http = &host.http;
    let json = ("content-type", "application/json");
    for origin in ["https://evil.example", "http://localhost:9", "null"] {
        // The host closes the connection after an unread body, so the next request needs a new one.
        let refused = http.post_with(EVENTS, &[json, ("origin", origin), ("connection", "close")], BODY);
        assert_eq!(refused.expect_problem(403, "foreign-origin").json["origin"], origin);
        for accept in ["application/json", "text/event-stream", "application/x-ndjson"] {
            let headers = [("accept", accept), ("origin", origin)];
            http.get_with("/v1/stores/main/events", &headers).expect_problem(403, "foreign-origin");
        }
        for path in ["/v1/stores", "/health/ready", "/openapi.json", "/v1/stores/main/nothing"] {
            http.get_with(path, &[("origin", origin)]).expect_problem(403, "foreign-origin");
        }
    }
    assert_eq!(http.read_all().len(), 0);
    // A page of the host itself.
    http.post_with(EVENTS, &[json, ("origin", &host.url)], BODY).expect(200);
    let preflight = format!(
        "OPTIONS {EVENTS} HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\
         access-control-request-method: POST\r\nconnection: close\r\n\r\n"
    );
    let (status, response) = raw(http, &preflight);
    assert_eq!(status, 403, "{response}");
    assert!(!response.to_lowercase().contains("access-control-allow"), "{response}");
}

#[test]
fn a_request_to_another_name_is_refused_on_loopback() {
    let host = Host::start();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    for (name, more, expected) in [
        ("evil.example", "", 421),
        ("evil.example:2113", "", 421),
        ("localhost.evil.example", "", 421),
        ("10.0.0.1", "", 421),
        ("evil.example", upgrade, 421),
        ("localhost\r\nhost: evil.example", "", 400),
        ("a b", "", 400),
        ("localhost", "", 200),
        ("LOCALHOST:2113", "", 200),
        ("127.0.0.1", "", 200),
        ("[::1]:2113", "", 200),
    ] {
        let request = format!("GET /v1/stores HTTP/1.1\r\nhost: {name}\r\n{more}connection: close\r\n\r\n");
        let (status, response) = raw(&host.http, &request);
        assert_eq!(status, expected, "{name}: {response}");
        assert_eq!(
            response.contains("urn:exesdb:problem:foreign-host"),
            expected == 421,
            "{name}: {response}"
        );
    }
    let (status, _) = raw(
        &host.http,
        "GET http://evil.example/v1/stores HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(status, 421, "what the target says goes before the header");
}

#[test]
fn origins_and_names_can_be_allowed() {
    let host = Host::with_config(
        "allowed_origins = [\"https://app.example.org\"]\nallowed_hosts = [\"db.example.org\"]\n[[store]]\nname = \"main\"\n",
    );
    let from = |origin: &str| format!("host: db.example.org\r\norigin: {origin}\r\nconnection: close\r\n");
    let preflight = format!(
        "OPTIONS {EVENTS} HTTP/1.1\r\n{}access-control-request-method: POST\r\n\
         access-control-request-headers: content-type\r\n\r\n",
        from("https://app.example.org")
    );
    let (status, response) = raw(&host.http, &preflight);
    assert_eq!(status, 204, "{response}");
    assert!(response.contains("access-control-allow-origin: https://app.example.org\r\n"), "{response}");
    assert!(response.contains("access-control-allow-headers: content-type\r\n"), "{response}");
    let append = format!(
        "POST {EVENTS} HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        from("https://app.example.org"),
        BODY.len(),
        String::from_utf8_lossy(BODY),
    );
    let (status, response) = raw(&host.http, &append);
    assert_eq!(status, 200, "{response}");
    assert!(response.contains("access-control-allow-origin: https://app.example.org\r\n"), "{response}");
    let (status, response) = raw(&host.http, &append.replace("app.example.org", "other.example.org"));
    assert_eq!(status, 403, "{response}");
    // The page can read problems, too.
    let missing = format!("GET /nowhere HTTP/1.1\r\n{}\r\n", from("https://app.example.org"));
    let (status, response) = raw(&host.http, &missing);
    assert!(status == 404 && response.contains("access-control-allow-origin"), "{response}");
    assert_eq!(host.http.read_all().len(), 1);
}

#[test]
fn mistakes_in_the_lists_are_named() {
    for (config, named) in [
        ("allowed_origins = [\"*\"]\n", "allowed_origins[0] is \"*\""),
        ("allowed_origins = \"https://a.example\"\n", "must be a list"),
        ("allowed_hosts = [\"a.example:80\"]\n", "without a port"),
    ] {
        let said = Down::new(Some(config)).refused();
        assert!(said.contains("exesdb.toml:1:") && said.contains(named), "{config}: {said}");
    }
    let help = exesdb_tests::exesdb(&["serve", "--help"], &[]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(text.contains("allowed_origins") && text.contains("allowed_hosts"), "{}", stderr(&help));
}

/// The command line and scripts are not web pages.
#[test]
fn the_command_line_is_not_affected() {
    let host = Host::start();
    host.ok(&["append", "s", "--type", "t", "--data", "1"]);
    assert_eq!(host.json(&["read", "s", "--json"]).len(), 1);
    assert_eq!(host.http.get("/v1/stores/main").expect(200).json["next_position"], json!(1));
}
