//! Reads of the whole store as lines of JSON: one long response instead of many pages. A broken connection is opened again
//! where it broke.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use exesdb_storage::HistoryId;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ClientError;
use super::events::PAGE_COUNT_MAX;
use super::filter::Filter;
use super::http::{Client, RESPONSE_TIMEOUT, whole};
use super::read_from::ReadFrom;
use super::response_lines::{NDJSON, ResponseLines};
use super::retry::Retry;

/// The header with the history of the positions in a response.
const HISTORY: &str = "exesdb-history";
/// The beginning of the last line of a response. Events have no such member.
const PAGE: &[u8] = b"{\"page\":";

/// The last line of a response.
#[derive(Deserialize)]
struct LastLine {
    page: Page,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    next: Option<u64>,
    end: bool,
}

/// A read of the whole store from some position to the end. It returns each event once, in order.
#[derive(Debug)]
pub struct Lines<'a> {
    client: &'a Client,
    filter: Filter,
    from: u64,
    /// The last position to return.
    to: Option<u64>,
    /// The remaining events up to `to`, if what comes after them is damaged. Nothing else is read then.
    rest: Option<VecDeque<(u64, Box<RawValue>)>>,
    /// The history of the positions read so far. The gateway refuses to continue in another one.
    history: Option<HistoryId>,
    connection: Option<ResponseLines>,
    retry: Retry,
    /// Whether the host has ever responded. If it has not, the address is probably wrong, and retrying is of no use.
    has_connected: bool,
}

#[derive(Deserialize)]
struct EventPosition {
    position: u64,
}

impl<'a> Lines<'a> {
    /// Reads from a position to the end of the store. If the host goes away, the read waits for it as long as `patience`.
    pub fn new(client: &'a Client, filter: Filter, from: ReadFrom, patience: Duration) -> Lines<'a> {
        Lines {
            client,
            filter,
            from: from.number,
            to: None,
            rest: None,
            history: from.history,
            connection: None,
            retry: Retry::new(patience),
            has_connected: false,
        }
    }

    /// Limits the read to events up to this position, inclusive.
    pub fn up_to(self, to: Option<u64>) -> Lines<'a> {
        Lines { to, ..self }
    }

    /// The position from which the next event is read.
    pub fn reached(&self) -> u64 {
        self.from
    }

    /// The position of the next event, and the event as the gateway wrote it; none at the end of the store.
    pub async fn next(&mut self) -> Result<Option<(u64, Box<RawValue>)>, ClientError> {
        loop {
            if let Some(rest) = &mut self.rest {
                return Ok(rest.pop_front());
            }
            if self.to.is_some_and(|to| to < self.from) {
                return Ok(None);
            }
            let line = match self.next_line().await {
                Ok(line) => line,
                Err(error) if error.is_damage() => {
                    self.connection = None;
                    self.rest = Some(self.rest_before_damage(error).await?);
                    continue;
                }
                Err(error) => {
                    self.connection = None;
                    if !self.has_connected {
                        return Err(error);
                    }
                    self.retry.wait_after(error).await?;
                    continue;
                }
            };
            self.retry.succeeded();
            if !line.starts_with(PAGE) {
                let event: EventPosition = self.parse(&line)?;
                if event.position < self.from {
                    let detail = format!("position {} after {}", event.position, self.from);
                    return Err(self.unreadable(detail));
                }
                if self.to.is_some_and(|to| to < event.position) {
                    self.from = event.position;
                    continue;
                }
                self.from = event.position + 1;
                let position = event.position;
                return self.parse(&line).map(|event| Some((position, event)));
            }
            let LastLine { page } = self.parse(&line)?;
            self.connection = None;
            match page.next {
                _ if page.end => return Ok(None),
                Some(next) if next >= self.from => self.from = next,
                _ => return Err(self.unreadable("a page that neither ends nor goes on".to_owned())),
            }
        }
    }

    /// Reads the events from `from` to `to` backward, after a forward read met damage.
    ///
    /// The store reads in pages, and a page fails as a whole if it begins before the damage and ends in it. The events before
    /// the damage can still be read from the other side. Returns the original error if there is no `to`, if `to` is more than
    /// a page away, or if it lies in or after the damage.
    async fn rest_before_damage(
        &mut self,
        error: ClientError,
    ) -> Result<VecDeque<(u64, Box<RawValue>)>, ClientError> {
        let Some(to) = self.to else { return Err(error) };
        let count = (to - self.from).saturating_add(1).min(PAGE_COUNT_MAX);
        let backward = format!("&direction=backward&count={count}");
        let Ok(mut connection) = self.connect(to, &backward).await else { return Err(error) };
        let mut events = VecDeque::new();
        while let Ok(Ok(line)) = tokio::time::timeout(RESPONSE_TIMEOUT, connection.next_line()).await {
            if line.starts_with(PAGE) {
                let LastLine { page } = self.parse(&line)?;
                let is_complete = page.end || page.next.is_none_or(|next| next < self.from);
                return if is_complete { Ok(events) } else { Err(error) };
            }
            let event: EventPosition = self.parse(&line)?;
            if event.position < self.from {
                return Ok(events);
            }
            events.push_front((event.position, self.parse(&line)?));
        }
        Err(error)
    }

    async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect(self.from, "").await?);
            self.has_connected = true;
        }
        let connection = self.connection.as_mut().expect("it was just made");
        tokio::time::timeout(RESPONSE_TIMEOUT, connection.next_line()).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut {
                url: self.client.url().to_owned(),
                seconds: RESPONSE_TIMEOUT.as_secs(),
            })
        })
    }

    async fn connect(&mut self, from: u64, more: &str) -> Result<ResponseLines, ClientError> {
        let mut url = self.client.path(&["events"]);
        url.push('?');
        ReadFrom { number: from, history: self.history }.push(&mut url);
        url.push_str(more);
        self.filter.push(&mut url);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(NDJSON));
        let response = self.client.send(Method::GET, &url, headers, whole(Bytes::new()));
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, response).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: url.clone(), seconds: RESPONSE_TIMEOUT.as_secs() })
        })?;
        let history = response.headers().get(HISTORY).and_then(|history| history.to_str().ok());
        self.history = history.and_then(|history| history.parse().ok());
        Ok(ResponseLines::of(url, response.into_body()))
    }

    fn parse<'l, T: Deserialize<'l>>(&self, line: &'l [u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, detail: String) -> ClientError {
        ClientError::Unreadable { url: self.client.url().to_owned(), detail }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Lines;
    use crate::client::canned::{Canned, json};
    use crate::client::{Filter, ReadFrom};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn lines(text: &str) -> String {
        json("200 OK", text)
    }

    #[tokio::test]
    async fn the_read_continues_where_a_connection_broke_or_a_page_ended() {
        let gateway = Canned::start(vec![
            lines("{\"position\":3}\n{\"position\":5,\"a\":1.50}\n{\"position\":6"),
            lines("{\"page\":{\"next\":9,\"end\":false}}\n"),
            lines("{\"position\":9}\n{\"page\":{\"next\":10,\"end\":true,\"durable_position\":10}}\n"),
        ])
        .await;
        let filter = Filter { tags: vec!["t".to_owned()], ..Filter::default() };
        let mut lines = Lines::new(&gateway.client, filter, ReadFrom::of(2), PATIENCE);
        let mut found = Vec::new();
        while let Some((position, event)) = lines.next().await.unwrap() {
            found.push((position, event.get().to_owned()));
        }
        let expected = [(3, "{\"position\":3}"), (5, "{\"position\":5,\"a\":1.50}"), (9, "{\"position\":9}")];
        assert_eq!(found, expected.map(|(position, event)| (position, event.to_owned())));
        let requests = gateway.requests.await.unwrap();
        for (request, from) in requests.iter().zip([2, 6, 9]) {
            let head = format!("GET /v1/stores/main/events?from={from}&tag=t HTTP");
            assert!(request.starts_with(&head), "{request}");
            assert!(request.contains("accept: application/x-ndjson\r\n"), "{request}");
        }
    }

    /// A gateway's response where data is damaged.
    fn damaged() -> String {
        json("500 Internal Server Error", r#"{"type":"urn:exesdb:problem:damaged","title":"D"}"#)
    }

    #[tokio::test]
    async fn events_before_damage_are_read_from_the_other_side() {
        let page = |next: &str| format!("{{\"page\":{{\"next\":{next},\"end\":false}}}}\n");
        let event = |position: u64| format!("{{\"position\":{position}}}\n");
        // The response to the backward read, and the positions that are returned; none where the damage is an error.
        let cases = [
            (lines(&(event(8) + &event(6) + &page("3"))), Some(vec![3, 6, 8])),
            (lines(&(event(8) + &event(3) + &page("2"))), Some(vec![3, 8])),
            (lines("{\"page\":{\"next\":null,\"end\":true}}\n"), Some(vec![3])),
            (lines(&page("3")), Some(vec![3])),
            (lines(&(event(8) + &page("7"))), None),
            (lines(&event(8)), None),
            (damaged(), None),
        ];
        for (backward, expected) in cases {
            let first = event(3) + "{\"page\":{\"next\":4,\"end\":false}}\n";
            let responses = vec![lines(&first), damaged(), backward.clone()];
            let gateway = Canned::start(responses).await;
            let mut lines =
                Lines::new(&gateway.client, Filter::default(), ReadFrom::of(2), PATIENCE).up_to(Some(8));
            let mut found = Vec::new();
            let outcome = loop {
                match lines.next().await {
                    Ok(Some((position, _))) => found.push(position),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match expected {
                Some(expected) => assert_eq!((outcome.is_ok(), found), (true, expected), "{backward}"),
                None => assert!(outcome.unwrap_err().is_damage(), "{backward}"),
            }
            let requests = gateway.requests.await.unwrap();
            let head = "GET /v1/stores/main/events?from=8&direction=backward&count=5 HTTP";
            assert!(requests[2].starts_with(head), "{}", requests[2]);
        }
    }

    #[tokio::test]
    async fn damage_is_reported_at_once_and_nothing_is_read_after_the_last_position() {
        let gateway = Canned::start(vec![lines("{\"position\":3}\n"), damaged()]).await;
        let mut read = Lines::new(&gateway.client, Filter::default(), ReadFrom::of(2), PATIENCE);
        assert_eq!(read.next().await.unwrap().unwrap().0, 3);
        assert!(read.next().await.unwrap_err().is_damage());
        assert_eq!(read.reached(), 4);
        for text in ["{\"position\":3}\n", "{\"position\":3}\n{\"position\":5}\n"] {
            let gateway = Canned::start(vec![lines(text)]).await;
            let to = if text.len() > 20 { 4 } else { 3 };
            let mut read =
                Lines::new(&gateway.client, Filter::default(), ReadFrom::of(2), PATIENCE).up_to(Some(to));
            assert_eq!(read.next().await.unwrap().unwrap().0, 3);
            assert!(read.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn responses_that_are_not_lines_of_events_are_errors() {
        let cases = [
            "{\"position\":1}\n",
            "{\"positio\":3}\n",
            "nonsense\n",
            "{\"page\":{\"next\":null,\"end\":false}}\n",
            "{\"page\":{\"next\":1,\"end\":false}}\n",
            "{\"page\":{}}\n",
        ];
        for text in cases {
            let gateway = Canned::start(vec![lines(text)]).await;
            let mut lines = Lines::new(&gateway.client, Filter::default(), ReadFrom::of(2), PATIENCE);
            let error = lines.next().await.unwrap_err().to_string();
            assert!(error.contains("cannot read"), "{text}: {error}");
        }
    }
}
