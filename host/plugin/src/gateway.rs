//! Gateway components as supervised children: each worker keeps warm instances and lends them to requests.
//!
//! A request that ends its instance costs its client a 500 and the worker nothing: the instance is thrown away, and the
//! next request gets another. It does not count for the worker's restart intensity, so a client that repeats a poison
//! request cannot bring the store down.
//!
//! A gateway is of one of two kinds. One that speaks `wasi:http` serves a request in one call, which waits for everything; a
//! gateway as [`steps`] is called for each step of a request, and never waits.
//!
//! `worker` is the supervised child and chooses among workers, `instances` is its pool of instances, `request` is the life of
//! a request in one call, `body` the response's body on its way to the client.

mod body;
mod error;
mod instances;
mod plugin;
mod request;
pub(crate) mod steps;
mod worker;

pub use body::GatewayBody;
pub use error::GatewayError;
pub use plugin::GatewayPlugin;
pub use steps::{Followers, LimitedBody};
pub use worker::{GatewayWorker, workers};
