//! A client of the gateway that checks every response against the OpenAPI document.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use exesdb_api_document::{BodyCheck, Exchange, Head};
use serde_json::{Value, json};

use crate::api::AGAINST;
use crate::connection::Connection;
use crate::follower::Follower;
use crate::listener::Listener;
use crate::{PATIENCE, api};

/// Bytes of a response that are read at most: more than any page has.
const RESPONSE_BYTES_MAX: u64 = 256 << 20;

/// The media type of packed events.
const PACKED: &str = "application/vnd.exesdb.packed";

/// A client of one store. Cheap to clone, for use in several threads.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    store: String,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    /// The status code; 0 without a response.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// The body, if it is JSON; otherwise null.
    pub json: Value,
    /// The body as text; without a response, the error.
    pub text: String,
    /// Whether the connection ended before the body did.
    pub cut_off: bool,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Response {
    /// The last part of a problem's type, such as `stream-not-found`; empty for other responses.
    pub fn problem(&self) -> &str {
        self.json["type"].as_str().and_then(|uri| uri.strip_prefix("urn:exesdb:problem:")).unwrap_or_default()
    }

    /// Asserts the status, and returns the response.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Asserts that this is a complete problem document of this status and kind, and returns the response.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status, self.problem()), (status, kind), "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert!(self.json["title"].is_string() && self.json["detail"].is_string(), "{}", self.text);
        self
    }

    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// The `detail` of a problem.
    pub fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// A client of store `main`.
    pub fn new(url: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(16)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .build()
            .into();
        Self { agent, url: url.to_owned(), store: "main".to_owned() }
    }

    /// A client of store `main` for which a request that takes longer than this has no response, such as one to a host that
    /// is stopped.
    pub fn impatient(url: &str, longest: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(16)
            .timeout_global(Some(longest))
            .build()
            .into();
        Self { agent, url: url.to_owned(), store: "main".to_owned() }
    }

    /// A client of another store of the same host, with connections of its own.
    pub fn of(&self, store: &str) -> Self {
        Self { store: store.to_owned(), ..Self::new(&self.url) }
    }

    /// The path of the store.
    pub fn path(&self) -> String {
        format!("/v1/stores/{}", self.store)
    }

    /// The path of a stream, with its name percent-encoded.
    pub fn stream(&self, stream: &str) -> String {
        format!("{}/streams/{}", self.path(), encoded(stream))
    }

    /// GET.
    pub fn get(&self, path: &str) -> Response {
        received("GET", path, self.agent.get(self.at(path)).call())
    }

    /// HEAD.
    pub fn head(&self, path: &str) -> Response {
        received("HEAD", path, self.agent.head(self.at(path)).call())
    }

    /// GET with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.agent.get(self.at(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        received("GET", path, request.call())
    }

    /// The body of a read of packed events.
    ///
    /// # Panics
    ///
    /// When the response is another.
    #[track_caller]
    pub fn packed(&self, path: &str) -> Vec<u8> {
        let request = self.agent.get(self.at(path)).header("accept", PACKED);
        let mut response = request.call().expect("the host responds");
        let (body, response) = read("GET", path, &mut response);
        assert_eq!((response.status, response.content_type.as_str()), (200, PACKED), "{}", response.text);
        body
    }

    /// POST of anything with headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut request = self.agent.post(self.at(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        received("POST", path, request.send(body))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Response {
        received("DELETE", path, self.agent.delete(self.at(path)).call())
    }

    /// PUT of a JSON document.
    pub fn put(&self, path: &str, body: &Value) -> Response {
        let request = self.agent.put(self.at(path)).header("content-type", "application/json");
        received("PUT", path, request.send(body.to_string()))
    }

    /// PATCH of a JSON document.
    pub fn patch(&self, path: &str, body: &Value) -> Response {
        let request = self.agent.patch(self.at(path)).header("content-type", "application/json");
        received("PATCH", path, request.send(body.to_string()))
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.post_bytes(path, "application/json", body.to_string().as_bytes())
    }

    /// POST of anything.
    pub fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Response {
        received("POST", path, self.agent.post(self.at(path)).header("content-type", content_type).send(body))
    }

    /// Appends events to a stream.
    pub fn append(&self, stream: &str, expected_version: impl Into<Value>, events: &[Value]) -> Response {
        let body = json!({ "expected_version": expected_version.into(), "events": events });
        self.post(&format!("{}/events", self.stream(stream)), &body)
    }

    /// Appends one small event to a stream, whatever its version.
    pub fn append_one(&self, stream: &str) -> Response {
        self.append(stream, "any", &[json!({ "type": "t", "data": 1 })])
    }

    /// Appends that many small events to a stream, at most 1,000, whatever its version.
    pub fn append_many(&self, stream: &str, count: usize) -> Response {
        self.append(stream, "any", &vec![json!({ "type": "t", "data": 1 }); count])
    }

    /// All events of a stream, page by page.
    #[track_caller]
    pub fn read(&self, stream: &str) -> Vec<Value> {
        self.pages(&format!("{}/events", self.stream(stream)))
    }

    /// All events of the store, page by page.
    #[track_caller]
    pub fn read_all(&self) -> Vec<Value> {
        self.pages(&format!("{}/events", self.path()))
    }

    /// As [`Client::read`], for a stream that may be unreadable.
    ///
    /// # Errors
    ///
    /// The first response that is not a page.
    pub fn try_read(&self, stream: &str) -> Result<Vec<Value>, Box<Response>> {
        self.try_pages(&format!("{}/events", self.stream(stream)))
    }

    /// As [`Client::read_all`], for a store that may be unreadable.
    ///
    /// # Errors
    ///
    /// The first response that is not a page.
    pub fn try_read_all(&self) -> Result<Vec<Value>, Box<Response>> {
        self.try_pages(&format!("{}/events", self.path()))
    }

    #[track_caller]
    fn pages(&self, path: &str) -> Vec<Value> {
        self.try_pages(path)
            .unwrap_or_else(|response| panic!("{path}: {}: {}", response.status, response.text))
    }

    #[track_caller]
    fn try_pages(&self, path: &str) -> Result<Vec<Value>, Box<Response>> {
        let mut events = Vec::new();
        let mut from = json!(0);
        loop {
            let mut page = self.get(&format!("{path}?from={from}&count=1000"));
            if page.status != 200 || page.cut_off {
                return Err(Box::new(page));
            }
            let Value::Array(found) = page.json["events"].take() else { panic!("a page has events") };
            events.extend(found);
            if page.json["end"] == true {
                return Ok(events);
            }
            from = page.json["next"].take();
            assert!(from.is_u64(), "a page that is not the last says where the next begins: {from}");
        }
    }

    /// Follows a route of server-sent events in a thread of its own, after an event that was seen, if any.
    #[track_caller]
    pub fn follow(&self, path: &str, last_event_id: Option<u64>) -> Follower {
        let (response, body) = self.live(path, last_event_id);
        Follower::new(response, body)
    }

    /// Listens to a topic in a thread of its own.
    #[track_caller]
    pub fn listen(&self, topic: &str) -> Listener {
        let (response, body) = self.live(&format!("{}/topics/{}", self.path(), encoded(topic)), None);
        Listener::new(response, body)
    }

    /// The body of a live response, and what checks it.
    #[track_caller]
    fn live(
        &self,
        path: &str,
        last_event_id: Option<u64>,
    ) -> (impl std::io::Read + Send + use<>, Option<BodyCheck<'static>>) {
        let mut request = self.agent.get(self.at(path)).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.call().expect("the host responds");
        assert_eq!(response.status(), 200, "{path} can be followed");
        let headers = headers(&response);
        let head = Head { method: "GET", path, status: 200, headers: &headers };
        let body = api::check_head(&head).unwrap_or_else(|complaint| panic!("{AGAINST}: {complaint}"));
        (response.into_body().into_reader(), body)
    }

    /// A plain TCP connection. The responses that are read from it are checked on drop.
    pub fn connect(&self) -> Connection {
        self.try_connect().expect("the host accepts")
    }

    /// As [`Client::connect`], to a host that may be down.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn try_connect(&self) -> std::io::Result<Connection> {
        let connection = TcpStream::connect(self.address())?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection::new(connection))
    }

    /// The address and port of the gateway.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("the tests speak plain HTTP")
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// A text as a path segment: every byte is percent-encoded, except for unreserved ones.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string can be written");
        }
    }
    encoded
}

/// The headers of a response, with names in lower case.
fn headers(response: &ureq::http::Response<ureq::Body>) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Reads a response to its end and checks it. Returns the raw body, too.
#[track_caller]
fn read(method: &str, path: &str, response: &mut ureq::http::Response<ureq::Body>) -> (Vec<u8>, Response) {
    let headers = headers(response);
    let head = Head { method, path, status: response.status().as_u16(), headers: &headers };
    let mut body = Vec::new();
    let mut reader = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).reader();
    let cut_off = reader.read_to_end(&mut body).is_err();
    if let Err(complaint) = api::check(&Exchange { head, body: &body, is_whole: !cut_off }) {
        panic!("{AGAINST}: {complaint}");
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let response = Response {
        status: head.status,
        content_type: head.header("content-type").unwrap_or_default().to_owned(),
        json: serde_json::from_str(&text).unwrap_or_default(),
        text,
        cut_off,
        headers,
    };
    (body, response)
}

#[track_caller]
fn received(
    method: &str,
    path: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Response {
    match response {
        Ok(mut response) => read(method, path, &mut response).1,
        // The host has ended, or has cut the connection.
        Err(error) => Response {
            status: 0,
            content_type: String::new(),
            json: Value::Null,
            text: error.to_string(),
            cut_off: true,
            headers: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("a-b._~9"), "a-b._~9");
        assert_eq!(encoded("a/b c%ä?"), "a%2Fb%20c%25%C3%A4%3F");
    }
}
