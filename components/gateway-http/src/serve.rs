//! Serves a request: routes it, calls the store, and responds.

use std::borrow::Cow;

use exesdb_sdk::gateway::{BodyError, RespondError};

use crate::accept::Representation;
use crate::body::{
    Append, Import, ImportStatesRequest, decode_append, decode_append_frames, decode_import,
    decode_import_states_request, decode_retention, decode_snapshot, decode_transaction,
};
use crate::bulk::BulkRead;
use crate::encode;
use crate::event_id::assign_missing_ids;
use crate::exchange::{Exchange, Response, Sink};
use crate::follow::Follower;
use crate::history::{HISTORY_HEADER, HistoryId};
use crate::limits::{REQUEST_BYTES_MAX, REQUEST_TAGS_BYTES_MAX};
use crate::position_check::{check_conditions, check_range};
use crate::problem::{Kind, Problem};
use crate::request::RequestHead;
use crate::route::{AppendEncoding, BulkRange, Call, Range, Start, route};
use crate::store::{AppendRequest, EventData, EventScope, StoreApi};
use crate::store_error::{Subject, problem};

/// The OpenAPI document that the gateway serves.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Serves one request. Returns when the response is written or the client is gone.
pub fn serve<S: StoreApi, E: Exchange>(store: &mut S, head: &RequestHead<'_>, mut exchange: E) {
    let sent = match route(head) {
        Err(problem) => respond(store, Err(problem), head.method == "HEAD", exchange),
        Ok(route) => match route.call {
            Call::Follow { scope, start, history } => {
                follow(store, &scope, (start, history), route.head_only, exchange)
            }
            Call::ReadBulk { scope, range, representation } => {
                read_bulk(store, &scope, range, representation, route.head_only, exchange)
            }
            call => {
                let response = single_response(store, call, &mut exchange);
                respond(store, response, route.head_only, exchange)
            }
        },
    };
    // A client that is gone is not a failure.
    if let Err(RespondError::InvalidHead(text)) = sent {
        store.log_failure(&format!("a response could not be sent: {text}"));
    }
}

fn respond<S: StoreApi, E: Exchange>(
    store: &mut S,
    response: Result<Response, Problem>,
    head_only: bool,
    exchange: E,
) -> Result<(), RespondError> {
    let mut response = response.unwrap_or_else(|problem| {
        if problem.kind == Kind::Internal {
            store.log_failure(&format!("a request failed: {}", problem.detail));
        }
        problem_response(&problem)
    });
    if head_only {
        remove_body(&mut response);
    }
    exchange.respond(&response)
}

/// Turns a response to `GET` into one to `HEAD`: removes the body and states its length.
fn remove_body(response: &mut Response) {
    if let Some(body) = response.body.take() {
        response.headers.push(("content-length", body.len().to_string().into()));
    }
}

fn follow<S: StoreApi, E: Exchange>(
    store: &mut S,
    scope: &EventScope,
    start: (Start, Option<HistoryId>),
    head_only: bool,
    exchange: E,
) -> Result<(), RespondError> {
    let follower = match Follower::start(store, scope, start) {
        Ok(follower) => follower,
        Err(problem) => return respond(store, Err(problem), head_only, exchange),
    };
    let response = Response {
        status: 200,
        headers: vec![
            ("content-type", "text/event-stream".into()),
            ("cache-control", "no-cache".into()),
            (HISTORY_HEADER, follower.history().to_string().into()),
        ],
        body: None,
    };
    if head_only {
        return exchange.respond(&response);
    }
    let mut sink = exchange.open(&response)?;
    follower.run(store, &mut sink)?;
    // Without this the response would be aborted, and its last message, which holds the reason, might not arrive.
    sink.finish()
}

fn read_bulk<S: StoreApi, E: Exchange>(
    store: &mut S,
    scope: &EventScope,
    range: BulkRange,
    representation: Representation,
    head_only: bool,
    exchange: E,
) -> Result<(), RespondError> {
    let started = current_history(store).and_then(|history| {
        let read = BulkRead::start(store, scope, range, representation)?;
        read.first().map(|first| (history, read, first))
    });
    let (history, read, first) = match started {
        Ok(started) => started,
        Err(problem) => return respond(store, Err(problem), head_only, exchange),
    };
    let headers = vec![
        ("content-type", representation.media_type().into()),
        (HISTORY_HEADER, history.to_string().into()),
    ];
    let mut response = Response { status: 200, headers, body: None };
    if read.is_whole() {
        response.body = Some(first.into());
        if head_only {
            remove_body(&mut response);
        }
        return exchange.respond(&response);
    }
    if head_only {
        return exchange.respond(&response);
    }
    let sink = exchange.open(&response)?;
    read.run(store, sink, first)
}

/// Handles every call whose response is not streamed.
fn single_response<S: StoreApi, E: Exchange>(
    store: &mut S,
    call: Call,
    exchange: &mut E,
) -> Result<Response, Problem> {
    match call {
        Call::OpenApi => Ok(json_response(Cow::Borrowed(OPENAPI.as_bytes()))),
        Call::Append { stream, encoding } => append(store, stream, encoding, exchange),
        Call::Transact => transact(store, exchange),
        Call::Import => {
            let Import { events, marks } = decode_import(&body(exchange)?)?;
            check_total_tag_bytes(events.iter().map(|event| &event.event))?;
            let history = current_history(store)?;
            let result = store.import(&events, &marks).map_err(|error| problem(error, Subject::Store))?;
            Ok(json_response_of(history, encode::import_result(&result, history)))
        }
        Call::ImportStates => {
            let ImportStatesRequest { source, streams } = decode_import_states_request(&body(exchange)?)?;
            let states = store.import_states(&source, &streams);
            let states = states.map_err(|error| problem(error, Subject::Store))?;
            Ok(json_response(encode::import_states(&streams, &states)))
        }
        Call::Read { scope, range } => read(store, &scope, range),
        // Handled by `serve`. An error rather than a panic, so that no request can crash the instance.
        Call::Follow { .. } | Call::ReadBulk { .. } => {
            Err(Problem::new(Kind::Internal, "this call has a streamed response"))
        }
        Call::ListStreams { prefix, after, count, deleted } => {
            let page = store.list_streams(&prefix, after.as_deref(), count, deleted);
            let page = page.map_err(|error| problem(error, Subject::Store))?;
            Ok(json_response(encode::stream_page(&page)))
        }
        Call::StreamInfo { stream } => {
            let info = store.stream_info(&stream);
            let info = info.map_err(|error| problem(error, Subject::Stream(&stream)))?;
            Ok(json_response(encode::stream_info(&info)))
        }
        Call::DeleteStream { stream, expected, deletion } => {
            let deleted = store.delete_stream(&stream, expected, deletion);
            deleted.map_err(|error| problem(error, Subject::Stream(&stream)))?;
            Ok(no_content())
        }
        Call::SetRetention { stream } => {
            let retention = decode_retention(&body(exchange)?)?;
            let set = store.set_retention(&stream, retention);
            set.map_err(|error| problem(error, Subject::Stream(&stream)))?;
            Ok(no_content())
        }
        call => snapshot_response(store, call, exchange),
    }
}

/// Handles the calls about snapshots.
fn snapshot_response<S: StoreApi, E: Exchange>(
    store: &mut S,
    call: Call,
    exchange: &mut E,
) -> Result<Response, Problem> {
    match call {
        Call::RecordSnapshot { id, created } => {
            let snapshot = decode_snapshot(&body(exchange)?)?;
            let recorded = store.record_snapshot(&id, &snapshot, created);
            recorded.map_err(|error| problem(error, Subject::Snapshot(&id)))?;
            Ok(no_content())
        }
        Call::ReadSnapshot { id, representation } => {
            let snapshot = store.read_snapshot(&id);
            let snapshot = snapshot.map_err(|error| problem(error, Subject::Snapshot(&id)))?;
            let body = match representation {
                Representation::Lines => encode::snapshot_line(&snapshot),
                _ => encode::snapshot(&snapshot),
            };
            Ok(Response {
                status: 200,
                headers: vec![("content-type", representation.media_type().into())],
                body: Some(body.into()),
            })
        }
        Call::LatestSnapshot { stream, source, at_most } => {
            let snapshot = store.read_latest(&stream, &source, at_most);
            let subject = Subject::LatestSnapshot(&stream, &source);
            let snapshot = snapshot.map_err(|error| problem(error, subject))?;
            Ok(json_response(encode::snapshot(&snapshot)))
        }
        Call::ListSnapshots { scope, after, count } => {
            let page = store.list_snapshots(&scope, after.as_ref(), count);
            let page = page.map_err(|error| problem(error, Subject::Store))?;
            Ok(json_response(encode::snapshot_page(&page)))
        }
        Call::DeleteSnapshot { id } => {
            let deleted = store.delete_snapshot(&id);
            deleted.map_err(|error| problem(error, Subject::Snapshot(&id)))?;
            Ok(no_content())
        }
        Call::PruneSnapshots { stream, source, keep } => {
            let deleted = store.keep_newest(&stream, &source, keep);
            let subject = Subject::LatestSnapshot(&stream, &source);
            let deleted = deleted.map_err(|error| problem(error, subject))?;
            Ok(json_response(encode::deleted(deleted)))
        }
        _ => Err(Problem::new(Kind::Internal, "this call is not about snapshots")),
    }
}

fn append<S: StoreApi, E: Exchange>(
    store: &mut S,
    stream: String,
    encoding: AppendEncoding,
    exchange: &mut E,
) -> Result<Response, Problem> {
    let body = body(exchange)?;
    let Append { expected, mut events } = match encoding {
        AppendEncoding::Json => decode_append(&body)?,
        AppendEncoding::Frames(expected) => Append { expected, events: decode_append_frames(&body)? },
    };
    drop(body);
    check_total_tag_bytes(&events)?;
    assign_missing_ids(store, events.iter_mut())?;
    let history = current_history(store)?;
    match store.append(AppendRequest { stream_id: stream.clone(), expected, events }) {
        Ok(result) => Ok(json_response_of(history, encode::append_result(&result, history))),
        Err(error) => Err(problem(error, Subject::Stream(&stream))),
    }
}

fn transact<S: StoreApi, E: Exchange>(store: &mut S, exchange: &mut E) -> Result<Response, Problem> {
    let (mut transaction, histories) = decode_transaction(&body(exchange)?)?;
    check_total_tag_bytes(transaction.appends.iter().flat_map(|append| &append.events))?;
    let history = current_history(store)?;
    check_conditions(store, &transaction, &histories)?;
    assign_missing_ids(store, transaction.appends.iter_mut().flat_map(|append| append.events.iter_mut()))?;
    let streams: Vec<String> = transaction.appends.iter().map(|append| append.stream_id.clone()).collect();
    let results = store.transact(transaction).map_err(|error| problem(error, Subject::Store))?;
    Ok(json_response_of(history, encode::transaction_results(&streams, &results, history)))
}

/// Checks that the store can index the tags of all events of a request in one batch.
fn check_total_tag_bytes<'a>(events: impl IntoIterator<Item = &'a EventData>) -> Result<(), Problem> {
    let bytes: usize = events.into_iter().flat_map(|event| &event.tags).map(String::len).sum();
    if bytes > REQUEST_TAGS_BYTES_MAX {
        return Err(Problem::too_large("events", REQUEST_TAGS_BYTES_MAX, "bytes of tags per request"));
    }
    Ok(())
}

fn read<S: StoreApi>(store: &mut S, scope: &EventScope, range: Range) -> Result<Response, Problem> {
    let history = current_history(store)?;
    let page = check_range(store, scope, range.from, range.direction, range.history)
        .and_then(|()| store.read(scope, range.from, range.count, range.direction))
        .map_err(|error| problem(error, Subject::from(scope)))?;
    let mut response = json_response_of(history, encode::event_page(&page, history));
    response.headers.push(("exesdb-durable-position", page.durable_position.to_string().into()));
    Ok(response)
}

fn body<E: Exchange>(exchange: &mut E) -> Result<Vec<u8>, Problem> {
    exchange.body(REQUEST_BYTES_MAX).map_err(|error| match error {
        BodyError::TooLarge { limit } => Problem::too_large("body", limit, "bytes per request"),
        BodyError::TooSlow => {
            let detail = "took longer than the host waits for one, and nothing was done; send it again";
            Problem::of_field(Kind::MalformedBody, "body", detail)
        }
        BodyError::Incomplete | BodyError::Taken => {
            let detail = "broke off before its end, and nothing was done; send it again";
            Problem::of_field(Kind::MalformedBody, "body", detail)
        }
    })
}

fn json_response(body: impl Into<Cow<'static, [u8]>>) -> Response {
    Response {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: Some(body.into()),
    }
}

/// A JSON response whose positions belong to `history`.
fn json_response_of(history: HistoryId, body: Vec<u8>) -> Response {
    let mut response = json_response(body);
    response.headers.push((HISTORY_HEADER, history.to_string().into()));
    response
}

/// The history of the positions that the following calls read or assign. It must be read before them: if the store is
/// restored in between, the client later presents those positions with the old history, and they are refused.
fn current_history<S: StoreApi>(store: &mut S) -> Result<HistoryId, Problem> {
    let history = store.history().map_err(|error| problem(error, Subject::Store))?;
    Ok(HistoryId(history.id))
}

fn no_content() -> Response {
    Response { status: 204, headers: Vec::new(), body: None }
}

fn problem_response(problem: &Problem) -> Response {
    let mut headers = vec![("content-type", Cow::Borrowed("application/problem+json"))];
    if let Some(allow) = problem.allow {
        headers.push(("allow", Cow::Borrowed(allow)));
    }
    if let Some(seconds) = problem.retry_after() {
        headers.push(("retry-after", seconds.to_string().into()));
    }
    Response { status: problem.kind.status(), headers, body: Some(problem.encode().into()) }
}
