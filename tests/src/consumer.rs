//! A consumer of a durable subscription that takes events as they come, over server-sent events. When it reads, what it says about
//! events and when it closes its connection is up to the test.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Instant;

use exesdb_api_document::{Message, Messages};
use serde_json::{Value, json};

use crate::{Client, Connection, PATIENCE, encoded};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// A consumer. On drop it closes its connection, as a client that dies would.
#[derive(Debug)]
pub struct Consumer {
    /// Its number.
    pub number: u64,
    http: Client,
    settlements: String,
    connection: Connection,
    messages: Messages,
    received: VecDeque<Message>,
    buffer: Vec<u8>,
}

impl Client {
    /// The path of a durable subscription.
    pub fn subscription(&self, name: &str) -> String {
        format!("{}/subscriptions/{}", self.path(), encoded(name))
    }

    /// The description of a durable subscription.
    #[track_caller]
    pub fn described(&self, name: &str) -> Value {
        self.get(&self.subscription(name)).expect(200).json
    }

    /// Begins to consume a durable subscription, with a window of so many events.
    #[track_caller]
    pub fn consume(&self, subscription: &str, window: u32) -> Consumer {
        let begun = self.try_consume(subscription, window);
        begun.unwrap_or_else(|status| panic!("{subscription} cannot be consumed: status {status}"))
    }

    /// As [`Client::consume`], from a host that may be restarting.
    ///
    /// # Errors
    ///
    /// The status of a refusal; 0 if there was no response, or it broke off.
    #[track_caller]
    pub fn try_consume(&self, subscription: &str, window: u32) -> Result<Consumer, u16> {
        let path = self.subscription(subscription);
        let mut connection = self.try_connect().map_err(|_| 0_u16)?;
        request_events(&mut connection, &path, window).map_err(|_| 0_u16)?;
        let status = status(&mut connection).unwrap_or_default();
        if status != 200 {
            return Err(status);
        }
        let mut consumer = Consumer {
            number: 0,
            http: self.clone(),
            settlements: format!("{path}/settlements"),
            connection,
            messages: Messages::default(),
            received: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
        };
        let Message { event, data, .. } = consumer.message().ok_or(0_u16)?;
        let first: Value = serde_json::from_str(&data.unwrap_or_default()).expect("data is JSON");
        assert_eq!(event.as_deref(), Some("consumer"), "{first}");
        consumer.number = first["consumer"].as_u64().expect("a consumer has a number");
        Ok(consumer)
    }

    /// A connection of a consumer of which nothing is read, not even the head of the response.
    pub fn consume_unread(&self, subscription: &str, window: u32) -> Connection {
        let mut connection = self.connect();
        request_events(&mut connection, &self.subscription(subscription), window).expect("the host reads");
        connection
    }
}

/// Asks for the events of a subscription. With HTTP/1.0 the body of the response has no chunks.
fn request_events(connection: &mut Connection, path: &str, window: u32) -> std::io::Result<()> {
    let request = format!(
        "GET {path}/events?window={window} HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
    );
    connection.write_all(request.as_bytes())
}

/// Reads the head of a response. Returns its status; none if it breaks off.
fn status(connection: &mut Connection) -> Option<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if connection.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Some(status.unwrap_or_else(|| panic!("a response without a status: {head}")))
}

impl Consumer {
    /// The next event.
    ///
    /// # Errors
    ///
    /// The problem with which the response ends; null if it breaks off.
    ///
    /// # Panics
    ///
    /// When nothing comes within [`PATIENCE`].
    #[track_caller]
    pub fn receive(&mut self) -> Result<Value, Value> {
        let Some(Message { event, data, .. }) = self.message() else { return Err(Value::Null) };
        let value: Value = serde_json::from_str(&data.unwrap_or_default()).expect("data is JSON");
        match event.as_deref() {
            None => Ok(value),
            Some("end") => Err(value),
            Some(other) => panic!("a message of the kind {other}: {value}"),
        }
    }

    /// The next `count` events.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            match self.receive() {
                Ok(event) => events.push(event),
                Err(end) => panic!("it ended after {} of {count} events: {end}", events.len()),
            }
        }
        events
    }

    /// Reads until the response ends. Returns the problem that it ends with; null if it breaks off.
    #[track_caller]
    pub fn end(mut self) -> Value {
        loop {
            if let Err(end) = self.receive() {
                return end;
            }
        }
    }

    /// Says something about events, by their places. Returns how many were meant.
    #[track_caller]
    pub fn settle(&self, words: &Value) -> Value {
        let mut words = words.clone();
        words["consumer"] = json!(self.number);
        self.http.post(&self.settlements, &words).expect(200).json
    }

    /// Acknowledges events, all of which it must have.
    #[track_caller]
    pub fn acknowledge(&self, events: &[Value]) {
        let places: Vec<&Value> = events.iter().map(|event| &event["delivery"]["place"]).collect();
        let settled = self.settle(&json!({ "ack": places }));
        assert_eq!(settled["acknowledged"], events.len(), "{settled}");
    }

    /// The next message; none when the response has ended.
    #[track_caller]
    fn message(&mut self) -> Option<Message> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.received.pop_front() {
                return Some(message);
            }
            // A response that is silent has comments.
            assert!(Instant::now() < until, "no message within {PATIENCE:?}");
            let count = match self.connection.read(&mut self.buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    panic!("nothing came within {PATIENCE:?}")
                }
                // The connection was reset.
                Err(_) => return None,
            };
            let messages = self.messages.push(&self.buffer[..count]);
            self.received.extend(messages.expect("the response consists of messages"));
        }
    }
}
