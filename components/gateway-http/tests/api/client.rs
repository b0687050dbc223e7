//! Requests, and exchanges that keep what was written.

use std::cell::RefCell;
use std::rc::Rc;

use exesdb_gateway_http::exchange::{Exchange, Response, Sink};
use exesdb_gateway_http::route::Head;
use exesdb_gateway_http::serve::serve;
use exesdb_sdk::gateway::{BodyError, RespondError};
use serde_json::Value;

use crate::memory::Memory;

/// An answer as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What was written, whether at once or bit by bit.
    pub(crate) body: Vec<u8>,
    /// Whether there was a body at all.
    pub(crate) has_body: bool,
    /// In how many pieces the body was written; none if it came with the head.
    pub(crate) pieces: usize,
    /// Whether the body was ended and not broken off.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
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

type Shared = Rc<RefCell<Option<Answer>>>;

struct TestExchange<'a> {
    body: &'a [u8],
    answer: Shared,
    writes_left: usize,
}

pub(crate) struct TestSink {
    answer: Shared,
    writes_left: usize,
}

impl TestExchange<'_> {
    fn send(&self, response: &Response, streamed: bool) {
        let headers = response
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
            .collect();
        let before = self.answer.borrow_mut().replace(Answer {
            status: response.status,
            headers,
            body: response.body.as_deref().unwrap_or_default().to_vec(),
            has_body: response.body.is_some(),
            pieces: 0,
            is_whole: !streamed,
        });
        assert!(before.is_none(), "a request has one answer");
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
        Ok(TestSink { answer: self.answer, writes_left: self.writes_left })
    }
}

impl Sink for TestSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError> {
        let Some(left) = self.writes_left.checked_sub(1) else { return Err(RespondError::Gone) };
        self.writes_left = left;
        let mut answer = self.answer.borrow_mut();
        let answer = answer.as_mut().expect("the head comes first");
        answer.has_body = true;
        answer.body.extend_from_slice(bytes);
        answer.pieces += 1;
        Ok(())
    }

    fn finish(self) -> Result<(), RespondError> {
        self.answer.borrow_mut().as_mut().expect("the head comes first").is_whole = true;
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

    /// The client leaves after so many writes of an event stream.
    pub(crate) fn leaving_after(mut self, writes: usize) -> Self {
        self.writes = writes;
        self
    }

    pub(crate) fn send(&self, store: &mut Memory) -> Answer {
        let head = Head { method: &self.method, target: &self.target, headers: &self.headers };
        let answer = Shared::default();
        let exchange =
            TestExchange { body: &self.body, answer: Rc::clone(&answer), writes_left: self.writes };
        serve(store, &head, exchange);
        let answer = answer.borrow_mut().take();
        answer.expect("every request has an answer")
    }
}
