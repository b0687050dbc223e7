//! What differs between kinds of persistence components: their calls and their exports.

use std::future::Future;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

use crate::bindings::types::Error;
use crate::state::State;

/// A call that waits for an instance or is in its hands.
pub trait Call: Send + 'static {
    /// Answers the call with an error.
    fn fail(self, error: Error);

    /// A hash of all that the guest is given. Two calls with equal fingerprints are one request that was sent twice.
    fn fingerprint(&self) -> u64;

    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;

    /// Whether it may share a call into the guest with others of its kind, and if so its size in bytes.
    fn shareable(&self) -> Option<usize>;
}

/// A kind of persistence component.
pub trait Kind: Send + Sync + 'static {
    /// Its calls.
    type Call: Call;
    /// Where its exports are in a compiled component.
    type Indices: Send + Sync + 'static;
    /// Its exports in one instance.
    type Exports: Send + Sync;

    /// The interface that a component of this kind must export.
    const EXPORT: &'static str;

    /// Finds the exports.
    ///
    /// # Errors
    ///
    /// The name of the function that is missing.
    fn indices(component: &Component) -> Result<Self::Indices, String>;

    /// Checks the exports' types and makes them callable.
    ///
    /// # Errors
    ///
    /// When a function has another type than the interface says.
    fn exports(
        indices: &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports>;

    /// Has the instance serve calls, and answers them. All calls are answered or none: on an error, or when this is
    /// cut off, either of which ends the instance, they are all still in `calls`.
    fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send;
}

/// An exported function that answers one result.
pub(crate) type Function<Params, T> = TypedFunc<Params, (Result<T, Error>,)>;

/// The index of a function of an exported interface.
pub(crate) fn index(
    component: &Component,
    interface: &str,
    name: &str,
) -> Result<ComponentExportIndex, String> {
    let missing = || format!("{interface}.{name}");
    let instance = component.get_export_index(None, interface).ok_or_else(missing)?;
    component.get_export_index(Some(&instance), name).ok_or_else(missing)
}
