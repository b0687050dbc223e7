//! Serving a store that other nodes have as well: who serves a request, and what a read sees.
//!
//! `way` decides (pure), `headers` reads and writes what requests and responses say about it, and [`Cluster`] is what the host
//! gives.

mod headers;
mod way;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

pub(crate) use headers::{Asked, BadHeader, LEADER, MISDIRECTED, RELAYED, TOKEN, asked, mark_relayed};
pub(crate) use way::{Way, way};

/// A body that comes from another node, or goes to one.
pub type RelayedBody = UnsyncBoxBody<Bytes, RelayedBodyError>;

/// Why a body between nodes ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RelayedBodyError(pub String);

/// What a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// Everything that was acknowledged anywhere before the request.
    Linearizable,
    /// Everything up to a token of an earlier response.
    AtLeast(u64),
    /// What this node has.
    Local,
}

/// Who leads a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This node, and it takes changes.
    Here,
    /// Another node.
    There(LeaderNode),
    /// Nobody, as far as this node knows.
    Unknown,
}

/// A node that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderNode {
    /// Its name.
    pub name: String,
    /// Where it serves clients: `host:port`.
    pub address: String,
}

/// Why a request was not relayed, or has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The other node never got it whole. Nothing was done.
    #[error("the leader cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// As many requests are being relayed to the other node as may be. Nothing was done.
    #[error("too many requests are being relayed to the leader")]
    Busy,
    /// The other node got it, and its response did not come.
    #[error("the leader's response did not come: {reason}")]
    Lost {
        /// What happened.
        reason: String,
    },
}

/// Why another node does not lead a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is no such node.
    #[error("there is no node `{node}`; there are {}", known.join(", "))]
    UnknownNode {
        /// The name that was given.
        node: String,
        /// The nodes that there are.
        known: Vec<String>,
    },
    /// It did not take over, or cannot. The leader leads on, unless somebody else was elected.
    #[error("{reason}")]
    NotMoved {
        /// Why.
        reason: String,
    },
    /// Nobody leads the store, or the leader cannot be reached. Nothing was done.
    #[error("{reason}")]
    NoLeader {
        /// Why.
        reason: String,
    },
    /// The leader was asked, and its answer did not come.
    #[error("{reason}")]
    Lost {
        /// What happened.
        reason: String,
    },
}

/// What a listener asks of the cluster that its node is a member of.
pub trait Cluster: Send + Sync + 'static {
    /// Who leads a store.
    fn leader(&self, store: &str) -> Leader;

    /// The same, once somebody leads, or after a few seconds.
    fn known_leader(&self, store: &str) -> BoxFuture<'static, Leader>;

    /// Waits until a read of this node sees what it has to.
    ///
    /// # Errors
    ///
    /// Why it does not, in words.
    fn readable(&self, store: &str, level: ReadLevel) -> BoxFuture<'static, Result<(), String>>;

    /// How much this node has of a store: what [`ReadLevel::AtLeast`] takes.
    fn token(&self, store: &str) -> Option<u64>;

    /// Has another node serve a request.
    fn relay(
        &self,
        node: &str,
        request: Request<RelayedBody>,
    ) -> BoxFuture<'static, Result<Response<RelayedBody>, RelayError>>;

    /// The state of the cluster as JSON, as far as this node knows.
    fn status(&self) -> BoxFuture<'static, serde_json::Value>;

    /// Has a node lead a store: that of this name, or the one that has most of it. Returns the name of the node that leads then.
    /// The name is a claim.
    ///
    /// # Errors
    ///
    /// [`TransferError`].
    fn transfer_leader(
        &self,
        store: &str,
        to: Option<&str>,
    ) -> BoxFuture<'static, Result<String, TransferError>>;
}
