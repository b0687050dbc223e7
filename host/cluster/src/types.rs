//! The engine's type parameters, and the conversion between its ids and the storage's.

use exesdb_storage::{LogId, Outcomes, Term};

use crate::entry::{LogEntry, Proposal};
use crate::members::Member;
use crate::snapshot::SnapshotData;

openraft::declare_raft_types!(
    /// The engine's types.
    pub(crate) Types:
        D = Proposal,
        R = Response,
        NodeId = u64,
        Node = Member,
        Entry = LogEntry,
        SnapshotData = SnapshotData,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type RaftLogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// What applying an entry came to: the outcomes of its commits, in order. `None` if nobody knows them any more.
#[derive(Debug)]
pub(crate) struct Response(pub(crate) Option<Vec<Outcomes>>);

pub(crate) fn to_raft(id: LogId) -> RaftLogId {
    let LogId { term, leader, index } = id;
    RaftLogId::new(openraft::CommittedLeaderId::new(term, leader), index)
}

pub(crate) fn from_raft(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

/// The term of a leader that a majority has granted this vote.
pub(crate) fn term_of(vote: &Vote) -> Term {
    Term { term: vote.leader_id.term, replica: vote.leader_id.node_id }
}

#[cfg(test)]
mod tests {
    use exesdb_storage::LogId;

    use super::{from_raft, to_raft};

    #[test]
    fn ids_are_the_same_in_the_engine_and_ordered_by_leader_then_index() {
        let id = |term, leader, index| LogId { term, leader, index };
        let ascending = [id(0, 0, 1), id(1, 1, 9), id(1, 2, 2), id(1, 2, 3), id(2, 1, 1)];
        for pair in ascending.windows(2) {
            assert!(to_raft(pair[0]) < to_raft(pair[1]), "{pair:?}");
        }
        for id in ascending {
            assert_eq!(from_raft(&to_raft(id)), id);
        }
    }
}
