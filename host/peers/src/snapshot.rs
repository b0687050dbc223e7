//! Snapshots, each as one request on the connection for them.
//!
//! ```text
//! body       length of the head u32 (big-endian), the head (a message), the dump
//! answer     the answer to the message
//! ```
//!
//! A node sends one at a time and receives one at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use exesdb_cluster::limits::{SNAPSHOT_CHUNKS_WAITING_MAX, SNAPSHOT_STALL};
use exesdb_cluster::{SendError, SnapshotBody, addressed};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::{Body, BodyError, boxed, full, read};
use crate::dial::explain;
use crate::identity::Remote;
use crate::limits::{
    ANSWER_BYTES_MAX, HELLO_WAIT, REASON_BYTES_MAX, SNAPSHOT_BYTES_PER_S, SNAPSHOT_HEAD_BYTES_MAX,
};
use crate::link::Link;
use crate::node::Node;
use crate::pace::Pace;

/// The body of the request. It ends also when the transfer is given up: the dump says itself whether it is whole.
struct Sending(mpsc::Receiver<Bytes>);

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(context).map(|part| part.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// Sends a snapshot, and waits for the answer. Dropped, it gives the transfer up.
pub(crate) async fn send(
    node: &Node,
    link: &Link,
    head: Bytes,
    body: SnapshotBody,
) -> Result<Bytes, SendError> {
    let unreachable = |reason: String| SendError::Unreachable { reason };
    let _one = node
        .sends_snapshot
        .try_acquire()
        .map_err(|_| unreachable("this node is sending another snapshot".to_owned()))?;
    let mut requests = link.bulk().await.map_err(unreachable)?;
    let (parts, sending) = mpsc::channel(1);
    let sending = boxed(Sending(sending));
    let request = Request::post(format!("https://{}/snapshot", link.name)).body(sending);
    let request = request.map_err(|error| unreachable(error.to_string()))?;
    let mut answer = std::pin::pin!(async {
        requests.ready().await?;
        requests.send_request(request).await
    });
    let response = tokio::select! {
        response = &mut answer => response,
        () = pump(head, body, parts) => answer.await,
    };
    let response = response.map_err(|error| unreachable(explain(&error)))?;
    let status = response.status();
    let read = timeout(SNAPSHOT_STALL, read(response.into_body(), ANSWER_BYTES_MAX)).await;
    let bytes = read.map_err(|_| unreachable("the answer did not come in time".to_owned()))?;
    let bytes = bytes.map_err(unreachable)?;
    if status == StatusCode::OK {
        return Ok(bytes);
    }
    let reason = String::from_utf8_lossy(&bytes[..bytes.len().min(REASON_BYTES_MAX)]).into_owned();
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Err(SendError::Unreachable { reason }),
        _ => Err(SendError::Refused { reason }),
    }
}

/// Passes a snapshot on at its pace. Returns when everything is on its way, or nothing is taken any more.
async fn pump(head: Bytes, mut body: SnapshotBody, parts: mpsc::Sender<Bytes>) {
    let mut pace = Pace::new(SNAPSHOT_BYTES_PER_S, Instant::now());
    let length = u32::try_from(head.len()).expect("a head is short").to_be_bytes();
    let head = [&length[..], &head].concat();
    let mut next = Some(Bytes::from(head));
    while let Some(bytes) = next {
        let due = pace.sent(bytes.len(), Instant::now());
        if parts.send(bytes).await.is_err() {
            return;
        }
        sleep_until(due).await;
        next = body.recv().await;
    }
}

/// Receives a snapshot for the group that its head names.
pub(crate) async fn receive(node: &Arc<Node>, remote: Remote, body: Incoming) -> Response<Body> {
    let Ok(one) = Arc::clone(&node.receives_snapshot).try_acquire_owned() else {
        let name = &node.identity.name;
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("node {name} is receiving another snapshot"),
        );
    };
    let mut reading = Reading { body, bytes: BytesMut::new() };
    let head = match timeout(HELLO_WAIT, reading.head()).await {
        Ok(Ok(head)) => head,
        Ok(Err(reason)) => return refuse(StatusCode::BAD_REQUEST, &reason),
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "the head did not come in time"),
    };
    let group = match addressed(&head) {
        Ok(addressed) => addressed.group,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(endpoint) = node.endpoints.get(group) else {
        let name = &node.identity.name;
        return refuse(StatusCode::NOT_FOUND, &format!("node {name} has no replica of group {group}"));
    };
    let (parts, received) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX);
    // What has begun is done to its end, whoever waits.
    let installing = tokio::spawn(async move {
        let _one = one;
        endpoint.receive_snapshot(remote, head, received).await
    });
    reading.rest(parts).await;
    match installing.await {
        Ok(Ok(answer)) => Response::new(full(answer)),
        Ok(Err(reason)) => refuse(StatusCode::CONFLICT, &reason),
        Err(_) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the replica failed while it received the snapshot")
        }
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(full(reason.to_owned()));
    *response.status_mut() = status;
    response
}

struct Reading {
    body: Incoming,
    bytes: BytesMut,
}

impl Reading {
    async fn more(&mut self) -> Result<bool, String> {
        match self.body.frame().await {
            None => Ok(false),
            Some(Err(error)) => Err(explain(&error)),
            Some(Ok(part)) => {
                self.bytes.extend_from_slice(&part.into_data().unwrap_or_default());
                Ok(true)
            }
        }
    }

    async fn head(&mut self) -> Result<Bytes, String> {
        while self.bytes.len() < 4 {
            self.need_more().await?;
        }
        let length = self.bytes.get_u32() as usize;
        if length > SNAPSHOT_HEAD_BYTES_MAX {
            return Err(format!("the head has {length} bytes, over the limit of {SNAPSHOT_HEAD_BYTES_MAX}"));
        }
        while self.bytes.len() < length {
            self.need_more().await?;
        }
        Ok(self.bytes.split_to(length).freeze())
    }

    async fn need_more(&mut self) -> Result<(), String> {
        if self.more().await? { Ok(()) } else { Err("the head is cut short".to_owned()) }
    }

    /// Passes on what follows the head, until it ends, breaks, stands still, or is not taken any more.
    async fn rest(mut self, parts: mpsc::Sender<Bytes>) {
        loop {
            let bytes = self.bytes.split().freeze();
            if !bytes.is_empty() && parts.send(bytes).await.is_err() {
                return;
            }
            match timeout(SNAPSHOT_STALL, self.more()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(reason)) => return tracing::warn!(reason, "a snapshot broke off"),
                Err(_) => return tracing::warn!("a snapshot stood still"),
            }
        }
    }
}
