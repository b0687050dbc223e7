//! Write exesdb components in Rust.
//!
//! Each kind of component has a feature, a trait, and a macro that registers the type which implements it:
//!
//! | feature | trait | macro | world |
//! |---|---|---|---|
//! | `streams` | [`streams::StreamsPlugin`] | [`streams_plugin!`] | `exesdb:store/streams-plugin` |
//! | `snapshots` | [`snapshots::SnapshotsPlugin`] | [`snapshots_plugin!`] | `exesdb:store/snapshots-plugin` |
//! | `gateway` | [`gateway::Gateway`] | [`gateway_plugin!`] | `exesdb:gateway/gateway-plugin` |
//!
//! Enable exactly one, and build one component at a time (`cargo build -p my-component --target wasm32-unknown-unknown`):
//! cargo unifies the features of packages that are built together, and each feature links its world's description into the
//! component. The module [`snapshots`] has a complete component as an example.
//!
//! [`describe_component!`] declares a component's name, the version of its state, and its settings.
//!
//! A panic in a component ends its instance. The macros install a hook that first writes the panic's message and location
//! to the store's log, at level error.

#[allow(unsafe_code, unreachable_pub, clippy::wildcard_imports)]
#[doc(hidden)]
pub mod bindings;

pub mod arguments;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod clock;
pub mod config;
pub mod describe;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod fields;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod keyspaces;
pub mod logging;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod maintenance;
mod panic;
#[cfg(feature = "snapshots")]
pub mod snapshots;
#[cfg(feature = "streams")]
pub mod streams;
pub mod types;
