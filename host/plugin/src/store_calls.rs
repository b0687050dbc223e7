//! Runs what a gateway asks of its store (`exesdb:gateway/requests.call`) against the store's pools.
//!
//! A change is queued when its future is polled for the first time, so whoever polls in order queues in order. [`bounds`]
//! checks what a gateway asks before anything else happens, [`histories`] whether the positions that its client has seen still
//! mean the same, and [`claims`] what a component returned. [`news`] waits for events.

mod bounds;
mod claims;
mod histories;
mod news;
mod subscriptions;

use std::sync::Arc;

use exesdb_storage::HistoryId;
use tokio::time::Instant;

use crate::access::StoreAccess;
use crate::bindings::gateway::requests::{
    Answer, Call, Horizon, ImportLookup, Latest, Listing, NamedCall, Outcome, Query, Reply, SnapshotListing,
    WriteCall,
};
use crate::bindings::store::places::EndOfLog;
use crate::bindings::store::snapshot_types::SnapshotRequest;
use crate::bindings::store::types::{ChangeResult, Error};
use crate::caller::Caller;
use crate::context::ComponentContext;
use crate::names;
use crate::persistence::{SnapshotsPool, StreamsPool, VisibleSnapshots};
use crate::problem::{code, problem, unknown_outcome};

pub(crate) use bounds::check_options;
pub(crate) use claims::progresses;
pub(crate) use news::POLL;
pub(crate) use subscriptions::{Consume, Notes, read as read_payload, written};

/// The calls of one gateway to its store.
#[derive(Clone)]
pub(crate) struct StoreCalls {
    context: Arc<ComponentContext>,
}

impl StoreCalls {
    /// The calls of the gateway with this context.
    pub(crate) fn of(context: &Arc<ComponentContext>) -> Self {
        Self { context: context.clone() }
    }

    /// Makes a call, which has until `deadline`.
    pub(crate) async fn run(&self, caller: Caller, call: Call, deadline: Instant) -> Outcome {
        let is_change = is_change(&call);
        match tokio::time::timeout_at(deadline, self.made(caller, call, deadline)).await {
            Ok(outcome) => outcome,
            // It was queued at once, so it may have begun.
            Err(_) if is_change => Err(unknown_outcome(
                code::TIMEOUT,
                "the time of the request is over; whether it was applied is unknown",
            )),
            Err(_) => Err(problem(code::TIMEOUT, "the time of the request is over")),
        }
    }

    /// How far the store is readable.
    pub(crate) fn horizon(&self) -> Result<Horizon, Error> {
        Ok(horizon_of(&*self.access()?))
    }

    async fn made(&self, caller: Caller, call: Call, deadline: Instant) -> Outcome {
        bounds::check(&call)?;
        match call {
            Call::Write(write) => self.write(caller, write).await,
            Call::Read(query) => self.read(caller, query).await,
            Call::Remove(request) => {
                let (before, writers) = (self.horizon()?, self.writers()?);
                Ok(self.changed(before, writers.remove(caller, request).await?))
            }
            Call::Retain(request) => {
                let (before, writers) = (self.horizon()?, self.writers()?);
                Ok(self.changed(before, writers.retain(caller, request).await?))
            }
            Call::ImportEvents(request) => {
                let (before, writers) = (self.horizon()?, self.writers()?);
                Ok(self.changed(before, writers.import(caller, request).await?))
            }
            Call::ImportStates(ImportLookup { source, stream_ids }) => {
                let (horizon, readers) = (self.horizon()?, self.readers()?);
                let states = readers.import_states(caller, source, stream_ids).await?;
                Ok(Answer { reply: Reply::ImportStates(states), horizon })
            }
            Call::ListStreams(Listing { prefix, after, count, deleted }) => {
                let (horizon, readers) = (self.horizon()?, self.readers()?);
                let page = readers.list_streams(caller, prefix, after, count, deleted).await?;
                Ok(Answer { reply: Reply::Streams(page), horizon })
            }
            Call::StreamInfo(stream_id) => {
                let (horizon, readers) = (self.horizon()?, self.readers()?);
                let info = readers.describe_stream(caller, stream_id).await?;
                Ok(Answer { reply: Reply::StreamInfo(info), horizon })
            }
            Call::LogEnd => {
                let snapshot = self.access()?.reader().snapshot();
                let head = snapshot.head();
                let history_id = snapshot.histories().current().id.0;
                let end = EndOfLog { next_position: head.next_position, chain: head.chain, history_id };
                let horizon = Horizon { history_id, end: head.next_position };
                Ok(Answer { reply: Reply::LogEnd(end), horizon })
            }
            Call::Named(NamedCall { name, payload }) => {
                let called = self.subscription_call(caller, &name, &payload, deadline).await;
                let reply = Reply::Named(called.unwrap_or_else(|| Err(named(&name)))?);
                Ok(Answer { reply, horizon: self.horizon()? })
            }
            snapshots => self.snapshot_call(caller, snapshots).await,
        }
    }

    async fn write(&self, caller: Caller, WriteCall { request, histories }: WriteCall) -> Outcome {
        let access = self.access()?;
        histories::check_conditions(&access.reader(), &request.conditions, &histories)?;
        let before = horizon_of(&access);
        Ok(self.changed(before, self.writers()?.write(caller, request).await?))
    }

    async fn read(&self, caller: Caller, query: Query) -> Outcome {
        let Query { selection, filter, at_least, history_id } = query;
        let history = history_id.map(HistoryId);
        if let Some(at_least) = at_least {
            self.readable(history, at_least).await?;
        }
        let access = self.access()?;
        histories::check_from(&access.reader(), history, &selection)?;
        // Taken before the page is read, so that an event which the page lacks lies at or after its end.
        let horizon = horizon_of(&access);
        let (selection, readers) = (bounds::lowered(selection), self.readers()?);
        let asked = selection.clone();
        let page = match filter {
            None => readers.read(caller, selection).await?,
            Some(filter) => readers.read_filtered(caller, filter, selection).await?,
        };
        Ok(Answer { reply: Reply::Page(claims::page(&asked, page)?), horizon })
    }

    async fn snapshot_call(&self, caller: Caller, call: Call) -> Outcome {
        let (horizon, snapshots) = (self.horizon()?, self.snapshots()?);
        let reply = match call {
            Call::ChangeSnapshot(SnapshotRequest::Put(new)) => {
                snapshots.put(caller, new).await?;
                Reply::Changed(nothing_placed(0))
            }
            Call::ChangeSnapshot(SnapshotRequest::Remove(id)) => {
                snapshots.remove(caller, id).await?;
                Reply::Changed(nothing_placed(0))
            }
            Call::ChangeSnapshot(SnapshotRequest::KeepNewest(newest)) => {
                Reply::Changed(nothing_placed(snapshots.keep_newest(caller, newest).await?))
            }
            Call::ReadSnapshot(id) => Reply::Snapshot(snapshots.read(caller, id).await?),
            Call::LatestSnapshot(Latest { stream_id, source_id, at_most }) => {
                Reply::Snapshot(snapshots.read_latest(caller, stream_id, source_id, at_most).await?)
            }
            Call::ListSnapshots(SnapshotListing { scope, after, count }) => {
                Reply::Snapshots(snapshots.list(caller, scope, after, count).await?)
            }
            _ => return Err(problem(code::UNSUPPORTED, "this host does not have this call")),
        };
        Ok(Answer { reply, horizon })
    }

    /// The answer to a change. Its horizon has what was changed, also if the store is being restarted by now.
    fn changed(&self, before: Horizon, result: ChangeResult) -> Answer {
        let Horizon { history_id, end } = self.horizon().unwrap_or(before);
        let placed = result.placed.iter().map(|placed| placed.position.saturating_add(1)).max();
        let horizon = Horizon { history_id, end: end.max(placed.unwrap_or(0)) };
        Answer { reply: Reply::Changed(result), horizon }
    }

    fn access(&self) -> Result<Arc<StoreAccess>, Error> {
        self.part(&names::store(&self.context.store))
    }

    fn writers(&self) -> Result<Arc<StreamsPool>, Error> {
        self.part(&names::writers(&self.context.store))
    }

    fn readers(&self) -> Result<Arc<StreamsPool>, Error> {
        self.part(&names::readers(&self.context.store))
    }

    /// The store's visible snapshots.
    fn snapshots(&self) -> Result<VisibleSnapshots, Error> {
        let snapshots: Arc<SnapshotsPool> = self.part(&names::snapshots(&self.context.store))?;
        Ok(VisibleSnapshots::new(snapshots, self.readers()?))
    }

    fn part<T: Send + Sync + 'static>(&self, name: &str) -> Result<Arc<T>, Error> {
        let part = self.context.registry.get(name);
        part.ok_or_else(|| problem(code::RESTARTING, "the store is being restarted"))
    }
}

/// Whether a call changes the store, so that it goes on when nobody waits for it any more.
pub(crate) fn is_change(call: &Call) -> bool {
    match call {
        Call::Write(_)
        | Call::Remove(_)
        | Call::Retain(_)
        | Call::ImportEvents(_)
        | Call::ChangeSnapshot(_)
        | Call::Named(_) => true,
        Call::Read(_)
        | Call::ImportStates(_)
        | Call::ListStreams(_)
        | Call::StreamInfo(_)
        | Call::ReadSnapshot(_)
        | Call::LatestSnapshot(_)
        | Call::ListSnapshots(_)
        | Call::LogEnd => false,
    }
}

/// The error of a named call or feed that this host does not have.
pub(crate) fn named(name: &str) -> Error {
    let name = crate::text::printable(name, bounds::NAME_BYTES_SHOWN);
    problem(code::UNSUPPORTED, format!("this host does not have `{name}`"))
}

fn horizon_of(access: &StoreAccess) -> Horizon {
    let reader = &access.reader();
    Horizon { history_id: reader.histories().current().id.0, end: reader.next_position() }
}

fn nothing_placed(count: u64) -> ChangeResult {
    ChangeResult { placed: Vec::new(), count }
}
