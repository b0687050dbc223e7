//! Calls between the hosts of nodes.

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::body::{Body, json, read_json};
use crate::dial::post;
use crate::hello::Refusal;
use crate::identity::Remote;
use crate::limits::{CALL_BYTES_MAX, CALL_WAIT};
use crate::link::Link;
use crate::node::Node;
use crate::services::{ControlRequest, ControlResponse};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The content is larger than a call can have. Nothing was sent.
    #[error("the call has {bytes} bytes, over the limit of {CALL_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The node cannot be reached. The call was not sent.
    #[error("the node cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// There was no answer. The node may have got the call.
    #[error("there was no answer: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// The node refused the call itself.
    #[error("the node refused: {0}")]
    Refused(Refusal),
}

/// Calls a node.
pub(crate) async fn send(link: &Link, request: &ControlRequest) -> Result<ControlResponse, CallError> {
    let content = serde_json::to_vec(request).expect("JSON has keys of text");
    if content.len() > CALL_BYTES_MAX {
        return Err(CallError::TooLarge { bytes: content.len() });
    }
    let client = timeout(CALL_WAIT, link.client()).await;
    let late = || "it took too long".to_owned();
    let client = client.map_err(|_| CallError::Unreachable { reason: late() })?;
    let mut client = client.map_err(|reason| CallError::Unreachable { reason })?;
    let broken = |reason| CallError::Broken { reason };
    let answer = post(&mut client, &link.name, "/control", Bytes::from(content), CALL_BYTES_MAX);
    let answer = timeout(CALL_WAIT, answer).await.map_err(|_| broken(late()))?;
    let (status, bytes) = answer.map_err(broken)?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()));
    }
    let refusal = serde_json::from_slice(&bytes).map_err(|error| broken(format!("{status}: {error}")))?;
    Err(CallError::Refused(refusal))
}

/// Has the host answer a call.
pub(crate) async fn receive(node: &Node, remote: Remote, body: Incoming) -> Result<Response<Body>, Refusal> {
    let late = || Refusal::Malformed { reason: "the call did not come in time".to_owned() };
    let request = timeout(CALL_WAIT, read_json(body, CALL_BYTES_MAX)).await.map_err(|_| late())?;
    let request = request.map_err(|reason| Refusal::Malformed { reason })?;
    let response = node.services.control(remote, request).await;
    Ok(json(StatusCode::OK, &response))
}
