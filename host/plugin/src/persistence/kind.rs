//! What differs between kinds of persistence components: their calls and their exports.

use std::future::Future;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

use super::ask::Ask;
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

    /// Whether it may share a call into the guest with others, and if so which of the functions that calls can share it
    /// is for, and its size in bytes.
    fn shareable(&self) -> Option<(u8, usize)>;

    /// Whether it makes room in the store, at once or when that is scavenged: then it may use what is kept in reserve on
    /// the disk.
    fn makes_room(&self) -> bool;
}

/// A kind of persistence component.
pub trait Kind: Send + Sync + 'static {
    /// Its calls: those of any function, and perhaps some that can share one.
    type Call: Call + From<Box<dyn Ask<Self::Exports>>>;
    /// Where its exports are in a compiled component.
    type Indices: Send + Sync + 'static;
    /// Its exports in one instance.
    type Exports: Send + Sync + 'static;

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

/// Declares the exports of one interface: a struct `Exports` of typed functions, and a struct `Indices` of where they are
/// in a compiled component.
macro_rules! exports {
    ($interface:literal; $($field:ident: $function:ty = $name:literal,)*) => {
        /// Where the interface's functions are in a compiled component.
        #[allow(unreachable_pub, reason = "as below")]
        pub struct Indices {
            $($field: wasmtime::component::ComponentExportIndex,)*
        }

        /// The interface's functions in one instance.
        #[allow(unreachable_pub, reason = "some are named in the bounds of public functions, others are not")]
        pub struct Exports {
            $(pub(crate) $field: $function,)*
        }

        impl Indices {
            /// Finds them, or names the one that is missing.
            pub(crate) fn of(component: &wasmtime::component::Component) -> Result<Self, String> {
                Ok(Self { $($field: $crate::persistence::kind::index(component, $interface, $name)?,)* })
            }

            /// Checks their types and makes them callable.
            pub(crate) fn load(
                &self,
                instance: &wasmtime::component::Instance,
                store: &mut wasmtime::Store<$crate::state::State>,
            ) -> wasmtime::Result<Exports> {
                Ok(Exports { $($field: instance.get_typed_func(&mut *store, &self.$field)?,)* })
            }
        }
    };
}
pub(crate) use exports;
