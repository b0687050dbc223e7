//! A client of the gateway that looks at everything.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError};

use exesdb_api_document::{Document, Exchange};
use serde_json::{Value, json};

use crate::{PATIENCE, root};

/// Bytes of an answer that are read: more than any page has.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Paths that are no part of the API: of the gateway that the tests themselves bring.
const UNDOCUMENTED: &str = "/probe/";

/// A client of one store. Cheap to clone; each thread has its own.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    store: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status code; 0 when there was no answer.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// The body, if it is JSON.
    pub json: Value,
    /// The body as text; without an answer, why there is none.
    pub text: String,
    /// The body ended before its end.
    pub cut_off: bool,
}

impl Answer {
    /// The last part of a problem's type, such as `stream-not-found`; empty for other answers.
    pub fn problem(&self) -> &str {
        self.json["type"].as_str().and_then(|uri| uri.strip_prefix("urn:exesdb:problem:")).unwrap_or_default()
    }

    /// The same answer, which must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The same answer, which must be a problem of this status and kind, with a complete document.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status, self.problem()), (status, kind), "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert!(self.json["title"].is_string() && self.json["detail"].is_string(), "{}", self.text);
        self
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
    pub fn get(&self, path: &str) -> Answer {
        answer("GET", path, self.agent.get(self.at(path)).call())
    }

    /// HEAD.
    pub fn head(&self, path: &str) -> Answer {
        answer("HEAD", path, self.agent.head(self.at(path)).call())
    }

    /// GET with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(self.at(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer("GET", path, request.call())
    }

    /// POST of anything with headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(self.at(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer("POST", path, request.send(body))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        answer("DELETE", path, self.agent.delete(self.at(path)).call())
    }

    /// PUT of a JSON document.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let request = self.agent.put(self.at(path)).header("content-type", "application/json");
        answer("PUT", path, request.send(body.to_string()))
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string().as_bytes())
    }

    /// POST of anything.
    pub fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        answer("POST", path, self.agent.post(self.at(path)).header("content-type", content_type).send(body))
    }

    /// Appends events to a stream.
    pub fn append(&self, stream: &str, expected_version: impl Into<Value>, events: &[Value]) -> Answer {
        let body = json!({ "expected_version": expected_version.into(), "events": events });
        self.post(&format!("{}/events", self.stream(stream)), &body)
    }

    /// Appends one small event to a stream, whatever its version.
    pub fn append_one(&self, stream: &str) -> Answer {
        self.append(stream, "any", &[json!({ "type": "t", "data": 1 })])
    }

    /// Appends that many small events to a stream, at most 1,000, whatever its version.
    pub fn append_many(&self, stream: &str, count: usize) -> Answer {
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

    /// As [`Client::read`], of a stream that may not be readable.
    ///
    /// # Errors
    ///
    /// The first answer that is no page.
    pub fn try_read(&self, stream: &str) -> Result<Vec<Value>, Box<Answer>> {
        self.try_pages(&format!("{}/events", self.stream(stream)))
    }

    /// As [`Client::read_all`], of a store that may not be readable.
    ///
    /// # Errors
    ///
    /// The first answer that is no page.
    pub fn try_read_all(&self) -> Result<Vec<Value>, Box<Answer>> {
        self.try_pages(&format!("{}/events", self.path()))
    }

    #[track_caller]
    fn pages(&self, path: &str) -> Vec<Value> {
        self.try_pages(path).unwrap_or_else(|answer| panic!("{path}: {}: {}", answer.status, answer.text))
    }

    #[track_caller]
    fn try_pages(&self, path: &str) -> Result<Vec<Value>, Box<Answer>> {
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

    /// Follows an SSE route in a thread of its own, after an event that was seen if there is one.
    #[track_caller]
    pub fn follow(&self, path: &str, last_event_id: Option<u64>) -> Follower {
        let mut request = self.agent.get(self.at(path)).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.call().expect("the host answers");
        assert_eq!(response.status(), 200, "{path} can be followed");
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut id, mut is_event) = (0, true);
            let reader = BufReader::new(response.into_body().into_reader());
            for line in reader.lines().map_while(Result::ok) {
                if let Some(value) = line.strip_prefix("id:") {
                    // The history of the position follows it.
                    let position = value.trim().split('@').next().unwrap_or_default();
                    id = position.parse().expect("ids begin with positions");
                } else if line.is_empty() {
                    is_event = true;
                } else if line.starts_with("event:") {
                    // Why the stream ends, which its end says as well.
                    is_event = false;
                } else if let Some(data) = line.strip_prefix("data:").filter(|_| is_event) {
                    let event = serde_json::from_str(data).expect("data is JSON");
                    if sender.send((id, event)).is_err() {
                        return;
                    }
                }
            }
        });
        Follower { messages }
    }

    /// A bare connection.
    pub fn connect(&self) -> TcpStream {
        let address = self.url.strip_prefix("http://").expect("the tests speak plain HTTP");
        let connection = TcpStream::connect(address).expect("the host accepts");
        connection.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        connection
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// The messages of a live response. Ends with it.
#[derive(Debug)]
pub struct Follower {
    messages: mpsc::Receiver<(u64, Value)>,
}

impl Follower {
    /// The next message: its id and its event. None when the response has ended.
    ///
    /// # Panics
    ///
    /// When nothing happens within [`PATIENCE`].
    #[track_caller]
    pub fn next(&self) -> Option<(u64, Value)> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no message within {PATIENCE:?}"),
        }
    }

    /// The next `count` events; each one's id must be its position.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let Some((id, event)) = self.next() else {
                panic!("the response ended after {} of {count} events", events.len());
            };
            assert_eq!(event["position"], id, "a message's id is the event's position");
            events.push(event);
        }
        events
    }

    /// Whether nothing more has come so far.
    pub fn is_silent(&self) -> bool {
        matches!(self.messages.try_recv(), Err(mpsc::TryRecvError::Empty))
    }

    /// All that comes until the response ends.
    pub fn rest(self) -> Vec<(u64, Value)> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A text as a path segment: every byte but the unreserved ones percent-encoded.
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

/// Holds a response against the gateway's description of its API. Every response that a test gets is one of those that the
/// description knows.
fn check(method: &str, path: &str, answer: &Answer) {
    static API: LazyLock<Document> = LazyLock::new(|| {
        let path = root().join("components/gateway-http/openapi.json");
        let text = std::fs::read_to_string(path).expect("the description is there");
        Document::parse(&text).expect("the description is JSON")
    });
    if path.contains(UNDOCUMENTED) {
        return;
    }
    let exchange = Exchange {
        method,
        path,
        status: answer.status,
        content_type: &answer.content_type,
        body: (!answer.cut_off).then_some(answer.text.as_str()),
    };
    if let Err(error) = API.check_exchange(&exchange) {
        panic!("against the description of the API: {error}");
    }
}

fn answer(
    method: &str,
    path: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Answer {
    match response {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let content_type = response.headers().get("content-type");
            let content_type =
                content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let mut bytes = Vec::new();
            let body =
                response.body_mut().with_config().limit(ANSWER_BYTES_MAX).reader().read_to_end(&mut bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let json = serde_json::from_str(&text).unwrap_or_default();
            let answer = Answer { status, content_type, json, text, cut_off: body.is_err() };
            check(method, path, &answer);
            answer
        }
        // A host that is gone, or cut the connection.
        Err(error) => Answer {
            status: 0,
            content_type: String::new(),
            json: Value::Null,
            text: error.to_string(),
            cut_off: true,
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
