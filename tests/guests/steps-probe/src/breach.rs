//! Steps that break the contract.

use crate::bindings::exesdb::gateway::requests::{Call, Header, Response};
use crate::bindings::exports::exesdb::gateway::steps::{
    Action, Bulk, Event, Grant, Holding, Intake, Pending, Step,
};
use crate::{append, bulk, numbered, pending, receive, respond, start, text_head, timer};

/// Breaks a rule in the first step; the rules whose name begins with `late-`, after `start`.
pub(crate) fn begin(rule: &str) -> Step {
    let header = |name: &str, value: &[u8]| Header { name: name.to_owned(), value: value.to_vec() };
    let with_header = |name: &str, value: &[u8]| {
        let mut head = text_head(200);
        head.headers.push(header(name, value));
        Step::Respond(Response { head, body: b"body".to_vec(), trailers: Vec::new() })
    };
    let one = |action: Action| pending("break", vec![action, timer(999, 1)]);
    let many_calls =
        |count: u32| Action::Call((0..count).map(|id| numbered(id, Call::LogEnd, b"")).collect());
    match rule {
        late if late.starts_with("late-") => {
            pending(&format!("break {late}"), vec![start(), Action::Send(b"late".to_vec()), timer(1, 1)])
        }
        "token" => Step::Pending(Pending { token: vec![b'x'; (64 << 10) + 1], actions: vec![timer(1, 1)] }),
        "actions" => pending("break", (0..257).map(|id| timer(id, 1)).collect()),
        "calls" => one(many_calls(1_025)),
        "nothing" => pending("break", Vec::new()),
        "hold-alone" => pending("break", vec![Action::Hold(Holding { id: 1, events: Vec::new() })]),
        "number" => pending("break", vec![timer(1, 1), timer(1, 1)]),
        "cancel" => one(Action::Cancel(7)),
        "credit" => one(Action::Credit(Grant { id: 7, credit: 1 })),
        "held" => {
            let mut call = numbered(1, Call::Write(append("s", &[b"x"])), b"");
            call.held = Some(7);
            one(Action::Call(vec![call]))
        }
        "context" => one(Action::Call(vec![numbered(1, Call::LogEnd, &[0; (4 << 10) + 1])])),
        "hold" => one(Action::Hold(Holding { id: 1, events: vec![0xff; 40] })),
        "used" => one(receive(1)),
        "receive" => one(Action::Receive(Intake { used: 0, at_least: 2, until: None, at_most: 1 })),
        "piece" => one(Action::Receive(Intake { used: 0, at_least: 1, until: None, at_most: u32::MAX })),
        "send" => one(Action::Send(b"x".to_vec())),
        "finish" => pending("break", vec![Action::Finish(Vec::new())]),
        "after-finish" => pending("break", vec![start(), Action::Finish(Vec::new()), timer(1, 1)]),
        "starts" => pending("break", vec![start(), start(), timer(1, 1)]),
        "empty-token" => Step::Pending(Pending { token: Vec::new(), actions: vec![timer(1, 1)] }),
        "status" => respond(99, "no status"),
        "switching" => respond(101, "no response"),
        "name" => with_header("bad name", b"x"),
        "value" => with_header("x-bad", b"a\r\nset-cookie: stolen"),
        "length" => with_header("content-length", b"3"),
        "encoding" => with_header("transfer-encoding", b"chunked"),
        "page-bytes" => changed_bulk(|bulk| bulk.page_bytes = 0),
        "large-pages" => changed_bulk(|bulk| bulk.page_bytes = u32::MAX),
        "representation" => changed_bulk(|bulk| bulk.representation = vec![0; 257]),
        "bulk-token" => changed_bulk(|bulk| bulk.token = vec![0; (64 << 10) + 1]),
        "bulk-length" => changed_bulk(|bulk| bulk.head.headers.push(header("content-length", b"1"))),
        _ => respond(404, "no such rule"),
    }
}

pub(crate) fn resume(rule: &str, event: &Event) -> Step {
    match (rule, event) {
        ("late-respond", Event::Timer(_)) => respond(200, "too late"),
        ("late-bulk", Event::Timer(_)) => bulk::begin("all"),
        ("late-start", Event::Timer(_)) => pending("break", vec![start(), timer(1, 1)]),
        ("late-nothing", Event::Timer(_)) => pending("break", Vec::new()),
        ("late-used", Event::Timer(_)) => pending("break", vec![receive(1)]),
        // An event of another request would be a fault of the host.
        _ => respond(200, "the host accepted it"),
    }
}

fn changed_bulk(change: impl FnOnce(&mut Bulk)) -> Step {
    let Step::Bulk(mut bulk) = bulk::begin("all") else { panic!("a bulk read is one") };
    change(&mut bulk);
    Step::Bulk(bulk)
}
