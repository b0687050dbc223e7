//! The way in: connections, limits, and which store's gateway a request goes to.
//!
//! `listener` accepts, `connection` speaks HTTP/1.1 and HTTP/2 and bounds what a client may hold, `route` decides
//! where a request goes (pure), `web` decides which web pages may send one (pure), `answer` asks a gateway worker and
//! turns what went wrong into a problem document, `health` and `stores` answer for the host itself. What a path below a
//! store means is the component's business.

mod answer;
mod body;
mod connection;
mod health;
mod listener;
mod problem;
mod route;
mod stores;
mod web;

pub use connection::{CONNECTIONS_MAX, Connections};
pub use health::{Readiness, StoreReadiness};
pub use listener::{Listener, ListenerError, Served, listener_child};
pub use route::StoreRoute;
pub use web::WebAccess;
