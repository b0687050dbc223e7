//! Lends an instance a view of its store for one call.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::Resource;

use crate::access::StoreAccess;
use crate::bindings::store::types::Error;
use crate::names;
use crate::problem::{code, problem};
use crate::state::State;
use crate::view::View;

/// Which state of the store a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// As of the last fsync.
    Durable,
    /// As of the last group that was written: for what is decided, which is kept back until that is durable.
    Applied,
}

/// A view that an instance may use until it is taken back.
pub(crate) struct LentView {
    rep: u32,
    access: Arc<StoreAccess>,
    log_end: u64,
    time: u64,
}

impl LentView {
    /// The argument for the guest's function, which borrows it.
    pub(crate) fn param(&self) -> Resource<View> {
        Resource::new_borrow(self.rep)
    }

    /// The store that the view is of.
    pub(crate) fn access(&self) -> &Arc<StoreAccess> {
        &self.access
    }

    /// The position after the last record in the view.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_end
    }

    /// The view's time: microseconds since 1970-01-01T00:00:00 UTC.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }
}

impl State {
    /// Lends a view; an error for the request if the store is being restarted.
    pub(crate) fn lend_view(
        store: &mut Store<Self>,
        freshness: Freshness,
    ) -> wasmtime::Result<Result<LentView, Error>> {
        let state = store.data_mut();
        let access: Option<Arc<StoreAccess>> =
            state.context.registry.get(&names::store(&state.context.store));
        let Some(access) = access else {
            return Ok(Err(problem(code::RESTARTING, "the store is being restarted")));
        };
        let snapshot = match freshness {
            Freshness::Durable => access.reader().snapshot(),
            Freshness::Applied => access.reader().applied(),
        };
        let time = access.time_of(&snapshot, state.context.clock);
        let log_end = snapshot.next_position();
        let rep = state.push_view(View { snapshot, now: time })?.rep();
        Ok(Ok(LentView { rep, access, log_end, time }))
    }

    /// Takes a view back after the call that it was lent for: a snapshot that is held keeps the database from dropping later
    /// versions.
    pub(crate) fn take_back(store: &mut Store<Self>, lent: LentView) -> wasmtime::Result<()> {
        store.data_mut().drop_view(Resource::new_own(lent.rep))
    }
}
