//! The plugin host: WebAssembly components as supervised children.
//!
//! - One [`Engine`] for the process. Guests are preempted by epochs, instances come from a pool.
//! - A component is loaded for a role ([`Plugin::load`], [`GatewayPlugin::load`]): read, its kind and its imports compared
//!   with what the role is offered, and compiled, before anything of it runs.
//! - One wasmtime `Store` per instance, never two tenants in one, thrown away after any trap, deadline or cut-off
//!   call. A restart is a new instance of what was compiled and linked before.
//! - Persistence components are children of a [`Pool`]'s supervisor, one instance each, behind mailboxes that outlive
//!   them. Gateway workers ([`gateway_workers`]) keep warm instances and lend one to each request.
//! - What a guest asks of the host is in `interfaces`, one file per WIT interface. Limits are in [`Limits`].
//!
//! Only this crate names wasmtime's types.

mod access;
mod beside;
mod bindings;
mod clock;
mod crash;
mod describe;
mod engine;
mod gateway;
mod guest_log;
mod installed;
mod interfaces;
mod limits;
mod load;
pub mod names;
mod ownership;
mod pause;
mod persistence;
mod request;
mod share;
mod state;
mod trace;

pub use access::StoreAccess;
pub use clock::Clock;
pub use crash::{Crash, CrashKind};
pub use describe::{Description, SettingSpec, SettingValue};
pub use engine::{Engine, EngineError, INSTANCES_MAX, TICK_MS};
pub use gateway::{GatewayBody, GatewayPlugin, GatewayWorker, Refusal, workers as gateway_workers};
pub use installed::{Deployment, Installed};
pub use limits::{Limits, MEMORY_BYTES_MAX};
pub use load::{COMPONENT_BYTES_MAX, Identity, LoadError, Misfit, NotAComponent, Plugin, Source};
pub use ownership::{StateOwner, owners};
pub use persistence::kind::Kind;
pub use persistence::{
    Caller, LivingSnapshots, Pool, SnapshotsKind, SnapshotsPool, StreamsKind, StreamsPool, Swept,
};
pub use state::{State, Tenancy};
pub use wasmtime_wasi_http::Error as BodyError;

/// The words of `exesdb:store` as the host's own code uses them.
pub mod contract {
    pub use crate::bindings::{maintenance, snapshots, streams, types};
}
