//! The contract in Rust, seen from the host's side: [`store`] for components of every kind, and [`gateway`] for gateways.
//!
//! All interfaces are generated as imports, also those that components export. Exports are called through typed
//! functions (see `persistence/exports.rs`).
#![allow(missing_docs, clippy::wildcard_imports, unreachable_pub)] // generated; the WIT files are the documentation

pub(crate) mod gateway;
pub(crate) mod store;
