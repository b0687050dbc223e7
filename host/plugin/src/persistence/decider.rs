//! Deciding without waiting: a component computes decisions about a list of requests, and the host applies them
//! (`exesdb:store/decisions`).
//!
//! Requests wait in a [`queue`], in the order in which they came. A worker takes a list from it, has its instance decide
//! about it on the applied state of the store, and has the decisions [applied](apply). As soon as the committer has applied
//! them, and while it syncs, the worker takes the next list; the callers of the first get their results after the fsync.
//! What becomes of each request is a rule of [`plan`], and which requests make a list one of [`standing`].
//!
//! A queue decides one list after the other, and several queues of a store side by side; what has to be decided alone takes
//! its [`order`] for itself.
//!
//! A request is either in the queue, in a list that is being decided, or with the committer. An instance that ends puts its
//! list back: nothing was written.

pub(super) mod appended;
pub(super) mod apply;
pub(super) mod changes;
pub(super) mod order;
pub(super) mod plan;
pub(super) mod queue;
pub(super) mod standing;
#[cfg(test)]
mod tests;

use exesdb_storage::Committed;

use crate::access::CommitFailure;

/// A kind of requests that are decided.
pub(crate) trait Decided: Send + Sync + 'static {
    /// A request. Large parts are in an `Arc`, because an instance that ends may cause it to be passed again.
    type Request: Clone + Send + Sync + 'static;
    /// The result of a request but for its positions.
    type Planned: Send + 'static;
    /// The result of a request, or why it has none.
    type Outcome: Send + 'static;

    /// Bytes of a request, as the limit of a list counts them.
    fn bytes(request: &Self::Request) -> usize;

    /// Whether a request may be in one list with the one before it.
    fn joins(before: &Self::Request, request: &Self::Request) -> bool;

    /// The outcome of a request whose batch was applied.
    fn applied(planned: Self::Planned, committed: Committed) -> Self::Outcome;

    /// The outcome of a request that was not committed, or of which nobody knows whether it was.
    fn failed(error: &CommitFailure) -> Self::Outcome;
}
