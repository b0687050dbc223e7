//! The host functions that guests can call, one file per WIT interface. Arguments are untrusted: they are checked here or by
//! the component that they are passed to, and an invalid one results in the interface's error, never in a trap.

mod config;
mod logging;
mod store;
mod types;
pub(crate) mod views;
