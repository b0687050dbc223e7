//! What an operator sees of a cluster: nodes, stores, replicas, and what is wrong.
//!
//! Each node reports what it knows of its own replicas. Whoever is asked has asked all nodes; one without a report did not
//! answer.

mod group;

use std::collections::BTreeMap;

use exesdb_cluster::{Metrics, Role};
use serde::{Deserialize, Serialize};

use self::group::GroupView;
use crate::CLUSTER_GROUP;
use crate::finding::{Finding, Shown};
use crate::id::ClusterId;
use crate::names::Addresses;
use crate::registry::{Node, NodeState, Registry};

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its process.
    pub pid: u32,
    /// Its replicas.
    pub groups: Vec<GroupReport>,
}

/// What a node says about its replica of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Number of the group.
    pub group: u64,
    /// The replica's id.
    pub replica: u64,
    /// What it is in the group.
    pub role: ReplicaRole,
    /// Whether it leads and takes commits.
    pub is_ready: bool,
    /// The highest term that it knows.
    pub term: u64,
    /// Index of the last entry of its log.
    pub last: u64,
    /// Index of the last entry that it has applied; 0 without a replica.
    pub applied: u64,
    /// The sets of voters that it knows.
    pub voters: Vec<Vec<u64>>,
    /// Of a leader: the last entry that each other member is known to have.
    pub followers: BTreeMap<u64, Option<u64>>,
    /// Of a leader: replicas that lost what they had acknowledged to it.
    #[serde(default)]
    pub lost: Vec<u64>,
    /// Index at which it was found to differ from its leader, if so.
    #[serde(default)]
    pub diverged: Option<u64>,
    /// Why it does not go on, if so.
    pub stopped: Option<String>,
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaRole {
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
    /// Its node does not answer.
    #[default]
    Unknown,
}

/// A cluster, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The features that it uses.
    pub feature_level: u32,
    /// Its nodes, by id.
    pub nodes: Vec<NodeStatus>,
    /// Its stores, `$cluster` first.
    pub stores: Vec<StoreStatus>,
    /// What is wrong, and what to do.
    pub findings: Vec<Shown>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its process, if it answers.
    pub pid: Option<u32>,
    /// How it is.
    pub state: State,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it shares with nodes that fail together with it.
    pub zone: Option<String>,
    /// Names of the stores that it leads.
    pub leads: Vec<String>,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It answers.
    Up,
    /// It does not.
    Unreachable,
    /// It is registered, and does not have the registry yet.
    Joining,
    /// It does not belong to the cluster any more.
    Removed,
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its name, or `$cluster`.
    pub name: String,
    /// The node that leads it.
    pub leader: Option<String>,
    /// What it survives.
    pub availability: Availability,
    /// Its replicas, by id.
    pub replicas: Vec<ReplicaStatus>,
}

/// What a store survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// The failure of any one node.
    Redundant,
    /// Not the failure of one more voter.
    NoRedundancy,
    /// Too few voters answer: it takes no writes.
    NoMajority,
}

/// A replica of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its id.
    pub replica: u64,
    /// Name of its node.
    pub node: String,
    /// What it is in the group.
    pub role: ReplicaRole,
    /// Whether it votes.
    pub votes: bool,
    /// Entries that the leader has and it has not applied, or is not known to have; `None` if nobody knows.
    pub lag: Option<u64>,
}

impl GroupReport {
    /// What to say about a replica that runs, or has stopped.
    #[must_use]
    pub fn of(group: u64, replica: u64, metrics: &Metrics, stopped: Option<String>) -> Self {
        let role = match metrics.role {
            _ if stopped.is_some() => ReplicaRole::Stopped,
            Role::Learner => ReplicaRole::Learner,
            Role::Follower => ReplicaRole::Follower,
            Role::Candidate => ReplicaRole::Candidate,
            Role::Leader => ReplicaRole::Leader,
            Role::Stopped => ReplicaRole::Stopped,
        };
        Self {
            group,
            replica,
            role,
            is_ready: metrics.ready.is_some() && stopped.is_none(),
            term: metrics.term.term,
            last: metrics.last_log.map_or(0, |id| id.index),
            applied: metrics.applied.map_or(0, |id| id.index),
            voters: metrics.members.voters.iter().map(|set| set.iter().copied().collect()).collect(),
            followers: metrics.followers.clone(),
            lost: metrics.lost_logs.iter().copied().collect(),
            diverged: metrics.diverged,
            stopped,
        }
    }

    /// What to say about a replica that did not start.
    #[must_use]
    pub fn not_started(group: u64, replica: u64, reason: String) -> Self {
        Self { group, replica, role: ReplicaRole::Stopped, stopped: Some(reason), ..Self::default() }
    }
}

impl ClusterStatus {
    /// Puts together what the nodes report, by node id. What is reported of groups and replicas that the registry does not
    /// have is ignored.
    #[must_use]
    pub fn of(registry: &Registry, reports: &BTreeMap<u64, NodeReport>) -> Self {
        let mut findings = Vec::new();
        let groups: Vec<_> =
            registry.groups().map(|(group, name)| GroupView::of(registry, reports, group, name)).collect();
        let stores = groups.iter().map(|group| group.status(registry, &mut findings)).collect();
        let nodes = registry.nodes.iter();
        let nodes =
            nodes.map(|(id, node)| node_status(*id, node, reports.get(id), &groups, &mut findings)).collect();
        findings.sort();
        findings.dedup();
        Self {
            cluster: registry.cluster(),
            feature_level: registry.feature_level(),
            nodes,
            stores,
            findings: findings.iter().map(Finding::show).collect(),
        }
    }

    /// What `cluster status` exits with: 2 if some store has no majority, 1 if one has no redundancy, otherwise 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.stores.iter().map(|store| store.availability).max() {
            None | Some(Availability::Redundant) => 0,
            Some(Availability::NoRedundancy) => 1,
            Some(Availability::NoMajority) => 2,
        }
    }
}

fn node_status(
    id: u64,
    node: &Node,
    report: Option<&NodeReport>,
    groups: &[GroupView<'_>],
    findings: &mut Vec<Finding>,
) -> NodeStatus {
    let name = node.name.clone();
    let state = match (node.state, report) {
        (NodeState::Removed, _) => State::Removed,
        (NodeState::Joining, _) => {
            findings.push(Finding::Joining { node: name.clone() });
            State::Joining
        }
        (NodeState::Up, Some(_)) => State::Up,
        (NodeState::Up, None) => {
            findings.push(Finding::Unreachable { node: name.clone() });
            State::Unreachable
        }
    };
    let leads = groups.iter().filter(|group| group.number != CLUSTER_GROUP);
    let leads = leads.filter(|group| group.leader.is_some_and(|(node, _)| node == id));
    NodeStatus {
        id,
        name,
        pid: report.map(|report| report.pid),
        state,
        addresses: node.addresses.clone(),
        zone: node.zone.clone(),
        leads: leads.map(|group| group.name.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Availability, ClusterStatus, GroupReport, NodeReport, ReplicaRole, State};
    use crate::id::{ClusterId, Incarnation};
    use crate::names::Addresses;
    use crate::registry::{NewNode, NewStore, Registry};

    fn registry(nodes: u64) -> Registry {
        let node = |id: u64| NewNode {
            name: format!("n{id}"),
            addresses: Addresses { peers: vec![format!("n{id}:1")], clients: vec![] },
            zone: None,
            incarnation: Incarnation(100 + id),
        };
        let store = NewStore { name: "x".into(), config: String::new(), voters: 3 };
        let mut registry = Registry::found(ClusterId(7), &node(1), &[store]).expect("it is possible").after;
        for id in 2..=nodes {
            registry = registry.register_node(&node(id)).expect("it is possible").expect("it is new").after;
            registry = registry.mark_up(id).expect("it is possible").expect("it was joining").after;
        }
        registry
    }

    /// Reports of these nodes, where node 1 leads `$cluster` and node 2 the store. Node `n` has the replicas `2n - 1` and `2n`.
    fn reports(nodes: &[u64], voters: usize) -> BTreeMap<u64, NodeReport> {
        let group = |node: u64, group: u64| {
            let leads = node == group;
            let followers =
                if leads { (1..=6).map(|replica| (replica, Some(8))).collect() } else { BTreeMap::new() };
            GroupReport {
                group,
                replica: 2 * node - 2 + group,
                role: if leads { ReplicaRole::Leader } else { ReplicaRole::Follower },
                is_ready: leads,
                term: 3,
                last: 10,
                applied: if leads { 10 } else { 9 },
                voters: vec![(0..voters as u64).map(|node| 2 * node + group).collect()],
                followers,
                ..GroupReport::default()
            }
        };
        let report = |node| NodeReport { pid: 40, groups: vec![group(node, 1), group(node, 2)] };
        nodes.iter().map(|node| (*node, report(*node))).collect()
    }

    fn about(status: &ClusterStatus) -> Vec<String> {
        status.findings.iter().map(|finding| format!("{}: {}", finding.about, finding.what)).collect()
    }

    #[test]
    fn the_status_of_a_cluster_that_is_as_it_should_be() {
        let status = ClusterStatus::of(&registry(3), &reports(&[1, 2, 3], 3));
        assert_eq!((status.exit_code(), about(&status)), (0, vec![]));
        let json = serde_json::to_value(&status).expect("it is JSON");
        let node = &json["nodes"][1];
        assert_eq!((&node["name"], &node["pid"], &node["state"]), (&"n2".into(), &40.into(), &"up".into()));
        assert_eq!(
            (&node["leads"], &json["nodes"][0]["leads"]),
            (&serde_json::json!(["x"]), &serde_json::json!([]))
        );
        let store = &json["stores"][1];
        assert_eq!((&store["name"], &store["leader"]), (&"x".into(), &"n2".into()));
        assert_eq!(store["availability"], "redundant");
        let expected =
            serde_json::json!({"replica": 6, "node": "n3", "role": "follower", "votes": true, "lag": 1});
        assert_eq!(store["replicas"][2], expected);
    }

    #[test]
    fn the_exit_code_says_what_is_left() {
        use Availability::{NoMajority, NoRedundancy, Redundant};
        let table = [
            ("all answer", 3, &[1, 2, 3][..], 3, Redundant),
            ("one of three does not", 3, &[1, 2], 3, NoRedundancy),
            ("two of three do not", 3, &[2], 3, NoMajority),
            ("nobody does", 3, &[], 3, NoMajority),
            ("one voter", 1, &[1], 1, NoRedundancy),
            ("one voter of three replicas", 3, &[1, 2, 3], 1, NoRedundancy),
            ("one of five does not", 5, &[1, 2, 3, 4], 5, Redundant),
            ("two of five do not", 5, &[1, 2, 3], 5, NoRedundancy),
        ];
        for (case, nodes, answer, voters, expected) in table {
            let status = ClusterStatus::of(&registry(nodes), &reports(answer, voters));
            assert_eq!(status.stores[1].availability, expected, "{case}");
            assert_eq!(status.exit_code(), expected as u8, "{case}");
        }
    }

    #[test]
    fn findings_say_what_is_wrong() {
        let status = ClusterStatus::of(&registry(3), &reports(&[1, 2], 3));
        let survives = "2 of its 3 voters answer: if one more fails, the store stands still";
        let expected =
            [format!("$cluster: {survives}"), format!("x: {survives}"), "n3: it does not answer".into()];
        assert_eq!(about(&status), expected);
        assert_eq!(status.nodes[2].state, State::Unreachable);
        let away = &status.stores[1].replicas[2];
        assert_eq!((away.role, away.lag), (ReplicaRole::Unknown, Some(2)), "what its leader knows");
        let mut reports = reports(&[1, 2, 3], 3);
        let store = |node: u64, reports: &mut BTreeMap<u64, NodeReport>, change: fn(&mut GroupReport)| {
            change(&mut reports.get_mut(&node).expect("it reports").groups[1]);
        };
        store(3, &mut reports, |group| {
            *group = GroupReport::not_started(2, 6, "the disk is gone".into());
        });
        store(2, &mut reports, |group| group.last = 2_000);
        let found = about(&ClusterStatus::of(&registry(3), &reports));
        assert!(
            found.contains(&"x: its replica on n3 has stopped: the disk is gone".to_owned()),
            "{found:?}"
        );
        assert!(found.contains(&"x: its replica on n1 is 1991 entries behind".to_owned()), "{found:?}");
        store(2, &mut reports, |group| group.is_ready = false);
        let found = about(&ClusterStatus::of(&registry(3), &reports));
        assert!(found.contains(&"x: no node says that it leads it".to_owned()), "{found:?}");
    }

    #[test]
    fn a_replica_that_lost_its_log_or_differs_does_not_count_and_has_to_be_replaced() {
        let mut reports = reports(&[1, 2, 3], 3);
        let mut group = |node: u64, change: &dyn Fn(&mut GroupReport)| {
            change(&mut reports.get_mut(&node).expect("it reports").groups[1]);
        };
        group(2, &|group| group.lost = vec![6]);
        group(1, &|group| {
            group.diverged = Some(7);
            group.stopped = Some("it differs".into());
            group.role = ReplicaRole::Stopped;
        });
        let status = ClusterStatus::of(&registry(3), &reports);
        let expected = [
            "x: 1 of its 3 voters answer, which is no majority: it takes no writes",
            "x: its replica on n3 lost entries that it had acknowledged",
            "x: its replica on n1 differs from its leader since entry 7 or before",
        ];
        assert_eq!((status.exit_code(), about(&status)), (2, expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_joining_node_is_told_from_one_that_is_down() {
        let registry = registry(1);
        let node = NewNode {
            name: "n2".into(),
            addresses: Addresses { peers: vec!["n2:1".into()], clients: vec![] },
            zone: None,
            incarnation: Incarnation(102),
        };
        let registry = registry.register_node(&node).expect("it is possible").expect("it is new").after;
        let status = ClusterStatus::of(&registry, &reports(&[1], 1));
        assert_eq!((status.nodes[1].state, status.nodes[1].pid), (State::Joining, None));
        let few = "3 voters were asked for, and with 2 replicas it has 1: an even number of voters survives no more failures than one less";
        assert!(about(&status).contains(&format!("x: {few}")), "{:?}", about(&status));
    }

    #[test]
    fn what_a_node_reports_of_others_is_ignored() {
        let mut reports = reports(&[1, 2, 3], 3);
        let hostile = NodeReport {
            pid: 1,
            groups: vec![
                GroupReport {
                    group: 2,
                    replica: 4,
                    is_ready: true,
                    term: u64::MAX,
                    ..GroupReport::default()
                },
                GroupReport { group: u64::MAX, replica: 0, ..GroupReport::default() },
            ],
        };
        reports.insert(3, hostile.clone());
        reports.insert(99, hostile);
        let status = ClusterStatus::of(&registry(3), &reports);
        assert_eq!(status.stores[1].leader.as_deref(), Some("n2"));
        assert_eq!(status.stores.len(), 2);
    }
}
