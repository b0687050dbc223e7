//! The plugin host: WebAssembly components as supervised children.
//!
//! - The process has one [`Engine`]. Guests are preempted by epochs; instances are allocated from a pool.
//! - A component is loaded for a role ([`Plugin::load`], [`GatewayPlugin::load`]): it is read, its exports and imports are
//!   compared with the role, and it is compiled, before any of its code runs.
//! - Each instance has a wasmtime `Store` of its own, which is dropped after a trap, a deadline or a call that was cut
//!   off. A restart makes a new instance of the compiled and linked component.
//! - Persistence components are children of a [`Pool`]'s supervisor, with one instance each and partitions that outlive
//!   them. Gateway workers ([`gateway_workers`]) keep warm instances and lend one to each request.
//! - The host functions that a guest can call are in `interfaces`, one file per WIT interface. Limits are in [`Limits`].
//!
//! Only this crate uses wasmtime's types.

mod access;
mod admission;
mod bindings;
mod caller;
mod clock;
mod closing;
mod context;
mod crash;
mod damage;
mod description;
mod emitters;
mod engine;
#[cfg(feature = "faults")]
mod fault;
mod gateway;
mod grants;
mod guest_dispatcher;
mod guest_log;
mod identity;
mod installed;
mod interfaces;
mod json;
mod limits;
mod load;
mod log_rate;
mod long_read;
mod meter;
mod metered_call;
pub mod names;
mod offload;
mod outgoing;
mod ownership;
mod persistence;
mod problem;
mod request_control;
#[cfg(test)]
mod sample_events;
mod seats;
mod sinks;
mod state;
mod store_calls;
mod store_view;
mod text;
mod topics;
mod trace;
mod view;

pub use access::{Backend, CommitFailure, LeaderAddress, OnApplied, OnDurable, OnReply, StoreAccess, Tenure};
pub use caller::Caller;
pub use clock::Clock;
pub use context::ComponentContext;
pub use crash::{Crash, CrashKind};
pub use description::{Description, SettingSpec, SettingValue};
pub use emitters::Emitters;
pub use engine::{Engine, EngineError, INSTANCES_MAX};
#[cfg(feature = "faults")]
pub use fault::{Fault, inject};
pub use gateway::{
    Followers, GatewayBody, GatewayError, GatewayPlugin, GatewayWorker, LimitedBody,
    workers as gateway_workers,
};
pub use grants::{AllowedHost, Grants};
pub use guest_dispatcher::GuestDispatcher;
pub use identity::Identity;
pub use installed::{Deployment, Installed};
pub use json::is_json;
pub use limits::{Limits, MEMORY_BYTES_MAX};
pub use load::{LoadError, Misfit, NotAComponent, WasmSource};
pub use ownership::{StateOwner, owners};
pub use persistence::{
    DecisionOrder, Kind, Plugin, Pool, ScavengeStep, SnapshotsKind, SnapshotsPool, StreamsKind, StreamsPool,
    SubscriptionsKind, SubscriptionsPool, SweepStep, VerifyStep, VisibleSnapshots,
};
pub use sinks::{SinkPlugin, SinkSpec, Sinks};
pub use state::State;
pub use topics::{HealthSource, StoreHealth};
pub use wasmtime_wasi_http::Error as BodyError;

/// The types of `exesdb:store`, for the host's own code.
pub mod contract {
    pub use crate::bindings::store::{maintenance, snapshot_types, types};
    pub use crate::problem::code;
}
