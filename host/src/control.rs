//! Control of a running host over a unix socket in its data directory.
//!
//! Requests and answers are lines of JSON. Who may open the socket (its owner: it has mode 0600) may do everything;
//! there is no other authentication. What comes over it is checked all the same: a line is bounded, a request is
//! typed, and a wrong one gets a typed answer.

mod client;
mod maintenance;
mod path;
mod protocol;
mod server;
mod socket;

pub use client::{ControlClient, ControlError};
pub use protocol::{BackupSummary, Keeper, Refusal, Request, Response};
pub use server::serve;
pub use socket::{BindError, ControlSocket};

/// Connections at a time: a few people and dashboards. Each costs a task and, when it follows, a reader of telemetry.
pub const CONNECTIONS_MAX: usize = 16;

/// A request, in bytes with its line end: requests are far smaller, and what is larger is no request.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Bytes of one piece of a backup: large enough that the lines between do not count, small enough to be held a few times.
pub const DATA_BYTES_MAX: usize = 256 << 10;
