//! Requests, and exchanges that record the response.

use std::cell::RefCell;
use std::rc::Rc;

use exesdb_gateway_http::exchange::{Exchange, Response, Sink};
use exesdb_gateway_http::request::RequestHead;
use exesdb_gateway_http::serve::serve;
use exesdb_sdk::gateway::{BodyError, RespondError};
use serde_json::Value;

use crate::store::TestStore;

/// A response as it was written.
#[derive(Clone, Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// All bytes of the body, whether written at once or in pieces.
    pub(crate) body: Vec<u8>,
    /// Whether there was a body at all.
    pub(crate) has_body: bool,
    /// The number of pieces in which the body was written; 0 if it was sent with the head.
    pub(crate) pieces: usize,
    /// Whether the body was completed rather than aborted.
    pub(crate) is_whole: bool,
}

impl TestResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("responses are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
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

type Shared = Rc<RefCell<Option<TestResponse>>>;

struct TestExchange<'a> {
    body: &'a [u8],
    response: Shared,
    writes_left: usize,
}

pub(crate) struct TestSink {
    response: Shared,
    writes_left: usize,
}

impl TestExchange<'_> {
    fn send(&self, response: &Response, streamed: bool) {
        let headers = response
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
            .collect();
        let before = self.response.borrow_mut().replace(TestResponse {
            status: response.status,
            headers,
            body: response.body.as_deref().unwrap_or_default().to_vec(),
            has_body: response.body.is_some(),
            pieces: 0,
            is_whole: !streamed,
        });
        assert!(before.is_none(), "a request has one response");
    }
}

impl Exchange for TestExchange<'_> {
    type Sink = TestSink;

    fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.body.len() > limit { Err(BodyError::TooLarge { limit }) } else { Ok(self.body.to_vec()) }
    }

    fn respond(self, response: &Response) -> Result<(), RespondError> {
        self.send(response, false);
        Ok(())
    }

    fn open(self, response: &Response) -> Result<TestSink, RespondError> {
        self.send(response, true);
        Ok(TestSink { response: self.response, writes_left: self.writes_left })
    }
}

impl Sink for TestSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError> {
        let Some(left) = self.writes_left.checked_sub(1) else { return Err(RespondError::Gone) };
        self.writes_left = left;
        let mut response = self.response.borrow_mut();
        let response = response.as_mut().expect("the head comes first");
        response.has_body = true;
        response.body.extend_from_slice(bytes);
        response.pieces += 1;
        Ok(())
    }

    fn finish(self) -> Result<(), RespondError> {
        self.response.borrow_mut().as_mut().expect("the head comes first").is_whole = true;
        Ok(())
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    writes: usize,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            writes: usize::MAX,
        }
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

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        if name == "content-type" {
            self.headers.retain(|(other, _)| other != name);
        }
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A body, which is JSON unless a header says otherwise.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        if !self.headers.iter().any(|(name, _)| name == "content-type") {
            self.headers.push(("content-type".to_owned(), b"application/json".to_vec()));
        }
        self
    }

    /// The client leaves after this many writes of a streamed response.
    pub(crate) fn leaving_after(mut self, writes: usize) -> Self {
        self.writes = writes;
        self
    }

    pub(crate) fn send(&self, store: &mut TestStore) -> TestResponse {
        let head = RequestHead { method: &self.method, target: &self.target, headers: &self.headers };
        let response = Shared::default();
        let exchange =
            TestExchange { body: &self.body, response: Rc::clone(&response), writes_left: self.writes };
        serve(store, &head, exchange);
        let response = response.borrow_mut().take();
        response.expect("every request has an response")
    }
}
