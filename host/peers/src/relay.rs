//! Requests of clients that another node answers. Bodies stream both ways, and nothing of them is kept.

use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::{Body, boxed};
use crate::dial::explain;
use crate::hello::Refusal;
use crate::identity::Remote;
use crate::link::Link;
use crate::node::Node;

/// Header of a request that was relayed: the name of the node that did. Such a request is relayed no more.
pub const RELAYED: HeaderName = HeaderName::from_static("exesdb-relayed");

/// Where relayed requests go: their own path follows.
pub(crate) const PREFIX: &str = "/relay";

/// Headers of one connection, which do not concern the next one.
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Why a request was not relayed, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// It was relayed before.
    #[error("the request was relayed before, and goes no further")]
    Relayed,
    /// It cannot be sent to another node.
    #[error("the request has no path that can be relayed")]
    NoPath,
    /// The node cannot be reached. The request was not sent.
    #[error("the node cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// Too many requests are being relayed to the node. This one was not sent.
    #[error("too many requests are being relayed to the node")]
    Busy,
    /// The connection broke before there was an answer. The node may have got the request, and may have done it.
    #[error("the connection broke before the answer: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
}

/// Relays a request to a node.
pub(crate) async fn send(
    node: &Node,
    link: &Link,
    mut request: Request<Body>,
) -> Result<Response<Body>, RelayError> {
    if request.headers().contains_key(RELAYED) {
        return Err(RelayError::Relayed);
    }
    let path = request.uri().path_and_query().filter(|path| path.as_str().starts_with('/'));
    let path = path.ok_or(RelayError::NoPath)?;
    let uri = format!("https://{}{PREFIX}{path}", link.name).parse::<Uri>();
    let uri = uri.map_err(|_| RelayError::NoPath)?;
    let permit = link.relays.clone().try_acquire_owned().map_err(|_| RelayError::Busy)?;
    let mut requests = link.client().await.map_err(|reason| RelayError::Unreachable { reason })?;
    // HTTP/2 has the host in the URI, which names the node here.
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    strip(request.headers_mut());
    let name = HeaderValue::from_str(&node.identity.name).expect("a node's name is a DNS name");
    request.headers_mut().insert(RELAYED, name);
    let unreachable = |error: hyper::Error| RelayError::Unreachable { reason: explain(&error) };
    requests.ready().await.map_err(unreachable)?;
    let response = requests.send_request(request).await;
    let mut response = response.map_err(|error| RelayError::Broken { reason: explain(&error) })?;
    strip(response.headers_mut());
    Ok(response.map(|body| {
        boxed(body.map_frame(move |frame| {
            // Counted until the body was sent on or is dropped.
            let _counted = &permit;
            frame
        }))
    }))
}

/// Makes of a relayed request what it was, and has the host answer it.
pub(crate) async fn receive(
    node: &Node,
    remote: Remote,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let refusal = Refusal::NotThere { path: request.uri().path().chars().take(64).collect() };
    let not_there = || refusal.clone();
    let all = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    let path = all.strip_prefix(PREFIX).filter(|path| path.starts_with('/')).ok_or_else(not_there)?;
    let uri = path.parse::<Uri>().map_err(|_| not_there())?;
    *request.uri_mut() = uri;
    strip(request.headers_mut());
    let name = HeaderValue::from_str(&remote.name).expect("a node's name is a DNS name");
    request.headers_mut().insert(RELAYED, name);
    let mut response = node.services.relay(remote, request.map(boxed)).await;
    *response.version_mut() = Version::HTTP_2;
    strip(response.headers_mut());
    Ok(response)
}

/// Takes out what concerns one connection only, which HTTP/2 does not allow.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::strip;

    #[test]
    fn headers_of_one_connection_are_taken_out() {
        let all = [
            ("connection", "close, x-own"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("x-own", "1"),
            ("x-other", "1"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name, value.parse().expect("a value"));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-kept"]);
    }
}
