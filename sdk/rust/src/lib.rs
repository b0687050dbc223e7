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
//! Switch on exactly one, and build one component at a time (`cargo build -p my-component --target
//! wasm32-unknown-unknown`): cargo unites the features of packages that are built together, and each feature links
//! its world's description into the component.
//!
//! ```
//! use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotPage, SnapshotsPlugin};
//! use exesdb_sdk::types::{Error, Version};
//!
//! /// Keeps nothing.
//! struct Forgetful;
//!
//! impl SnapshotsPlugin for Forgetful {
//!     fn record_snapshot(_: String, _: Version, _: SnapshotData) -> Result<(), Error> {
//!         Ok(())
//!     }
//!     fn read_snapshot(_: String, _: Version) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn read_latest(_: String) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn list_snapshots(_: String, _: Option<Version>, _: u32) -> Result<SnapshotPage, Error> {
//!         Ok(SnapshotPage { snapshots: Vec::new(), more: false })
//!     }
//!     fn delete_snapshot(_: String, _: Version) -> Result<(), Error> {
//!         Err(Error::NotFound)
//!     }
//! }
//!
//! exesdb_sdk::snapshots_plugin!(Forgetful);
//! ```
//!
//! A panic in a component ends its instance. The macros install a hook that first writes the panic's message and
//! place to the store's log, at level error.

#[allow(unsafe_code, unreachable_pub, clippy::wildcard_imports)]
#[doc(hidden)]
pub mod bindings;

pub mod arguments;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod clock;
pub mod config;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod fields;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod keyspaces;
pub mod logging;
mod panic;
#[cfg(feature = "snapshots")]
pub mod snapshots;
#[cfg(any(feature = "streams", feature = "snapshots"))]
pub mod stream_keys;
#[cfg(feature = "streams")]
pub mod streams;
pub mod types;
