//! Gateway components as supervised children: each worker keeps warm instances and lends one to each request.
//!
//! A request that ends its instance costs its client a 500 and the worker nothing: the instance is thrown away, and the
//! next request gets another. It does not count for the worker's restart intensity, so a client that repeats a poison
//! request cannot bring the store down.
//!
//! `worker` is the supervised child and chooses among workers, `instances` is its pool of instances, `request` is the life of
//! one request, `body` the response's body on its way to the client.

mod body;
mod error;
mod instances;
mod plugin;
mod request;
mod worker;

pub use body::GatewayBody;
pub use error::GatewayError;
pub use plugin::GatewayPlugin;
pub use worker::{GatewayWorker, workers};
