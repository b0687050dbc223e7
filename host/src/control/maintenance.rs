//! Upkeep of a store that runs: hidden events are removed, and its files rewritten without them.

use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::contract::snapshot_types::SnapshotId;
use exesdb_plugin::contract::types::Error;
use exesdb_plugin::{ScavengeStep, SnapshotsPool, StreamsPool, VisibleSnapshots, names};
use exesdb_storage::Compacted;
use tokio::sync::mpsc;

use super::connection::{Connection, Disconnected};
use super::host::Host;
use super::protocol::{Refusal, Response};
use super::stopped::{Stopped, send_last};
use crate::cluster;
use crate::maintenance::{explain, has_advanced, is_passing, is_unsupported};
use crate::tree::Compactor;

/// How often a step that failed in passing is tried again: an instance is back within milliseconds.
const STEP_RETRIES_MAX: u32 = 20;
/// Before the next try.
const STEP_PAUSE: Duration = Duration::from_millis(250);

/// Removes what is hidden and reports each step. Then rewrites the files, so that nothing deleted is left in any of them.
pub(super) async fn scavenge(
    host: &Host,
    store: &str,
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    let outcome = scavenge_and_erase(host, store, connection).await;
    send_last(outcome.map(|()| Response::End), connection).await
}

/// Rewrites the store's files without what was deleted and overwritten.
pub(super) async fn compact(
    host: &Host,
    store: &str,
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    tracing::info!(store, "compacting was asked for over the control socket");
    let outcome = rewrite(host, store, Files::Compacted, connection).await;
    send_last(outcome.map(|()| Response::End), connection).await
}

async fn scavenge_and_erase(host: &Host, store: &str, connection: &mut Connection) -> Result<(), Stopped> {
    // Beside those who decide about changes.
    let streams = host.part::<StreamsPool>(store, &names::readers(store)).await?;
    let snapshots = host.part::<SnapshotsPool>(store, &names::snapshots(store)).await?;
    tracing::info!(store, "scavenging was asked for over the control socket");
    let step = async |from| streams.scavenge(from).await.map(Step::from);
    step_through("scavenging streams", "streams", Progress::default(), step, connection).await?;
    let scavenged = scavenge_snapshots(&snapshots, streams.clone(), connection).await;
    // Snapshots that are unavailable keep no stream from giving its room back.
    if !matches!(scavenged, Err(Stopped::Disconnected)) {
        rewrite(host, store, Files::Erased, connection).await?;
    }
    scavenged
}

/// Removes the snapshots of deleted streams, and then what the snapshots component keeps hidden.
async fn scavenge_snapshots(
    snapshots: &Arc<SnapshotsPool>,
    readers: Arc<StreamsPool>,
    connection: &mut Connection,
) -> Result<(), Stopped> {
    let living = VisibleSnapshots::new(snapshots.clone(), readers);
    let sweep = async |after: Option<(String, String, u64)>| {
        let after = after.map(|(stream_id, source_id, version)| SnapshotId { stream_id, source_id, version });
        let done = living.sweep(after).await?;
        let next = done.after.map(|id| (id.stream_id, id.source_id, id.version));
        Ok(Step { examined: done.examined, removed: done.removed, bytes: done.bytes, next })
    };
    let what = "removing the snapshots of deleted streams";
    let swept = step_through(what, "snapshots", Progress::default(), sweep, connection).await?;
    let step = async |from| snapshots.scavenge(from).await.map(Step::from);
    step_through("scavenging snapshots", "snapshots", swept, step, connection).await?;
    Ok(())
}

/// What a step did, and where the next one begins.
struct Step<Cursor> {
    examined: u64,
    removed: u64,
    bytes: u64,
    next: Option<Cursor>,
}

impl From<ScavengeStep> for Step<Vec<u8>> {
    fn from(step: ScavengeStep) -> Self {
        Self { examined: step.examined, removed: step.removed, bytes: step.bytes, next: step.next }
    }
}

/// What was done of a component's data so far.
#[derive(Clone, Copy, Default)]
struct Progress {
    examined: u64,
    removed: u64,
    bytes: u64,
}

impl Progress {
    fn add<Cursor>(&mut self, step: &Step<Cursor>) {
        self.examined = self.examined.saturating_add(step.examined);
        self.removed = self.removed.saturating_add(step.removed);
        self.bytes = self.bytes.saturating_add(step.bytes);
    }

    fn response(self, component: &str) -> Response {
        let Self { examined, removed, bytes } = self;
        Response::Scavenged { component: component.to_owned(), examined, removed, bytes }
    }
}

/// Takes step after step until there is no next one, and reports each. A component that has no such steps is reported, too.
async fn step_through<Cursor, Stepping>(
    what: &str,
    component: &str,
    before: Progress,
    step: impl Fn(Option<Cursor>) -> Stepping,
    connection: &mut Connection,
) -> Result<Progress, Stopped>
where
    Cursor: Clone + PartialEq,
    Stepping: Future<Output = Result<Step<Cursor>, Error>>,
{
    let mut progress = before;
    let (mut from, mut retries) = (None, 0);
    loop {
        let done = match step(from.clone()).await {
            Ok(done) => done,
            Err(error) if is_passing(&error) && retries < STEP_RETRIES_MAX => {
                retries += 1;
                tokio::time::sleep(STEP_PAUSE).await;
                continue;
            }
            Err(error) if is_unsupported(&error) => {
                let (component, reason) = (component.to_owned(), explain(&error));
                connection.send(&Response::NotScavenged { component, reason }).await?;
                return Ok(progress);
            }
            Err(error) => {
                let why = explain(&error);
                return Err(Stopped::failed(format!("{what} stopped: {why}; scavenge again")));
            }
        };
        retries = 0;
        progress.add(&done);
        connection.send(&progress.response(component)).await?;
        if done.next.is_none() {
            return Ok(progress);
        }
        if !has_advanced(from.as_ref(), done.next.as_ref(), done.removed) {
            return Err(Stopped::failed(format!(
                "the component {component} stands still: a step of {what} removed nothing and ended where it began; \
                 what was removed before stays removed; report this to the component's author"
            )));
        }
        from = done.next;
    }
}

/// What becomes of a store's files.
#[derive(Clone, Copy)]
enum Files {
    /// They are rewritten without what was deleted.
    Compacted,
    /// Besides, nothing deleted is left in any other file, journals included.
    Erased,
}

async fn rewrite(host: &Host, store: &str, files: Files, connection: &mut Connection) -> Result<(), Stopped> {
    if cluster::is_replicated(&host.registry, store) {
        let detail = format!(
            "store {store} is one of a cluster, whose files this version does not rewrite: hidden events are removed, and their bytes \
             leave the files as the engine rewrites those by itself"
        );
        return Err(Refusal::Declined { detail }.into());
    }
    let compactor = host.part::<Compactor>(store, &Compactor::name(store)).await?;
    let (steps, mut done) = mpsc::unbounded_channel();
    let compacting = tokio::task::spawn_blocking(move || {
        let mut report = |compacted: Compacted<'_>| {
            let step = Response::Compacted {
                keyspace: format!("{}.{}", compacted.owner, compacted.keyspace),
                bytes_before: compacted.bytes_before,
                bytes_after: compacted.bytes_after,
                done: compacted.done as u64,
                total: compacted.total as u64,
            };
            // A client that left does not keep the rest from being done. One step for each keyspace: few.
            drop(steps.send(step));
        };
        match files {
            Files::Compacted => compactor.compact(&mut report),
            Files::Erased => compactor.erase(&mut report),
        }
    });
    while let Some(step) = done.recv().await {
        connection.send(&step).await?;
    }
    compacting.await.map_err(Stopped::failed)?.map_err(Stopped::failed)
}
