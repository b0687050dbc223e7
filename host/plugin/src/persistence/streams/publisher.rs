//! Publishes appends on the store's bus.

use std::sync::Arc;

use crate::access::StoreAccess;
use crate::bindings::streams::{AppendRequest, AppendResult};
use crate::names;
use crate::state::State;

/// Wakes the followers of streams once the component has returned, so that everything published is durable.
pub(super) struct Publisher {
    bus: Option<Arc<exesdb_pubsub::Bus>>,
    /// One past the last durable position. Results beyond it are not trusted and not published.
    durable_end: u64,
}

impl Publisher {
    pub(super) fn of(state: &State) -> Self {
        let (registry, store) = (&state.context.registry, &state.context.store);
        let access = registry.get::<StoreAccess>(&names::store(store));
        Self {
            bus: registry.get(&names::pubsub(store)),
            durable_end: access.map_or(0, |store| store.reader.next_position()),
        }
    }

    pub(super) fn publish(&self, request: &AppendRequest, result: Option<&AppendResult>) {
        if let (Some(bus), Some(AppendResult { position, .. })) = (&self.bus, result)
            && *position < self.durable_end
        {
            bus.publish(&request.stream_id, *position);
        }
    }
}
