//! The operator of a cluster: sees to it that the group has exactly the replicas that the nodes have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::{Member, Metrics};
use parking_lot::Mutex;

use crate::clients::term_of;
use crate::history::Recorder;
use crate::node::Node;
use crate::trace::Event;

/// How often the members are looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a change may take. One that takes longer is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many entries a learner may be behind to become a voter.
const LAG_MAX: u64 = 100;

/// What is asked of a leader.
#[derive(Clone, Debug)]
enum Change {
    Add(u64, Member),
    Vote(BTreeSet<u64>),
}

/// The operator.
pub struct Operator {
    next: Duration,
    /// The change that is under way, and until when it is waited for.
    busy: Option<(Arc<Mutex<bool>>, Duration)>,
    recorder: Recorder,
    /// Whether the group has the replicas that the nodes have, as far as is known.
    pub is_settled: bool,
}

impl Operator {
    /// One who has nothing to do yet.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self { next: Duration::ZERO, busy: None, recorder, is_settled: false }
    }

    /// Looks after the members.
    pub fn step(&mut self, now: Duration, nodes: &[Arc<Node>]) {
        if now < self.next {
            return;
        }
        self.next = now + PAUSE;
        if let Some((done, until)) = &self.busy
            && !*done.lock()
            && now < *until
        {
            return;
        }
        self.busy = None;
        let Some(leader) = nodes.iter().find(|node| term_of(node).is_some()) else { return };
        let Some(group) = leader.group() else { return };
        let change = change(&group.metrics(), nodes);
        self.is_settled = change.is_none() && group.metrics().members.voters.len() == 1;
        let Some(Some(change)) = change else { return };
        self.recorder.add(Event::Did(format!("the operator asks node-{} to {change:?}", leader.number)));
        let done = Arc::new(Mutex::new(false));
        self.busy = Some((Arc::clone(&done), now + PATIENCE));
        leader.work(Box::new(move |group| {
            Box::pin(async move {
                // What is refused or not done is asked for again.
                match change {
                    Change::Add(replica, member) => drop(group.add_learner(replica, member).await),
                    Change::Vote(voters) => drop(group.set_voters(voters).await),
                }
                *done.lock() = true;
            })
        }));
    }
}

/// What is to be changed: nothing, something once a learner has caught up, or something now.
fn change(metrics: &Metrics, nodes: &[Arc<Node>]) -> Option<Option<Change>> {
    let wanted: BTreeMap<u64, Member> = nodes
        .iter()
        .map(|node| {
            let state = node.state.lock();
            (state.replica, state.member.clone())
        })
        .collect();
    let members = &metrics.members;
    if let Some((replica, member)) = wanted.iter().find(|(replica, _)| !members.members.contains_key(replica))
    {
        return Some(Some(Change::Add(*replica, member.clone())));
    }
    let voters: BTreeSet<u64> = wanted.keys().copied().collect();
    if members.voters == [voters.clone()] && members.members.len() == voters.len() {
        return None;
    }
    let last = metrics.last_log.map_or(0, |id| id.index);
    let is_close = |replica: &u64| {
        members.is_voter(*replica)
            || metrics.followers.get(replica).copied().flatten().is_some_and(|index| index + LAG_MAX >= last)
    };
    Some(voters.iter().all(is_close).then_some(Change::Vote(voters)))
}
