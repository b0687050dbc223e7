//! How a streams component decides about its changes.

use exesdb_pubsub::Bus;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Resource};

use super::change::StreamChange;
use super::exports::{Indices, StreamsExports, deletion, filters, import, listing, reads, retention, writes};
use crate::bindings::store::decisions::Decision;
use crate::bindings::store::types::Deletion;
use crate::persistence::decider::appended::Appended;
use crate::persistence::exports::Missing;
use crate::persistence::kind::Kind;
use crate::persistence::maintenance;
use crate::state::State;
use crate::view::View;

/// The kind of component that keeps the streams.
pub struct StreamsKind;

impl Kind for StreamsKind {
    type Change = StreamChange;
    type Indices = Indices;
    type Exports = StreamsExports;

    const TAKES_POSITIONS: bool = true;

    fn indices(component: &Component) -> Result<Indices, String> {
        Ok(Indices {
            writes: writes::Indices::of(component)?,
            reads: reads::Indices::of(component)?,
            filters: filters::Indices::find(component)?,
            retention: retention::Indices::find(component)?,
            deletion: deletion::Indices::find(component)?,
            import: import::Indices::find(component)?,
            listing: listing::Indices::find(component)?,
            maintenance: maintenance::Indices::find(component)?,
        })
    }

    fn exports(
        indices: &Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<StreamsExports> {
        Ok(StreamsExports {
            writes: indices.writes.load(instance, store)?,
            reads: indices.reads.load(instance, store)?,
            filters: indices.filters.as_ref().map(|found| found.load(instance, store)).transpose()?,
            retention: indices.retention.as_ref().map(|found| found.load(instance, store)).transpose()?,
            deletion: indices.deletion.as_ref().map(|found| found.load(instance, store)).transpose()?,
            import: indices.import.as_ref().map(|found| found.load(instance, store)).transpose()?,
            listing: indices.listing.as_ref().map(|found| found.load(instance, store)).transpose()?,
            maintenance: indices.maintenance.as_ref().map(|found| found.load(instance, store)).transpose()?,
        })
    }

    async fn decide(
        exports: &StreamsExports,
        store: &mut Store<State>,
        view: Resource<View>,
        changes: Vec<StreamChange>,
    ) -> wasmtime::Result<Result<Vec<Decision>, Missing>> {
        let decided = match changes.first() {
            None => Vec::new(),
            Some(StreamChange::Write(_)) => {
                let request =
                    |change| if let StreamChange::Write(request) = change { Some(request) } else { None };
                let requests = changes.into_iter().filter_map(request).collect();
                exports.writes.decide.call_async(store, (view, requests)).await?.0
            }
            Some(StreamChange::Retain(_)) => {
                let retention = match exports.retention() {
                    Ok(retention) => retention,
                    Err(missing) => return Ok(Err(missing)),
                };
                let request =
                    |change| if let StreamChange::Retain(request) = change { Some(request) } else { None };
                let requests = changes.into_iter().filter_map(request).collect();
                retention.decide.call_async(store, (view, requests)).await?.0
            }
            Some(StreamChange::Remove(_)) => {
                let deletion = match exports.deletion() {
                    Ok(deletion) => deletion,
                    Err(missing) => return Ok(Err(missing)),
                };
                let request =
                    |change| if let StreamChange::Remove(request) = change { Some(request) } else { None };
                let requests = changes.into_iter().filter_map(request).collect();
                deletion.decide.call_async(store, (view, requests)).await?.0
            }
            Some(StreamChange::Import(request)) => {
                let import = match exports.import() {
                    Ok(import) => import,
                    Err(missing) => return Ok(Err(missing)),
                };
                vec![import.decide.call_async(store, (view, request.clone())).await?.0]
            }
        };
        Ok(Ok(decided))
    }

    fn wake(bus: &Bus, change: &StreamChange, appended: &Appended, first_position: u64) {
        appended.publish(bus, first_position);
        // Wakes the stream's followers, who then see that it was deleted.
        if let StreamChange::Remove(request) = change
            && request.deletion == Deletion::Tombstone
        {
            bus.touch(&request.stream_id);
        }
    }
}
