//! The component's own settings, as the operator wrote them in the store's configuration: `exesdb:host/config`.

pub use crate::bindings::common::exesdb::host::config::{Setting, all, get};
