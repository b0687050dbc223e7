//! An event stream that a named feed of the host fills: its beginning, comments that keep the connection alive, and its end.

use exesdb_sdk::steps::{Action, Feed, NamedCall, Pending, ResponseHead, Subscription, Timer};
use serde::Serialize;

use super::{Step, Waiting};
use crate::accept::Representation;
use crate::encode::push_end_message;
use crate::limits::KEEPALIVE_MS;
use crate::problem::Problem;

/// The number of the feed.
const FEED: u32 = 0;

/// The number of the timer for lines that keep the connection alive.
const TIMER: u32 = 1;

/// Subscribes to the feed of this name. `credit` bounds the events that come.
pub(super) fn subscribe(
    waiting: Waiting,
    name: &str,
    payload: &impl Serialize,
    credit: Option<u32>,
) -> Step<Waiting> {
    let payload = serde_json::to_vec(payload).expect("writing into memory cannot fail");
    let feed = Feed::Named(NamedCall { name: name.to_owned(), payload });
    let subscribe = Action::Subscribe(Subscription { id: FEED, feed, credit });
    Pending::new(waiting).action(subscribe).into()
}

/// Sends the messages of a page, and the head before the first ones. The timer goes on.
pub(super) fn send(waiting: Waiting, messages: Vec<u8>, is_first: bool) -> Step<Waiting> {
    if !is_first {
        return Pending::new(waiting).action(Action::Send(messages)).into();
    }
    let head = ResponseHead::new(200)
        .header("content-type", Representation::EventStream.media_type())
        .header("cache-control", "no-cache");
    let pending = Pending::new(waiting).action(Action::Start(head));
    pending.action(Action::Send(messages)).action(timer()).into()
}

/// Sends a comment, and sets the timer again.
pub(super) fn keep_alive(waiting: Waiting) -> Step<Waiting> {
    Pending::new(waiting).action(Action::Send(b": \n\n".to_vec())).action(timer()).into()
}

/// Says why the stream ends, and ends it.
pub(super) fn end(waiting: Waiting, reason: &Problem) -> Step<Waiting> {
    let mut out = Vec::new();
    push_end_message(&mut out, reason);
    Pending::new(waiting).action(Action::Send(out)).action(Action::Finish(Vec::new())).into()
}

fn timer() -> Action {
    Action::Timer(Timer { id: TIMER, ms: KEEPALIVE_MS })
}
