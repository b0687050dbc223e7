//! The seam to the other replicas of a group: messages as bytes.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::members::Member;

/// A replica of the group, as one side of a connection knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its replica id.
    pub replica: u64,
    /// Where it is. To whom a message goes, the group's members say; from whom one came, the connection does: the node that
    /// the certificate names, and the incarnation of its log as it was when the connection was made.
    pub member: Member,
}

/// The parts of a snapshot, in order. Whoever drops one end ends the transfer.
pub type SnapshotBody = mpsc::Receiver<Bytes>;

/// Why a message was not answered. It may have arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer cannot be reached for now.
    #[error("the peer cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The peer refused the message.
    #[error("the peer refused: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
}

/// Carries messages between the replicas of one group.
///
/// A message is for the group and replica that it names, and is given there to [`Group::receive`](crate::Group::receive) or
/// [`Group::receive_snapshot`](crate::Group::receive_snapshot), whose result is the answer. Messages may be lost, repeated and
/// overtake each other. Nothing waits in a transport without bound: what cannot be sent is refused.
pub trait Transport: Send + Sync + 'static {
    /// Sends a message, and waits for the answer. The caller has a deadline of its own: it drops the future then.
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>>;

    /// Sends a snapshot, whose head is a message, and waits until it is installed.
    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>>;
}
