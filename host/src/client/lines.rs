//! Events as lines: one long answer instead of many pages, and gone on with where a connection broke.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use exesdb_storage::HistoryId;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ANSWER_TIMEOUT, Client, ClientError, Filter, Place as From, Retry, innermost};

/// The media type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The header that names the history of the positions in an answer.
const HISTORY: &str = "exesdb-history";
/// The longest line, in bytes: an event of 1 MiB in base64, its metadata and JSON fit well.
const LINE_BYTES_MAX: usize = 8 << 20;
/// How the line begins that ends an answer; events have no such member.
const PAGE: &[u8] = b"{\"page\":";

/// The last line of an answer.
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

/// All events of the whole store from some position on, in order, each once.
#[derive(Debug)]
pub struct Lines<'a> {
    client: &'a Client,
    filter: Filter,
    from: u64,
    /// The history of the positions read so far: where a store has another, going on would mix the two.
    history: Option<HistoryId>,
    connection: Option<Connection>,
    retry: Retry,
    /// A host that never answered is not waited for: the address is probably wrong.
    has_connected: bool,
}

#[derive(Debug)]
struct Connection {
    url: String,
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
}

/// The members of an event that tell where it stands.
#[derive(Deserialize)]
struct Place {
    position: u64,
}

impl<'a> Lines<'a> {
    /// Reads from a position on what there is. When the host goes away, it is waited for as long as `patience`.
    pub fn new(client: &'a Client, filter: Filter, from: From, patience: Duration) -> Lines<'a> {
        Lines {
            client,
            filter,
            from: from.number,
            history: from.history,
            connection: None,
            retry: Retry::new(patience),
            has_connected: false,
        }
    }

    /// The next event and its position, as the gateway wrote it; none at the end of what there is.
    pub async fn next(&mut self) -> Result<Option<(u64, Box<RawValue>)>, ClientError> {
        loop {
            let line = match self.next_line().await {
                Ok(line) => line,
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
                let place: Place = self.parse(&line)?;
                if place.position < self.from {
                    let detail = format!("position {} after {}", place.position, self.from);
                    return Err(self.unreadable(detail));
                }
                self.from = place.position + 1;
                return self.parse(&line).map(|event| Some((place.position, event)));
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

    async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
            self.has_connected = true;
        }
        let connection = self.connection.as_mut().expect("it was just made");
        tokio::time::timeout(ANSWER_TIMEOUT, connection.next_line()).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: self.client.url.0.clone(), seconds: ANSWER_TIMEOUT.as_secs() })
        })
    }

    async fn connect(&mut self) -> Result<Connection, ClientError> {
        let mut url = self.client.path(&["events"]);
        url.push('?');
        From { number: self.from, history: self.history }.push(&mut url);
        self.filter.push(&mut url);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(NDJSON));
        let answer = self.client.send(Method::GET, &url, headers, bytes::Bytes::new());
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: url.clone(), seconds: ANSWER_TIMEOUT.as_secs() })
        })?;
        let history = answer.headers().get(HISTORY).and_then(|history| history.to_str().ok());
        self.history = history.and_then(|history| history.parse().ok());
        Ok(Connection { url, body: answer.into_body(), buffer: BytesMut::new(), searched: 0 })
    }

    fn parse<'l, T: Deserialize<'l>>(&self, line: &'l [u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, detail: String) -> ClientError {
        ClientError::Unreadable { url: self.client.url.0.clone(), detail }
    }
}

impl Connection {
    /// The next line without its end. An answer that ends before its last line is a broken connection.
    async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                let detail = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::Unreadable { url: self.url.clone(), detail });
            }
            let lost = |detail: String| ClientError::Lost { url: self.url.clone(), detail };
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        self.buffer.extend_from_slice(piece);
                    }
                }
                Some(Err(error)) => return Err(lost(innermost(&error))),
                None => return Err(lost("the answer broke off".to_owned())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{From, Lines};
    use crate::client::Filter;
    use crate::client::canned::{Canned, json};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn lines(text: &str) -> String {
        json("200 OK", text)
    }

    #[tokio::test]
    async fn lines_go_on_where_a_connection_broke_or_a_page_ended() {
        let gateway = Canned::start(vec![
            lines("{\"position\":3}\n{\"position\":5,\"a\":1.50}\n{\"position\":6"),
            lines("{\"page\":{\"next\":9,\"end\":false}}\n"),
            lines("{\"position\":9}\n{\"page\":{\"next\":10,\"end\":true,\"durable_position\":10}}\n"),
        ])
        .await;
        let filter = Filter { tags: vec!["t".to_owned()], ..Filter::default() };
        let mut lines = Lines::new(&gateway.client, filter, From::of(2), PATIENCE);
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

    #[tokio::test]
    async fn answers_that_are_not_lines_of_events_are_errors() {
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
            let mut lines = Lines::new(&gateway.client, Filter::default(), From::of(2), PATIENCE);
            let error = lines.next().await.unwrap_err().to_string();
            assert!(error.contains("cannot read"), "{text}: {error}");
        }
    }
}
