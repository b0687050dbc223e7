//! Serves a request of a store that other nodes have as well: here, or by having the leader serve it.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Either, Full};
use tokio::time::{Instant, sleep};

use crate::body::RequestBody;
use crate::cluster::{
    Asked, BadHeader, Cluster, LEADER, Leader, LeaderNode, MISDIRECTED, RELAYED, RelayError, RelayedBody,
    RelayedBodyError, TOKEN, Way, asked, way,
};
use crate::problem::problem;
use crate::route::StoreRoute;
use crate::service::{OwnResponse, ResponseBody, Service, invalid, own_response};

/// Bytes of a body that are kept while it is relayed, so that it can be sent to another leader: what nearly all changes have.
/// Larger ones are passed on as they arrive, once. All connections together keep 512 MiB at most.
const KEPT_BYTES_MAX: u64 = 64 << 10;

/// How long a change that was not begun is sent on to the next leader: longer than nearly all elections take.
const NEXT_LEADER_WAIT: Duration = Duration::from_secs(4);

/// Pause before it is sent again.
const NEXT_LEADER_POLL: Duration = Duration::from_millis(100);

impl Service {
    /// Serves a request of a store of the cluster.
    pub(crate) async fn serve_or_relay(
        &self,
        cluster: &dyn Cluster,
        store: &StoreRoute,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, OwnResponse> {
        let asked = asked(&request)
            .map_err(|BadHeader { name, detail }| invalid(name, "A header is wrong", detail))?;
        let mut served = self.serve_by(cluster, store, &asked, request).await;
        let headers = match &mut served {
            Ok(response) => response.headers_mut(),
            Err(own) => own.headers_mut(),
        };
        // It is for the node that relays, which tells the client in its own way.
        if !asked.is_relayed {
            headers.remove(MISDIRECTED);
        }
        // A relayed response has them from the node that served it.
        if !headers.contains_key(TOKEN)
            && let Some(token) = cluster.token(&store.name)
        {
            headers.insert(TOKEN, HeaderValue::from(token));
        }
        if !headers.contains_key(LEADER)
            && let Leader::There(LeaderNode { address, .. }) = cluster.leader(&store.name)
            && let Ok(address) = HeaderValue::try_from(address)
        {
            headers.insert(LEADER, address);
        }
        served
    }

    async fn serve_by(
        &self,
        cluster: &dyn Cluster,
        store: &StoreRoute,
        asked: &Asked,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, OwnResponse> {
        let mut decided = way(asked, cluster.leader(&store.name));
        if decided == Way::Wait {
            decided = way(asked, cluster.known_leader(&store.name).await);
        }
        match decided {
            Way::Serve if asked.is_change => {
                let response = self.forward(store, request).await?;
                // It does not lead any more, and nothing was done. A client that wants no relay looks for the leader itself.
                let is_misdirected = response.status() == StatusCode::MISDIRECTED_REQUEST;
                if is_misdirected && asked.may_be_relayed() { Err(no_leader(store)) } else { Ok(response) }
            }
            Way::Serve => self.read(cluster, store, asked, request).await,
            Way::Read(level) => {
                let readable = cluster.readable(&store.name, level).await;
                readable.map_err(|reason| not_readable(store, &reason))?;
                let had = cluster.token(&store.name);
                let response = self.read(cluster, store, asked, request).await?;
                // A replica that was opened again meanwhile may have less at first than what was promised.
                if cluster.token(&store.name) < had {
                    return Err(not_readable(store, "its replica was opened again meanwhile"));
                }
                Ok(response)
            }
            Way::Relay(node) => self.relay(cluster, store, node, request).await,
            Way::Redirect(leader) => Err(redirect(store, leader.as_ref())),
            Way::Wait => Err(no_leader(store)),
        }
    }

    /// Has the leader serve a change. One that was not begun, because the node does not lead any more or is away, is sent to whoever
    /// leads next. One that may have been begun is never sent again.
    async fn relay(
        &self,
        cluster: &dyn Cluster,
        store: &StoreRoute,
        mut node: LeaderNode,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, OwnResponse> {
        let until = Instant::now() + NEXT_LEADER_WAIT;
        let (head, body) = match kept(request).await? {
            Kept::Whole(head, body) => (head, body),
            Kept::Passing(request) => {
                let relayed = cluster.relay(&node.name, request).await;
                return if is_undone(&relayed) {
                    Err(no_leader(store))
                } else {
                    Ok(passed_on(store, relayed))
                };
            }
        };
        loop {
            let request = Request::from_parts(copy_of_parts(&head), full(body.clone()));
            let relayed = cluster.relay(&node.name, request).await;
            if !is_undone(&relayed) {
                return Ok(passed_on(store, relayed));
            }
            if Instant::now() >= until {
                return Err(no_leader(store));
            }
            // Its followers know that it is gone only when its lease is over.
            sleep(NEXT_LEADER_POLL).await;
            match cluster.known_leader(&store.name).await {
                Leader::There(next) => node = next,
                Leader::Here => {
                    let request = Request::from_parts(head, RequestBody::relayed(full(body)));
                    let response = self.forward(store, request).await?;
                    let is_misdirected = response.status() == StatusCode::MISDIRECTED_REQUEST;
                    return if is_misdirected { Err(no_leader(store)) } else { Ok(response) };
                }
                Leader::Unknown => return Err(no_leader(store)),
            }
        }
    }

    /// Serves a read here. What of it only the leader has, such as the consumers of durable subscriptions, the gateway refuses as
    /// misdirected; then the leader serves it.
    async fn read(
        &self,
        cluster: &dyn Cluster,
        store: &StoreRoute,
        asked: &Asked,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, OwnResponse> {
        if !asked.may_be_relayed() || !request.body().is_end_stream() {
            return self.forward(store, request).await;
        }
        let mut head = copy_of(&request);
        head.headers.remove(RELAYED);
        let response = self.forward(store, request).await?;
        if response.status() != StatusCode::MISDIRECTED_REQUEST {
            return Ok(response);
        }
        match cluster.known_leader(&store.name).await {
            Leader::There(node) => {
                let request = Request::from_parts(head, empty());
                Ok(passed_on(store, cluster.relay(&node.name, request).await))
            }
            // It leads by now, or nobody does: the client tries again.
            Leader::Here | Leader::Unknown => Err(no_leader(store)),
        }
    }
}

/// Whether it is certain that nothing was done: the node was not reached, or does not lead.
fn is_undone(relayed: &Result<Response<RelayedBody>, RelayError>) -> bool {
    match relayed {
        // Of the node itself or of its gateway: only those that do not lead answer so.
        Ok(response) => response.status() == StatusCode::MISDIRECTED_REQUEST,
        Err(RelayError::Unreachable { .. }) => true,
        Err(RelayError::Busy | RelayError::Lost { .. }) => false,
    }
}

/// The answer of the node that served a request.
fn passed_on(
    store: &StoreRoute,
    relayed: Result<Response<RelayedBody>, RelayError>,
) -> Response<ResponseBody> {
    relayed.map_or_else(|error| own_response(not_relayed(store, &error)), from_leader)
}

/// A request that is to be relayed.
enum Kept {
    /// It is here whole.
    Whole(Parts, Bytes),
    /// It is passed on as it arrives.
    Passing(Request<RelayedBody>),
}

async fn kept(request: Request<RequestBody>) -> Result<Kept, OwnResponse> {
    let is_small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= KEPT_BYTES_MAX);
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    head.headers.remove(RELAYED);
    if !is_small {
        return Ok(Kept::Passing(Request::from_parts(
            head,
            body.map_err(|error| RelayedBodyError(error.to_string())).boxed_unsync(),
        )));
    }
    let body = body.collect().await.map_err(|error| {
        let detail = format!("the request's body ended early: {error}");
        invalid("body", "The body cannot be read", &detail)
    })?;
    Ok(Kept::Whole(head, body.to_bytes()))
}

/// The head of a request once more. What the listener keeps with it stays behind.
fn copy_of<B>(request: &Request<B>) -> Parts {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy.into_parts().0
}

fn copy_of_parts(head: &Parts) -> Parts {
    let mut copy = Request::new(()).into_parts().0;
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.headers = head.headers.clone();
    copy
}

fn full(body: Bytes) -> RelayedBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> RelayedBody {
    full(Bytes::new())
}

fn from_leader(mut response: Response<RelayedBody>) -> Response<ResponseBody> {
    response.headers_mut().remove(MISDIRECTED);
    response.map(|body| Either::Right(Either::Right(body)))
}

/// The answer to a request that is not served here.
fn redirect(store: &StoreRoute, leader: Option<&LeaderNode>) -> OwnResponse {
    let name = &store.name;
    let detail = match leader {
        Some(LeaderNode { name: node, address }) => {
            format!("node `{node}` leads store `{name}`; send the request to {address}")
        }
        None => format!("this node does not lead store `{name}`, and knows no leader"),
    };
    let members = [("store", name.as_str().into())];
    let title = "Another node leads the store";
    let mut response = problem(StatusCode::MISDIRECTED_REQUEST, "not-leader", title, &detail, &members);
    response.headers_mut().insert(MISDIRECTED, HeaderValue::from_static("1"));
    if let Some(address) = leader.and_then(|leader| HeaderValue::try_from(&leader.address).ok()) {
        response.headers_mut().insert(LEADER, address);
    }
    response
}

fn no_leader(store: &StoreRoute) -> OwnResponse {
    let detail = format!(
        "store `{}` has no leader that this node can reach; nothing was done: send the request again, to any node",
        store.name
    );
    let members = [("store", store.name.as_str().into())];
    problem(StatusCode::SERVICE_UNAVAILABLE, "no-leader", "The store has no leader", &detail, &members)
}

fn not_readable(store: &StoreRoute, reason: &str) -> OwnResponse {
    let detail = format!(
        "this node cannot show that it has what the read asks for: {reason}; send it again, to any node, or with the header \
         `exesdb-read: local` for what this node has"
    );
    let members = [("store", store.name.as_str().into())];
    problem(StatusCode::SERVICE_UNAVAILABLE, "no-leader", "The read is not up to date", &detail, &members)
}

/// The answer to a request whose response did not come from the leader.
fn not_relayed(store: &StoreRoute, error: &RelayError) -> OwnResponse {
    let members = [("store", store.name.as_str().into())];
    match error {
        RelayError::Unreachable { .. } => {
            let detail = format!("{error}; nothing was done: send the request again, to any node");
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-leader", "The leader is away", &detail, &members)
        }
        RelayError::Busy => {
            let detail =
                format!("{error}; nothing was done: send the request again, or to the leader itself");
            let title = "Too many requests at a time";
            problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title, &detail, &members)
        }
        RelayError::Lost { .. } => {
            let detail = format!(
                "{error}; whether it was done is not known: sent again with the same event ids and the same expected version, to \
                 any node, it is applied once"
            );
            problem(StatusCode::SERVICE_UNAVAILABLE, "restarting", "The leader is away", &detail, &members)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{no_leader, not_relayed, redirect};
    use crate::cluster::{LEADER, LeaderNode, MISDIRECTED, RelayError};
    use crate::route::StoreRoute;

    fn store() -> StoreRoute {
        StoreRoute { name: "main".into(), workers: 1 }
    }

    #[test]
    fn a_redirect_names_the_leader_and_says_that_nothing_was_done() {
        let leader = LeaderNode { name: "b".into(), address: "b.example:2113".into() };
        let response = redirect(&store(), Some(&leader));
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(response.headers()[LEADER], "b.example:2113");
        assert!(response.headers().contains_key(MISDIRECTED));
        assert!(!redirect(&store(), None).headers().contains_key(LEADER));
        let hostile = LeaderNode { name: "b".into(), address: "b\r\nx: y".into() };
        assert!(!redirect(&store(), Some(&hostile)).headers().contains_key(LEADER));
    }

    #[test]
    fn only_a_lost_response_leaves_the_outcome_open() {
        let reason = || "it ended".to_owned();
        let text = |response: super::OwnResponse| format!("{response:?}");
        let unreachable = text(not_relayed(&store(), &RelayError::Unreachable { reason: reason() }));
        let lost = text(not_relayed(&store(), &RelayError::Lost { reason: reason() }));
        assert!(
            unreachable.contains("nothing was done") && unreachable.contains("no-leader"),
            "{unreachable}"
        );
        assert!(lost.contains("is not known") && lost.contains("restarting"), "{lost}");
        assert!(text(no_leader(&store())).contains("nothing was done"));
    }
}
