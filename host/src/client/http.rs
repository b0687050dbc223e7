//! Requests and responses over HTTP: a pool of connections, deadlines, and limits on what a gateway may send.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ClientError, Problem};
use super::url::{GatewayUrl, escaped};

/// Limit for opening a connection. A gateway on loopback or in the same network accepts within milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for receiving a complete response. Longer than any call's deadline in the host, so that the host's error comes first.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle time after which the kernel probes a connection, so that a live stream notices a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The largest response, in bytes. The host limits pages to 8 MiB, and base64 and JSON add to that.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// The body of a request: whole, or sent in parts.
pub(super) type RequestBody = Either<Full<Bytes>, Channel<Bytes>>;

/// A client of one store of one gateway, with a pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, RequestBody>,
    url: GatewayUrl,
    store: String,
}

impl Client {
    /// A client of a store. It connects when it is first used.
    pub fn new(url: GatewayUrl, store: &str) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        Client { http, url, store: store.to_owned() }
    }

    /// The name of the store.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The gateway's URL, for messages about it.
    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The URL of something in this store, with each segment escaped.
    pub(super) fn path(&self, segments: &[&str]) -> String {
        let mut path = format!("{}/v1/stores/{}", self.url.as_str(), escaped(&self.store));
        for segment in segments {
            let _ = write!(path, "/{}", escaped(segment));
        }
        path
    }

    /// Sends a request, with a JSON body if there is one, and reads a JSON response.
    pub(super) async fn json<T: DeserializeOwned>(
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
        let (_, response) = self.bytes(method, url, headers, body).await?;
        serde_json::from_slice(&response)
            .map_err(|error| ClientError::Unreadable { url: url.to_owned(), detail: error.to_string() })
    }

    /// Sends a request with a JSON body, to which a success has no content.
    pub(super) async fn send_json(
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

    /// Sends a request and reads the whole response, within [`RESPONSE_TIMEOUT`].
    pub(super) async fn bytes(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), ClientError> {
        let whole = async {
            let response = self.send(method, url, headers, whole(body)).await?;
            let headers = response.headers().clone();
            Ok((headers, collect(url, response.into_body()).await?))
        };
        tokio::time::timeout(RESPONSE_TIMEOUT, whole).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: url.to_owned(), seconds: RESPONSE_TIMEOUT.as_secs() })
        })
    }

    /// Sends a request and returns the response before its body is read. A response that is no success becomes an error.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request =
            Request::builder().method(method).uri(url).body(body).map_err(|error| {
                ClientError::Unsendable { url: url.to_owned(), detail: error.to_string() }
            })?;
        request.headers_mut().extend(headers);
        let response = self.http.request(request).await.map_err(|error| {
            let detail = innermost(&error);
            if error.is_connect() {
                ClientError::Unreachable { url: self.url.as_str().to_owned(), detail }
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

/// The body of a request that is sent as a whole.
pub(super) fn whole(body: Bytes) -> RequestBody {
    Either::Left(Full::new(body))
}

/// The whole body of a response, at most [`RESPONSE_BYTES_MAX`].
async fn collect(url: &str, body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ClientError::Unreadable {
            url: url.to_owned(),
            detail: format!("it is larger than {RESPONSE_BYTES_MAX} bytes"),
        }),
        Err(error) => Err(ClientError::Lost { url: url.to_owned(), detail: innermost(&*error) }),
    }
}

/// The text of the cause at the bottom of a chain: "Connection refused" rather than "client error (Connect)".
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::Client;
    use crate::client::canned::{Canned, json};

    #[tokio::test]
    async fn responses_that_are_not_of_the_api_are_errors() {
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
        for (response, expected) in cases {
            let gateway = Canned::start(vec![response.clone()]).await;
            let error = gateway.client.end_position().await.expect_err(&response).to_string();
            assert!(error.contains(expected), "{response}: {error}");
        }
    }

    #[tokio::test]
    async fn the_error_for_an_absent_gateway_says_what_to_do() {
        let gateway = Canned::start(vec![]).await;
        gateway.requests.await.unwrap();
        let error = gateway.client.end_position().await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("exesdb serve"), "{error}");
    }

    #[tokio::test]
    async fn a_name_becomes_one_escaped_segment() {
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
