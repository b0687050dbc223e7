//! The component's settings from the store's configuration, and what the host says about itself: `exesdb:host/config`.

pub use crate::bindings::host::config::{about, get};
