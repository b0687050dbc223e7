//! A gateway on steps in Rust. `POST /visits` appends an event with the body as the visitor's name, `GET /visits` counts the
//! events, and `GET /broken` has a bug.
//!
//! It is a handler that is run again from its beginning when a call has an outcome: nothing in it waits.

use exesdb_sdk::events::EventData;
use exesdb_sdk::steps::handler::{self, Again, Calls, run};
use exesdb_sdk::steps::{Answer, Call, Event, Gateway, Outcome, Request, Response, Step};
use exesdb_sdk::types::{Error, ExpectedVersion};
use serde_json::{Value, json};

const BODY_BYTES_MAX: u32 = 64 << 10;

struct Visits;

impl Gateway for Visits {
    /// A handler that is run again has no states.
    type State = ();
    type Representation = ();

    fn begin(request: Request) -> Step<(), ()> {
        run(&request, Vec::new(), handle)
    }

    fn resume((): (), _: Event) -> Step<(), ()> {
        Response::new(500).into()
    }

    fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step<(), ()> {
        run(&request, outcomes, handle)
    }
}

fn handle(request: &Request, calls: &mut Calls) -> Result<Response, Again> {
    let (status, body) = match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/visits") => visit(request, calls)?,
        ("GET", "/visits") => count(calls)?,
        ("GET", "/broken") => panic!("the visits cannot be counted"),
        (_, path) => (404, json!({ "error": format!("there is nothing at {path}") })),
    };
    Ok(Response::new(status).header("content-type", "application/json").body(body.to_string()))
}

fn visit(request: &Request, calls: &mut Calls) -> Result<(u16, Value), Again> {
    let name = String::from_utf8_lossy(handler::body(request, BODY_BYTES_MAX)?);
    let event = EventData {
        // Not from chance: the handler is run again, and the step may be made again.
        id: request.id.clone(),
        event_type: "visited".to_owned(),
        content_type: "application/json".to_owned(),
        data: json!({ "name": name }).to_string().into_bytes(),
        metadata: Vec::new(),
        tags: Vec::new(),
    };
    let append = Call::append("visits", ExpectedVersion::Any, [&event]).expect("the event is short");
    Ok(match calls.call(append)?.and_then(Answer::changed) {
        Ok(result) => (201, json!({ "version": result.placed[0].last_version })),
        Err(error) => (503, json!({ "error": format!("{error:?}") })),
    })
}

fn count(calls: &mut Calls) -> Result<(u16, Value), Again> {
    let info = calls.call(Call::StreamInfo("visits".to_owned()))?.and_then(Answer::stream_info);
    Ok(match info {
        Ok(info) => (200, json!({ "visits": info.last_version + 1 })),
        Err(Error::NotFound) => (200, json!({ "visits": 0 })),
        Err(error) => (503, json!({ "error": format!("{error:?}") })),
    })
}

exesdb_sdk::steps_plugin!(Visits);

#[cfg(test)]
mod tests {
    use exesdb_sdk::steps::double::{Conditions, exchange};
    use exesdb_sdk::steps::{Answer, Call, Caller, Horizon, Outcome, Reply, Request, RequestBody};
    use exesdb_sdk::types::{ChangeResult, Error, Placed};

    use super::Visits;

    /// A store that has had so many visits.
    fn store(mut visits: u64) -> impl FnMut(Call) -> Outcome {
        move |call| match call {
            Call::Write(_) => {
                let stream_id = "visits".to_owned();
                let placed =
                    Placed { stream_id, first_version: visits, last_version: visits, position: visits };
                visits += 1;
                let reply = Reply::Changed(ChangeResult { placed: vec![placed], count: 0 });
                Ok(Answer { reply, horizon: Horizon { history_id: 1, end: visits } })
            }
            _ => Err(Error::NotFound),
        }
    }

    #[test]
    fn a_visit_is_appended_whether_its_body_comes_in_pieces_or_not() {
        for inline_body in [0, 100] {
            let request = Request {
                id: "r".to_owned(),
                method: "POST".to_owned(),
                path: "/visits".to_owned(),
                query: None,
                headers: Vec::new(),
                body: RequestBody::Whole(b"Ada".to_vec()),
                store: "main".to_owned(),
                mount: "visits".to_owned(),
                caller: Caller { identity: None, scopes: Vec::new() },
                traceparent: None,
                fields: Vec::new(),
            };
            let conditions = Conditions { inline_body, ..Conditions::default() };
            let received = exchange::<Visits>(&mut store(7), conditions, request);
            assert_eq!((received.head.status, received.body.as_slice()), (201, &br#"{"version":7}"#[..]));
        }
    }
}
