//! Changes that are cancelled as soon as they are made, until the host refuses one.

use crate::bindings::exesdb::gateway::requests::Call;
use crate::bindings::exesdb::store::snapshot_types::{
    NewSnapshot, SnapshotData, SnapshotId, SnapshotRequest,
};
use crate::bindings::exports::exesdb::gateway::steps::{Action, Event, NumberedCall, Step};
use crate::{error_shown, numbered, pending, respond, timer};

/// Changes that are cancelled in each round; a step has at most 256 actions.
const AT_A_TIME: u32 = 200;
/// Rounds until it gives up.
const ROUNDS: u32 = 100;

pub(crate) fn begin(stream: &str) -> Step {
    round(stream, 0)
}

/// The state is the stream and the number of the round.
pub(crate) fn resume(state: &str, event: Event) -> Step {
    let (stream, number) = state.split_once(' ').expect("two parts");
    let number: u32 = number.parse().expect("a number");
    let mut goes_on = false;
    match event {
        Event::Timer(_) => goes_on = true,
        Event::Called(called) => {
            if let Some(error) = called.into_iter().find_map(|called| called.outcome.err()) {
                return respond(200, &error_shown(&error));
            }
        }
        event => panic!("cancelled got {event:?}"),
    }
    match number + u32::from(goes_on) {
        ROUNDS => respond(200, "none was refused"),
        next if goes_on => round(stream, next),
        same => pending(&format!("cancelled {stream} {same}"), Vec::new()),
    }
}

/// The last change of a round is not cancelled, so its outcome comes.
fn round(stream: &str, number: u32) -> Step {
    let first = number * (AT_A_TIME + 2) + 1;
    let ids = first..=first + AT_A_TIME;
    let change = |id: u32| -> NumberedCall {
        let snapshot = SnapshotData {
            content_type: "text/plain".to_owned(),
            data: b"data".to_vec(),
            metadata: Vec::new(),
        };
        let id_of_it = SnapshotId { stream_id: stream.to_owned(), source_id: id.to_string(), version: 0 };
        let put = NewSnapshot { id: id_of_it, snapshot, created: None };
        numbered(id, Call::ChangeSnapshot(SnapshotRequest::Put(put)), b"")
    };
    let mut actions = vec![Action::Call(ids.clone().map(change).collect())];
    actions.extend(ids.take(AT_A_TIME as usize).map(Action::Cancel));
    actions.push(timer(first + AT_A_TIME + 1, 0));
    pending(&format!("cancelled {stream} {number}"), actions)
}
