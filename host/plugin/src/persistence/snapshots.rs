//! The snapshots component: the exports of `exesdb:store/snapshots`, and who may call them.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use super::ask::Ask;
use super::kind::{Function, Kind, exports};
use super::maintenance::{self, Maintained};
use super::pool::{Caller, Partition, SnapshotsPool};
use crate::bindings::snapshots::{RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope};
use crate::bindings::types::Error;
use crate::state::State;

exports! {
    "exesdb:store/snapshots@0.1.0";
    record: Function<(SnapshotId, Arc<SnapshotData>), ()> = "record-snapshot",
    read: Function<(SnapshotId,), RecordedSnapshot> = "read-snapshot",
    read_latest: Function<(String, String, Option<u64>), RecordedSnapshot> = "read-latest",
    list: Function<(SnapshotScope, Option<SnapshotId>, u32), SnapshotPage> = "list-snapshots",
    delete: Function<(SnapshotId,), ()> = "delete-snapshot",
    keep_newest: Function<(String, String, u32), u64> = "keep-newest",
    import: Function<(SnapshotId, Arc<SnapshotData>, u64), ()> = "import-snapshot",
}

/// The exports of a snapshots component in one instance.
pub struct SnapshotsExports {
    snapshots: Exports,
    maintenance: maintenance::Exports,
}

impl Maintained for SnapshotsExports {
    fn maintenance(&self) -> &maintenance::Exports {
        &self.maintenance
    }
}

/// The kind of component that keeps the snapshots.
pub struct SnapshotsKind;

impl Kind for SnapshotsKind {
    type Call = Box<dyn Ask<SnapshotsExports>>;
    type Indices = (Indices, maintenance::Indices);
    type Exports = SnapshotsExports;

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        Ok((Indices::of(component)?, maintenance::Indices::of(component)?))
    }

    fn exports(
        (snapshots, maintenance): &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        Ok(SnapshotsExports {
            snapshots: snapshots.load(instance, store)?,
            maintenance: maintenance.load(instance, store)?,
        })
    }

    async fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> wasmtime::Result<()> {
        let Some(call) = calls.first_mut() else { return Ok(()) };
        call.serve(exports, store).await?;
        calls.clear();
        Ok(())
    }
}

/// The functions of the interface; those for one stream go to one instance.
impl SnapshotsPool {
    pub(crate) async fn record(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
    ) -> Result<(), Error> {
        let partition = self.partition(&id.stream_id);
        let params = (id, Arc::new(snapshot));
        self.ask(partition, caller, "record", |exports| &exports.snapshots.record, params).await
    }

    /// The snapshot at exactly this place.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn read(&self, caller: Caller, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        let partition = self.partition(&id.stream_id);
        self.ask(partition, caller, "read", |exports| &exports.snapshots.read, (id,)).await
    }

    pub(crate) async fn read_latest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        let partition = self.partition(&stream_id);
        let params = (stream_id, source_id, at_most);
        self.ask(partition, caller, "read-latest", |exports| &exports.snapshots.read_latest, params).await
    }

    /// The snapshots of a scope behind `after`.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn list(
        &self,
        caller: Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        let partition = scope.stream_id.as_ref().map_or(Partition::Any, |id| self.partition(id));
        let params = (scope, after, count);
        self.ask(partition, caller, "list", |exports| &exports.snapshots.list, params).await
    }

    pub(crate) async fn delete(&self, caller: Caller, id: SnapshotId) -> Result<(), Error> {
        let partition = self.partition(&id.stream_id);
        self.ask(partition, caller, "delete", |exports| &exports.snapshots.delete, (id,)).await
    }

    pub(crate) async fn keep_newest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        keep: u32,
    ) -> Result<u64, Error> {
        let partition = self.partition(&stream_id);
        let params = (stream_id, source_id, keep);
        self.ask(partition, caller, "keep-newest", |exports| &exports.snapshots.keep_newest, params).await
    }

    /// Records a snapshot with the time that it has elsewhere.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn import(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
        created: u64,
    ) -> Result<(), Error> {
        let partition = self.partition(&id.stream_id);
        let params = (id, Arc::new(snapshot), created);
        self.ask(partition, caller, "import", |exports| &exports.snapshots.import, params).await
    }
}
