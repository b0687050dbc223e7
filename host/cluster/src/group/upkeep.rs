//! What a group does by itself: it makes its replica durable, purges its log, looks for replicas that differ, and notices that
//! its engine has ended.

use std::sync::Arc;

use exesdb_storage::EntryCheck;
use tokio::time::{Duration, Instant, sleep};

use super::shared::Shared;
use crate::entry::Proposal;
use crate::home::ReplicaHome;
use crate::kept::Kept;
use crate::limits::{CHECK_EVERY, PERSIST_EVERY, UNPERSISTED_BYTES_MAX};
use crate::retention::Retention;
use crate::types::Raft;

/// How often upkeep looks for something to do: what an apply of 64 MiB takes.
const UPKEEP_TICK: Duration = Duration::from_secs(1);

/// Makes the replica durable after so many bytes or so long, and purges what need not be kept. Both are the engine's work.
pub(super) async fn keep<H: ReplicaHome>(shared: Arc<Shared<H>>, raft: Raft, retention: Arc<Retention>) {
    let mut last = Instant::now();
    loop {
        sleep(UPKEEP_TICK).await;
        let kept = &shared.kept;
        if let Some(failure) = shared.log.failed() {
            // A leader that writes nothing would go on telling its followers that it leads.
            kept.stop(failure.to_string());
            drop(raft.shutdown().await);
            return;
        }
        let applied = kept.reached().borrow().id.map_or(0, |id| id.index);
        let durable = *kept.persisted().borrow();
        let is_due = kept.unpersisted_bytes() >= UNPERSISTED_BYTES_MAX
            || last.elapsed() >= PERSIST_EVERY
            || durable < retention.released();
        if is_due && applied > durable {
            last = Instant::now();
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
        let metrics = raft.data_metrics().borrow().clone();
        let index = |id: Option<crate::types::RaftLogId>| id.map_or(0, |id| id.index);
        // The engine purges up to the snapshot that it knows, which is one that was made durable.
        let through = retention.purge_through(durable.min(index(metrics.snapshot)));
        if through > index(metrics.purged) && raft.trigger().purge_log(through).await.is_err() {
            return;
        }
    }
}

/// Tells the other replicas from time to time what this one has, while it leads and something has changed.
pub(super) async fn check<H: ReplicaHome>(shared: Arc<Shared<H>>, raft: Raft) {
    let mut last = None;
    loop {
        sleep(CHECK_EVERY).await;
        if shared.ready.borrow().is_none() {
            continue;
        }
        let Ok(Some(check)) = shared.kept.run(Kept::check).await else { continue };
        // Entries that change nothing, as checks themselves, are not worth one.
        let state = EntryCheck { index: 0, ..check };
        if last == Some(state) {
            continue;
        }
        // Nobody waits for it: whoever differs stops.
        if raft.client_write_ff(Proposal::check(check)).await.is_err() {
            return;
        }
        last = Some(state);
    }
}

/// Waits until the engine ends, and notes why.
pub(super) async fn watch<H: ReplicaHome>(shared: Arc<Shared<H>>, raft: Raft) {
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_and_update().running_state {
            shared.kept.stop(format!("the engine: {fatal}"));
            break;
        }
        if metrics.changed().await.is_err() {
            shared.kept.stop("the engine ended".to_owned());
            break;
        }
    }
    shared.ready.send_replace(None);
}
