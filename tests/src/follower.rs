//! The messages of a live response, read by a thread and checked.

use std::io::Read;
use std::sync::mpsc::{self, RecvTimeoutError};

use exesdb_api_document::{BodyCheck, Message};
use serde_json::Value;

use crate::PATIENCE;
use crate::api::AGAINST;
use crate::live::read_messages;

/// The id and the event of a message, or what is wrong with the response.
type Followed = Result<(u64, Value), String>;

/// Sends the events of a live response to `receiver` while it exists.
fn pass_on(
    response: impl Read,
    body: Option<BodyCheck<'static>>,
    receiver: &mpsc::Sender<Followed>,
) -> Result<(), String> {
    read_messages(response, body, |message| {
        // The reason for the end is a message of another kind; the end of the response shows it, too.
        let Message { id: Some(id), data: Some(data), event: None, .. } = message else { return Ok(true) };
        // An id is `POSITION@HISTORY`.
        let position = id.split('@').next().and_then(|position| position.parse().ok());
        let position = position.ok_or_else(|| format!("the id does not begin with a position: {id}"))?;
        let event = serde_json::from_str(&data).map_err(|error| format!("{error}: {data}"))?;
        Ok(receiver.send(Ok((position, event))).is_ok())
    })
}

/// The messages of a live response. They end with it.
#[derive(Debug)]
pub struct Follower {
    messages: mpsc::Receiver<Followed>,
}

impl Drop for Follower {
    /// Fails the test for a message that nobody took and that was not as described.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.messages.try_iter().for_each(|message| drop(expect_valid(message)));
        }
    }
}

/// A message; panics when the response is not as described.
#[track_caller]
fn expect_valid(message: Followed) -> (u64, Value) {
    message.unwrap_or_else(|complaint| panic!("{AGAINST}: {complaint}"))
}

impl Follower {
    /// Starts the thread that reads a response and checks it with `body`.
    pub(crate) fn new(response: impl Read + Send + 'static, body: Option<BodyCheck<'static>>) -> Self {
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            if let Err(complaint) = pass_on(response, body, &sender) {
                // The follower may have been dropped.
                drop(sender.send(Err(complaint)));
            }
        });
        Self { messages }
    }

    /// The next message: its id and its event. None when the response has ended.
    ///
    /// # Panics
    ///
    /// When no message arrives within [`PATIENCE`], or the response is not as described.
    #[track_caller]
    pub fn next(&self) -> Option<(u64, Value)> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Some(expect_valid(message)),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no message within {PATIENCE:?}"),
        }
    }

    /// The next `count` events; each one's id must be its position.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let Some((id, event)) = self.next() else {
                panic!("the response ended after {} of {count} events", events.len());
            };
            assert_eq!(event["position"], id, "a message's id is the event's position");
            events.push(event);
        }
        events
    }

    /// Whether no further message has arrived.
    pub fn is_silent(&self) -> bool {
        matches!(self.messages.try_recv().map(expect_valid), Err(mpsc::TryRecvError::Empty))
    }

    /// All messages until the response ends.
    pub fn rest(self) -> Vec<(u64, Value)> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use exesdb_api_document::Head;

    use super::{Follower, pass_on};
    use crate::api;

    /// A follower of these bytes, and whether the thread that reads them complains.
    fn followed(bytes: &str) -> (Follower, bool) {
        let headers = [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("exesdb-history", "00f1e2d3c4b5a697"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let head = Head { method: "GET", path: "/v1/stores/main/events", status: 200, headers: &headers };
        let body = api::check_head(&head).expect("the head is as described");
        let (sender, messages) = mpsc::channel();
        let passed_on = pass_on(bytes.as_bytes(), body, &sender);
        let complains = passed_on.is_err();
        if let Err(complaint) = passed_on {
            sender.send(Err(complaint)).expect("the follower exists");
        }
        (Follower { messages }, complains)
    }

    const EVENT: &str = "id: 4@00f1e2d3c4b5a697\ndata: {\"stream\":\"s\",\"version\":0,\"position\":4,\"id\":\"i\",\
                         \"type\":\"t\",\"data\":1,\"metadata\":null,\"created\":\"2026-11-23T16:46:00.000001Z\"}\n\n";
    const END: &str = "event: end\ndata: {\"type\":\"urn:exesdb:problem:restarting\",\"title\":\"t\",\"status\":503,\
                       \"detail\":\"d\"}\n\n";

    #[test]
    fn a_follower_accepts_a_response_as_described() {
        let (follower, complains) = followed(&format!("retry: 1000\n\n{EVENT}: keepalive\n\n{END}"));
        assert!(!complains);
        assert_eq!(follower.take(1)[0]["position"], 4);
        assert!(follower.next().is_none());
    }

    #[test]
    fn a_follower_rejects_a_response_that_is_not_as_described() {
        for wrong in [
            format!("{EVENT}{}{END}", EVENT.replace("\"version\":0,", "")),
            format!("{EVENT}{}{END}", EVENT.replace("\"type\"", "\"kind\"")),
            format!("{EVENT}{}{END}", EVENT.replace("@00f1e2d3c4b5a697", "")),
            format!("{EVENT}event: other\n{EVENT}{END}"),
            format!("{EVENT}{}", END.replace("restarting", "tired")),
            format!("{EVENT}{END}{EVENT}"),
            EVENT.to_owned(),
        ] {
            let (follower, complains) = followed(&wrong);
            assert!(complains, "{wrong}");
            let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| follower.rest()));
            assert!(taken.is_err(), "a follower that goes on fails: {wrong}");
            let (follower, _) = followed(&wrong);
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(follower)));
            assert!(dropped.is_err(), "a follower that is dropped fails: {wrong}");
        }
    }
}
