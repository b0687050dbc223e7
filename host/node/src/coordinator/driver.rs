//! Does what was decided for a group.

use std::sync::Arc;

use exesdb_cluster::{Group, ReplicaHome};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::decide::{Action, Decision, Situation, decide};
use crate::finding::Finding;
use crate::limits::{CHANGE_WAIT, COORDINATOR_TICK};
use crate::registry::{RegistryView, change};

/// Coordinates a group until the future is dropped, or the group is. Problems that it cannot solve are
/// sent to `findings`, which is empty while the node does not lead the group.
pub async fn coordinate<H: ReplicaHome>(
    group: Arc<Group<H>>,
    number: u64,
    registry: RegistryView,
    findings: watch::Sender<Vec<Finding>>,
) {
    let mut ready = group.ready();
    let mut tick = interval(COORDINATOR_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if ready.borrow_and_update().is_none() {
            findings.send_replace(Vec::new());
            if ready.wait_for(Option::is_some).await.is_err() {
                return;
            }
        }
        let Some(registry) = registry.registry() else { continue };
        let Some(situation) = Situation::of(&group.metrics()) else { continue };
        let Decision { action, findings: found } = decide(&registry, number, &situation);
        findings.send_if_modified(|known| {
            let is_new = *known != found;
            *known = found;
            is_new
        });
        let Some(action) = action else { continue };
        tracing::info!(group = number, ?action, "changing the members of a group");
        // One that lost the leadership meanwhile may wait forever.
        match timeout(CHANGE_WAIT, perform(&group, action)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::info!(group = number, reason, "the members did not change; asking again")
            }
            Err(_) => tracing::warn!(group = number, "the members did not change in time; asking again"),
        }
    }
}

async fn perform<H: ReplicaHome>(group: &Group<H>, action: Action) -> Result<(), String> {
    match action {
        Action::AddLearner { replica, member } => {
            group.add_learner(replica, member).await.map_err(|error| error.to_string())
        }
        Action::SetVoters { voters } => group.set_voters(voters).await.map_err(|error| error.to_string()),
        Action::MarkUp { node } => {
            let marked = change(group, |registry| registry.mark_up(node)).await;
            marked.map(drop).map_err(|error| error.to_string())
        }
    }
}
