//! What the host does for other nodes.

use futures_util::future::BoxFuture;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::Body;
use crate::identity::Remote;
use crate::join::{JoinRefusal, JoinRequest, JoinResponse};
use crate::token::Secret;

/// A call of another node's host, whose name and content are between hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// What is asked.
    pub what: String,
    /// With what.
    #[serde(default)]
    pub content: Value,
}

/// The answer to a [`ControlRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlResponse {
    /// It was done.
    Done(Value),
    /// It was not, for this reason.
    Refused(String),
}

/// What the host does for other nodes.
pub trait Services: Send + Sync + 'static {
    /// Answers a client's request that another node relayed. The header [`RELAYED`](crate::RELAYED) names that node: the request
    /// goes no further.
    fn relay(&self, from: Remote, request: Request<Body>) -> BoxFuture<'static, Response<Body>>;

    /// Answers a call.
    fn control(&self, from: Remote, request: ControlRequest) -> BoxFuture<'static, ControlResponse>;

    /// Lets a node join. Everything in the request is a claim; only its form was checked. The same request may come again.
    fn join(
        &self,
        secret: Secret,
        request: JoinRequest,
    ) -> BoxFuture<'static, Result<JoinResponse, JoinRefusal>>;
}
