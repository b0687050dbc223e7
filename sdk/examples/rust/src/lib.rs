//! A gateway in Rust. `POST /visits` appends an event, `GET /visits` counts the events, `GET /secret` tries something that
//! a component may not do, and `GET /broken` has a bug.

use std::sync::atomic::{AtomicU64, Ordering};

use exesdb_sdk::events::EventData;
use exesdb_sdk::gateway::wasip2::random::random::get_random_u64;
use exesdb_sdk::gateway::{
    Gateway, IncomingRequest, RespondError, ResponseOutparam, method_name, read_body, respond, store,
};
use exesdb_sdk::logging;
use exesdb_sdk::requests::Call;
use exesdb_sdk::types::{Error, ExpectedVersion};
use serde_json::{Value, json};

const BODY_BYTES_MAX: usize = 64 << 10;

/// An instance serves one request after another and keeps this between them until the host replaces it. It may hold a
/// cache, but no state.
static SERVED: AtomicU64 = AtomicU64::new(0);

struct Visits;

impl Gateway for Visits {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.path_with_query().unwrap_or_default();
        let (status, response) = match (method_name(&request).as_str(), path.as_str()) {
            ("POST", "/visits") => visit(&request),
            ("GET", "/visits") => match count() {
                Ok(visits) => (200, json!({ "visits": visits, "served": served })),
                Err(error) => (503, json!({ "error": format!("{error:?}") })),
            },
            ("GET", "/secret") => (200, json!({ "denied": secret() })),
            ("GET", "/broken") => panic!("the visits cannot be counted"),
            _ => (404, json!({ "error": format!("there is nothing at {path}") })),
        };
        if let Err(error) = send(out, status, &response) {
            logging::warn(&format!("the response was not sent: {error}"));
        }
    }
}

fn visit(request: &IncomingRequest) -> (u16, Value) {
    let name = match read_body(request, BODY_BYTES_MAX) {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(error) => return (400, json!({ "error": error.to_string() })),
    };
    let id = format!("{:016x}{:016x}", get_random_u64(), get_random_u64());
    match record(id, &name) {
        Ok(version) => {
            println!("recorded visit {version} of {name}");
            (201, json!({ "version": version }))
        }
        Err(error) => (503, json!({ "error": format!("{error:?}") })),
    }
}

fn record(id: String, name: &str) -> Result<u64, Error> {
    let event = EventData {
        id,
        event_type: "visited".to_owned(),
        content_type: "application/json".to_owned(),
        data: json!({ "name": name }).to_string().into_bytes(),
        metadata: Vec::new(),
        tags: Vec::new(),
    };
    let append = Call::append("visits", ExpectedVersion::Any, [&event]).expect("the event is short");
    let result = store::call(append)?.changed()?;
    Ok(result.placed[0].last_version)
}

fn count() -> Result<u64, Error> {
    match store::call(Call::StreamInfo("visits".to_owned())) {
        Ok(answer) => Ok(answer.stream_info()?.last_version + 1),
        Err(Error::NotFound) => Ok(0),
        Err(error) => Err(error),
    }
}

fn secret() -> String {
    match std::fs::read_to_string("/etc/passwd") {
        Ok(text) => format!("not at all: {text}"),
        Err(error) => error.to_string(),
    }
}

fn send(out: ResponseOutparam, status: u16, response: &Value) -> Result<(), RespondError> {
    let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
    respond(out, status, &headers, Some(response.to_string().as_bytes()))
}

exesdb_sdk::gateway_plugin!(Visits);

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::unpack;
    use exesdb_sdk::gateway::store::answered_by;
    use exesdb_sdk::requests::{Answer, Call, Horizon, Reply};
    use exesdb_sdk::types::{ChangeResult, Error, Placed};

    use super::{count, record};

    #[test]
    fn a_visit_is_an_event_with_the_name() {
        let store = |call| {
            let Call::Write(write) = call else { panic!("{call:?}") };
            let events = unpack(&write.request.appends[0].events).unwrap();
            assert_eq!((events[0].id.as_str(), events[0].data.as_slice()), ("1", &br#"{"name":"Ada"}"#[..]));
            let placed =
                Placed { stream_id: "visits".into(), first_version: 7, last_version: 7, position: 9 };
            let reply = Reply::Changed(ChangeResult { placed: vec![placed], count: 0 });
            Ok(Answer { reply, horizon: Horizon { history_id: 1, end: 10 } })
        };
        assert_eq!(answered_by(store, || record("1".into(), "Ada")), Ok(7));
    }

    #[test]
    fn a_store_without_visits_has_none() {
        assert_eq!(answered_by(|_| Err(Error::NotFound), count), Ok(0));
    }
}
