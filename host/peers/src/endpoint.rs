//! Who takes the messages of groups.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use exesdb_cluster::Member;
use exesdb_cluster::{Group, Peer, ReplicaHome, SnapshotBody, addressed};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::identity::Remote;

/// Takes the messages that other nodes send for one group.
pub trait Endpoint: Send + Sync + 'static {
    /// Takes a message, and returns the answer to it, or why there is none.
    fn receive(&self, from: Remote, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;

    /// Takes a snapshot. Its end says nothing about whether it is whole: the connection may have broken.
    fn receive_snapshot(
        &self,
        from: Remote,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'_, Result<Bytes, String>>;
}

impl<H: ReplicaHome> Endpoint for Group<H> {
    fn receive(&self, from: Remote, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let peer = peer_of(from, &message)?;
            Group::receive(self, &peer, &message).await.map_err(|refused| refused.to_string())
        })
    }

    fn receive_snapshot(
        &self,
        from: Remote,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let peer = peer_of(from, &head)?;
            let received = Group::receive_snapshot(self, &peer, &head, body).await;
            received.map_err(|refused| refused.to_string())
        })
    }
}

/// The replica that a message says to come from, on the node that it does come from.
fn peer_of(from: Remote, message: &[u8]) -> Result<Peer, String> {
    let replica = addressed(message).map_err(|error| error.to_string())?.from;
    Ok(Peer { replica, member: Member { node: from.name, incarnation: from.incarnation } })
}

/// The groups of this node that take messages.
#[derive(Default)]
pub(crate) struct Endpoints {
    all: Mutex<Attachments>,
}

#[derive(Default)]
struct Attachments {
    last: u64,
    by_group: HashMap<u64, (u64, Arc<dyn Endpoint>)>,
}

impl Endpoints {
    pub(crate) fn attach(self: &Arc<Self>, group: u64, endpoint: Arc<dyn Endpoint>) -> Attached {
        let mut all = self.all.lock();
        all.last += 1;
        let number = all.last;
        all.by_group.insert(group, (number, endpoint));
        Attached { endpoints: Arc::clone(self), group, number }
    }

    pub(crate) fn get(&self, group: u64) -> Option<Arc<dyn Endpoint>> {
        self.all.lock().by_group.get(&group).map(|(_, endpoint)| Arc::clone(endpoint))
    }
}

/// A group takes messages until this is dropped.
#[must_use = "the group is detached when this is dropped"]
pub struct Attached {
    endpoints: Arc<Endpoints>,
    group: u64,
    number: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut all = self.endpoints.all.lock();
        // A successor may have been attached before its predecessor is dropped.
        if all.by_group.get(&self.group).is_some_and(|(number, _)| *number == self.number) {
            all.by_group.remove(&self.group);
        }
    }
}
