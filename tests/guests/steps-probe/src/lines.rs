//! Appends each line of a body as it comes, with answers in order: a stream of lines, many in flight.

use crate::bindings::exesdb::gateway::requests::Call;
use crate::bindings::exports::exesdb::gateway::steps::{Action, Event, NumberedCall, Step};
use crate::{append, numbered, pending, receive, shown, start};

/// Lines that are taken of one piece.
const LINES_AT_A_TIME: usize = 100;

pub(crate) fn begin(stream: &str) -> Step {
    pending(&format!("lines {stream} 0 0 open"), vec![start(), receive(0)])
}

/// The state is the stream, the number of lines so far, of those without an answer, and whether the body is open.
pub(crate) fn resume(state: &str, event: Event) -> Step {
    let mut parts = state.split(' ');
    let stream = parts.next().expect("the stream");
    let mut number = || parts.next().expect("a number").parse::<u32>().expect("a number");
    let (mut lines, mut open) = (number(), number());
    let mut ended = parts.next() == Some("ended");
    let mut actions = Vec::new();
    match event {
        Event::Body(piece) => {
            let mut used = 0;
            let mut calls = Vec::new();
            // No more than may be open beside those that are: the rest comes again.
            for line in piece.bytes.split_inclusive(|byte| *byte == b'\n').take(LINES_AT_A_TIME) {
                let Some(text) = line.strip_suffix(b"\n") else { break };
                used += line.len();
                let call = numbered(lines, Call::Write(append(stream, &[text])), text);
                calls.push(NumberedCall { in_order: true, ..call });
                (lines, open) = (lines + 1, open + 1);
            }
            ended = piece.trailers.is_some() && used == piece.bytes.len();
            actions.push(Action::Call(calls));
            if !ended {
                actions.push(receive(used));
            }
        }
        Event::Called(called) => {
            // In one action: as many outcomes may come at once as a step may have actions.
            let mut answers = String::new();
            for called in called {
                open -= 1;
                let line = String::from_utf8_lossy(&called.context);
                answers.push_str(&format!("{line}: {}\n", shown(&called.outcome)));
            }
            actions.push(Action::Send(answers.into_bytes()));
        }
        event => panic!("lines got {event:?}"),
    }
    if ended && open == 0 {
        actions.push(Action::Finish(Vec::new()));
    }
    pending(&format!("lines {stream} {lines} {open} {}", if ended { "ended" } else { "open" }), actions)
}
