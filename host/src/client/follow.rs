//! Live reads of a stream, or of the whole store: from some event on, then new events as they are appended. A broken
//! connection is opened again.

use std::str::FromStr;
use std::time::Duration;

use serde_json::value::RawValue;
use sse_stream::Sse;

use super::error::ClientError;
use super::filter::Filter;
use super::http::Client;
use super::read_from::ReadFrom;
use super::retry::Retry;
use super::sse::{EventStream, is_event, unreadable};

/// Where a live read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowFrom {
    /// At a version of the stream or a position of the store, inclusive.
    Event(ReadFrom),
    /// With the next event that is appended.
    End,
}

impl FromStr for FollowFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "end" => Ok(FollowFrom::End),
            from => from.parse().map(FollowFrom::Event).map_err(|error| format!("write end, or {error}")),
        }
    }
}

/// A live read. It returns each event once, in order; after a broken connection it continues after the last one.
pub struct Follow<'a> {
    client: &'a Client,
    url: String,
    last_id: Option<String>,
    messages: Option<EventStream>,
    retry: Retry,
    /// Whether the host has ever responded. If it has not, the address is probably wrong, and retrying is of no use.
    has_connected: bool,
}

impl<'a> Follow<'a> {
    /// Follows a stream, or (none) the whole store, which can be filtered. If the host goes away, the read waits for it as
    /// long as `patience`.
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
        Follow { client, url, last_id: None, messages: None, retry, has_connected: false }
    }

    /// Waits for the next event, and returns it as the gateway wrote it.
    pub async fn next(&mut self) -> Result<Box<RawValue>, ClientError> {
        loop {
            match self.next_message().await {
                Ok(message) => {
                    self.retry.succeeded();
                    let event = RawValue::from_string(message.data.unwrap_or_default())
                        .map_err(|error| unreadable(&self.url, error.to_string()))?;
                    self.advance(message.id);
                    return Ok(event);
                }
                Err(error) => {
                    self.messages = None;
                    if !self.has_connected {
                        return Err(error);
                    }
                    self.retry.wait_after(error).await?;
                }
            }
        }
    }

    /// The id of the last event that was returned, after which a later read can begin: its position and history.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Whether the next event has arrived, so that [`Follow::next`] will not wait.
    pub fn is_ready(&mut self) -> bool {
        self.messages.as_mut().is_some_and(EventStream::is_ready)
    }

    /// The next message that carries an event.
    async fn next_message(&mut self) -> Result<Sse, ClientError> {
        loop {
            let messages = match &mut self.messages {
                Some(messages) => messages,
                None => {
                    let messages = EventStream::open(self.client, &self.url, self.last_id.as_deref()).await?;
                    self.has_connected = true;
                    self.messages.insert(messages)
                }
            };
            let message = messages.next().await?;
            match &message.data {
                // Only the id moves on, past events that the filter does not match.
                None => self.advance(message.id),
                Some(_) if is_event(&message) => return Ok(message),
                // Other types are ignored, as a browser's EventSource does.
                Some(_) => {}
            }
        }
    }

    fn advance(&mut self, id: Option<String>) {
        if id.is_some() {
            self.last_id = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Follow, FollowFrom};
    use crate::client::canned::{Canned, event_stream, json};
    use crate::client::{Filter, ReadFrom};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_new_connection_continues_after_the_last_event() {
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
            FollowFrom::Event(ReadFrom::of(2)),
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
    async fn a_changed_history_ends_the_read() {
        let problem = r#"{"type":"urn:exesdb:problem:history-changed","title":"Changed","detail":"at 3"}"#;
        let gateway = Canned::start(vec![
            event_stream("retry: 1\n\nid: 4@00000000000000ab\ndata: {\"n\":4}\n\n"),
            json("409 Conflict", problem),
        ])
        .await;
        let mut follow = Follow::new(
            &gateway.client,
            None,
            &Filter::default(),
            FollowFrom::Event(ReadFrom::of(4)),
            PATIENCE,
        );
        assert_eq!(follow.next().await.unwrap().get(), "{\"n\":4}");
        let error = follow.next().await.unwrap_err();
        assert_eq!(error.problem_kind(), "history-changed");
        assert_eq!(follow.last_id(), Some("4@00000000000000ab"));
        let requests = gateway.requests.await.unwrap();
        assert!(requests[1].contains("last-event-id: 4@00000000000000ab\r\n"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn a_new_connection_continues_after_skipped_events() {
        let gateway = Canned::start(vec![
            event_stream("retry: 1\n\nid: 4\ndata: {\"n\":4}\n\nid: 70\n\n"),
            event_stream(
                "id: 90\n\nevent: end\ndata: {\"type\":\"urn:exesdb:problem:restarting\",\"status\":503}\n\n",
            ),
            event_stream("id: 91\ndata: {\"n\":91}\n\n"),
        ])
        .await;
        let mut follow = Follow::new(
            &gateway.client,
            None,
            &Filter::default(),
            FollowFrom::Event(ReadFrom::of(0)),
            PATIENCE,
        );
        for n in [4, 91] {
            assert_eq!(follow.next().await.unwrap().get(), format!("{{\"n\":{n}}}"));
        }
        let requests = gateway.requests.await.unwrap();
        assert!(requests[1].contains("last-event-id: 70\r\n"), "{}", requests[1]);
        assert!(requests[2].contains("last-event-id: 90\r\n"), "{}", requests[2]);
    }

    #[tokio::test]
    async fn a_stream_deleted_for_good_ends_the_read_with_the_reason() {
        let end = "event: end\ndata: {\"type\":\"urn:exesdb:problem:stream-deleted\",\"title\":\"Gone\",\"status\":410}\n\n";
        let gateway = Canned::start(vec![event_stream(&format!("id: 4\ndata: 4\n\n{end}"))]).await;
        let mut follow = Follow::new(
            &gateway.client,
            Some("s"),
            &Filter::default(),
            FollowFrom::Event(ReadFrom::of(0)),
            PATIENCE,
        );
        assert_eq!(follow.next().await.unwrap().get(), "4");
        let error = follow.next().await.unwrap_err();
        assert_eq!((error.problem_kind(), error.to_string().as_str()), ("stream-deleted", "Gone (410)"));
    }

    #[tokio::test]
    async fn an_error_in_the_first_response_is_not_retried() {
        let responses = vec![json("503 Service Unavailable", "{\"title\":\"Restarting\"}")];
        let gateway = Canned::start(responses).await;
        let mut follow = Follow::new(&gateway.client, None, &Filter::default(), FollowFrom::End, PATIENCE);
        let error = follow.next().await.unwrap_err().to_string();
        assert_eq!(error, "Restarting (503)");
        let requests = gateway.requests.await.unwrap();
        assert!(requests[0].starts_with("GET /v1/stores/main/events?from=end HTTP"));
    }

    #[tokio::test]
    async fn an_event_that_is_not_json_ends_the_read() {
        let gateway = Canned::start(vec![event_stream("id: 1\ndata: {\n\n")]).await;
        let mut follow = Follow::new(
            &gateway.client,
            None,
            &Filter::default(),
            FollowFrom::Event(ReadFrom::of(0)),
            PATIENCE,
        );
        let error = follow.next().await.unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
