//! What all nodes together say about one group.

use std::collections::BTreeMap;

use super::{Availability, GroupReport, NodeReport, ReplicaRole, ReplicaStatus, StoreStatus};
use crate::coordinator::voters_wanted;
use crate::finding::Finding;
use crate::limits::CAUGHT_UP_ENTRIES;
use crate::registry::Registry;

/// What all nodes say about a group.
pub(super) struct GroupView<'a> {
    pub(super) number: u64,
    pub(super) name: &'a str,
    /// Replica id, node id, and what the node says.
    replicas: Vec<(u64, u64, Option<&'a GroupReport>)>,
    /// The node that leads, and what it says.
    pub(super) leader: Option<(u64, &'a GroupReport)>,
    /// The sets of voters, as whoever knows most says.
    voters: &'a [Vec<u64>],
}

impl<'a> GroupView<'a> {
    pub(super) fn of(
        registry: &'a Registry,
        reports: &'a BTreeMap<u64, NodeReport>,
        number: u64,
        name: &'a str,
    ) -> Self {
        let report = |replica, node| {
            let mut groups = reports.get(&node)?.groups.iter();
            groups.find(|report| report.group == number && report.replica == replica)
        };
        let replicas = registry.replicas_of(number);
        let replicas: Vec<_> = replicas.map(|(id, node)| (id, node, report(id, node))).collect();
        let known = || replicas.iter().filter_map(|(_, node, report)| Some((*node, (*report)?)));
        // One that was cut off may not know yet that it does not lead any more.
        let leader = known().filter(|(_, report)| report.is_ready).max_by_key(|(_, report)| report.term);
        let most = known().filter(|(_, report)| !report.voters.is_empty());
        let most = most.max_by_key(|(_, report)| (report.term, report.is_ready, report.last));
        let voters = most.map_or(&[][..], |(_, report)| &report.voters);
        Self { number, name, replicas, leader, voters }
    }

    pub(super) fn status(&self, registry: &Registry, findings: &mut Vec<Finding>) -> StoreStatus {
        let availability = self.availability(findings);
        if self.leader.is_none() && availability != Availability::NoMajority {
            findings.push(Finding::NoLeader { store: self.name.to_owned() });
        }
        let wanted = voters_wanted(registry, self.number);
        if let Some(voters) = self.voters.last().map(Vec::len).filter(|voters| *voters < wanted) {
            let (store, replicas) = (self.name.to_owned(), self.replicas.len());
            findings.push(Finding::FewVoters { store, replicas, voters, wanted });
        }
        let replicas = self.replicas.iter();
        StoreStatus {
            name: self.name.to_owned(),
            leader: self.leader.map(|(node, _)| registry.nodes[&node].name.clone()),
            availability,
            replicas: replicas
                .map(|(replica, node, report)| {
                    self.replica(*replica, &registry.nodes[node].name, *report, findings)
                })
                .collect(),
        }
    }

    fn replica(
        &self,
        replica: u64,
        node: &str,
        report: Option<&GroupReport>,
        findings: &mut Vec<Finding>,
    ) -> ReplicaStatus {
        let (store, node) = (self.name.to_owned(), node.to_owned());
        let lag = self.leader.and_then(|(_, leader)| {
            let has = match report {
                Some(report) => report.applied,
                None => (*leader.followers.get(&replica)?)?,
            };
            Some(leader.last.saturating_sub(has))
        });
        if self.is_lost(replica) {
            findings.push(Finding::LostLog { store, node: node.clone() });
        } else if let Some(index) = report.and_then(|report| report.diverged) {
            findings.push(Finding::Diverged { store, node: node.clone(), index });
        } else if let Some(reason) = report.and_then(|report| report.stopped.clone()) {
            findings.push(Finding::Stopped { store, node: node.clone(), reason });
        } else if let (Some(lag), Some(_)) = (lag.filter(|lag| *lag > CAUGHT_UP_ENTRIES), report) {
            findings.push(Finding::Behind { store, node: node.clone(), lag });
        }
        let role = report.map_or(ReplicaRole::Unknown, |report| report.role);
        ReplicaStatus { replica, node, role, votes: self.votes(replica), lag }
    }

    fn votes(&self, replica: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }

    /// Whether the leader counted on more than the replica has.
    fn is_lost(&self, replica: u64) -> bool {
        self.leader.is_some_and(|(_, leader)| leader.lost.contains(&replica))
    }

    fn is_alive(&self, replica: u64) -> bool {
        let is_lost = self.is_lost(replica);
        self.replicas.iter().any(|(id, _, report)| {
            *id == replica && !is_lost && report.is_some_and(|report| report.role != ReplicaRole::Stopped)
        })
    }

    fn availability(&self, findings: &mut Vec<Finding>) -> Availability {
        let count = |set: &Vec<u64>| set.iter().filter(|replica| self.is_alive(**replica)).count();
        let store = self.name.to_owned();
        // The set that is worst off.
        let worst = self.voters.iter().map(|set| (count(set), set.len()));
        let worst = worst.min_by_key(|(alive, voters)| (2 * alive).saturating_sub(*voters));
        let Some((alive, voters)) = worst else {
            findings.push(Finding::NoMajority { store, alive: 0, voters: self.replicas.len() });
            return Availability::NoMajority;
        };
        if alive * 2 <= voters {
            findings.push(Finding::NoMajority { store, alive, voters });
            return Availability::NoMajority;
        }
        if (alive - 1) * 2 <= voters {
            findings.push(Finding::NoRedundancy { store, alive, voters });
            return Availability::NoRedundancy;
        }
        Availability::Redundant
    }
}
