//! `exesdb:store/snapshots` for gateways: passes each call to the store's snapshots component, with the snapshots of deleted
//! streams hidden.

use std::sync::Arc;

use crate::bindings::next::snapshot_types::{NewSnapshot, Newest};
use crate::bindings::snapshots::{
    Host, RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope,
};
use crate::bindings::types::Error;
use crate::names;
use crate::persistence::{SnapshotsPool, VisibleSnapshots};
use crate::state::State;

impl State {
    /// The store's visible snapshots.
    fn snapshots(&self) -> Result<VisibleSnapshots, Error> {
        let snapshots: Arc<SnapshotsPool> = self
            .context
            .registry
            .get(&names::snapshots(&self.context.store))
            .ok_or_else(|| Error::Restarting("the store is being restarted".into()))?;
        Ok(VisibleSnapshots::new(snapshots, self.stream_readers()?))
    }
}

impl Host for State {
    async fn record_snapshot(&mut self, id: SnapshotId, snapshot: SnapshotData) -> Result<(), Error> {
        let new = NewSnapshot { id: id.into(), snapshot: snapshot.into(), created: None };
        Ok(self.snapshots()?.put(self.caller(), new).await?)
    }

    async fn read_snapshot(&mut self, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        Ok(self.snapshots()?.read(self.caller(), id.into()).await?.into())
    }

    async fn read_latest(
        &mut self,
        stream_id: String,
        source_id: String,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        Ok(self.snapshots()?.read_latest(self.caller(), stream_id, source_id, at_most).await?.into())
    }

    async fn list_snapshots(
        &mut self,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        let after = after.map(Into::into);
        Ok(self.snapshots()?.list(self.caller(), scope.into(), after, count).await?.into())
    }

    async fn delete_snapshot(&mut self, id: SnapshotId) -> Result<(), Error> {
        Ok(self.snapshots()?.remove(self.caller(), id.into()).await?)
    }

    async fn keep_newest(&mut self, stream_id: String, source_id: String, keep: u32) -> Result<u64, Error> {
        let newest = Newest { stream_id, source_id, keep };
        Ok(self.snapshots()?.keep_newest(self.caller(), newest).await?)
    }

    async fn import_snapshot(
        &mut self,
        id: SnapshotId,
        snapshot: SnapshotData,
        created: u64,
    ) -> Result<(), Error> {
        let new = NewSnapshot { id: id.into(), snapshot: snapshot.into(), created: Some(created) };
        Ok(self.snapshots()?.put(self.caller(), new).await?)
    }
}
