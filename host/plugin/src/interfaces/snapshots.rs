//! `exesdb:store/snapshots` as gateways see it: each call goes to an instance of the store's snapshots component,
//! those for one stream to the same.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::bindings::snapshots::{Host, RecordedSnapshot, SnapshotData, SnapshotPage};
use crate::bindings::types::Error;
use crate::names;
use crate::persistence::{SnapshotsCall, SnapshotsPool};
use crate::state::State;

impl State {
    async fn snapshots<T>(
        &mut self,
        stream_id: String,
        make: impl FnOnce(String, oneshot::Sender<Result<T, Error>>) -> SnapshotsCall,
    ) -> Result<T, Error> {
        let pool: Arc<SnapshotsPool> = self
            .tenancy
            .registry
            .get(&names::snapshots(&self.tenancy.store))
            .ok_or_else(|| Error::Restarting("the store is being restarted".into()))?;
        pool.call(&stream_id.clone(), self.caller(), |reply| make(stream_id, reply)).await
    }
}

impl Host for State {
    async fn record_snapshot(
        &mut self,
        stream_id: String,
        version: u64,
        snapshot: SnapshotData,
    ) -> Result<(), Error> {
        let snapshot = Arc::new(snapshot);
        self.snapshots(stream_id, |stream_id, reply| SnapshotsCall::Record {
            stream_id,
            version,
            snapshot,
            reply,
        })
        .await
    }

    async fn read_snapshot(&mut self, stream_id: String, version: u64) -> Result<RecordedSnapshot, Error> {
        self.snapshots(stream_id, |stream_id, reply| SnapshotsCall::Read { stream_id, version, reply }).await
    }

    async fn read_latest(&mut self, stream_id: String) -> Result<RecordedSnapshot, Error> {
        self.snapshots(stream_id, |stream_id, reply| SnapshotsCall::ReadLatest { stream_id, reply }).await
    }

    async fn list_snapshots(
        &mut self,
        stream_id: String,
        before: Option<u64>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        self.snapshots(stream_id, |stream_id, reply| SnapshotsCall::List { stream_id, before, count, reply })
            .await
    }

    async fn delete_snapshot(&mut self, stream_id: String, version: u64) -> Result<(), Error> {
        self.snapshots(stream_id, |stream_id, reply| SnapshotsCall::Delete { stream_id, version, reply })
            .await
    }
}
