//! A gateway as steps for tests. The last parts of a path `/v1/stores/<store>/probe/<name>/<argument>` say what a request does.
//!
//! | name | the request |
//! |---|---|
//! | `echo` | responds with what it got |
//! | `append/<stream>` | appends the body as one event, and responds with where it is |
//! | `delete/<stream>` | deletes a stream, which goes on with its next event |
//! | `held/<stream>` | holds the body as an event twice, and appends both with a third |
//! | `lines/<stream>` | appends each line of the body as it comes, with answers in order |
//! | `cancelled/<stream>` | makes changes and cancels them, until one is refused |
//! | `silent` | reads again and again, and does not respond |
//! | `read` | responds with the number of events of the store |
//! | `again` | runs again from its beginning, with two calls |
//! | `again-body/<bytes>` | runs again with its whole body of at most so many bytes |
//! | `timer` | a response whose end comes later, with trailers |
//! | `subscribe` | says each page of the store while it reads lines; ends with the body |
//! | `bulk/<kind>` | a bulk read, or one that goes wrong |
//! | `follow/<stream>` | the same for a stream, live |
//! | `live/<form>.<source>.<from>` | follows from a place, in a form that names positions |
//! | `poison` | makes this instance trap at its next call |
//! | `trap`, `trap-later` | traps in the first step, or after `start` |
//! | `break/<rule>` | breaks the contract |

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports, missing_docs)]
mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../wit/host",
            "../../../wit/storage",
            "../../../wit/store",
            "../../../wit/gateway",
        ],
        inline: "
            package tests:steps-probe@1.0.0;

            world steps-probe {
                include exesdb:gateway/gateway-steps-plugin@0.2.0;
            }
        ",
        world: "tests:steps-probe/steps-probe",
        generate_all,
    });

    use super::Probe;

    export!(Probe);
}
mod breach;
mod bulk;
mod cancelled;
mod lines;

use std::sync::atomic::{AtomicBool, Ordering};

use bindings::exesdb::gateway::requests::{
    Call, Header, Outcome, Query, Reply, Request, RequestBody, Response, ResponseHead, WriteCall,
};
use bindings::exesdb::store::types::{
    AllSelection, Append, Deletion, DeletionRequest, Direction, Error, ExpectedVersion, Selection, Source,
    WriteRequest,
};
use bindings::exports::exesdb::gateway::steps::{
    Action, Closing, Ending, Event, Feed, Guest, Holding, Intake, Mark, NumberedCall, Pending, Step,
    Subscription, Timer,
};

/// Whether this instance traps at its next call.
static IS_POISONED: AtomicBool = AtomicBool::new(false);

struct Probe;

impl Guest for Probe {
    fn begin(request: Request) -> Step {
        check_poison();
        begin(&request, &[])
    }

    fn resume(token: Vec<u8>, event: Event) -> Step {
        check_poison();
        let token = String::from_utf8(token).expect("tokens of this probe are texts");
        let (name, state) = token.split_once(' ').unwrap_or((&token, ""));
        resume(name, state, event)
    }

    fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step {
        begin(&request, &outcomes)
    }

    fn encode(representation: Vec<u8>, page: Vec<u8>) -> Result<Vec<u8>, Error> {
        check_poison();
        bulk::encode(&representation, &page)
    }

    fn encode_mark(_representation: Vec<u8>, mark: Mark) -> Vec<u8> {
        bulk::encode_mark(mark)
    }

    fn conclude(representation: Vec<u8>, ending: Ending) -> Closing {
        bulk::conclude(&representation, &ending)
    }
}

fn check_poison() {
    assert!(!IS_POISONED.load(Ordering::Relaxed), "the probe was poisoned, as it was told");
}

fn begin(request: &Request, outcomes: &[Outcome]) -> Step {
    let mut parts = request.path.split('/').skip_while(|part| *part != "probe").skip(1);
    let (name, argument) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match name {
        "echo" => respond(200, &echo(request)),
        "append" => {
            let call = Call::Write(append(argument, &[data_of(request)]));
            pending("append", vec![Action::Call(vec![numbered(1, call, b"the context")])])
        }
        "delete" => {
            let deletion = DeletionRequest {
                stream_id: argument.to_owned(),
                expected: ExpectedVersion::Any,
                deletion: Deletion::Soft,
                options: Vec::new(),
            };
            pending("delete", vec![Action::Call(vec![numbered(1, Call::Remove(deletion), b"")])])
        }
        "held" => {
            let hold = |id: &str| {
                let events = packed(argument, id, data_of(request));
                Action::Hold(Holding { id: 7, events })
            };
            let mut call = numbered(1, Call::Write(append(argument, &[b"last"])), b"");
            call.held = Some(7);
            pending("append", vec![hold("held-1"), hold("held-2"), Action::Call(vec![call])])
        }
        "lines" => lines::begin(argument),
        "cancelled" => cancelled::begin(argument),
        "silent" => pending("silent", vec![Action::Call(vec![numbered(1, Call::LogEnd, b"")])]),
        "read" => pending("read", vec![Action::Call(vec![numbered(1, Call::Read(everything()), b"")])]),
        "again" => match outcomes {
            [] => again(vec![Action::Call(vec![
                numbered(1, Call::LogEnd, b""),
                numbered(2, Call::Read(everything()), b""),
            ])]),
            [end, page] => respond(200, &format!("{} {}", shown(end), shown(page))),
            _ => panic!("{} outcomes of two calls", outcomes.len()),
        },
        "again-body" => match &request.body {
            RequestBody::Whole(body) => respond(200, &format!("whole {}", body.len())),
            RequestBody::Pieces(_) => {
                let at_most = argument.parse().expect("a number of bytes");
                again(vec![Action::Receive(Intake { used: 0, at_least: 1, until: None, at_most })])
            }
        },
        "timer" => pending(
            "timer",
            vec![start(), Action::Send(b"soon, ".to_vec()), timer(1, 20), timer(2, 86_400_000)],
        ),
        "subscribe" => {
            let feed = Feed::Query(Query {
                selection: Selection { count: 0, ..everything().selection },
                ..everything()
            });
            let subscription = Subscription { id: 1, feed, credit: Some(2) };
            pending("subscribe", vec![start(), Action::Subscribe(subscription), receive(0)])
        }
        "bulk" => bulk::begin(argument),
        "follow" => bulk::follow(argument),
        "live" => bulk::live(argument),
        "poison" => {
            IS_POISONED.store(true, Ordering::Relaxed);
            respond(200, "poisoned")
        }
        "trap" => panic!("the probe traps, as it was told"),
        "trap-later" => {
            pending("trap-later", vec![start(), Action::Send(b"the beginning".to_vec()), timer(1, 1)])
        }
        "break" => breach::begin(argument),
        _ => respond(404, "no such probe"),
    }
}

fn resume(name: &str, state: &str, event: Event) -> Step {
    match (name, event) {
        ("append" | "read", Event::Called(called)) => {
            let [called] = called.as_slice() else { panic!("{} outcomes of one call", called.len()) };
            let context = String::from_utf8_lossy(&called.context);
            respond(200, format!("{} {context}", shown(&called.outcome)).trim_end())
        }
        ("delete", Event::Called(called)) => respond(
            200,
            if called.iter().all(|called| called.outcome.is_ok()) { "deleted" } else { "failed" },
        ),
        ("timer", Event::Timer(1)) => {
            let trailer = Header { name: "x-late".to_owned(), value: b"yes".to_vec() };
            pending("timer", vec![Action::Send(b"now".to_vec()), Action::Finish(vec![trailer])])
        }
        ("subscribe", Event::Page(page)) => {
            let events = count(&page.events);
            let line = format!("page {events} next {:?} caught-up {}\n", page.next, page.caught_up);
            let grant = bindings::exports::exesdb::gateway::steps::Grant { id: page.id, credit: events };
            pending("subscribe", vec![Action::Send(line.into_bytes()), Action::Credit(grant)])
        }
        ("subscribe", Event::Body(piece)) => {
            let line = format!("body {}\n", piece.bytes.len());
            let said = Action::Send(line.into_bytes());
            match piece.trailers {
                None => pending("subscribe", vec![said, receive(piece.bytes.len())]),
                Some(_) => pending("subscribe", vec![said, Action::Finish(Vec::new())]),
            }
        }
        (_, Event::Draining(ms)) => {
            let said = format!("draining {ms}\n");
            pending(name, vec![Action::Send(said.into_bytes()), Action::Finish(Vec::new())])
        }
        ("trap-later", _) => panic!("the probe traps in the middle of a response, as it was told"),
        ("lines", event) => lines::resume(state, event),
        ("cancelled", event) => cancelled::resume(state, event),
        ("silent", Event::Called(_)) => {
            pending("silent", vec![Action::Call(vec![numbered(1, Call::LogEnd, b"")])])
        }
        ("bulk", Event::Failed(error)) => respond(404, &error_shown(&error)),
        ("break", event) => breach::resume(state, &event),
        (name, event) => panic!("{name} got {event:?}"),
    }
}

fn echo(request: &Request) -> String {
    let body = match &request.body {
        RequestBody::Whole(body) => format!("whole {}", body.len()),
        RequestBody::Pieces(length) => format!("pieces {length:?}"),
    };
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name == name);
        found.map(|header| String::from_utf8_lossy(&header.value).into_owned())
    };
    let about = |name| bindings::exesdb::host::config::about(name).unwrap_or_default();
    format!(
        "{} {} {:?} {body} x-probe {:?} store {} mount {} piece {} held {}",
        request.method,
        request.path,
        request.query,
        header("x-probe"),
        request.store,
        about("mount"),
        about("limits.piece-bytes"),
        about("limits.held-bytes"),
    )
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(answer) => match &answer.reply {
            Reply::Changed(result) => {
                let placed = result.placed.first().expect("something was written");
                format!(
                    "versions {} to {} at {} of {}",
                    placed.first_version, placed.last_version, placed.position, answer.horizon.end
                )
            }
            Reply::Page(page) => format!("page {}", count(&page.events)),
            Reply::LogEnd(end) => format!("end {}", end.next_position),
            other => format!("{other:?}"),
        },
        Err(error) => error_shown(error),
    }
}

fn error_shown(error: &Error) -> String {
    match error {
        Error::NotFound => "not found".to_owned(),
        Error::WrongExpectedVersion(conflict) => format!("conflict {:?}", conflict.last_version),
        Error::HistoryChanged(change) => format!("history changed, end {}", change.end),
        Error::Invalid(invalid) => format!("invalid {}", invalid.argument),
        Error::Problem(problem) => format!("problem {} unknown {}", problem.code, problem.outcome_unknown),
        other => format!("{other:?}"),
    }
}

fn data_of(request: &Request) -> &[u8] {
    match &request.body {
        RequestBody::Whole(body) => body,
        RequestBody::Pieces(_) => b"pieces",
    }
}

fn packed(stream: &str, id: &str, data: &[u8]) -> Vec<u8> {
    let event = exesdb_packed::EventParts::<'_, String> {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: stream,
        id,
        event_type: "probed",
        content_type: "text/plain",
        tags: &[],
        data,
        metadata: b"",
    };
    let mut packed = Vec::new();
    exesdb_packed::push_event(&mut packed, 0, &event).expect("it is short");
    packed
}

fn count(packed: &[u8]) -> u32 {
    let events = exesdb_packed::Events::check(packed).expect("pages have events");
    u32::try_from(events).expect("pages are short")
}

/// An append of events with these data. Their ids are new for each stream and number of bytes.
fn append(stream: &str, data: &[&[u8]]) -> WriteCall {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let event = |data: &&[u8]| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        packed(
            stream,
            &format!(
                "{}-{}-{number}",
                data.len(),
                String::from_utf8_lossy(&data[..data.len().min(40)]).trim()
            ),
            data,
        )
    };
    let events = data.iter().flat_map(event).collect();
    let append = Append { stream_id: stream.to_owned(), expected: ExpectedVersion::Any, events };
    let (checks, conditions, options) = (Vec::new(), Vec::new(), Vec::new());
    let request = WriteRequest { appends: vec![append], checks, conditions, options };
    WriteCall { request, histories: Vec::new() }
}

fn everything() -> Query {
    let source = Source::All(AllSelection { from: None, until: None });
    let selection = Selection {
        source,
        direction: Direction::Forward,
        count: 1_000,
        max_bytes: 1 << 20,
        options: Vec::new(),
    };
    Query { selection, filter: None, at_least: None, history_id: None }
}

fn numbered(id: u32, call: Call, context: &[u8]) -> NumberedCall {
    let (context, options) = (context.to_vec(), Vec::new());
    NumberedCall { id, call, context, held: None, in_order: false, within_ms: None, options }
}

fn receive(used: usize) -> Action {
    let used = u32::try_from(used).expect("pieces are short");
    Action::Receive(Intake { used, at_least: 1, until: None, at_most: 1 << 16 })
}

fn timer(id: u32, ms: u32) -> Action {
    Action::Timer(Timer { id, ms })
}

fn start() -> Action {
    Action::Start(text_head(200))
}

fn text_head(status: u16) -> ResponseHead {
    let header = Header { name: "content-type".to_owned(), value: b"text/plain".to_vec() };
    ResponseHead { status, headers: vec![header] }
}

fn pending(token: &str, actions: Vec<Action>) -> Step {
    Step::Pending(Pending { token: token.as_bytes().to_vec(), actions })
}

fn again(actions: Vec<Action>) -> Step {
    Step::Pending(Pending { token: Vec::new(), actions })
}

fn respond(status: u16, text: &str) -> Step {
    Step::Respond(Response { head: text_head(status), body: text.as_bytes().to_vec(), trailers: Vec::new() })
}
