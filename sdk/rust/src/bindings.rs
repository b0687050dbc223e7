//! The bindings that wit-bindgen generates from `wit/`, and nothing else: generated code needs `unsafe` for the canonical
//! ABI.
//!
//! Each WIT type has one Rust type, whichever features are enabled. A component imports only functions that its code calls, so a
//! linked description does not request a grant.

#[cfg(any(feature = "gateway", feature = "gateway-steps"))]
pub mod gateway;
#[cfg(feature = "gateway-steps")]
pub mod steps;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod store;

/// What every component may use of the host.
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub use store::{common::exesdb::host, described};
