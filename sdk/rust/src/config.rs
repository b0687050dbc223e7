//! The component's settings from the store's configuration: `exesdb:host/config`.

pub use crate::bindings::host::config::get;
