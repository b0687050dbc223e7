//! The HTTP server: connections, limits, and the store whose gateway a request goes to.
//!
//! `listener` accepts connections, `connection` speaks HTTP/1.1 and HTTP/2 and limits what a client may occupy, `route`
//! decides where a request goes (pure), `cluster` which node serves it (pure), `relay` has another node serve it, `web` decides
//! which web pages may send one (pure), `service` forwards a request to a gateway worker and turns errors into problem
//! documents, `health`, `stores` and `transfer` are the host's own resources. The meaning of a path below a store is up to the
//! component.

mod body;
mod cluster;
mod connection;
mod health;
mod listener;
mod problem;
mod relay;
mod relayed;
mod route;
mod service;
mod stores;
mod transfer;
mod web;

pub use cluster::{
    Cluster, Leader, LeaderNode, ReadLevel, RelayError, RelayedBody, RelayedBodyError, TransferError,
};
pub use connection::{CONNECTIONS_MAX, Connections};
pub use health::{Readiness, StoreReadiness};
pub use listener::{Listener, ListenerError, listener_child};
pub use relayed::Relays;
pub use route::StoreRoute;
pub use service::ServiceConfig;
pub use web::WebAccess;
