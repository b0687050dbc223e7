//! The bindings that wit-bindgen generates from `wit/`, and nothing else: generated code needs `unsafe` for the canonical
//! ABI.
//!
//! Gateways that speak `wasi:http` use version 0.1 of the contract ([`gateway`]); persistence components ([`store`]) and gateways
//! on steps ([`steps`]) use version 0.2. A component imports only functions that its code calls, so a linked description does
//! not request a grant.

#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway-steps")]
pub mod steps;
#[cfg(any(feature = "streams", feature = "snapshots", feature = "gateway-steps"))]
pub mod store;

/// What every component may use of the host. It is of the version of the component's kind.
#[cfg(feature = "gateway")]
pub use gateway::{common::exesdb::host, described};
#[cfg(all(
    any(feature = "streams", feature = "snapshots", feature = "gateway-steps"),
    not(feature = "gateway")
))]
pub use store::{common::exesdb::host, described};
