//! What to do next for a group.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_cluster::{Member, Metrics};

use crate::CLUSTER_GROUP;
use crate::finding::Finding;
use crate::limits::{ANSWERS_WITHIN, CAUGHT_UP_ENTRIES, FIVE_VOTERS_FROM};
use crate::registry::{NodeState, Registry};

/// A step towards what a group should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A replica is to be a member. It learns until it has everything.
    AddLearner {
        /// Its id.
        replica: u64,
        /// Where it is.
        member: Member,
    },
    /// These replicas are to be the voters.
    SetVoters {
        /// Their ids: an odd number.
        voters: BTreeSet<u64>,
    },
    /// The registry is to say that a node has it. Only in `$cluster`.
    MarkUp {
        /// The node's id.
        node: u64,
    },
}

/// What to do next, and what is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The next step; `None` if there is nothing to do, or nothing can be done now.
    pub action: Option<Action>,
    /// What is not as it should be, and no step will change.
    pub findings: Vec<Finding>,
}

/// How many voters a group should have: an odd number.
#[must_use]
pub fn voters_wanted(registry: &Registry, group: u64) -> usize {
    match registry.stores.get(&group) {
        Some(store) => store.voters.into(),
        None if registry.members().count() >= FIVE_VOTERS_FROM => 5,
        None => 3,
    }
}

/// A group, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The leader's replica.
    pub leader: u64,
    /// The sets of voters: one, or the old and the new one while voters are replaced.
    pub voters: Vec<BTreeSet<u64>>,
    /// All members: those that have nearly everything and have answered lately, `true`.
    pub members: BTreeMap<u64, bool>,
}

impl Situation {
    /// What a replica knows of its group, if it leads it and is ready.
    #[must_use]
    pub fn of(metrics: &Metrics) -> Option<Self> {
        let leader = metrics.ready?.replica;
        let last = metrics.last_log.map_or(0, |id| id.index);
        // One that is gone would be counted on, and then stop the group: its log says that it has everything.
        let answers = |replica| metrics.answered.get(replica).is_some_and(|since| *since <= ANSWERS_WITHIN);
        let has = |replica| metrics.followers.get(replica).copied().flatten();
        let is_current =
            |replica| has(replica).is_some_and(|index| last.saturating_sub(index) <= CAUGHT_UP_ENTRIES);
        let members = metrics.members.members.keys();
        let members = members.map(|id| (*id, *id == leader || is_current(id) && answers(id))).collect();
        Some(Self { leader, voters: metrics.members.voters.clone(), members })
    }
}

/// Decides what to do next for a group.
#[must_use]
pub fn decide(registry: &Registry, group: u64, situation: &Situation) -> Decision {
    let act = |action| Decision { action: Some(action), findings: Vec::new() };
    let Situation { voters, members, .. } = situation;
    let [current] = &voters[..] else {
        // A change of voters is half done. Whoever leads now brings it to its end.
        let voters = voters.last().cloned();
        return voters.map_or_else(Decision::default, |voters| act(Action::SetVoters { voters }));
    };
    let registered: Vec<_> = registry.replicas_of(group).collect();
    let missing = registered.iter().find(|(replica, _)| !members.contains_key(replica));
    if let Some((replica, node)) = missing {
        let node = &registry.nodes[node];
        let member = Member { node: node.name.clone(), incarnation: node.incarnation.0 };
        return act(Action::AddLearner { replica: *replica, member });
    }
    let wanted = voters_wanted(registry, group);
    let voters = choose_voters(current, &registered, wanted, situation);
    if voters != *current {
        return act(Action::SetVoters { voters });
    }
    let is_joining = |node: &u64| registry.nodes[node].state == NodeState::Joining;
    let joined = registered.iter().find(|(replica, node)| is_joining(node) && members[replica]);
    if let (CLUSTER_GROUP, Some((_, node))) = (group, joined) {
        return act(Action::MarkUp { node: *node });
    }
    let store = || registry.group_name(group).unwrap_or_default().to_owned();
    let unknown = members.keys().filter(|member| registered.iter().all(|(replica, _)| replica != *member));
    let unknown = unknown.map(|replica| Finding::UnknownReplica { store: store(), replica: *replica });
    let mut findings: Vec<_> = unknown.collect();
    if current.len() < wanted {
        let replicas = registered.len();
        findings.push(Finding::FewVoters { store: store(), replicas, voters: current.len(), wanted });
    }
    Decision { action: None, findings }
}

/// The voters: those of now, then others that have everything, as many as are wanted, but an odd number. The leader stays.
fn choose_voters(
    current: &BTreeSet<u64>,
    registered: &[(u64, u64)],
    wanted: usize,
    situation: &Situation,
) -> BTreeSet<u64> {
    let leader = Some(situation.leader).filter(|leader| current.contains(leader));
    let others = registered.iter().map(|(replica, _)| *replica).filter(|replica| situation.members[replica]);
    let mut voters = Vec::new();
    for replica in leader.into_iter().chain(current.iter().copied()).chain(others) {
        if voters.len() < wanted && !voters.contains(&replica) {
            voters.push(replica);
        }
    }
    if voters.len().is_multiple_of(2) {
        voters.pop();
    }
    voters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use exesdb_cluster::Member;

    use super::{Action, Decision, Situation, decide};
    use crate::finding::Finding;
    use crate::id::{ClusterId, Incarnation};
    use crate::names::Addresses;
    use crate::registry::{NewNode, NewStore, NodeState, Registry};

    /// Nodes 1 to `nodes`, all of them up, and one store. Replicas of `$cluster` have the ids 1, 3, 5; those of the store 2,
    /// 4, 6.
    fn registry(nodes: u64, voters: u8) -> Registry {
        let node = |id: u64| NewNode {
            name: format!("n{id}"),
            addresses: Addresses { peers: vec![format!("n{id}:1")], clients: vec![] },
            zone: None,
            incarnation: Incarnation(100 + id),
        };
        let store = NewStore { name: "x".into(), config: String::new(), voters };
        let mut registry = Registry::found(ClusterId(7), &node(1), &[store]).expect("it is possible").after;
        for id in 2..=nodes {
            registry = registry.register_node(&node(id)).expect("it is possible").expect("it is new").after;
            registry = registry.mark_up(id).expect("it is possible").expect("it was joining").after;
        }
        registry
    }

    /// A group as its leader, replica `leader`, sees it: its sets of voters, other members that have everything, and others
    /// that do not.
    fn situation(leader: u64, voters: &[&[u64]], current: &[u64], behind: &[u64]) -> Situation {
        let members = current.iter().map(|id| (*id, true)).chain(behind.iter().map(|id| (*id, false)));
        Situation {
            leader,
            voters: voters.iter().map(|set| set.iter().copied().collect()).collect(),
            members: members.chain([(leader, true)]).collect(),
        }
    }

    fn set(voters: &[u64]) -> Option<Action> {
        Some(Action::SetVoters { voters: voters.iter().copied().collect::<BTreeSet<_>>() })
    }

    fn add(replica: u64, node: u64) -> Option<Action> {
        let member = Member { node: format!("n{node}"), incarnation: 100 + node };
        Some(Action::AddLearner { replica, member })
    }

    #[test]
    fn replicas_learn_first_and_vote_in_odd_numbers_once_they_have_everything() {
        let (one, two, three, four, five) =
            (registry(1, 3), registry(2, 3), registry(3, 3), registry(4, 3), registry(5, 3));
        let of_one = registry(3, 1);
        let table = [
            ("alone", &one, 2, situation(2, &[&[2]], &[], &[]), None),
            ("a second replica learns", &two, 2, situation(2, &[&[2]], &[], &[]), add(4, 2)),
            ("and does not vote", &two, 2, situation(2, &[&[2]], &[4], &[]), None),
            ("a third one learns", &three, 2, situation(2, &[&[2]], &[4], &[]), add(6, 3)),
            ("one is behind", &three, 2, situation(2, &[&[2]], &[4], &[6]), None),
            ("all have everything", &three, 2, situation(2, &[&[2]], &[4, 6], &[]), set(&[2, 4, 6])),
            ("all vote", &three, 2, situation(4, &[&[2, 4, 6]], &[2, 6], &[]), None),
            ("voters are behind", &three, 2, situation(4, &[&[2, 4, 6]], &[], &[2, 6]), None),
            ("half done", &three, 2, situation(4, &[&[2], &[2, 4, 6]], &[2], &[6]), set(&[2, 4, 6])),
            ("a fourth one learns", &four, 2, situation(2, &[&[2, 4, 6]], &[4, 6], &[]), add(8, 4)),
            ("and goes on", &four, 2, situation(2, &[&[2, 4, 6]], &[4, 6, 8], &[]), None),
            ("one voter is wanted", &of_one, 2, situation(2, &[&[2]], &[4, 6], &[]), None),
            ("the leader stays", &of_one, 2, situation(6, &[&[2, 4, 6]], &[2, 4], &[]), set(&[6])),
            ("of five, three vote", &five, 2, situation(2, &[&[2, 4, 6]], &[4, 6, 8, 10], &[]), None),
            (
                "of five, all vote in $cluster",
                &five,
                1,
                situation(1, &[&[1, 3, 5]], &[3, 5, 7, 9], &[]),
                set(&[1, 3, 5, 7, 9]),
            ),
            ("but not four", &five, 1, situation(1, &[&[1, 3, 5]], &[3, 5, 7], &[9]), None),
            ("no voters", &one, 2, situation(2, &[], &[], &[]), None),
        ];
        for (case, registry, group, situation, expected) in table {
            assert_eq!(decide(registry, group, &situation).action, expected, "{case}");
        }
    }

    #[test]
    fn a_node_is_up_once_it_has_the_registry() {
        let mut registry = registry(2, 3);
        registry.nodes.get_mut(&2).expect("it is there").state = NodeState::Joining;
        let decide = |group, situation| decide(&registry, group, &situation).action;
        assert_eq!(decide(1, situation(1, &[&[1]], &[], &[])), add(3, 2));
        assert_eq!(decide(1, situation(1, &[&[1]], &[], &[3])), None);
        assert_eq!(decide(1, situation(1, &[&[1]], &[3], &[])), Some(Action::MarkUp { node: 2 }));
        assert_eq!(decide(2, situation(2, &[&[2]], &[4], &[])), None, "that is up to $cluster");
    }

    #[test]
    fn a_removed_node_gets_no_replica() {
        let mut registry = registry(2, 3);
        registry.nodes.get_mut(&2).expect("it is there").state = NodeState::Removed;
        assert_eq!(decide(&registry, 2, &situation(2, &[&[2]], &[], &[])).action, None);
    }

    #[test]
    fn what_no_step_will_change_is_told() {
        let few = Finding::FewVoters { store: "x".into(), replicas: 2, voters: 1, wanted: 3 };
        let decision = decide(&registry(2, 3), 2, &situation(2, &[&[2]], &[4], &[]));
        assert_eq!(decision, Decision { action: None, findings: vec![few] });
        let unknown = Finding::UnknownReplica { store: "x".into(), replica: 99 };
        let decision = decide(&registry(1, 1), 2, &situation(2, &[&[2]], &[99], &[]));
        assert_eq!(decision, Decision { action: None, findings: vec![unknown] });
    }
}
