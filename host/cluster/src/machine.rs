//! The engine's state machine: a replica.

use std::sync::Arc;

use exesdb_storage::ReplicaState;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError};

use crate::entry::LogEntry;
use crate::home::ReplicaHome;
use crate::kept::Kept;
use crate::members;
use crate::snapshot::{Dump, SnapshotData};
use crate::types::{RaftLogId, Response, StorageError, StoredMembership, Types, to_raft};

/// Applies what the group has agreed on.
pub(crate) struct Machine<H: ReplicaHome>(pub(crate) Arc<Kept<H>>);

pub(crate) type Meta = SnapshotMeta<u64, members::Member>;

impl<H: ReplicaHome> Machine<H> {
    fn snapshot(data: Box<dyn Dump>, state: &ReplicaState) -> Result<Snapshot<Types>, String> {
        let meta = meta(state)?;
        Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Outgoing(data)) })
    }
}

/// What the engine has to know of a replica in this state.
pub(crate) fn meta(state: &ReplicaState) -> Result<Meta, String> {
    let id = state.applied.id;
    let (of, membership) = members::decode(&state.membership)
        .map_err(|error| format!("the members that the replica has are malformed: {error}"))?;
    Ok(SnapshotMeta {
        last_log_id: Some(to_raft(id)),
        last_membership: StoredMembership::new(Some(to_raft(of)), membership),
        snapshot_id: format!("{}-{}-{}", id.term, id.leader, id.index),
    })
}

fn failed(reason: String) -> StorageError {
    StorageIOError::write_state_machine(AnyError::error(reason)).into()
}

impl<H: ReplicaHome> RaftStateMachine<Types> for Machine<H> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), StorageError> {
        let Some((_, state)) = self.0.snapshot() else { return Ok((None, StoredMembership::default())) };
        let meta = meta(&state).map_err(failed)?;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(LogEntry::into_entry).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| failed(error.to_string()))?;
        self.0.run(|kept| kept.apply(entries)).await.flatten().map_err(failed)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        Self(Arc::clone(&self.0))
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        Err(failed("snapshots are received whole before the engine hears of them".into()))
    }

    async fn install_snapshot(
        &mut self,
        _meta: &Meta,
        snapshot: Box<SnapshotData>,
    ) -> Result<(), StorageError> {
        let SnapshotData::Incoming(incoming) = *snapshot else {
            return Err(failed("a snapshot to be sent was to be installed".into()));
        };
        let incoming = incoming.downcast::<H::Incoming>();
        let incoming =
            incoming.map_err(|_| failed("a snapshot of another home was to be installed".into()))?;
        self.0.run(|kept| kept.install(*incoming)).await.flatten().map_err(failed)
    }

    /// Never `None` once there is a replica. The dump is made when a transfer begins.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some((snapshot, state)) = self.0.snapshot() else { return Ok(None) };
        Self::snapshot(Box::new(snapshot), &state).map(Some).map_err(failed)
    }
}

impl<H: ReplicaHome> RaftSnapshotBuilder<Types> for Machine<H> {
    /// The engine purges up to a snapshot that was built, so building one makes the replica durable.
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let snapshot = self.0.run(Kept::persist).await.flatten().map_err(failed)?;
        let state = snapshot.replica().cloned().ok_or_else(|| failed("a replica has a state".into()))?;
        Self::snapshot(Box::new(snapshot), &state).map_err(failed)
    }
}
