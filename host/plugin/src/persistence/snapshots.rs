//! The snapshots component: calls, and the exports of `exesdb:store/snapshots`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance};

use super::kind::{Call, Function, Kind, index};
use super::streams::answer;
use crate::bindings::snapshots::{RecordedSnapshot, SnapshotData, SnapshotPage};
use crate::bindings::types::Error;
use crate::state::State;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A call to the snapshots component.
pub enum SnapshotsCall {
    Record { stream_id: String, version: u64, snapshot: Arc<SnapshotData>, reply: Reply<()> },
    Read { stream_id: String, version: u64, reply: Reply<RecordedSnapshot> },
    ReadLatest { stream_id: String, reply: Reply<RecordedSnapshot> },
    List { stream_id: String, before: Option<u64>, count: u32, reply: Reply<SnapshotPage> },
    Delete { stream_id: String, version: u64, reply: Reply<()> },
}

impl Call for SnapshotsCall {
    fn fail(self, error: Error) {
        // Where nobody waits any more there is nobody to tell.
        match self {
            Self::Record { reply, .. } | Self::Delete { reply, .. } => drop(reply.send(Err(error))),
            Self::Read { reply, .. } | Self::ReadLatest { reply, .. } => drop(reply.send(Err(error))),
            Self::List { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Record { stream_id, version, snapshot, .. } => {
                let SnapshotData { content_type, data, metadata } = &**snapshot;
                ("record", stream_id, version, content_type, data, metadata).hash(&mut hasher);
            }
            Self::Read { stream_id, version, .. } => ("read", stream_id, version).hash(&mut hasher),
            Self::ReadLatest { stream_id, .. } => ("read-latest", stream_id).hash(&mut hasher),
            Self::List { stream_id, before, count, .. } => {
                ("list", stream_id, before, count).hash(&mut hasher);
            }
            Self::Delete { stream_id, version, .. } => ("delete", stream_id, version).hash(&mut hasher),
        }
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Record { reply, .. } | Self::Delete { reply, .. } => reply.is_closed(),
            Self::Read { reply, .. } | Self::ReadLatest { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
        }
    }

    fn shareable(&self) -> Option<usize> {
        None
    }
}

/// The exports of a snapshots component in one instance.
pub struct Exports {
    record: Function<(String, u64, Arc<SnapshotData>), ()>,
    read: Function<(String, u64), RecordedSnapshot>,
    read_latest: Function<(String,), RecordedSnapshot>,
    list: Function<(String, Option<u64>, u32), SnapshotPage>,
    delete: Function<(String, u64), ()>,
}

/// The kind of component that keeps the snapshots.
pub struct SnapshotsKind;

impl Kind for SnapshotsKind {
    type Call = SnapshotsCall;
    type Indices = [ComponentExportIndex; 5];
    type Exports = Exports;

    const EXPORT: &'static str = "exesdb:store/snapshots@0.1.0";

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        let find = |name| index(component, Self::EXPORT, name);
        Ok([
            find("record-snapshot")?,
            find("read-snapshot")?,
            find("read-latest")?,
            find("list-snapshots")?,
            find("delete-snapshot")?,
        ])
    }

    fn exports(
        [record, read, read_latest, list, delete]: &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        Ok(Exports {
            record: instance.get_typed_func(&mut *store, record)?,
            read: instance.get_typed_func(&mut *store, read)?,
            read_latest: instance.get_typed_func(&mut *store, read_latest)?,
            list: instance.get_typed_func(&mut *store, list)?,
            delete: instance.get_typed_func(&mut *store, delete)?,
        })
    }

    async fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> wasmtime::Result<()> {
        let Some(call) = calls.first() else { return Ok(()) };
        match call {
            SnapshotsCall::Record { stream_id, version, snapshot, .. } => {
                let params = (stream_id.clone(), *version, snapshot.clone());
                let (done,) = exports.record.call_async(store, params).await?;
                answer(calls, done, |call| match call {
                    SnapshotsCall::Record { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            SnapshotsCall::Read { stream_id, version, .. } => {
                let (found,) = exports.read.call_async(store, (stream_id.clone(), *version)).await?;
                answer(calls, found, |call| match call {
                    SnapshotsCall::Read { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            SnapshotsCall::ReadLatest { stream_id, .. } => {
                let (found,) = exports.read_latest.call_async(store, (stream_id.clone(),)).await?;
                answer(calls, found, |call| match call {
                    SnapshotsCall::ReadLatest { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            SnapshotsCall::List { stream_id, before, count, .. } => {
                let (page,) = exports.list.call_async(store, (stream_id.clone(), *before, *count)).await?;
                answer(calls, page, |call| match call {
                    SnapshotsCall::List { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            SnapshotsCall::Delete { stream_id, version, .. } => {
                let (done,) = exports.delete.call_async(store, (stream_id.clone(), *version)).await?;
                answer(calls, done, |call| match call {
                    SnapshotsCall::Delete { reply, .. } => Some(reply),
                    _ => None,
                });
            }
        }
        Ok(())
    }
}
