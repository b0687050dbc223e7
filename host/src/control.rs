//! Control of a running host over a unix socket in its data directory.
//!
//! Both sides first say their versions ([`hello`]). Requests and responses are lines of JSON ([`protocol`]). Whoever may
//! open the socket (its owner: it has mode 0600) may do everything; there is no other authentication. Input is checked
//! all the same: a line is bounded, a request is typed, and a wrong one gets a typed response.

mod backup;
mod client;
mod connection;
mod events;
mod hello;
mod host;
mod invite;
mod maintenance;
mod operate;
mod path;
mod protocol;
mod server;
mod socket;
mod stopped;
#[cfg(test)]
mod tests;

pub use client::{ControlClient, ControlError};
pub use invite::Inviter;
pub use protocol::{BackupSummary, Keeper, Refusal, Request, Response};
pub use server::serve;
pub use socket::{BindError, ControlSocket};
