//! The messages of one group, on the connections of its node.

use std::sync::Arc;

use bytes::Bytes;
use exesdb_cluster::{Peer, SendError, SnapshotBody, Transport};
use futures_util::future::BoxFuture;

use crate::link::Link;
use crate::links::Links;
use crate::node::Node;
use crate::snapshot;

pub(crate) struct GroupTransport {
    pub(crate) node: Arc<Node>,
    pub(crate) links: Arc<Links>,
    pub(crate) group: u64,
}

impl GroupTransport {
    fn link(&self, to: &Peer) -> Result<Arc<Link>, SendError> {
        let name = &to.member.node;
        self.links
            .get(name)
            .ok_or_else(|| SendError::Unreachable { reason: format!("no address of node {name} is known") })
    }
}

impl Transport for GroupTransport {
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (link, group) = (self.link(&to), self.group);
        Box::pin(async move {
            let link = link?;
            let live = link.live_to(&to.member)?;
            let too_much = || SendError::Unreachable { reason: "too much waits for the node".to_owned() };
            let permits = link.admit(group, &message).ok_or_else(too_much)?;
            live.ask(message, permits).await
        })
    }

    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (link, node) = (self.link(&to), Arc::clone(&self.node));
        Box::pin(async move {
            let link = link?;
            // Only to the log that the member has.
            link.live_to(&to.member)?;
            snapshot::send(&node, &link, head, body).await
        })
    }
}
