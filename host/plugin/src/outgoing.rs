//! Outgoing HTTP requests: none, or those of a sink to the hosts that it was granted.
//!
//! What is compared with the grants is the host and port that the connection is made to. Redirects are not followed; TLS is
//! not there yet. Requests of a call end with its instance.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::grants::AllowedHost;
use crate::text::printable;

/// How long a connection may take, however long the component would wait: a host that does not take one by then is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a response may take to begin, however long the component would wait.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a response's body: a receiver says in a few words what became of a request.
const RESPONSE_BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a response's head.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;

/// The port of `http` in a URL without one.
const HTTP_PORT: u16 = 80;

/// Bytes of a host's name in the log: the component chooses it.
const HOST_BYTES_MAX: usize = 256;

/// What outgoing requests an instance may make.
pub(crate) enum CallsOut {
    /// None: each fails with `HTTP-request-denied`.
    Denied,
    /// Those of a sink.
    Granted(Granted),
}

impl CallsOut {
    /// The hosts that requests may be sent to, a line for each; none for a component that is no sink.
    pub(crate) fn allowed_hosts(&self) -> Option<String> {
        let Self::Granted(granted) = self else { return None };
        let lines: Vec<String> = granted.allowed.iter().map(ToString::to_string).collect();
        Some(lines.join("\n"))
    }
}

/// The requests that a sink may make.
pub(crate) struct Granted {
    allowed: Vec<AllowedHost>,
    /// The path of the sink's child, for the log.
    path: Arc<str>,
    /// A denial was logged. One of each instance is enough.
    has_denied: bool,
}

impl Granted {
    pub(crate) fn new(allowed: Vec<AllowedHost>, path: Arc<str>) -> Self {
        Self { allowed, path, has_denied: false }
    }

    /// The host and port of a request, if it may be made.
    fn permit(&mut self, uri: &Uri) -> Result<(String, u16), Error> {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(Error::HttpProtocolError);
        }
        let (host, port) = uri.authority().and_then(target).ok_or(Error::HttpRequestUriInvalid)?;
        if self.allowed.iter().any(|allowed| allowed.permits(&host, port)) {
            return Ok((host, port));
        }
        if !std::mem::replace(&mut self.has_denied, true) {
            tracing::warn!(
                path = %self.path,
                host = printable(&host, HOST_BYTES_MAX),
                port,
                "a sink asked for a host that it may not send requests to; `allowed_hosts` of its [store.sinks] permits hosts"
            );
        }
        Err(Error::HttpRequestDenied)
    }
}

/// The host and port that a connection is made to; none if the port is no port, which `Authority` reads as none.
fn target(authority: &Authority) -> Option<(String, u16)> {
    let (whole, host) = (authority.as_str(), authority.host());
    let without_user = whole.rsplit_once('@').map_or(whole, |(_, rest)| rest);
    let port = match without_user.strip_prefix(host)?.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => HTTP_PORT,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Transmission), Error>;

impl WasiHttpHooks for CallsOut {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _transmission: Transmission,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let permitted = match self {
            Self::Denied => Err(Error::HttpRequestDenied),
            Self::Granted(granted) => granted.permit(request.uri()),
        };
        match permitted {
            Ok((host, port)) => Box::new(send(request, host, port, options.unwrap_or_default())),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }
}

async fn send(mut request: Request<WasiBody>, host: String, port: u16, options: RequestOptions) -> Sent {
    let connect_time = options.connect_timeout.map_or(CONNECT_TIME_MAX, |time| time.min(CONNECT_TIME_MAX));
    let response_time =
        options.first_byte_timeout.map_or(RESPONSE_TIME_MAX, |time| time.min(RESPONSE_TIME_MAX));
    let connected = timeout(connect_time, connect(&host, port)).await;
    let stream = connected.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(RESPONSE_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| of_hyper(&error))?;
    // It ends with what holds it: the response, or this future.
    let connection = spawn(connection);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let responded = timeout(response_time, sender.send_request(request)).await;
    let response = responded.map_err(|_| Error::HttpResponseTimeout)?.map_err(|error| of_hyper(&error))?;
    let response = response.map(|body| {
        Limited::new(body, RESPONSE_BODY_BYTES_MAX).map_err(|error| of_body(&*error)).boxed_unsync()
    });
    let ended = async move { connection.await.map_err(|error| of_hyper(&error)) };
    Ok((response, Box::new(ended)))
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    // An address of version 6 has brackets in a URL.
    let name = host.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(host);
    let found = tokio::net::lookup_host((name, port)).await;
    let found = found.map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })?;
    let addresses: Vec<SocketAddr> = found.collect();
    TcpStream::connect(addresses.as_slice()).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        _ => Error::DestinationUnavailable,
    })
}

/// An error of the connection, so that the component learns what happened.
fn of_hyper(error: &hyper::Error) -> Error {
    let body = error.source().and_then(|source| source.downcast_ref::<Error>());
    match body {
        // The component did not finish its own request.
        Some(_) => Error::HttpRequestBodySize(None),
        None if error.is_parse() => Error::HttpProtocolError,
        None => Error::ConnectionTerminated,
    }
}

fn of_body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if error.is::<LengthLimitError>() {
        return Error::HttpResponseBodySize(Some(RESPONSE_BODY_BYTES_MAX as u64));
    }
    error.downcast_ref::<hyper::Error>().map_or(Error::ConnectionTerminated, of_hyper)
}

#[cfg(test)]
mod tests {
    use super::{AllowedHost, Error, Granted};

    #[test]
    fn only_granted_hosts_are_permitted() {
        let mut granted = Granted::new(
            ["a.org", "b.org:8080"].map(|text| AllowedHost::parse(text).expect("a host")).to_vec(),
            "host/main/system/emitter-system/sinks/s".into(),
        );
        // URL, what it leads to
        for (url, expected) in [
            ("http://a.org/x", Some(("a.org", 80))),
            ("http://a.org:99/x", Some(("a.org", 99))),
            ("http://A.org/", Some(("A.org", 80))),
            ("http://b.org:8080/", Some(("b.org", 8080))),
            ("http://b.org/", None),
            ("http://a.org@evil.org/", None),
            ("http://a.org.evil.org/", None),
            ("http://evil.org/?a.org", None),
            ("https://a.org/", None),
            ("http://a.org:99999/", None),
        ] {
            let permitted = url.parse().map(|uri| granted.permit(&uri));
            match expected {
                Some((host, port)) => {
                    let found = permitted.expect("a URL").expect(url);
                    assert_eq!(found, (host.to_owned(), port), "{url}");
                }
                None => assert!(!matches!(permitted, Ok(Ok(_))), "{url}"),
            }
        }
        let denied = granted.permit(&"http://evil.org/".parse().expect("a URL"));
        assert!(matches!(denied, Err(Error::HttpRequestDenied)));
    }
}
