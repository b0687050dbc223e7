//! Lends an instance a view of its store for one call.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::Resource;

use crate::access::{Decidable, StoreAccess, Tenure};
use crate::bindings::store::types::Error;
use crate::names;
use crate::problem::{code, not_committed, problem};
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
    tenure: Tenure,
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

    /// The time of leadership in which the view was lent; of no meaning unless it was lent to decide.
    pub(crate) fn tenure(&self) -> Tenure {
        self.tenure
    }

    /// What applies what is decided on the view.
    pub(crate) fn decidable(&self) -> Decidable {
        Decidable { backend: Arc::clone(self.access.backend()), tenure: self.tenure }
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
        match Self::access(store) {
            Ok(access) => Self::lend(store, access, Tenure::default(), freshness).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Lends a view on which a change is decided; an error for the request also if another node decides.
    pub(crate) fn lend_view_to_decide(
        store: &mut Store<Self>,
        freshness: Freshness,
    ) -> wasmtime::Result<Result<LentView, Error>> {
        let begun = Self::access(store).and_then(|access| {
            // Before the snapshot is taken: what is decided on it belongs to this tenure, or to none.
            let tenure = access.backend().leads().map_err(|failure| not_committed(&failure))?;
            Ok((access, tenure))
        });
        match begun {
            Ok((access, tenure)) => Self::lend(store, access, tenure, freshness).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    fn access(store: &Store<Self>) -> Result<Arc<StoreAccess>, Error> {
        let context = &store.data().context;
        let access = context.registry.get(&names::store(&context.store));
        access.ok_or_else(|| problem(code::RESTARTING, "the store is being restarted"))
    }

    fn lend(
        store: &mut Store<Self>,
        access: Arc<StoreAccess>,
        tenure: Tenure,
        freshness: Freshness,
    ) -> wasmtime::Result<LentView> {
        let state = store.data_mut();
        let snapshot = match freshness {
            Freshness::Durable => access.reader().snapshot(),
            Freshness::Applied => access.reader().applied(),
        };
        let time = access.time_of(&snapshot, state.context.clock);
        let log_end = snapshot.next_position();
        let rep = state.push_view(View { snapshot, now: time })?.rep();
        Ok(LentView { rep, access, tenure, log_end, time })
    }

    /// Takes a view back after the call that it was lent for: a snapshot that is held keeps the database from dropping later
    /// versions.
    pub(crate) fn take_back(store: &mut Store<Self>, lent: LentView) -> wasmtime::Result<()> {
        store.data_mut().drop_view(Resource::new_own(lent.rep))
    }
}
