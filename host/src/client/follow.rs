//! Following a stream, or the whole store: from some event on and then live, over broken connections.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::value::RawValue;

use super::sse::{Decoder, Message};
use super::{ANSWER_TIMEOUT, Client, ClientError, Filter, Place, Problem, Retry, innermost};

/// How long a live stream may be silent: the gateway gives a sign of life every 15 s, so the peer is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The kind of message that carries an event.
const EVENT: &str = "message";

/// The kind of message that says, as a problem document, why the gateway ends the stream.
const END: &str = "end";

/// What stands for a kind where there is no message and the stream only says how far it is.
const PROGRESS: &str = "";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a live read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowFrom {
    /// At a version of the stream, or a position of the store, inclusive.
    Event(Place),
    /// With the next event that is appended.
    End,
}

impl FromStr for FollowFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "end" => Ok(FollowFrom::End),
            place => place.parse().map(FollowFrom::Event).map_err(|error| format!("write end, or {error}")),
        }
    }
}

/// A live read. Each event is given once, in order: after a broken connection it goes on after the last one given.
#[derive(Debug)]
pub struct Follow<'a> {
    client: &'a Client,
    url: String,
    last_id: Option<String>,
    connection: Option<Connection>,
    retry: Retry,
    /// A host that never answered is not waited for: the address is probably wrong.
    has_connected: bool,
}

#[derive(Debug)]
struct Connection {
    body: Incoming,
    decoder: Decoder,
    waiting: VecDeque<Message>,
}

impl<'a> Follow<'a> {
    /// Follows a stream, or (none) the whole store, and then perhaps filtered. When the host goes away, it is waited
    /// for as long as `patience`.
    pub fn new(
        client: &'a Client,
        stream: Option<&str>,
        filter: &Filter,
        from: FollowFrom,
        patience: Duration,
    ) -> Follow<'a> {
        let mut url = client.events_path(stream);
        match from {
            FollowFrom::Event(from) => {
                url.push('?');
                from.push(&mut url);
            }
            FollowFrom::End => url.push_str("?from=end"),
        }
        filter.push(&mut url);
        let retry = Retry::new(patience);
        Follow { client, url, last_id: None, connection: None, retry, has_connected: false }
    }

    /// The next event as the gateway wrote it; waits until there is one.
    pub async fn next(&mut self) -> Result<Box<RawValue>, ClientError> {
        loop {
            match self.next_message().await {
                Ok(message) => {
                    self.retry.succeeded();
                    let event = self.read(message)?;
                    return Ok(event);
                }
                Err(error) => {
                    self.connection = None;
                    if !self.has_connected {
                        return Err(error);
                    }
                    self.retry.wait_after(error).await?;
                }
            }
        }
    }

    /// The id of the last event given, from which a later read can go on: its position and the history of that.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Whether the next event has come already: [`Follow::next`] will not wait for it.
    pub fn is_ready(&self) -> bool {
        let is_event = |message: &Message| message.event == EVENT;
        self.connection.as_ref().is_some_and(|connection| connection.waiting.iter().any(is_event))
    }

    fn read(&mut self, message: Message) -> Result<Box<RawValue>, ClientError> {
        let event =
            RawValue::from_string(message.data).map_err(|error| self.unreadable(error.to_string()))?;
        self.last_id = message.id;
        Ok(event)
    }

    async fn next_message(&mut self) -> Result<Message, ClientError> {
        if self.connection.is_none() {
            let body = self.connect().await?;
            self.connection =
                Some(Connection { body, decoder: Decoder::default(), waiting: VecDeque::new() });
            self.has_connected = true;
        }
        let connection = self.connection.as_mut().expect("it was just made");
        loop {
            if let Some(message) = connection.waiting.pop_front() {
                match message.event.as_str() {
                    EVENT => return Ok(message),
                    PROGRESS => self.last_id = message.id,
                    END => {
                        let problem = Box::new(Problem::of_document(message.data.as_bytes()));
                        return Err(ClientError::Refused { url: self.url.clone(), problem });
                    }
                    // Other kinds are for other readers, as with a browser's EventSource.
                    _ => {}
                }
                continue;
            }
            let lost = |detail: String| ClientError::Lost { url: self.url.clone(), detail };
            let frame = match tokio::time::timeout(SILENCE_TIMEOUT, connection.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(lost(innermost(&error))),
                Ok(None) => return Err(lost("the host ended it".to_owned())),
                Err(_) => return Err(lost(format!("silent for {} s", SILENCE_TIMEOUT.as_secs()))),
            };
            let Some(piece) = frame.data_ref() else { continue };
            match connection.decoder.push(piece) {
                Ok(messages) => connection.waiting.extend(messages),
                Err(error) => return Err(self.unreadable(error.to_string())),
            }
        }
    }

    async fn connect(&self) -> Result<Incoming, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = &self.last_id {
            let id = HeaderValue::from_str(id).map_err(|error| self.unreadable(error.to_string()))?;
            headers.insert(LAST_EVENT_ID, id);
        }
        let head = self.client.send(Method::GET, &self.url, headers, Bytes::new());
        let response = tokio::time::timeout(ANSWER_TIMEOUT, head).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: self.url.clone(), seconds: ANSWER_TIMEOUT.as_secs() })
        })?;
        Ok(response.into_body())
    }

    fn unreadable(&self, detail: String) -> ClientError {
        ClientError::Unreadable { url: self.url.clone(), detail }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Follow, FollowFrom};
    use crate::client::canned::{Canned, event_stream, json};
    use crate::client::{Filter, Place};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn following_goes_on_after_the_last_event_given() {
        let gateway = Canned::start(vec![
            event_stream("retry: 1\n\n: keepalive\n\nid: 4\ndata: {\"n\":4}\n\nid: 5\ndata: {\"n\":5}\n\nid: 6\ndata: {\"n\":6"),
            json("503 Service Unavailable", "{\"title\":\"Restarting\"}"),
            event_stream("event: other\ndata: {}\n\nid: 6\ndata: {\"n\":6}\n\n"),
        ])
        .await;
        let mut follow = Follow::new(
            &gateway.client,
            Some("a/b"),
            &Filter::default(),
            FollowFrom::Event(Place::of(2)),
            PATIENCE,
        );
        for n in 4..=6 {
            assert_eq!(follow.next().await.unwrap().get(), format!("{{\"n\":{n}}}"));
        }
        let requests = gateway.requests.await.unwrap();
        for request in &requests {
            assert!(request.starts_with("GET /v1/stores/main/streams/a%2Fb/events?from=2 HTTP"), "{request}");
            assert!(request.contains("accept: text/event-stream\r\n"), "{request}");
        }
        let resumed = |request: &String| request.contains("last-event-id: 5\r\n");
        assert_eq!(requests.iter().map(resumed).collect::<Vec<_>>(), [false, true, true]);
    }

    #[tokio::test]
    async fn following_ends_when_the_store_has_another_history() {
        let problem = r#"{"type":"urn:exesdb:problem:history-changed","title":"Changed","detail":"at 3"}"#;
        let gateway = Canned::start(vec![
            event_stream("retry: 1\n\nid: 4@00000000000000ab\ndata: {\"n\":4}\n\n"),
            json("409 Conflict", problem),
        ])
        .await;
        let mut follow =
            Follow::new(&gateway.client, None, &Filter::default(), FollowFrom::Event(Place::of(4)), PATIENCE);
        assert_eq!(follow.next().await.unwrap().get(), "{\"n\":4}");
        let error = follow.next().await.unwrap_err();
        assert_eq!(error.problem_kind(), "history-changed");
        assert_eq!(follow.last_id(), Some("4@00000000000000ab"));
        let requests = gateway.requests.await.unwrap();
        assert!(requests[1].contains("last-event-id: 4@00000000000000ab\r\n"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn following_goes_on_after_what_was_passed_over() {
        let gateway = Canned::start(vec![
            event_stream("retry: 1\n\nid: 4\ndata: {\"n\":4}\n\nid: 70\n\n"),
            event_stream(
                "id: 90\n\nevent: end\ndata: {\"type\":\"urn:exesdb:problem:restarting\",\"status\":503}\n\n",
            ),
            event_stream("id: 91\ndata: {\"n\":91}\n\n"),
        ])
        .await;
        let mut follow =
            Follow::new(&gateway.client, None, &Filter::default(), FollowFrom::Event(Place::of(0)), PATIENCE);
        for n in [4, 91] {
            assert_eq!(follow.next().await.unwrap().get(), format!("{{\"n\":{n}}}"));
        }
        let requests = gateway.requests.await.unwrap();
        assert!(requests[1].contains("last-event-id: 70\r\n"), "{}", requests[1]);
        assert!(requests[2].contains("last-event-id: 90\r\n"), "{}", requests[2]);
    }

    #[tokio::test]
    async fn a_stream_that_is_deleted_for_good_ends_it_with_the_reason() {
        let end = "event: end\ndata: {\"type\":\"urn:exesdb:problem:stream-deleted\",\"title\":\"Gone\",\"status\":410}\n\n";
        let gateway = Canned::start(vec![event_stream(&format!("id: 4\ndata: 4\n\n{end}"))]).await;
        let mut follow = Follow::new(
            &gateway.client,
            Some("s"),
            &Filter::default(),
            FollowFrom::Event(Place::of(0)),
            PATIENCE,
        );
        assert_eq!(follow.next().await.unwrap().get(), "4");
        let error = follow.next().await.unwrap_err();
        assert_eq!((error.problem_kind(), error.to_string().as_str()), ("stream-deleted", "Gone (410)"));
    }

    #[tokio::test]
    async fn a_first_answer_that_is_an_error_is_not_waited_out() {
        let answers = vec![json("503 Service Unavailable", "{\"title\":\"Restarting\"}")];
        let gateway = Canned::start(answers).await;
        let mut follow = Follow::new(&gateway.client, None, &Filter::default(), FollowFrom::End, PATIENCE);
        let error = follow.next().await.unwrap_err().to_string();
        assert_eq!(error, "Restarting (503)");
        let requests = gateway.requests.await.unwrap();
        assert!(requests[0].starts_with("GET /v1/stores/main/events?from=end HTTP"));
    }

    #[tokio::test]
    async fn an_event_that_is_not_json_ends_it() {
        let gateway = Canned::start(vec![event_stream("id: 1\ndata: {\n\n")]).await;
        let mut follow =
            Follow::new(&gateway.client, None, &Filter::default(), FollowFrom::Event(Place::of(0)), PATIENCE);
        let error = follow.next().await.unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
