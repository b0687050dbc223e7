//! From a request to its answer.

use std::borrow::Cow;

use exesdb_sdk::gateway::{BodyError, RespondError};

use crate::body::{decode_append, decode_snapshot};
use crate::encode;
use crate::exchange::{Exchange, Response};
use crate::follow::Follower;
use crate::limits::REQUEST_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::route::{Call, Head, Range, Start, route};
use crate::store::{AppendRequest, EventData, Store, Subject, problem};

/// The OpenAPI document, as it is served.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Bytes of a UUID.
const UUID_BYTES: usize = 16;

/// Answers one request. Returns when the answer is written or the client is gone.
pub fn serve<S: Store, E: Exchange>(store: &mut S, head: &Head<'_>, mut exchange: E) {
    let answered = match route(head) {
        Err(problem) => respond(store, Err(problem), head.method == "HEAD", exchange),
        Ok(route) => match route.call {
            Call::Follow { stream, start } => {
                follow(store, stream.as_deref(), start, route.head_only, exchange)
            }
            call => {
                let answer = answer(store, call, &mut exchange);
                respond(store, answer, route.head_only, exchange)
            }
        },
    };
    // A client that is gone is no failure, and there is nobody left to tell.
    if let Err(RespondError::InvalidHead(text)) = answered {
        store.log_failure(&format!("an answer could not be sent: {text}"));
    }
}

fn respond<S: Store, E: Exchange>(
    store: &mut S,
    answer: Result<Response, Problem>,
    head_only: bool,
    exchange: E,
) -> Result<(), RespondError> {
    let mut response = answer.unwrap_or_else(|problem| {
        if problem.kind == Kind::Internal {
            store.log_failure(&format!("a request was answered with a failure: {}", problem.detail));
        }
        problem_response(&problem)
    });
    if head_only {
        response.body = None;
    }
    exchange.respond(&response)
}

fn follow<S: Store, E: Exchange>(
    store: &mut S,
    stream: Option<&str>,
    start: Start,
    head_only: bool,
    exchange: E,
) -> Result<(), RespondError> {
    let follower = match Follower::start(store, stream, start) {
        Ok(follower) => follower,
        Err(problem) => return respond(store, Err(problem), head_only, exchange),
    };
    let response = Response {
        status: 200,
        headers: vec![("content-type", "text/event-stream".into()), ("cache-control", "no-cache".into())],
        body: None,
    };
    if head_only {
        return exchange.respond(&response);
    }
    let mut sink = exchange.open(&response)?;
    follower.run(store, &mut sink)
}

/// Answers every call but a follow.
fn answer<S: Store, E: Exchange>(store: &mut S, call: Call, exchange: &mut E) -> Result<Response, Problem> {
    match call {
        Call::OpenApi => Ok(json_response(Cow::Borrowed(OPENAPI.as_bytes()))),
        Call::Append { stream } => append(store, stream, exchange),
        Call::Read { stream, range } => read(store, stream.as_deref(), range),
        // Routed to `follow` before; an answer all the same, so that no request can end the instance.
        Call::Follow { .. } => Err(Problem::new(Kind::Internal, "an event stream is not a page")),
        Call::ListStreams { prefix, after, count } => store
            .list_streams(&prefix, after.as_deref(), count)
            .map(|page| json_response(encode::stream_page(&page)))
            .map_err(|error| problem(error, Subject::Store)),
        Call::StreamInfo { stream } => store
            .stream_info(&stream)
            .map(|info| json_response(encode::stream_info(&info)))
            .map_err(|error| problem(error, Subject::Stream(&stream))),
        Call::RecordSnapshot { stream, version } => {
            let snapshot = decode_snapshot(&body(exchange)?)?;
            store
                .record_snapshot(&stream, version, &snapshot)
                .map(|()| no_content())
                .map_err(|error| problem(error, Subject::Snapshot(&stream, Some(version))))
        }
        Call::ReadSnapshot { stream, version } => store
            .read_snapshot(&stream, version)
            .map(|snapshot| json_response(encode::snapshot(&snapshot)))
            .map_err(|error| problem(error, Subject::Snapshot(&stream, version))),
        Call::ListSnapshots { stream, before, count } => store
            .list_snapshots(&stream, before, count)
            .map(|page| json_response(encode::snapshot_page(&page)))
            .map_err(|error| problem(error, Subject::Snapshot(&stream, None))),
        Call::DeleteSnapshot { stream, version } => store
            .delete_snapshot(&stream, version)
            .map(|()| no_content())
            .map_err(|error| problem(error, Subject::Snapshot(&stream, Some(version)))),
    }
}

fn append<S: Store, E: Exchange>(
    store: &mut S,
    stream: String,
    exchange: &mut E,
) -> Result<Response, Problem> {
    let mut append = decode_append(&body(exchange)?)?;
    give_ids(store, &mut append.events)?;
    let request =
        AppendRequest { stream_id: stream.clone(), expected: append.expected, events: append.events };
    match store.append(request) {
        Ok(result) => Ok(json_response(encode::append_result(&result))),
        Err(error) => Err(problem(error, Subject::Stream(&stream))),
    }
}

fn read<S: Store>(store: &mut S, stream: Option<&str>, range: Range) -> Result<Response, Problem> {
    let page = store
        .read(stream, range.from, range.count, range.direction)
        .map_err(|error| problem(error, stream.map_or(Subject::Store, Subject::Stream)))?;
    let mut response = json_response(encode::event_page(&page));
    response.headers.push(("exesdb-durable-position", page.durable_position.to_string().into()));
    Ok(response)
}

fn body<E: Exchange>(exchange: &mut E) -> Result<Vec<u8>, Problem> {
    exchange.body(REQUEST_BYTES_MAX).map_err(|error| match error {
        BodyError::TooLarge { limit } => Problem::too_large("body", limit, "bytes per request"),
        BodyError::Failed(text) => {
            Problem::of_field(Kind::MalformedBody, "body", format!("could not be read to its end: {text}"))
        }
    })
}

/// Gives an id of its own to each event that came without one.
fn give_ids<S: Store>(store: &mut S, events: &mut [EventData]) -> Result<(), Problem> {
    let missing = events.iter().filter(|event| event.id.is_empty()).count();
    if missing == 0 {
        return Ok(());
    }
    let random = store.random(missing.saturating_mul(UUID_BYTES));
    let (ids, _) = random.as_chunks::<UUID_BYTES>();
    let mut ids = ids.iter();
    for event in events.iter_mut().filter(|event| event.id.is_empty()) {
        let Some(bytes) = ids.next() else {
            return Err(Problem::new(
                Kind::Internal,
                "the host gave fewer random bytes than it was asked for",
            ));
        };
        event.id = uuid_v4(*bytes);
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4) of random bytes, of which it replaces six bits.
fn uuid_v4(mut bytes: [u8; UUID_BYTES]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

fn json_response(body: impl Into<Cow<'static, [u8]>>) -> Response {
    Response {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: Some(body.into()),
    }
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

#[cfg(test)]
mod tests {
    use super::uuid_v4;

    #[test]
    fn random_uuids_have_their_version_and_variant() {
        assert_eq!(uuid_v4([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counting = std::array::from_fn(|index| index as u8);
        assert_eq!(uuid_v4(counting), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    }
}
