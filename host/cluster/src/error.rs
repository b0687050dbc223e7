//! Why a group did not do what it was asked for.

use crate::home::HomeError;
use crate::log::LogFailure;
use crate::members::MembersError;
use crate::wire::WireError;

/// Why a group was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The replica's id is 0.
    #[error("replica ids count from 1")]
    ReplicaZero,
    /// The replica could not be opened.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogFailure),
    /// The log was purged up to an entry that the replica does not have. It lost what it had made durable.
    #[error(
        "the replica has entries up to {applied}, and its log was purged up to {purged}: data was lost here; \
        replace the replica under a new id"
    )]
    BehindLog {
        /// The last entry that the replica has applied; 0 without a replica.
        applied: u64,
        /// The last entry that was purged.
        purged: u64,
    },
    /// The log lost something of the group that was synced.
    #[error(
        "the node's log lost synced entries of group {group}, and with them what the replica had promised: replace the replica \
        under a new id"
    )]
    LogBroken {
        /// The group.
        group: u64,
    },
    /// The log has nothing of the group, and the replica has applied entries of it. A replica notes its vote before it takes
    /// anything, so this is another log than the one that it had.
    #[error(
        "the replica has entries up to {applied}, and its log has no vote of it: the log was lost, and with it what the replica \
        had promised; replace the replica under a new id"
    )]
    LogLost {
        /// The last entry that the replica has applied.
        applied: u64,
    },
    /// The engine did not start.
    #[error("the engine did not start: {reason}")]
    Engine {
        /// Its reason.
        reason: String,
    },
}

/// Why a commit was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads, or none, or this one is not ready. Nothing was proposed.
    #[error("this replica does not lead the group")]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<u64>,
    },
    /// Too much waits. Nothing was proposed.
    #[error("the queue of proposals is full ({limit}); slow down and try again")]
    Overloaded {
        /// Which limit was reached, with its unit.
        limit: String,
    },
    /// The commit is malformed or too large. Nothing was proposed.
    #[error("the commit is malformed: {0}")]
    Invalid(String),
    /// There is too little room on the disk. Nothing was proposed.
    #[error("the store is read-only: the disk is nearly full")]
    ReadOnly,
    /// The commit was proposed, and whether it is ever applied is not known: ask with a guard.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The group has stopped. Nothing was proposed.
    #[error("the group has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader could confirm that it leads.
    #[error("no leader was found: {reason}")]
    NoLeader {
        /// What was tried.
        reason: String,
    },
    /// The replica lags too much.
    #[error("the replica is behind: it did not reach {wanted} in time")]
    Behind {
        /// Which entry or sequence.
        wanted: u64,
    },
    /// There is no replica here yet, or no more.
    #[error("there is no replica here")]
    NoReplica,
}

/// Why a message of a peer was refused. The group is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is malformed.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// It is for another group.
    #[error("the message is for group {named}, and this is group {group}")]
    OtherGroup {
        /// The group here.
        group: u64,
        /// The group that the message names.
        named: u64,
    },
    /// It is for another replica.
    #[error("the message is for replica {named}, and this is replica {replica}")]
    OtherReplica {
        /// The replica here.
        replica: u64,
        /// The replica that the message names.
        named: u64,
    },
    /// It names another sender than the connection has, or this replica itself.
    #[error("the message is of replica {named}, and came from replica {sender}")]
    OtherSender {
        /// Who sent it.
        sender: u64,
        /// Who is named.
        named: u64,
    },
    /// The sender's node is another one than the group knows.
    #[error("replica {replica} is on node {node}, and the message came from node {found}")]
    OtherNode {
        /// The sender.
        replica: u64,
        /// The node that the group knows.
        node: String,
        /// The node that sent it.
        found: String,
    },
    /// The sender's log is another one than the group knows: what it had promised is gone with that.
    #[error("replica {replica} belongs to log {incarnation:016x}, and its node has log {found:016x}")]
    OtherIncarnation {
        /// The sender.
        replica: u64,
        /// The incarnation that the group knows.
        incarnation: u64,
        /// The incarnation of the sender's log.
        found: u64,
    },
    /// A snapshot is being received already.
    #[error("a snapshot is being received already")]
    Busy,
    /// The snapshot was not accepted.
    #[error("the snapshot was not accepted: {reason}")]
    Snapshot {
        /// Why.
        reason: String,
    },
    /// The sender lost entries that it had acknowledged to this replica as leader. Nothing that it says counts any more.
    #[error("replica {replica} lost its log; replace it under a new id")]
    LostLog {
        /// The sender.
        replica: u64,
    },
    /// The log takes no entries for now. Entries that are there already, votes, and what makes room are taken.
    #[error("the log takes no entries for now: {reason}")]
    LogFull {
        /// What is short.
        reason: String,
    },
    /// The group has stopped.
    #[error("the group has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A member is malformed, or there would be too many, or an even number of voters.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// An even number of voters tolerates no more failures than one less, and needs one more for a majority.
    #[error("{voters} voters: a group has an odd number of them")]
    Even {
        /// Their number.
        voters: usize,
    },
    /// The replica is a member already.
    #[error("replica {replica} is a member already")]
    Known {
        /// The replica.
        replica: u64,
    },
    /// The engine refused: this replica does not lead, a change is under way, or a voter does not learn yet.
    #[error("the members were not changed: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
}

/// Why the leadership was not given to another replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica does not lead, or is giving up its place already.
    #[error("this replica does not lead the group")]
    NotLeader,
    /// The other one does not vote.
    #[error("replica {replica} is no voter")]
    NoVoter {
        /// The replica.
        replica: u64,
    },
    /// The other one did not get everything in time, or was not elected.
    #[error("replica {replica} did not take over: {reason}")]
    NotTaken {
        /// The replica.
        replica: u64,
        /// What did not happen.
        reason: String,
    },
}
