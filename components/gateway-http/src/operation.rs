//! The operations of the API, one file for each: the arguments in the head, the call, and the response.
//!
//! Most make one call, after the body if they have one, and wait with a [`Waiting`]. Those that need the head again after a
//! call, because it does not fit into a token, are handlers that are run again: [`read_bulk`], [`follow`] and
//! [`import_states`].

use exesdb_sdk::steps::handler::{self, Again, Calls};
use exesdb_sdk::steps::{Answer, Call, Event, Outcome, Pending, Piece, Request, RequestBody, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};

use crate::event_id::EventIds;
use crate::form::Form;
use crate::limits::REQUEST_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::request::Head;
use crate::response;
use crate::route::{Route, route};

pub mod append;
pub mod consume;
pub mod delete_snapshot;
pub mod delete_stream;
pub mod follow;
pub mod import;
pub mod import_states;
pub mod latest_snapshot;
pub mod list_snapshots;
pub mod list_streams;
pub mod listen;
mod live;
pub mod pipeline;
pub mod prune_snapshots;
pub mod read_bulk;
pub mod read_page;
pub mod read_snapshot;
pub mod record_snapshot;
pub mod retention;
pub mod stream_info;
pub mod subscription;
pub mod transact;

/// A step of this gateway.
pub(crate) type Step<S = State> = exesdb_sdk::steps::Step<S, Form>;

/// What a request goes on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether only the head of the response is wanted.
    is_head: bool,
    waiting: Waiting,
}

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// The body of an operation.
    Body(Box<Self>, EventIds),
    /// An append is made.
    Append(append::Append),
    /// A transaction is made.
    Transact(transact::Transact),
    /// Events are imported.
    Import(import::Import),
    /// A page of events is read.
    ReadPage(read_page::ReadPage),
    /// The names of streams are listed.
    ListStreams(list_streams::ListStreams),
    /// A stream is described.
    StreamInfo(stream_info::StreamInfo),
    /// A stream is deleted.
    DeleteStream(delete_stream::DeleteStream),
    /// The retention of a stream is set.
    Retention(retention::SetRetention),
    /// A snapshot is recorded.
    RecordSnapshot(record_snapshot::RecordSnapshot),
    /// A snapshot is read.
    ReadSnapshot(read_snapshot::ReadSnapshot),
    /// The latest snapshot is read.
    LatestSnapshot(latest_snapshot::LatestSnapshot),
    /// Snapshots are listed.
    ListSnapshots(list_snapshots::ListSnapshots),
    /// A snapshot is deleted.
    DeleteSnapshot(delete_snapshot::DeleteSnapshot),
    /// Older snapshots are deleted.
    PruneSnapshots(prune_snapshots::PruneSnapshots),
    /// The host sends the pages of a read.
    Pages(read_bulk::Pages),
    /// The version of a stream at which a follower resumes is searched.
    Search(follow::Search),
    /// Appends or imports come and are answered.
    Pipeline(pipeline::Pipeline),
    /// Something about subscriptions is requested.
    Subscription(subscription::OfSubscription),
    /// A subscription delivers events.
    Consume(consume::Consume),
    /// A topic says something.
    Listen(listen::Listen),
}

/// An operation that makes one call.
trait OneCall {
    /// The response.
    fn respond(self, answer: Answer) -> Result<Response, Problem>;

    /// The problem of a call that failed.
    fn refuse(&self, error: Error) -> Problem;
}

/// An operation whose call needs the body.
trait WithBody {
    /// The call.
    fn call(&mut self, body: &[u8], ids: &mut EventIds) -> Result<Call, Problem>;
}

/// The first step of a request.
pub(crate) fn begin(request: Request) -> Step {
    let head = Head::from(&request);
    let is_head = head.is_head();
    let begun = route(&head).and_then(|route| match route {
        Route::Respond(response) => Ok(Step::Respond(finished(response, is_head))),
        Route::Call(waiting, call) => Ok(Pending::new(State { is_head, waiting }).call(call).into()),
        Route::Body(waiting) => {
            let mut ids = EventIds::of(&request);
            match &request.body {
                RequestBody::Whole(body) => waiting.with_body(is_head, body, &mut ids),
                RequestBody::Pieces(Some(length)) if *length > REQUEST_BYTES_MAX as u64 => Err(too_large()),
                RequestBody::Pieces(_) => {
                    let waiting = Waiting::Body(Box::new(waiting), ids);
                    Ok(Pending::new(State { is_head, waiting }).receive_all(REQUEST_BYTES_MAX as u32).into())
                }
            }
        }
        Route::Consume(consume) => Ok(consume.begin().map(State::of)),
        Route::Listen(listen) => Ok(listen.begin().map(State::of)),
        Route::Pipeline(items) => Ok(pipeline::begin(items, EventIds::of(&request)).map(State::of)),
        Route::ReadBulk(_) | Route::Follow(_) | Route::ImportStates => Ok(run_again(&request, Vec::new())),
    });
    begun.unwrap_or_else(|problem| refused(&problem, is_head))
}

/// A step of a handler that is run again.
pub(crate) fn run_again(request: &Request, outcomes: Vec<Outcome>) -> Step {
    let head = Head::from(request);
    let is_head = head.is_head();
    handler::run(request, outcomes, |request, calls| {
        match route(&head).map_err(Stop::from).and_then(|route| run(route, request, calls, is_head)) {
            Ok(step) => Ok(step),
            Err(Stop::Problem(problem)) => Ok(refused(&problem, is_head)),
            Err(Stop::Again(again)) => Err(again),
        }
    })
}

fn run(route: Route, request: &Request, calls: &mut Calls, is_head: bool) -> Result<Step, Stop> {
    let of = |waiting| State { is_head, waiting };
    match route {
        Route::ReadBulk(read) => Ok(read.run(calls)?.map(of)),
        Route::Follow(follow) => Ok(follow.run(calls)?.map(of)),
        Route::ImportStates => Ok(finished(import_states::run(request, calls)?, is_head).into()),
        _ => Err(Problem::new(Kind::Internal, "this operation does not run again").into()),
    }
}

/// Why a handler stops before it has a step.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is run again with another outcome.
    Again(Again),
    /// It has failed.
    Problem(Problem),
}

impl From<Again> for Stop {
    fn from(again: Again) -> Self {
        Self::Again(again)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl State {
    fn of(waiting: Waiting) -> Self {
        Self { is_head: false, waiting }
    }

    /// The next step.
    pub(crate) fn resume(self, event: Event) -> Step {
        let Self { is_head, waiting } = self;
        let step = match waiting {
            Waiting::Body(waiting, mut ids) => {
                whole_body(event).and_then(|body| waiting.with_body(is_head, &body, &mut ids))
            }
            Waiting::Pages(pages) => Err(pages.refuse(event)),
            Waiting::Search(search) => {
                search.resume(event).map(|step| step.map(|waiting| Self { is_head, waiting }))
            }
            Waiting::Pipeline(pipeline) => Ok(pipeline.resume(event).map(Self::of)),
            Waiting::Consume(consume) => consume.resume(event).map(|step| step.map(Self::of)),
            Waiting::Listen(listen) => listen.resume(event).map(|step| step.map(Self::of)),
            waiting => waiting.called(event).map(|response| finished(response, is_head).into()),
        };
        step.unwrap_or_else(|problem| refused(&problem, is_head))
    }
}

impl Waiting {
    /// The step of an operation that has its body.
    fn with_body(mut self, is_head: bool, body: &[u8], ids: &mut EventIds) -> Result<Step, Problem> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(too_large());
        }
        let call = match &mut self {
            Self::Append(append) => append.call(body, ids),
            Self::Transact(transact) => transact.call(body, ids),
            Self::Import(import) => import.call(body, ids),
            Self::Retention(retention) => retention.call(body, ids),
            Self::RecordSnapshot(record) => record.call(body, ids),
            Self::Subscription(of) => of.call(body, ids),
            _ => Err(Problem::new(Kind::Internal, "this operation has no body")),
        }?;
        Ok(Pending::new(State { is_head, waiting: self }).call(call).into())
    }

    /// The response of an operation whose call has an outcome.
    fn called(self, event: Event) -> Result<Response, Problem> {
        let outcome = outcome(event)?;
        match self {
            Self::Append(of) => respond(of, outcome),
            Self::Transact(of) => respond(of, outcome),
            Self::Import(of) => respond(of, outcome),
            Self::ReadPage(of) => respond(of, outcome),
            Self::ListStreams(of) => respond(of, outcome),
            Self::StreamInfo(of) => respond(of, outcome),
            Self::DeleteStream(of) => respond(of, outcome),
            Self::Retention(of) => respond(of, outcome),
            Self::RecordSnapshot(of) => respond(of, outcome),
            Self::ReadSnapshot(of) => respond(of, outcome),
            Self::LatestSnapshot(of) => respond(of, outcome),
            Self::ListSnapshots(of) => respond(of, outcome),
            Self::DeleteSnapshot(of) => respond(of, outcome),
            Self::PruneSnapshots(of) => respond(of, outcome),
            Self::Subscription(of) => respond(of, outcome),
            Self::Body(..)
            | Self::Pages(_)
            | Self::Search(_)
            | Self::Pipeline(_)
            | Self::Consume(_)
            | Self::Listen(_) => Err(unexpected("an outcome")),
        }
    }
}

fn respond(operation: impl OneCall, outcome: Outcome) -> Result<Response, Problem> {
    match outcome {
        Ok(answer) => operation.respond(answer),
        Err(error) => Err(operation.refuse(error)),
    }
}

/// The outcome of the only call.
fn outcome(event: Event) -> Result<Outcome, Problem> {
    match event {
        Event::Called(mut called) if called.len() == 1 => Ok(called.remove(0).outcome),
        _ => Err(unexpected("another event than an outcome")),
    }
}

fn whole_body(event: Event) -> Result<Vec<u8>, Problem> {
    match event {
        Event::Body(Piece { bytes, trailers: Some(_) }) => Ok(bytes),
        Event::Body(_) => Err(too_large()),
        _ => Err(unexpected("another event than the body")),
    }
}

fn unexpected(what: &str) -> Problem {
    Problem::new(Kind::Internal, format!("the host brought {what}, which this request does not wait for"))
}

fn too_large() -> Problem {
    Problem::too_large("body", REQUEST_BYTES_MAX, "bytes per request")
}

fn finished(response: Response, is_head: bool) -> Response {
    if is_head { response::without_body(response) } else { response }
}

fn refused(problem: &Problem, is_head: bool) -> Step {
    finished(response::of_problem(problem), is_head).into()
}
