//! Appends or imports one after the other on one connection, each answered when it is durable, many at the same time.
//!
//! The body is lines of JSON or packed appends. Each answer is a line: the result, or the problem for which the store refused
//! it. Answers are in the order of the body. What cannot be read ends the response: its problem is the last line, and nothing
//! after it is read.

use exesdb_sdk::logging;
use exesdb_sdk::steps::{Action, Call, Called, Event, Intake, NumberedCall, Pending, Piece, ResponseHead};
use exesdb_sdk::types;
use serde::{Deserialize, Serialize};

use super::append::{self, pack, write};
use super::{Step, Waiting, import, unexpected};
use crate::accept::{Representation, require_lines};
use crate::argument::media_type;
use crate::body::{PACKED_MEDIA_TYPE, Taken, check_packed, decode_stream_append, take_packed_append};
use crate::event_id::EventIds;
use crate::form::closing;
use crate::limits::{PIPELINE_PIECE_BYTES, PIPELINE_STEP_APPENDS, REQUEST_BYTES_MAX};
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, append_problem, problem};

/// What a pipeline consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Items {
    /// Appends, each a JSON object on its line.
    Appends,
    /// Appends of packed events, each with its length and its expected version.
    PackedAppends,
    /// Imports, each a JSON object on its line.
    Imports,
}

/// Reads the head of a pipeline of appends.
pub(crate) fn parse(head: &Head<'_>) -> Result<Route, Problem> {
    Query::parse(head.query, &[])?;
    let lines = Representation::Lines.media_type();
    let shown = format!("`{lines}` or `{PACKED_MEDIA_TYPE}`");
    let items = match media_type(head, &[lines, PACKED_MEDIA_TYPE], &shown)? {
        PACKED_MEDIA_TYPE => Items::PackedAppends,
        _ => Items::Appends,
    };
    require_lines(head)?;
    Ok(Route::Pipeline(items))
}

/// What comes and is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    items: Items,
    ids: EventIds,
    /// The number of the next call.
    next: u32,
    /// Calls without an outcome.
    open: u32,
    end: End,
}

/// Whether more comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    /// They may.
    NotYet,
    /// The body has ended.
    Complete,
    /// None is read any more. The last line of the response.
    Refused(Vec<u8>),
}

/// The first step. The head is sent at once: a client may wait for it before it sends.
pub(super) fn begin(items: Items, ids: EventIds) -> Step<Waiting> {
    let head = ResponseHead::new(200).header("content-type", Representation::Lines.media_type());
    let pipeline = Pipeline { items, ids, next: 0, open: 0, end: End::NotYet };
    Pending::new(Waiting::Pipeline(pipeline)).action(Action::Start(head)).action(items.receive(0, 1)).into()
}

impl Items {
    /// Asks for more: at least so many bytes, or a line.
    fn receive(self, used: usize, at_least: usize) -> Action {
        let bytes = |bytes: usize| u32::try_from(bytes).expect("a piece and an append are shorter");
        let until = match self {
            Self::Appends | Self::Imports => Some(b'\n'),
            Self::PackedAppends => None,
        };
        let at_most = bytes(at_least.max(PIPELINE_PIECE_BYTES));
        Action::Receive(Intake { used: bytes(used), at_least: bytes(at_least), until, at_most })
    }
}

impl Pipeline {
    pub(super) fn resume(self, event: Event) -> Step<Waiting> {
        match event {
            Event::Body(piece) => self.take(&piece),
            Event::Called(called) => self.answer(called),
            Event::Draining(_) => self.refuse(&closing()).go_on(Vec::new()),
            _ => self
                .refuse(&unexpected("another event than a part of the body and outcomes"))
                .go_on(Vec::new()),
        }
    }

    /// Makes the calls of a piece.
    fn take(mut self, piece: &Piece) -> Step<Waiting> {
        let ends = piece.trailers.is_some();
        let mut rest = piece.bytes.as_slice();
        let mut calls = Vec::new();
        let at_least = loop {
            if calls.len() == PIPELINE_STEP_APPENDS && !(ends && rest.is_empty()) {
                // The host may have more already.
                break 1.min(rest.len());
            }
            match self.next_call(&mut rest, ends) {
                Ok(Next::Call { call, context }) => {
                    calls.push(NumberedCall { context, ..NumberedCall::new(self.next, *call).in_order() });
                    self.next = self.next.wrapping_add(1);
                    self.open += 1;
                }
                Ok(Next::Incomplete(bytes)) => break bytes,
                Ok(Next::End) => {
                    self.end = End::Complete;
                    break 0;
                }
                Err(problem) => {
                    let problem = self.unreadable(problem);
                    self = self.refuse(&problem);
                    break 0;
                }
            }
        };
        let mut actions = Vec::new();
        if !calls.is_empty() {
            actions.push(Action::Call(calls));
        }
        if self.end == End::NotYet {
            actions.push(self.items.receive(piece.bytes.len() - rest.len(), at_least));
        }
        self.go_on(actions)
    }

    /// Takes the next call off the bytes that came; `ends` says that no more come.
    fn next_call(&mut self, rest: &mut &[u8], ends: bool) -> Result<Next, Problem> {
        match self.items {
            Items::Appends => self.next_line(rest, ends, |line, ids| {
                let append = decode_stream_append(line)?;
                let events = pack(&append.stream_id, &append.events, ids)?;
                let append = types::Append { stream_id: append.stream_id, expected: append.expected, events };
                Ok(Next::append(append))
            }),
            Items::Imports => self.next_line(rest, ends, |line, _| {
                Ok(Next::Call { call: Box::new(import::call(line)?), context: Vec::new() })
            }),
            Items::PackedAppends if rest.is_empty() && ends => Ok(Next::End),
            Items::PackedAppends => match take_packed_append(rest)? {
                Taken::Append(expected, events) => {
                    let stream_id = check_packed(events, None)?.to_owned();
                    Ok(Next::append(types::Append { stream_id, expected, events: events.to_vec() }))
                }
                Taken::Incomplete(_) if ends => {
                    let detail = "ends within an append";
                    Err(Problem::of_field(Kind::MalformedBody, "body", detail))
                }
                Taken::Incomplete(bytes) => Ok(Next::Incomplete(bytes)),
            },
        }
    }

    /// Takes the next line that is not blank, and decodes it.
    fn next_line(
        &mut self,
        rest: &mut &[u8],
        ends: bool,
        decode: impl FnOnce(&[u8], &mut EventIds) -> Result<Next, Problem>,
    ) -> Result<Next, Problem> {
        loop {
            let line = match memchr::memchr(b'\n', rest) {
                Some(at) => {
                    let (line, after) = rest.split_at(at);
                    *rest = after.get(1..).unwrap_or_default();
                    line
                }
                None if rest.len() > REQUEST_BYTES_MAX => return Err(too_long()),
                None if !ends => return Ok(Next::Incomplete(REQUEST_BYTES_MAX + 1)),
                None if rest.is_empty() => return Ok(Next::End),
                None => std::mem::take(rest),
            };
            if line.len() > REQUEST_BYTES_MAX {
                return Err(too_long());
            }
            if !line.trim_ascii().is_empty() {
                return decode(line, &mut self.ids);
            }
        }
    }

    /// Writes the answers of calls.
    fn answer(mut self, called: Vec<Called>) -> Step<Waiting> {
        let mut lines = Vec::new();
        for Called { context, outcome, .. } in called {
            self.open = self.open.saturating_sub(1);
            let answer = match (self.items, outcome) {
                (Items::Imports, Ok(answer)) => import::result(answer).map(|(line, _)| line),
                (Items::Imports, Err(error)) => Err(problem(error, Subject::Store)),
                (_, Ok(answer)) => append::result(answer).map(|(line, _)| line),
                (_, Err(error)) => Err(append_problem(error, &String::from_utf8_lossy(&context))),
            };
            lines.extend(answer.unwrap_or_else(|problem| line_of(&problem)));
            lines.push(b'\n');
        }
        self.go_on(vec![Action::Send(lines)])
    }

    /// The problem of an append or import that cannot be read, with which one it is.
    fn unreadable(&self, problem: Problem) -> Problem {
        let name = match self.items {
            Items::Appends | Items::PackedAppends => "append",
            Items::Imports => "import",
        };
        // `next` is the number of those before it.
        let number = u64::from(self.next) + 1;
        let detail = format!("{name} {number} of the request: {}; nothing after it was read", problem.detail);
        Problem { detail, ..problem }
    }

    /// Reads nothing more, and ends with a problem.
    fn refuse(mut self, problem: &Problem) -> Self {
        if self.end == End::NotYet {
            self.end = End::Refused([line_of(problem), b"\n".to_vec()].concat());
        }
        self
    }

    /// Ends the response when all is answered.
    fn go_on(self, mut actions: Vec<Action>) -> Step<Waiting> {
        if self.open == 0 && self.end != End::NotYet {
            if let End::Refused(line) = &self.end {
                actions.push(Action::Send(line.clone()));
            }
            actions.push(Action::Finish(Vec::new()));
        }
        let pending = Pending::new(Waiting::Pipeline(self));
        actions.into_iter().fold(pending, Pending::action).into()
    }
}

/// What is next in the body.
enum Next {
    Call {
        call: Box<Call>,
        /// The name of the stream that an append is for.
        context: Vec<u8>,
    },
    /// It is not all there, and more comes: so many bytes are needed at least.
    Incomplete(usize),
    End,
}

impl Next {
    fn append(append: types::Append) -> Self {
        let context = append.stream_id.clone().into_bytes();
        Self::Call { call: Box::new(write(append)), context }
    }
}

fn too_long() -> Problem {
    Problem::too_large("body", REQUEST_BYTES_MAX, "bytes per line")
}

fn line_of(problem: &Problem) -> Vec<u8> {
    if problem.kind == Kind::Internal {
        logging::error(&format!("a part of a pipeline failed: {}", problem.detail));
    }
    problem.encode()
}
