//! A client of the gateway's HTTP API: typed requests, and errors that say what to do.
//!
//! Plain HTTP/1.1 only: the gateway listens on loopback, or behind a proxy that speaks TLS to the outside.

#[cfg(test)]
pub(crate) mod canned;
mod error;
mod event;
mod filter;
mod follow;
mod import;
mod lines;
mod place;
mod retry;
mod snapshot;
mod sse;
mod streams;

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{ClientError, Problem};
pub(crate) use event::present;
pub use event::{AppendRequest, Appended, Event, EventPage, ExpectedVersion, NewEvent, StreamPage};
pub use filter::Filter;
pub use follow::{Follow, FollowFrom};
pub use import::{
    IMPORT_EVENTS_MAX, IMPORT_SOURCE_BYTES_MAX, ImportMark, ImportRequest, ImportState, Imported, RowCount,
    RowsRequest,
};
pub use lines::Lines;
pub use place::Place;
pub use retry::Retry;
pub use snapshot::{Snapshot, SnapshotInfo, SnapshotPage, SnapshotScope, WhichSnapshot};
pub use streams::{Retention, StreamAppended, StreamInfo, StreamState, Transacted};

/// Where the gateway is looked for when nothing says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:2113";

/// Events or names in one page: the most that the API gives.
pub const PAGE_COUNT_MAX: u64 = 1_000;

/// Until a connection stands. A gateway on loopback or in the same network answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until an answer is complete. Longer than any call's deadline in the host, so that the host's error comes first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// After which silence the kernel probes a connection, so that a live stream notices a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The largest answer, in bytes: pages are bounded at 8 MiB in the host, and base64 and JSON add to that.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What of a path segment goes unescaped: RFC 3986's unreserved characters without the dot, so that a stream named
/// `..` stays a name.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// The address of a gateway: `http://host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl(String);

impl FromStr for GatewayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let example = format!("give one such as {DEFAULT_URL}");
        let uri: http::Uri = text.parse().map_err(|error| format!("not a URL ({error}); {example}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(format!("TLS is not spoken here; {example}")),
            _ => return Err(format!("it must begin with http://; {example}")),
        }
        if uri.query().is_some() {
            return Err(format!("a gateway's URL has no query; {example}"));
        }
        Ok(GatewayUrl(text.trim_end_matches('/').to_owned()))
    }
}

/// Which way a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// A connection pool to one store of one gateway.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    url: GatewayUrl,
    store: String,
}

impl Client {
    /// A client for a store. Connects when it is first used.
    pub fn new(url: GatewayUrl, store: &str) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        Client { http, url, store: store.to_owned() }
    }

    /// The store that it asks.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Appends all the events or none, in order, at the end of one stream.
    pub async fn append(&self, stream: &str, request: &AppendRequest<'_>) -> Result<Appended, ClientError> {
        self.json(Method::POST, &self.path(&["streams", stream, "events"]), Some(request)).await
    }

    /// One page of a stream, or (none) of the whole store, and then perhaps filtered. `from` is a version or a
    /// position, inclusive; none is the first event, backward the last. `count` is at most [`PAGE_COUNT_MAX`].
    pub async fn read(
        &self,
        stream: Option<&str>,
        filter: &Filter,
        from: Option<Place>,
        count: u64,
        direction: Direction,
    ) -> Result<EventPage, ClientError> {
        let mut path = self.events_path(stream);
        let _ = write!(path, "?count={count}&direction={}", direction.as_str());
        if let Some(from) = from {
            path.push('&');
            from.push(&mut path);
        }
        filter.push(&mut path);
        self.json(Method::GET, &path, None::<&()>).await
    }

    /// How many positions of the store are taken: one more than the position of its last event.
    pub async fn end_position(&self) -> Result<u64, ClientError> {
        let page = self.read(None, &Filter::default(), None, 1, Direction::Backward).await?;
        match page.events.first() {
            None => Ok(0),
            Some(event) => Ok(Event::parse(event)?.position + 1),
        }
    }

    fn events_path(&self, stream: Option<&str>) -> String {
        match stream {
            Some(stream) => self.path(&["streams", stream, "events"]),
            None => self.path(&["events"]),
        }
    }

    /// The URL of something in this store, each segment escaped.
    fn path(&self, segments: &[&str]) -> String {
        let mut path = format!("{}/v1/stores/{}", self.url.0, utf8_percent_encode(&self.store, SEGMENT));
        for segment in segments {
            let _ = write!(path, "/{}", utf8_percent_encode(segment, SEGMENT));
        }
        path
    }

    /// Sends a request, with a JSON body if there is one, and reads a JSON answer.
    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, ClientError> {
        let mut headers = HeaderMap::new();
        let body = match body {
            None => Bytes::new(),
            Some(body) => {
                headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
                Bytes::from(serde_json::to_vec(body).expect("requests of this client are JSON"))
            }
        };
        headers.insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        let (_, answer) = self.bytes(method, url, headers, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Unreadable { url: url.to_owned(), detail: error.to_string() })
    }

    /// Sends a request with a JSON body whose answer says nothing but that it was done.
    async fn send_json(
        &self,
        method: Method,
        url: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<(), ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body).expect("requests of this client are JSON");
        self.bytes(method, url, headers, body.into()).await.map(drop)
    }

    /// Sends a request and reads the whole answer, within [`ANSWER_TIMEOUT`].
    async fn bytes(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), ClientError> {
        let whole = async {
            let response = self.send(method, url, headers, body).await?;
            let headers = response.headers().clone();
            Ok((headers, collect(url, response.into_body()).await?))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, whole).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: url.to_owned(), seconds: ANSWER_TIMEOUT.as_secs() })
        })
    }

    /// Sends a request and gives the answer's head; an answer that is no success becomes an error.
    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request =
            Request::builder().method(method).uri(url).body(Full::new(body)).map_err(|error| {
                ClientError::Unsendable { url: url.to_owned(), detail: error.to_string() }
            })?;
        request.headers_mut().extend(headers);
        let response = self.http.request(request).await.map_err(|error| {
            let detail = innermost(&error);
            if error.is_connect() {
                ClientError::Unreachable { url: self.url.0.clone(), detail }
            } else {
                ClientError::Lost { url: url.to_owned(), detail }
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = collect(url, response.into_body()).await?;
        Err(ClientError::Refused { url: url.to_owned(), problem: Box::new(Problem::parse(status, &body)) })
    }
}

/// The whole body of an answer, at most [`ANSWER_BYTES_MAX`].
async fn collect(url: &str, body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ClientError::Unreadable {
            url: url.to_owned(),
            detail: format!("it is larger than {ANSWER_BYTES_MAX} bytes"),
        }),
        Err(error) => Err(ClientError::Lost { url: url.to_owned(), detail: innermost(&*error) }),
    }
}

/// The text of the cause at the bottom of a chain: "Connection refused" rather than "client error (Connect)".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::canned::{Canned, json};
    use super::{Client, GatewayUrl};

    #[test]
    fn a_gateway_url_is_plain_http() {
        let cases = [
            ("http://127.0.0.1:2113", Ok("http://127.0.0.1:2113")),
            ("http://[::1]:80/", Ok("http://[::1]:80")),
            ("http://proxy/exesdb/", Ok("http://proxy/exesdb")),
            ("https://a", Err("TLS")),
            ("a:80", Err("http://")),
            ("ftp://a", Err("http://")),
            ("http://a/?b", Err("query")),
            ("http://a b", Err("not a URL")),
            ("", Err("not a URL")),
        ];
        for (text, expected) in cases {
            match (text.parse::<GatewayUrl>(), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.0, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }

    #[tokio::test]
    async fn answers_that_are_not_the_api_are_errors_that_say_so() {
        let cases = [
            (json("200 OK", "[]"), "cannot read"),
            (json("200 OK", "{\"events\":[1,"), "cannot read"),
            (json("200 OK", "{\"events\":[{}],\"end\":true}"), "cannot read"),
            (json("204 No Content", ""), "cannot read"),
            (json("404 Not Found", "<html>"), "Not Found (404): <html>"),
            (json("302 Found", ""), "Found (302)"),
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "the connection broke"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_owned(), "the connection broke"),
            (String::new(), "the connection broke"),
        ];
        for (answer, expected) in cases {
            let gateway = Canned::start(vec![answer.clone()]).await;
            let error = gateway.client.end_position().await.expect_err(&answer).to_string();
            assert!(error.contains(expected), "{answer}: {error}");
        }
    }

    #[tokio::test]
    async fn a_missing_gateway_is_said_with_what_to_do() {
        let gateway = Canned::start(vec![]).await;
        gateway.requests.await.unwrap();
        let error = gateway.client.end_position().await.unwrap_err();
        assert!(error.is_passing() && error.to_string().contains("exesdb serve"), "{error}");
    }

    #[tokio::test]
    async fn names_are_escaped_into_one_segment() {
        let client = Client::new("http://h".parse().unwrap(), "main");
        let cases = [
            ("case-1", "case-1"),
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            ("?&#%", "%3F%26%23%25"),
            ("ä b", "%C3%A4%20b"),
        ];
        for (name, escaped) in cases {
            assert_eq!(client.path(&["streams", name]), format!("http://h/v1/stores/main/streams/{escaped}"));
        }
    }
}
