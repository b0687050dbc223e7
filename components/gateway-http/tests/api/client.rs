//! Requests, and the responses to them.

use exesdb_gateway_http::HttpGateway;
use exesdb_sdk::logging;
use exesdb_sdk::steps::double::{Conditions, Received, exchange};
use exesdb_sdk::steps::{self, Caller, Header, RequestBody};
use serde_json::Value;

use crate::store::TestStore;

/// A response as it was written.
#[derive(Clone, Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// All bytes of the body, whether written at once or in pieces.
    pub(crate) body: Vec<u8>,
    /// Whether the body was completed rather than aborted.
    pub(crate) is_whole: bool,
    /// Whether the body came with the head.
    pub(crate) is_sent_at_once: bool,
    /// The number of steps.
    pub(crate) steps: usize,
}

impl TestResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("responses are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The values of lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The problem's type without its prefix.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], u64::from(self.status));
        let uri = problem["type"].as_str().expect("a problem has a type");
        uri.strip_prefix("urn:exesdb:problem:").expect("our types have one prefix").to_owned()
    }
}

impl From<Received> for TestResponse {
    fn from(received: Received) -> Self {
        let header = |Header { name, value }| (name, String::from_utf8(value).expect("our headers are text"));
        assert!(received.trailers.is_empty(), "our responses have no trailers");
        Self {
            status: received.head.status,
            headers: received.head.headers.into_iter().map(header).collect(),
            body: received.body,
            is_whole: received.is_whole,
            is_sent_at_once: received.writes == 0,
            steps: received.steps,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    request: steps::Request,
    pub(crate) conditions: Conditions,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let request = steps::Request {
            id: "request-7".to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            headers: Vec::new(),
            body: RequestBody::Whole(Vec::new()),
            store: "main".to_owned(),
            mount: "http".to_owned(),
            caller: Caller { identity: None, scopes: Vec::new() },
            traceparent: None,
            fields: Vec::new(),
        };
        Self { request, conditions: Conditions::default() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// An append to a stream.
    pub(crate) fn append(stream: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", &format!("/v1/stores/main/streams/{stream}/events")).body(body)
    }

    /// A read as an event stream.
    pub(crate) fn follow(target: &str) -> Self {
        Self::get(target).header("accept", "text/event-stream")
    }

    /// The request's id, from which the ids of its events follow.
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.request.id = id.to_owned();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        if name == "content-type" {
            self.request.headers.retain(|header| header.name != name);
        }
        self.request.headers.push(Header { name: name.to_owned(), value: value.into() });
        self
    }

    /// A body, which is JSON unless a header says otherwise.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = RequestBody::Whole(body.into());
        if self.request.headers.iter().any(|header| header.name == "content-type") {
            return self;
        }
        self.header("content-type", "application/json")
    }

    /// The client leaves after this many writes of a streamed response.
    pub(crate) fn leaving_after(mut self, writes: usize) -> Self {
        self.conditions.writes = writes;
        self
    }

    /// The conditions under which the request is made.
    pub(crate) fn under(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    pub(crate) fn send(&self, store: &mut TestStore) -> TestResponse {
        let _ = logging::take_records();
        let received = exchange::<HttpGateway>(store, self.conditions, self.request.clone());
        // The double makes every step twice, and concludes once.
        let mut logged: Vec<String> =
            logging::take_records().into_iter().map(|(_, message)| message).collect();
        logged.dedup();
        store.failures_logged.extend(logged);
        received.into()
    }
}
