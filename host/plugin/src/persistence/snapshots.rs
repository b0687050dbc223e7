//! The snapshots component: the exports of `exesdb:store/snapshots`, and the pool's functions that call them.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use super::exports::{Function, exports};
use super::kind::Kind;
use super::maintenance::{self, Maintained};
use super::pool::{Pool, Target};
use super::unary_call::UnaryCall;
use crate::bindings::snapshots::{RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope};
use crate::bindings::types::Error;
use crate::caller::Caller;
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

/// The exports of one instance.
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
    type Call = Box<dyn UnaryCall<SnapshotsExports>>;
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

/// The pool of a store's snapshots component.
pub type SnapshotsPool = Pool<SnapshotsKind>;

/// Calls for one stream go to one partition.
impl SnapshotsPool {
    pub(crate) async fn record(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
    ) -> Result<(), Error> {
        let target = self.target(&id.stream_id);
        let params = (id, Arc::new(snapshot));
        self.call(target, caller, "record", |exports| &exports.snapshots.record, params).await
    }

    /// The snapshot with exactly this id.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read(&self, caller: Caller, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        let target = self.target(&id.stream_id);
        self.call(target, caller, "read", |exports| &exports.snapshots.read, (id,)).await
    }

    pub(crate) async fn read_latest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        let target = self.target(&stream_id);
        let params = (stream_id, source_id, at_most);
        self.call(target, caller, "read-latest", |exports| &exports.snapshots.read_latest, params).await
    }

    /// Lists the snapshots of a scope after `after`.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn list(
        &self,
        caller: Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        let target = scope.stream_id.as_ref().map_or(Target::Any, |id| self.target(id));
        let params = (scope, after, count);
        self.call(target, caller, "list", |exports| &exports.snapshots.list, params).await
    }

    pub(crate) async fn delete(&self, caller: Caller, id: SnapshotId) -> Result<(), Error> {
        let target = self.target(&id.stream_id);
        self.call(target, caller, "delete", |exports| &exports.snapshots.delete, (id,)).await
    }

    pub(crate) async fn keep_newest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        keep: u32,
    ) -> Result<u64, Error> {
        let target = self.target(&stream_id);
        let params = (stream_id, source_id, keep);
        self.call(target, caller, "keep-newest", |exports| &exports.snapshots.keep_newest, params).await
    }

    /// Records a snapshot with its creation time from another store.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn import(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
        created: u64,
    ) -> Result<(), Error> {
        let target = self.target(&id.stream_id);
        let params = (id, Arc::new(snapshot), created);
        self.call(target, caller, "import", |exports| &exports.snapshots.import, params).await
    }
}
