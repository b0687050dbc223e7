//! Who serves a request of a store of the cluster, for the listener.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exesdb_gateway::{
    Cluster, Leader, LeaderNode, ReadLevel, RelayError, RelayedBody, RelayedBodyError, TransferError,
};
use exesdb_peers::{CallError, ControlRequest, ControlResponse, Peers};
use exesdb_supervisor::Registry;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::backend::client_address;
use super::membership::Membership;
use super::names;
use super::replication::Replication;
use super::services::{TRANSFER, Transfer, transfer_here};
use super::status;

/// How long a change waits for a leader: longer than nearly all elections take.
const LEADER_WAIT: Duration = Duration::from_secs(3);

/// How often it is looked for meanwhile.
const LEADER_POLL: Duration = Duration::from_millis(20);

/// The cluster as the listener sees it.
#[derive(Clone)]
pub(crate) struct Serving {
    membership: Arc<Membership>,
    registry: Registry,
}

impl Serving {
    pub(crate) fn new(membership: Arc<Membership>, registry: Registry) -> Self {
        Self { membership, registry }
    }
}

impl Cluster for Serving {
    fn leader(&self, store: &str) -> Leader {
        let Some(replication) = Replication::of(&self.registry, store) else { return Leader::Unknown };
        let metrics = replication.metrics();
        if metrics.ready.is_some() {
            return Leader::Here;
        }
        let leader = metrics.leader.filter(|leader| *leader != replication.place.replica);
        let Some(member) = leader.and_then(|leader| metrics.members.members.get(&leader)) else {
            return Leader::Unknown;
        };
        let address = client_address(&self.registry, &member.node).unwrap_or_default();
        Leader::There(LeaderNode { name: member.node.clone(), address })
    }

    fn known_leader(&self, store: &str) -> BoxFuture<'static, Leader> {
        let (serving, store) = (self.clone(), store.to_owned());
        Box::pin(async move {
            let until = Instant::now() + LEADER_WAIT;
            loop {
                match serving.leader(&store) {
                    Leader::Unknown if Instant::now() < until => sleep(LEADER_POLL).await,
                    leader => return leader,
                }
            }
        })
    }

    fn readable(&self, store: &str, level: ReadLevel) -> BoxFuture<'static, Result<(), String>> {
        let replication = Replication::of(&self.registry, store);
        Box::pin(async move {
            let replication = replication.ok_or("the store's replica is being restarted")?;
            let readable = match level {
                ReadLevel::Local => return Ok(()),
                ReadLevel::Linearizable => replication.group.linearizable().await,
                ReadLevel::AtLeast(token) => replication.group.at_least(token).await,
            };
            readable.map(drop).map_err(|error| error.to_string())
        })
    }

    fn token(&self, store: &str) -> Option<u64> {
        Some(Replication::of(&self.registry, store)?.group.reader()?.head().sequence)
    }

    fn relay(
        &self,
        node: &str,
        request: Request<RelayedBody>,
    ) -> BoxFuture<'static, Result<Response<RelayedBody>, RelayError>> {
        let (peers, node) = (self.registry.get::<Peers>(names::PEERS), node.to_owned());
        Box::pin(async move {
            let unreachable = |reason: String| RelayError::Unreachable { reason };
            let peers = peers.ok_or_else(|| unreachable("the connections are being restarted".to_owned()))?;
            match peers.relay(&node, request.map(to_peer)).await {
                Ok(response) => Ok(response.map(from_peer)),
                Err(exesdb_peers::RelayError::Broken { reason }) => Err(RelayError::Lost { reason }),
                Err(exesdb_peers::RelayError::Busy) => Err(RelayError::Busy),
                Err(error) => Err(unreachable(error.to_string())),
            }
        })
    }

    fn transfer_leader(
        &self,
        store: &str,
        to: Option<&str>,
    ) -> BoxFuture<'static, Result<String, TransferError>> {
        let transfer = Transfer { store: store.to_owned(), to: to.map(str::to_owned) };
        let serving = self.clone();
        Box::pin(async move { transfer_leader(&serving, transfer).await })
    }

    fn status(&self) -> BoxFuture<'static, Value> {
        let serving = self.clone();
        Box::pin(async move {
            let status = status::of_cluster(&serving.membership, &serving.registry).await;
            match status.map(serde_json::to_value) {
                Ok(Ok(status)) => status,
                Ok(Err(error)) => json!({ "error": error.to_string() }),
                Err(error) => json!({ "error": error }),
            }
        })
    }
}

/// Has the leader of a store give its leadership away.
async fn transfer_leader(serving: &Serving, transfer: Transfer) -> Result<String, TransferError> {
    let members = status::members(&serving.registry).map_err(|reason| TransferError::NoLeader { reason })?;
    if let Some(to) = &transfer.to
        && members.node_named(to).is_none()
    {
        let known = members.members().map(|(_, node)| node.name.clone()).collect();
        return Err(TransferError::UnknownNode { node: to.clone(), known });
    }
    let node = match serving.known_leader(&transfer.store).await {
        Leader::Here => {
            let moved = transfer_here(&serving.registry, transfer).await;
            return moved.map_err(|reason| TransferError::NotMoved { reason });
        }
        Leader::There(node) if transfer.to.as_ref() == Some(&node.name) => return Ok(node.name),
        Leader::There(node) => node,
        Leader::Unknown => {
            let reason = format!("store `{}` has no leader for now", transfer.store);
            return Err(TransferError::NoLeader { reason });
        }
    };
    let peers = serving.registry.get::<Peers>(names::PEERS);
    let away = || "the connections of this node are being restarted".to_owned();
    let peers = peers.ok_or_else(|| TransferError::NoLeader { reason: away() })?;
    let content = json!(transfer);
    match peers.call(&node.name, &ControlRequest { what: TRANSFER.to_owned(), content }).await {
        Ok(ControlResponse::Done(Value::String(leader))) => Ok(leader),
        Ok(ControlResponse::Done(_)) => {
            Err(TransferError::Lost { reason: format!("node `{}` answered something else", node.name) })
        }
        Ok(ControlResponse::Refused(reason)) => Err(TransferError::NotMoved { reason }),
        Err(error @ CallError::Broken { .. }) => Err(TransferError::Lost { reason: error.to_string() }),
        Err(error) => Err(TransferError::NoLeader { reason: error.to_string() }),
    }
}

/// A body for another node.
fn to_peer(body: RelayedBody) -> exesdb_peers::Body {
    body.map_err(Into::into).boxed_unsync()
}

/// A body of another node.
pub(super) fn from_peer(body: exesdb_peers::Body) -> RelayedBody {
    body.map_err(|error| RelayedBodyError(error.to_string())).boxed_unsync()
}

/// A body for the node that relayed a request.
pub(super) fn answer(response: Response<RelayedBody>) -> Response<exesdb_peers::Body> {
    response.map(to_peer)
}

/// A response of the host itself to a relayed request.
pub(super) fn unavailable() -> Response<exesdb_peers::Body> {
    let body = http_body_util::Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    response
}
