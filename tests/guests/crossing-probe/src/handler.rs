//! A gateway's handler of appends, as states, and as a function that runs from its beginning with the outcomes so far.

use std::borrow::Cow;
use std::hint::black_box;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::CrossingProbe;
use crate::bindings::exports::tests::crossing::handler::{
    Append, Form, Guest, Header, Outcome, Pending, Request, Response, Step,
};
use crate::frame;

/// The token of a handler of states: where it goes on, and what it needs there.
const APPENDING: u8 = 1;

impl Guest for CrossingProbe {
    fn begin(form: Form, request: Request) -> Step {
        let token = match form {
            Form::States => vec![APPENDING],
            Form::RerunOfToken => encode(&request),
            Form::RerunOfRequest | Form::RerunWithoutArguments => Vec::new(),
        };
        Step::Pending(Pending { token, write: write_of(&request) })
    }

    fn resume(form: Form, token: Vec<u8>, outcome: Outcome) -> Step {
        match (form, &token[..]) {
            (Form::States, [APPENDING]) => Step::Respond(respond(&outcome)),
            _ => Self::run_again(form, decode(&token), vec![outcome]),
        }
    }

    fn run_again(form: Form, request: Request, outcomes: Vec<Outcome>) -> Step {
        if form != Form::RerunWithoutArguments {
            black_box(write_of(&request));
        }
        Step::Respond(respond(outcomes.first().expect("the outcome of the only call")))
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: Vec<NewEvent<'a>>,
}

#[derive(Deserialize)]
struct NewEvent<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    tags: Vec<String>,
}

fn write_of(request: &Request) -> Append {
    assert_eq!(request.method, "POST");
    let json = request
        .headers
        .iter()
        .any(|header| header.name == "content-type" && header.value == b"application/json");
    assert!(json, "the benchmark sends JSON");
    let path = request.path.strip_prefix("/streams/").and_then(|rest| rest.strip_suffix("/append"));
    let stream_id = path.expect("the benchmark appends").to_owned();
    let body: Body<'_> = serde_json::from_slice(&request.body).expect("the benchmark sends events");
    let mut events = Vec::with_capacity(request.body.len() + 64 * body.events.len());
    for event in &body.events {
        frame::push(&mut events, &stream_id, &event.id, &event.event_type, &event.tags, event.data.get());
    }
    Append { stream_id, next_version: 42, events }
}

#[derive(Serialize)]
struct Appended<'a> {
    stream_id: &'a str,
    first_version: u64,
    last_version: u64,
    position: u64,
}

fn respond(outcome: &Outcome) -> Response {
    let placed = outcome.as_ref().expect("the benchmark's appends succeed");
    let body = serde_json::to_vec(&Appended {
        stream_id: &placed.stream_id,
        first_version: placed.first_version,
        last_version: placed.last_version,
        position: placed.position,
    });
    let header = |name: &str, value: &[u8]| Header { name: name.to_owned(), value: value.to_vec() };
    let headers = vec![header("content-type", b"application/json"), header("cache-control", b"no-store")];
    Response { status: 200, headers, body: body.expect("numbers and texts are JSON") }
}

/// The request as a token: each part behind its length.
fn encode(request: &Request) -> Vec<u8> {
    let Request { id, method, path, headers, body } = request;
    let mut token = Vec::with_capacity(body.len() + 512);
    for part in [id.as_bytes(), method.as_bytes(), path.as_bytes(), body] {
        push_part(&mut token, part);
    }
    for header in headers {
        push_part(&mut token, header.name.as_bytes());
        push_part(&mut token, &header.value);
    }
    token
}

fn push_part(token: &mut Vec<u8>, part: &[u8]) {
    token.extend_from_slice(&(part.len() as u32).to_le_bytes());
    token.extend_from_slice(part);
}

fn decode(mut token: &[u8]) -> Request {
    let [id, method, path] = std::array::from_fn(|_| take_text(&mut token));
    let body = take_part(&mut token);
    let mut headers = Vec::new();
    while !token.is_empty() {
        headers.push(Header { name: take_text(&mut token), value: take_part(&mut token) });
    }
    Request { id, method, path, headers, body }
}

fn take_part(token: &mut &[u8]) -> Vec<u8> {
    let (length, rest) = token.split_first_chunk().expect("a length");
    let (part, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
    *token = rest;
    part.to_vec()
}

fn take_text(token: &mut &[u8]) -> String {
    String::from_utf8(take_part(token)).expect("a text of this guest")
}
