//! What differs between kinds of persistence components: their calls and their exports.

use std::future::Future;

use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use super::call::Call;
use super::unary_call::UnaryCall;
use crate::state::State;

/// A kind of persistence component.
pub trait Kind: Send + Sync + 'static {
    /// The calls: unary ones, and possibly some that are batched.
    type Call: Call + From<Box<dyn UnaryCall<Self::Exports>>>;
    /// The places of the exports in a compiled component.
    type Indices: Send + Sync + 'static;
    /// The exports of one instance.
    type Exports: Send + Sync + 'static;

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

    /// Has the instance serve calls and sends their results: all of them or none. After an error, or if this future is
    /// dropped, either of which ends the instance, all calls are still in `calls`.
    fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send;
}
