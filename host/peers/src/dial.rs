//! Makes a connection to a node: TCP, TLS, and the two hellos.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::{Body, full, read};
use crate::clock::now_us;
use crate::hello::{Hello, Kind, Refusal};
use crate::identity::Remote;
use crate::limits::{
    CONNECT_WAIT, CONNECTION_WINDOW, HEADERS_BYTES_MAX, HELLO_BYTES_MAX, HELLO_WAIT, KEEP_ALIVE,
    RELAY_WINDOW, STREAM_WINDOW, TLS_WAIT,
};
use crate::node::Node;
use crate::task::Task;

/// How long the cause of a failed hello is waited for. It comes at once, or there is none.
const CAUSE_WAIT: Duration = Duration::from_millis(100);

/// A connection that both sides have accepted.
pub(crate) struct Dialed {
    pub(crate) requests: SendRequest<Body>,
    pub(crate) remote: Remote,
    pub(crate) address: String,
    /// Of the hello and its answer.
    pub(crate) round_trip: Duration,
    /// The other clock less ours, in microseconds.
    pub(crate) skew: i64,
    _driver: Task,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no address of node {name} is known")]
    NoAddress { name: String },
    #[error("{address}: {reason}")]
    Connect { address: String, reason: String },
    #[error("{address}: TLS: {reason}")]
    Tls { address: String, reason: String },
    #[error("{address}: {reason}")]
    Protocol { address: String, reason: String },
    #[error("{address}: refused by the other node: {refusal}")]
    Refused { address: String, refusal: Refusal },
    #[error("{address}: refused by this node: {refusal}")]
    Refuses { address: String, refusal: Refusal },
    #[error("refused by this node: {0}")]
    NotRegistered(Refusal),
}

impl DialError {
    /// Whether someone has to do something before it can work.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Refuses { .. } | Self::NotRegistered(_))
    }
}

/// Connects to one of a node's addresses. If none works, the first refusal counts, or the last error.
pub(crate) async fn dial(
    node: &Node,
    name: &str,
    addresses: &[String],
    kind: Kind,
) -> Result<Dialed, DialError> {
    let mut found = DialError::NoAddress { name: name.to_owned() };
    for address in addresses {
        // A handshake is large, and futures that only may make one are not.
        match Box::pin(dial_one(node, name, address, kind)).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) if !found.is_refusal() => found = error,
            Err(_) => {}
        }
    }
    Err(found)
}

async fn dial_one(node: &Node, name: &str, address: &str, kind: Kind) -> Result<Dialed, DialError> {
    let unknown = || DialError::NotRegistered(Refusal::UnknownNode { name: name.to_owned() });
    let registered = node.admission.registered(name).ok_or_else(unknown)?;
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| unknown())?;
    let tcp = connect(address)
        .await
        .map_err(|error| DialError::Connect { address: address.to_owned(), reason: error.to_string() })?;
    let connector = TlsConnector::from(node.credentials.client.clone());
    let tls = timeout(TLS_WAIT, connector.connect(server_name, tcp)).await;
    let reason = |reason: String| DialError::Tls { address: address.to_owned(), reason };
    let tls = tls.map_err(|_| reason("the handshake took too long".into()))?;
    let tls = tls.map_err(|error| reason(error.to_string()))?;

    let protocol = |reason: String| DialError::Protocol { address: address.to_owned(), reason };
    let (mut requests, driver, ended) = start(tls, kind).await.map_err(protocol)?;
    let hello = node.hello(registered.node, kind);
    let (sent_at, sent_clock) = (Instant::now(), now_us());
    let answer = timeout(HELLO_WAIT, say_hello(&mut requests, name, &hello)).await;
    let answer = answer.map_err(|_| protocol("the hello was not answered in time".into()))?;
    let theirs = match answer {
        Ok(Ok(theirs)) => theirs,
        Ok(Err(refusal)) => return Err(DialError::Refused { address: address.to_owned(), refusal }),
        // In TLS 1.3 the other side looks at our certificate after we are done: if it refuses that, the connection ends.
        Err(reason) => return Err(protocol(cause(ended).await.unwrap_or(reason))),
    };
    let round_trip = sent_at.elapsed();
    // TLS has checked that the certificate is for the name that was dialed.
    let checked = node.check(&theirs, theirs.from.name == name);
    checked.map_err(|refusal| DialError::Refuses { address: address.to_owned(), refusal })?;
    let skew = skew(theirs.clock, sent_clock, round_trip);
    let address = address.to_owned();
    Ok(Dialed { requests, remote: theirs.from, address, round_trip, skew, _driver: driver })
}

/// How far another clock is from ours: what it said, less what ours had in the middle of the round trip.
pub(crate) fn skew(theirs: u64, sent: u64, round_trip: Duration) -> i64 {
    let half = u64::try_from(round_trip.as_micros() / 2).unwrap_or(u64::MAX);
    let ours = i128::from(sent.saturating_add(half));
    let difference = i128::from(theirs) - ours;
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    let tcp = timeout(CONNECT_WAIT, TcpStream::connect(address)).await.map_err(late)??;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Why a connection has ended, if it has.
async fn cause(ended: oneshot::Receiver<String>) -> Option<String> {
    timeout(CAUSE_WAIT, ended).await.ok()?.ok()
}

/// Speaks HTTP/2. The last part of what is returned tells why the connection ended, once it has.
async fn start(
    tls: TlsStream<TcpStream>,
    kind: Kind,
) -> Result<(SendRequest<Body>, Task, oneshot::Receiver<String>), String> {
    let window = if kind == Kind::Client { RELAY_WINDOW } else { STREAM_WINDOW };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let (requests, connection) =
        builder.handshake(TokioIo::new(tls)).await.map_err(|error| explain(&error))?;
    let (cause, ended) = oneshot::channel();
    let driver = Task::spawn(async move {
        if let Err(error) = connection.await {
            // After the hello nobody asks.
            drop(cause.send(explain(&error)));
        }
    });
    Ok((requests, driver, ended))
}

/// Says hello. The answer is one, too, or a refusal.
async fn say_hello(
    requests: &mut SendRequest<Body>,
    name: &str,
    hello: &Hello,
) -> Result<Result<Hello, Refusal>, String> {
    let bytes = serde_json::to_vec(hello).map_err(|error| error.to_string())?;
    let (status, bytes) = post(requests, name, "/hello", bytes.into(), HELLO_BYTES_MAX).await?;
    match status {
        StatusCode::OK => serde_json::from_slice(&bytes).map(Ok),
        _ => serde_json::from_slice(&bytes).map(Err),
    }
    .map_err(|error| format!("the answer to the hello ({status}): {error}"))
}

/// Sends a small request, and reads its answer.
pub(crate) async fn post(
    requests: &mut SendRequest<Body>,
    name: &str,
    path: &str,
    content: Bytes,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::post(format!("https://{name}{path}")).body(full(content));
    let request = request.map_err(|error| error.to_string())?;
    requests.ready().await.map_err(|error| explain(&error))?;
    let response = requests.send_request(request).await.map_err(|error| explain(&error))?;
    let status = response.status();
    Ok((status, read(response.into_body(), max).await?))
}

/// An error with its causes: of those of TLS, hyper's own text says nothing.
pub(crate) fn explain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::skew;

    #[test]
    fn clocks_are_compared_in_the_middle_of_the_round_trip() {
        let trip = Duration::from_micros(200);
        assert_eq!(skew(1_100, 1_000, trip), 0);
        assert_eq!(skew(3_001_100, 1_000, trip), 3_000_000);
        assert_eq!(skew(0, 1_000, trip), -1_100);
        assert_eq!(skew(u64::MAX, 0, trip), i64::MAX);
        assert_eq!(skew(0, u64::MAX, trip), i64::MIN);
    }
}
