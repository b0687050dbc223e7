//! The exports of a persistence component as typed functions.

use wasmtime::component::{Component, ComponentExportIndex, Resource, TypedFunc};

use crate::bindings::store::types::Error;
use crate::view::View;

/// An exported function that reads a view and returns a result. `Params` has the view first.
pub(crate) type Function<Params, T> = TypedFunc<Params, (Result<T, Error>,)>;

/// The parameter that every exported function has first: a view, lent for the call.
pub(crate) type ViewParam = Resource<View>;

/// The name of an interface that a component does not export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub(crate) &'static str);

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

/// Declares the exports of one interface in a module: a struct `Exports` of typed functions, and a struct `Indices` of their
/// places in a compiled component.
macro_rules! exports {
    ($module:ident: $interface:literal; $($field:ident: $function:ty = $name:literal,)*) => {
        pub(super) mod $module {
            #[allow(unused_imports, reason = "an interface uses only some of the types")]
            use super::*;

            /// The interface's name.
            pub(crate) const INTERFACE: &str = $interface;

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

                /// Like [`of`](Self::of), for an interface that a component may lack.
                #[allow(dead_code, reason = "some interfaces are required")]
                pub(crate) fn find(component: &wasmtime::component::Component) -> Result<Option<Self>, String> {
                    match component.get_export_index(None, INTERFACE) {
                        None => Ok(None),
                        Some(_) => Self::of(component).map(Some),
                    }
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
        }
    };
}
pub(crate) use exports;
