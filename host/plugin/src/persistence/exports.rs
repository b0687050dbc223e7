//! The exports of a persistence component as typed functions.

use wasmtime::component::{Component, ComponentExportIndex, TypedFunc};

use crate::bindings::types::Error;

/// An exported function with one result.
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

/// Declares the exports of one interface: a struct `Exports` of typed functions, and a struct `Indices` of their places in
/// a compiled component.
macro_rules! exports {
    ($interface:literal; $($field:ident: $function:ty = $name:literal,)*) => {
        /// The places of the interface's functions in a compiled component.
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
            /// Finds the functions; the error names the one that is missing.
            pub(crate) fn of(component: &wasmtime::component::Component) -> Result<Self, String> {
                Ok(Self { $($field: $crate::persistence::exports::index(component, $interface, $name)?,)* })
            }

            /// Checks the functions' types and makes them callable.
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
