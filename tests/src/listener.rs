//! A listener of a topic: its messages, read by a thread and checked.

use std::io::Read;
use std::sync::mpsc::{self, RecvTimeoutError};

use exesdb_api_document::{BodyCheck, Message};
use serde_json::Value;

use crate::PATIENCE;
use crate::api::AGAINST;
use crate::live::read_messages;

/// The kind of a message, `event` for an event of the store, and its data; or what is wrong with the response.
type Heard = Result<(String, Value), String>;

/// A listener. Its messages end with the response.
#[derive(Debug)]
pub struct Listener {
    messages: mpsc::Receiver<Heard>,
    /// The position or version from which on it hears events; none for a topic about the store.
    pub from: Option<u64>,
}

impl Listener {
    /// Starts the thread that reads a response and checks it with `body`, and waits until the topic has begun.
    #[track_caller]
    pub(crate) fn new(response: impl Read + Send + 'static, body: Option<BodyCheck<'static>>) -> Self {
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            if let Err(complaint) = pass_on(response, body, &sender) {
                // The listener may have been dropped.
                drop(sender.send(Err(complaint)));
            }
        });
        let mut listener = Self { messages, from: None };
        let (kind, begun) = listener.next().expect("the topic begins");
        assert_eq!(kind, "topic", "{begun}");
        listener.from = begun["from"].as_u64();
        listener
    }

    /// The next message. None when the response has ended.
    ///
    /// # Panics
    ///
    /// When no message arrives within [`PATIENCE`], or the response is not as described.
    #[track_caller]
    pub fn next(&self) -> Option<(String, Value)> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Some(message.unwrap_or_else(|complaint| panic!("{AGAINST}: {complaint}"))),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no message within {PATIENCE:?}"),
        }
    }

    /// The next `count` messages, all of this kind.
    #[track_caller]
    pub fn take(&self, kind: &str, count: usize) -> Vec<Value> {
        let next = || {
            let (found, data) = self.next().expect("the topic goes on");
            assert_eq!(found, kind, "{data}");
            data
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    /// Waits for a record that fulfils this, and returns it; others are passed over.
    #[track_caller]
    pub fn record(&self, mut is_wanted: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let record = self.take("record", 1).remove(0);
            if is_wanted(&record) {
                return record;
            }
        }
    }
}

fn pass_on(
    response: impl Read,
    body: Option<BodyCheck<'static>>,
    sender: &mpsc::Sender<Heard>,
) -> Result<(), String> {
    read_messages(response, body, |Message { event, data, .. }| {
        let Some(data) = data else { return Ok(true) };
        let data = serde_json::from_str(&data).map_err(|error| format!("{error}: {data}"))?;
        Ok(sender.send(Ok((event.unwrap_or_else(|| "event".to_owned()), data))).is_ok())
    })
}
