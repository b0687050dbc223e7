//! The snapshots component: its exports and its changes, and the pool's functions that call them.

use std::sync::Arc;

use exesdb_pubsub::Bus;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Resource, TypedFunc};

use super::decider::appended::Appended;
use super::decider::changes::Change;
use super::exports::Missing;
use super::exports::{Function, ViewParam, exports};
use super::kind::Kind;
use super::maintenance::{self, Maintained};
use super::pool::{Pool, Target};
use crate::bindings::store::decisions::Decision;
use crate::bindings::store::snapshot_types::{
    RecordedSnapshot, SnapshotId, SnapshotPage, SnapshotRequest, SnapshotScope,
};
use crate::bindings::store::types::{ChangeResult, Error};
use crate::caller::Caller;
use crate::state::State;
use crate::view::View;

exports! {
    snapshots: "exesdb:store/snapshots@0.2.0";
    decide: TypedFunc<(ViewParam, Vec<Arc<SnapshotRequest>>), (Vec<Decision>,)> = "decide",
    read_latest: Function<(ViewParam, String, String, Option<u64>), RecordedSnapshot> = "read-latest",
    read: Function<(ViewParam, SnapshotId), RecordedSnapshot> = "read",
    list: Function<(ViewParam, SnapshotScope, Option<SnapshotId>, u32), SnapshotPage> = "list-snapshots",
}

/// The exports of one instance.
pub struct SnapshotsExports {
    snapshots: snapshots::Exports,
    maintenance: Option<maintenance::Exports>,
}

impl Maintained for SnapshotsExports {
    fn maintenance(&self) -> Option<&maintenance::Exports> {
        self.maintenance.as_ref()
    }
}

/// A change of snapshots. The request is in an `Arc`, so that it can be passed again if the instance ends.
#[derive(Clone, Debug, Hash)]
pub struct SnapshotChange(Arc<SnapshotRequest>);

impl Change for SnapshotChange {
    fn bytes(&self) -> usize {
        match &*self.0 {
            SnapshotRequest::Put(new) => new.snapshot.data.len() + new.snapshot.metadata.len(),
            SnapshotRequest::Remove(_) | SnapshotRequest::KeepNewest(_) => 0,
        }
    }

    /// What frees space must not be refused for want of room because of what does not.
    fn joins(&self, before: &Self) -> bool {
        self.frees_space() == before.frees_space()
    }

    fn frees_space(&self) -> bool {
        !matches!(&*self.0, SnapshotRequest::Put(_))
    }

    fn streams(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }
}

/// The kind of component that keeps the snapshots.
pub struct SnapshotsKind;

impl Kind for SnapshotsKind {
    type Change = SnapshotChange;
    type Indices = (snapshots::Indices, Option<maintenance::Indices>);
    type Exports = SnapshotsExports;

    const TAKES_POSITIONS: bool = false;

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        Ok((snapshots::Indices::of(component)?, maintenance::Indices::find(component)?))
    }

    fn exports(
        (snapshots, maintenance): &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<SnapshotsExports> {
        Ok(SnapshotsExports {
            snapshots: snapshots.load(instance, store)?,
            maintenance: maintenance.as_ref().map(|found| found.load(instance, store)).transpose()?,
        })
    }

    async fn decide(
        exports: &SnapshotsExports,
        store: &mut Store<State>,
        view: Resource<View>,
        changes: Vec<SnapshotChange>,
    ) -> wasmtime::Result<Result<Vec<Decision>, Missing>> {
        let requests = changes.into_iter().map(|change| change.0).collect();
        Ok(Ok(exports.snapshots.decide.call_async(store, (view, requests)).await?.0))
    }

    fn wake(_: &Bus, _: &SnapshotChange, _: &Appended, _: u64) {}
}

/// The pool of a store's snapshots component.
pub type SnapshotsPool = Pool<SnapshotsKind>;

/// Requests for one stream go to one instance, which serves them in order.
impl SnapshotsPool {
    /// Records or deletes snapshots.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn change(&self, caller: Caller, request: SnapshotRequest) -> Result<ChangeResult, Error> {
        let target = self.target(match &request {
            SnapshotRequest::Put(new) => &new.id.stream_id,
            SnapshotRequest::Remove(id) => &id.stream_id,
            SnapshotRequest::KeepNewest(newest) => &newest.stream_id,
        });
        self.send_change(target, caller, SnapshotChange(Arc::new(request))).await
    }

    /// Reads the snapshot of exactly this version.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read(&self, caller: Caller, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        let target = self.target(&id.stream_id);
        self.ask(target, caller, "read-snapshot", |exports| Ok(&exports.snapshots.read), (id,)).await
    }

    /// Reads the latest snapshot, or the latest that is not newer than a version.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read_latest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        let target = self.target(&stream_id);
        let params = (stream_id, source_id, at_most);
        self.ask(target, caller, "read-latest", |exports| Ok(&exports.snapshots.read_latest), params).await
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
        self.ask(target, caller, "list-snapshots", |exports| Ok(&exports.snapshots.list), params).await
    }
}
