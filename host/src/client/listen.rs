//! What a topic says, from now on. A broken connection is opened again; what happened in between is not heard.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use sse_stream::Sse;

use super::error::ClientError;
use super::http::Client;
use super::retry::Retry;
use super::sse::{EventStream, is_event, unreadable};

/// What a topic says.
#[derive(Debug)]
pub enum Heard {
    /// An event of the store, as the gateway wrote it.
    Event(Box<RawValue>),
    /// A record about the store, as the gateway wrote it.
    Record(Box<RawValue>),
    /// What was left out before what follows.
    Dropped(Dropped),
    /// It listens again, after a connection that broke.
    Again,
}

/// What was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Dropped {
    /// The first position, version or number.
    pub from: u64,
    /// The end, exclusive.
    pub until: u64,
    /// How many.
    pub events: u64,
}

/// A listener of a topic.
pub struct Listen<'a> {
    client: &'a Client,
    url: String,
    messages: Option<EventStream>,
    retry: Retry,
    /// Whether the topic has ever been heard. If not, the address or the topic is probably wrong, and retrying is of no use.
    has_begun: bool,
}

impl<'a> Listen<'a> {
    /// Listens to a topic. If the host goes away, this waits for it as long as `patience`.
    pub fn new(client: &'a Client, topic: &str, patience: Duration) -> Listen<'a> {
        let url = client.path(&["topics", topic]);
        Listen { client, url, messages: None, retry: Retry::new(patience), has_begun: false }
    }

    /// Waits for what is heard next.
    pub async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            match self.next_heard().await {
                Ok(heard) => return Ok(heard),
                Err(error) => {
                    self.messages = None;
                    if !self.has_begun {
                        return Err(error);
                    }
                    self.retry.wait_after(error).await?;
                }
            }
        }
    }

    /// Whether the next event has arrived, so that [`Listen::next`] will not wait.
    pub fn is_ready(&mut self) -> bool {
        self.messages.as_mut().is_some_and(EventStream::is_ready)
    }

    async fn next_heard(&mut self) -> Result<Heard, ClientError> {
        loop {
            let messages = match &mut self.messages {
                Some(messages) => messages,
                None => self.messages.insert(EventStream::open(self.client, &self.url, None).await?),
            };
            let message = messages.next().await?;
            if message.event.as_deref() == Some("topic") {
                self.retry.succeeded();
                if std::mem::replace(&mut self.has_begun, true) {
                    return Ok(Heard::Again);
                }
            } else if let Some(heard) = heard(message, &self.url)? {
                return Ok(heard);
            }
        }
    }
}

/// What a message says; none for one without data or of a type that this version does not know.
fn heard(message: Sse, url: &str) -> Result<Option<Heard>, ClientError> {
    let is_event = is_event(&message);
    let Some(data) = message.data else { return Ok(None) };
    let unreadable = |error: serde_json::Error| unreadable(url, error.to_string());
    Ok(match message.event.as_deref() {
        _ if is_event => Some(Heard::Event(RawValue::from_string(data).map_err(unreadable)?)),
        Some("record") => Some(Heard::Record(RawValue::from_string(data).map_err(unreadable)?)),
        Some("dropped") => Some(Heard::Dropped(serde_json::from_str(&data).map_err(unreadable)?)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Dropped, Heard, Listen};
    use crate::client::canned::{Canned, event_stream, json};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_listener_goes_on_and_says_that_it_heard_nothing_in_between() {
        let gateway = Canned::start(vec![
            event_stream(
                "event: topic\ndata: {\"topic\":\"$all\",\"from\":3}\n\nevent: dropped\ndata: {\"from\":3,\"until\":9,\"events\":6}\n\n\
                 : \n\nevent: later\ndata: 1\n\ndata: {\"n\":9}\n\n",
            ),
            json("503 Service Unavailable", "{\"title\":\"Restarting\"}"),
            event_stream("event: topic\ndata: {\"topic\":\"$all\"}\n\nevent: record\ndata: {\"kind\":\"a\"}\n\n"),
        ])
        .await;
        let mut listen = Listen::new(&gateway.client, "tag:a/b", PATIENCE);
        let expected = Dropped { from: 3, until: 9, events: 6 };
        assert!(matches!(listen.next().await, Ok(Heard::Dropped(dropped)) if dropped == expected));
        assert!(matches!(listen.next().await, Ok(Heard::Event(event)) if event.get() == "{\"n\":9}"));
        assert!(matches!(listen.next().await, Ok(Heard::Again)));
        assert!(
            matches!(listen.next().await, Ok(Heard::Record(record)) if record.get() == "{\"kind\":\"a\"}")
        );
        for request in gateway.requests.await.unwrap() {
            assert!(request.starts_with("GET /v1/stores/main/topics/tag%3Aa%2Fb HTTP"), "{request}");
            assert!(request.contains("accept: text/event-stream\r\n"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_topic_that_is_refused_is_not_asked_for_again() {
        let gateway = Canned::start(vec![json("400 Bad Request", "{\"title\":\"Invalid\"}")]).await;
        let mut listen = Listen::new(&gateway.client, "$nothing", PATIENCE);
        assert_eq!(listen.next().await.unwrap_err().to_string(), "Invalid (400)");
    }

    #[tokio::test]
    async fn messages_that_are_not_as_described_are_errors() {
        for message in
            ["data: {\n\n", "event: record\ndata: x\n\n", "event: dropped\ndata: {\"from\":-1}\n\n"]
        {
            let gateway = Canned::start(vec![event_stream(message)]).await;
            let mut listen = Listen::new(&gateway.client, "$all", PATIENCE);
            let error = listen.next().await.unwrap_err().to_string();
            assert!(error.contains("cannot read"), "{message}: {error}");
        }
    }
}
