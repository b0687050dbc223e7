//! The gateway's API, from the head and body of a request to the bytes of its response, over the real rules of streams and
//! snapshots on keyspaces in memory. The SDK's double is the host between them.

mod bodies;
mod bulk;
mod client;
mod events;
mod follow;
mod history;
mod host;
mod hostile;
mod openapi;
mod packed;
mod pipeline;
mod rejected_heads;
mod responses;
mod routes;
mod steps;
mod store;
mod subscriptions;
mod topics;
mod writes;
