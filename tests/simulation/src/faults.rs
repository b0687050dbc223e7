//! Faults that are injected to show that the properties find them.

pub use exesdb_cluster::Fault as ClusterFault;

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A log says that a vote is synced before it is.
    VoteNotSynced,
    /// A log says that entries are synced before they are.
    EntriesNotSynced,
    /// A received snapshot lacks a keyspace.
    SnapshotWithoutKeyspace,
    /// A node that lost everything comes back under its old replica id, as if its log were the same.
    ReplicaIdTwice,
    /// One in `host/cluster`.
    Cluster(ClusterFault),
}

impl Fault {
    /// Those of `host/cluster`.
    #[must_use]
    pub fn cluster(self) -> Option<ClusterFault> {
        if let Self::Cluster(fault) = self { Some(fault) } else { None }
    }
}
