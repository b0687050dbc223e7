//! What this node does for others: it answers relayed requests and calls, and lets nodes join.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use exesdb_gateway::Relays;
use exesdb_node::CLUSTER_NAME;
use exesdb_node::join::{JoinAnswer, JoinError, JoinRequest as NodeRequest, Signed, admit};
use exesdb_peers::{
    Authority, Body, ControlRequest, ControlResponse, JoinRefusal, JoinRequest, JoinResponse, Peers, Remote,
    Secret, Services, Token,
};
use exesdb_supervisor::Registry;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::known::Known;
use super::membership::Membership;
use super::replication::Replication;
use super::serving::{answer, from_peer, unavailable};
use super::{names, status};
use crate::config::TlsFiles;
use crate::control::Inviter;

/// The call that asks the leader of `$cluster` to register a node.
const REGISTER: &str = "register";

/// The call that asks the leader of a store to give its leadership to a node.
pub(super) const TRANSFER: &str = "transfer-leader";

/// The name in the registry of what serves relayed requests.
pub(crate) const RELAYS: &str = "$node/relays";

/// What else a node is told that joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who it is.
    pub answer: JoinAnswer,
    /// Who else there is.
    pub known: Known,
}

/// What this node does for others.
pub(super) struct NodeServices {
    membership: Arc<Membership>,
    registry: Registry,
}

impl NodeServices {
    pub(super) fn new(membership: Arc<Membership>, registry: Registry) -> Self {
        Self { membership, registry }
    }
}

impl Services for NodeServices {
    fn relay(&self, _: Remote, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let relays = self.registry.get::<Relays>(RELAYS);
        Box::pin(async move {
            // The listener of this node is not there yet.
            let Some(relays) = relays else { return unavailable() };
            answer(relays.respond(request.map(from_peer)).await)
        })
    }

    fn control(&self, _: Remote, request: ControlRequest) -> BoxFuture<'static, ControlResponse> {
        let (membership, registry) = (Arc::clone(&self.membership), self.registry.clone());
        Box::pin(async move {
            let done = match request.what.as_str() {
                status::REPORT => to_value(&status::report(&membership, &registry)),
                REGISTER => {
                    register_here(&registry, request.content).await.and_then(|answer| to_value(&answer))
                }
                TRANSFER => transfer(&registry, request.content).await,
                _ => Err("this version does not have the call".to_owned()),
            };
            done.map_or_else(ControlResponse::Refused, ControlResponse::Done)
        })
    }

    fn join(
        &self,
        secret: Secret,
        request: JoinRequest,
    ) -> BoxFuture<'static, Result<JoinResponse, JoinRefusal>> {
        let (membership, registry) = (Arc::clone(&self.membership), self.registry.clone());
        Box::pin(async move {
            membership.invitations.lock().redeem(&secret, &request.name, request.incarnation, now())?;
            let unavailable = |reason: String| JoinRefusal::Unavailable { reason };
            let folder = TlsFiles::folder(&membership.data);
            let authority = Authority::load(&folder).map_err(|error| unavailable(error.to_string()))?;
            let signed = authority.sign(&request.name, &request.certificate_request);
            let signed = signed.map_err(|error| JoinRefusal::Malformed { reason: error.to_string() })?;
            let asked = node_request(&request)?;
            let mut answer = register(&registry, &asked).await?;
            let members = status::members(&registry).map_err(unavailable)?;
            answer.certificate.clone_from(&signed);
            answer.ca = authority.certificate_pem();
            let mut known = Known::of(&members);
            // This node may not have seen yet what was registered.
            known.nodes.entry(answer.node).or_insert_with(|| exesdb_node::registry::Node {
                name: asked.node.name.clone(),
                addresses: asked.node.addresses.clone(),
                zone: asked.node.zone.clone(),
                incarnation: asked.node.incarnation,
                state: exesdb_node::registry::NodeState::Joining,
            });
            let content = to_value(&Welcome { answer, known }).map_err(unavailable)?;
            Ok(JoinResponse { certificate: signed, authority: authority.certificate_pem(), content })
        })
    }
}

/// What a node that joins asks of the leader of `$cluster`: the content of its request, which is a claim. The name and the log are
/// those for which the token was used.
fn node_request(request: &JoinRequest) -> Result<NodeRequest, JoinRefusal> {
    let malformed = |reason: String| JoinRefusal::Malformed { reason };
    let asked: NodeRequest =
        serde_json::from_value(request.content.clone()).map_err(|error| malformed(error.to_string()))?;
    if asked.node.name != request.name || asked.node.incarnation.0 != request.incarnation {
        return Err(malformed("its content is for another node".to_owned()));
    }
    Ok(asked)
}

/// Has a node registered, by whoever leads `$cluster`.
async fn register(registry: &Registry, request: &NodeRequest) -> Result<JoinAnswer, JoinRefusal> {
    let unavailable = |reason: String| JoinRefusal::Unavailable { reason };
    let replication = Replication::of(registry, CLUSTER_NAME);
    let replication = replication.ok_or_else(|| unavailable(format!("{CLUSTER_NAME} is being restarted")))?;
    let metrics = replication.metrics();
    if metrics.ready.is_some() {
        return admit_here(&replication, request).await;
    }
    // A leader that is not ready yet is none.
    let leader = metrics.leader.filter(|leader| *leader != replication.place.replica);
    let leader = leader.and_then(|leader| metrics.members.members.get(&leader));
    let leader = leader.ok_or_else(|| unavailable(format!("{CLUSTER_NAME} has no leader for now")))?;
    let peers = registry.get::<Peers>(names::PEERS);
    let peers = peers.ok_or_else(|| unavailable("the connections are being restarted".to_owned()))?;
    let content = to_value(request).map_err(unavailable)?;
    let call = ControlRequest { what: REGISTER.to_owned(), content };
    match peers.call(&leader.node, &call).await {
        Ok(ControlResponse::Done(answer)) => {
            serde_json::from_value(answer).map_err(|error| unavailable(error.to_string()))
        }
        Ok(ControlResponse::Refused(reason)) => Err(unavailable(reason)),
        Err(error) => Err(unavailable(error.to_string())),
    }
}

async fn register_here(registry: &Registry, content: Value) -> Result<JoinAnswer, String> {
    let request: NodeRequest = serde_json::from_value(content).map_err(|error| error.to_string())?;
    let replication = Replication::of(registry, CLUSTER_NAME);
    let replication = replication.ok_or_else(|| format!("{CLUSTER_NAME} is being restarted"))?;
    admit_here(&replication, &request).await.map_err(|refusal| refusal.to_string())
}

async fn admit_here(replication: &Replication, request: &NodeRequest) -> Result<JoinAnswer, JoinRefusal> {
    // Whoever has the authority's key has signed already.
    let signed = |_: &NodeRequest| Ok(Signed::default());
    admit(&replication.group, request, signed).await.map_err(|error| match error {
        JoinError::Change(_) => JoinRefusal::Malformed { reason: error.to_string() },
        _ => JoinRefusal::Unavailable { reason: error.to_string() },
    })
}

/// Which leadership is given to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transfer {
    pub(super) store: String,
    /// A node; any other voter if there is none.
    pub(super) to: Option<String>,
}

async fn transfer(registry: &Registry, content: Value) -> Result<Value, String> {
    let transfer = serde_json::from_value(content).map_err(|error| error.to_string())?;
    transfer_here(registry, transfer).await.map(Value::String)
}

/// Gives the leadership of a store, which this node has, to another node. Returns the other node's name.
pub(super) async fn transfer_here(registry: &Registry, transfer: Transfer) -> Result<String, String> {
    let Transfer { store, to } = transfer;
    let replication = Replication::of(registry, &store);
    let replication = replication.ok_or_else(|| format!("store `{store}` does not run on this node"))?;
    let metrics = replication.metrics();
    let own = replication.place.replica;
    let own_node = metrics.members.members.get(&own).map(|member| member.node.clone());
    if to.is_some() && to == own_node {
        return Ok(own_node.unwrap_or_default());
    }
    let others = metrics.members.all_voters().into_iter().filter(|voter| *voter != own);
    let named = |voter: &u64| {
        let member = metrics.members.members.get(voter);
        member.is_some_and(|member| to.as_ref().is_none_or(|to| *to == member.node))
    };
    // The one that has most needs least time.
    let best = others.filter(named).max_by_key(|voter| metrics.followers.get(voter).copied().flatten());
    let to = best.ok_or_else(|| match &to {
        Some(to) => format!("node `{to}` has no other voter of store `{store}`"),
        None => format!("store `{store}` has no other voter"),
    })?;
    replication.group.transfer(to).await.map_err(|error| error.to_string())?;
    Ok(metrics.members.members.get(&to).map(|member| member.node.clone()).unwrap_or_default())
}

/// Makes the tokens with which nodes join by this one.
pub(crate) fn inviter(membership: &Arc<Membership>) -> Arc<Inviter> {
    let membership = Arc::clone(membership);
    Inviter::new(move || {
        let membership = Arc::clone(&membership);
        Box::pin(async move {
            let authority = Authority::load(&TlsFiles::folder(&membership.data)).map_err(|error| {
                format!("this node cannot sign certificates: {error}; ask the node on which `exesdb cluster init` ran")
            })?;
            let own = membership.known.nodes.get(&membership.identity.node);
            let addresses = own.map(|node| node.addresses.peers.clone()).unwrap_or_default();
            let secret = Secret::new();
            membership.invitations.lock().issue(&secret, now()).map_err(|error| error.to_string())?;
            let cluster = membership.identity.cluster.0;
            Ok(Token { cluster, addresses, fingerprint: authority.fingerprint(), secret }.to_string())
        })
    })
}

/// Microseconds since 1970-01-01T00:00:00 UTC.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn to_value(content: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(content).map_err(|error| error.to_string())
}
