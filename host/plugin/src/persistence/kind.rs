//! What differs between kinds of persistence components: their changes and their exports.

use std::future::Future;

use wasmtime::Store;
use wasmtime::component::{Component, Instance, Resource};

use super::decider::appended::Appended;
use super::decider::changes::Change;
use super::exports::Missing;
use super::maintenance::Maintained;
use crate::bindings::store::decisions::Decision;
use crate::state::State;
use crate::view::View;

/// A kind of persistence component.
pub trait Kind: Send + Sync + 'static {
    /// The changes that it decides about.
    type Change: Change;
    /// The places of the exports in a compiled component.
    type Indices: Send + Sync + 'static;
    /// The exports of one instance.
    type Exports: Maintained + Send + Sync + 'static;

    /// Whether its batches may change the log. Only those of the component that keeps the events may.
    const TAKES_POSITIONS: bool;

    /// Finds the exports.
    ///
    /// # Errors
    ///
    /// The name of a function that is missing.
    fn indices(component: &Component) -> Result<Self::Indices, String>;

    /// Checks the types of the exports and makes them callable.
    ///
    /// # Errors
    ///
    /// A function's type differs from the interface.
    fn exports(
        indices: &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports>;

    /// Has the instance decide about changes that may be in one list. None if it does not export the interface for them,
    /// which is named.
    fn decide(
        exports: &Self::Exports,
        store: &mut Store<State>,
        view: Resource<View>,
        changes: Vec<Self::Change>,
    ) -> impl Future<Output = wasmtime::Result<Result<Vec<Decision>, Missing>>> + Send;

    /// Wakes those who wait for a change that is durable now: for the events that it appended, or for something else.
    fn wake(bus: &exesdb_pubsub::Bus, change: &Self::Change, appended: &Appended, first_position: u64);
}
