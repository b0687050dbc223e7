//! Write exesdb components in Rust.
//!
//! Each kind of component has a feature, traits, and a macro that registers the type which implements them:
//!
//! | feature | traits | macro | world |
//! |---|---|---|---|
//! | `streams` | those of [`streams`] and [`maintenance`] | [`persistence_plugin!`] | `exesdb:store/streams-plugin` and more |
//! | `snapshots` | those of [`snapshots`] and [`maintenance`] | [`persistence_plugin!`] | `exesdb:store/snapshots-plugin` and more |
//! | `subscriptions` | those of [`subscriptions`] | [`persistence_plugin!`] | `exesdb:store/subscriptions-plugin` |
//! | `sink` | [`sinks::Sink`] | [`sink_plugin!`] | `exesdb:store/emitter-plugin` |
//! | `gateway-steps` | [`steps::Gateway`] | [`steps_plugin!`] | `exesdb:gateway/gateway-steps-plugin` |
//! | `gateway` | [`gateway::Gateway`] | [`gateway_plugin!`] | `exesdb:gateway/gateway-http-plugin` |
//!
//! Enable one at least. Enable exactly one for a component, and build one component at a time (`cargo build -p my-component --target wasm32-wasip2`):
//! cargo unifies the features of packages that are built together, and each feature links its world's description into the
//! component. The module [`snapshots`] has a complete component as an example.
//!
//! [`describe_component!`] declares a component's name, the version of its state, and its settings.
//!
//! The contract has two more kinds of components, for which there is no feature, because no host calls them yet: filters
//! (`exesdb:store/filter` and `snapshot-filter`), and streams components with a log of their own (`exesdb:store/own-log`).
//!
//! A panic in a component ends its instance. The macros install a hook that first writes the panic's message and location
//! to the store's log, at level error.

#[allow(unsafe_code, unreachable_pub, clippy::wildcard_imports)]
#[doc(hidden)]
pub mod bindings;

#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod arguments;
#[cfg(feature = "persistence")]
pub mod batch;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod config;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod describe;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod events;
#[cfg(feature = "persistence")]
pub mod fields;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod logging;
#[cfg(feature = "persistence")]
pub mod maintenance;
#[cfg(all(feature = "testing", feature = "persistence"))]
pub mod memory;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
mod panic;
#[cfg(feature = "persistence")]
mod plugin;
#[cfg(any(feature = "gateway", feature = "gateway-steps"))]
pub mod requests;
#[cfg(feature = "sink")]
pub mod sinks;
#[cfg(feature = "snapshots")]
pub mod snapshots;
#[cfg(feature = "gateway-steps")]
pub mod steps;
#[cfg(feature = "streams")]
pub mod streams;
#[cfg(feature = "subscriptions")]
pub mod subscriptions;
#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub mod types;
#[cfg(feature = "persistence")]
pub mod view;

#[cfg(any(feature = "gateway", feature = "gateway-steps", feature = "persistence", feature = "sink"))]
pub use exesdb_packed as packed;

/// Compiles and runs the example of the page for authors of persistence components.
#[cfg(all(doctest, feature = "snapshots", feature = "testing"))]
#[doc = include_str!("../../../docs/persistence.md")]
mod persistence_page {}

/// Compiles and runs the example of the page about sinks.
#[cfg(all(doctest, feature = "sink", feature = "testing"))]
#[doc = include_str!("../../../docs/sinks.md")]
mod sinks_page {}
