//! A group as one replica knows it.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_storage::{LogId, Term};
use openraft::ServerState;
use tokio::time::Duration;

use super::shared::Shared;
use crate::election::Campaigns;
use crate::home::ReplicaHome;
use crate::members::Members;
use crate::types::{Raft, from_raft, term_of};

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes what the leader has, and does not vote.
    Learner,
    /// It follows a leader, or looks for one.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads, ready or not.
    Leader,
    /// It has stopped.
    Stopped,
}

/// The group as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// What the replica is.
    pub role: Role,
    /// The highest vote that it has given or heard of.
    pub term: Term,
    /// Who leads, if a majority has agreed on it.
    pub leader: Option<u64>,
    /// The term in which it leads and takes commits.
    pub ready: Option<Term>,
    /// It leads and sends nothing.
    pub is_muted: bool,
    /// The last entry of its log.
    pub last_log: Option<LogId>,
    /// The last entry that it has applied.
    pub applied: Option<LogId>,
    /// Index of the last entry that it holds durably.
    pub persisted: u64,
    /// The last entry that its log was purged of.
    pub purged: Option<LogId>,
    /// Of a leader: how long ago the last message was sent that each other member has answered.
    pub answered: BTreeMap<u64, Duration>,
    /// The group's members.
    pub members: Members,
    /// Of a leader: index of the last entry that each other member is known to have, or `None`.
    pub followers: BTreeMap<u64, Option<u64>>,
    /// Replicas that lost entries that they had acknowledged to this one as leader. The leader sends them
    /// nothing more; an operator replaces them.
    pub lost_logs: BTreeSet<u64>,
    /// Index at which the replica was found to differ from its leader. It has stopped, and is to be replaced.
    pub diverged: Option<u64>,
    /// Its campaigns.
    pub campaigns: Campaigns,
}

impl Metrics {
    pub(super) fn of<H: ReplicaHome>(shared: &Shared<H>, raft: &Raft) -> Self {
        let engine = raft.metrics().borrow().clone();
        let data = raft.data_metrics().borrow().clone();
        let role = match engine.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        };
        let term = term_of(&engine.vote);
        let members = engine.membership_config.membership().nodes();
        let answered = members.filter_map(|(id, _)| Some((*id, shared.link.since_ack(*id, term)?)));
        let answered = answered.collect();
        let followers = engine.replication.unwrap_or_default();
        let followers = followers.into_iter().filter(|(replica, _)| *replica != shared.replica);
        Self {
            role,
            term,
            leader: engine.current_leader,
            ready: *shared.ready.borrow(),
            is_muted: shared.link.is_muted(),
            last_log: data.last_log.as_ref().map(from_raft),
            applied: shared.kept.reached().borrow().id,
            persisted: *shared.kept.persisted().borrow(),
            purged: data.purged.as_ref().map(from_raft),
            answered,
            members: Members::of(engine.membership_config.membership()),
            followers: followers.map(|(replica, id)| (replica, id.map(|id| id.index))).collect(),
            lost_logs: shared.link.lost(),
            diverged: shared.kept.diverged(),
            campaigns: *shared.campaigns.lock(),
        }
    }
}
