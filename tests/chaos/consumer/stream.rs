//! A consumer that follows server-sent events.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use exesdb_api_document::Messages;
use exesdb_tests::Connection;
use serde_json::Value;

use super::{Consumer, Mishap};
use crate::load::may_pass;

/// How long a read waits: short, so that the consumer notices when another time begins.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// A response of server-sent events.
pub(crate) struct Stream {
    connection: Connection,
    messages: Messages,
    buffer: Vec<u8>,
}

/// What a read brought.
pub(crate) enum Received {
    /// Messages: their kinds, their ids and their data.
    Messages(Vec<exesdb_api_document::Message>),
    /// The response has ended.
    End,
}

impl Stream {
    /// Begins a response; none if the host does not serve at the moment.
    ///
    /// # Panics
    ///
    /// When the host refuses the request for good.
    pub(crate) fn begin(http: &exesdb_tests::Client, path: &str, last_id: Option<u64>) -> Option<Self> {
        let mut connection = http.try_connect().ok()?;
        let last_id = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        // With HTTP/1.0 the body of the response has no chunks.
        let request =
            format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n{last_id}\r\n");
        connection.write_all(request.as_bytes()).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if connection.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("{path}: a response without a status: {head}"));
        if status != 200 {
            assert!(may_pass(status), "{path}: {head}");
            return None;
        }
        connection.set_read_timeout(Some(READ_TIMEOUT)).ok()?;
        Some(Self { connection, messages: Messages::default(), buffer: vec![0; 64 << 10] })
    }

    /// What comes within a short time.
    pub(crate) fn read(&mut self) -> Received {
        match self.connection.read(&mut self.buffer) {
            Ok(count @ 1..) => {
                let messages = self.messages.push(&self.buffer[..count]);
                Received::Messages(messages.expect("the response consists of messages"))
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Received::Messages(Vec::new())
            }
            Ok(0) | Err(_) => Received::End,
        }
    }
}

impl Consumer {
    /// Follows until the session ends. The consumer leaves with its connection, as one that fails, and before that if it is steady.
    pub(super) fn stream(&mut self, begun: u64) {
        let path = format!("{}/events?window={}", self.path(), self.record.subscription.window);
        let Some(mut stream) = Stream::begin(&self.http, &path, None) else { return };
        let mut known = None;
        // One that does not know its number cannot leave.
        while !self.time.is_over(begun) || self.is_steady() && known.is_none() {
            let Received::Messages(messages) = stream.read() else { return };
            let mut events = Vec::new();
            for message in messages {
                let data = message.data.unwrap_or_default();
                let value: Value = serde_json::from_str(&data).expect("the data of a message is JSON");
                match message.event.as_deref() {
                    None => events.push(value),
                    Some("consumer") => {
                        let consumer = value["consumer"].as_u64().expect("a consumer has a number");
                        known = Some((self.begins(begun), consumer));
                    }
                    Some(_) => return,
                }
            }
            let Some((session, consumer)) = known else { continue };
            let taken = self.delivered(session, &events);
            match self.mishap() {
                Mishap::Dies => return,
                Mishap::ForgetsToSay => continue,
                Mishap::Stalls => self.stall(),
                Mishap::None => self.work(taken.len()),
            }
            self.settle(session, consumer, &taken);
        }
        if let Some((_, consumer)) = known.filter(|_| self.is_steady()) {
            self.leave(consumer);
        }
    }
}
