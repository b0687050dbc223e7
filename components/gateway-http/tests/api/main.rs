//! The gateway's API, from the head and body of a request to the bytes of its answer, over a store in memory.

mod bodies;
mod bulk;
mod client;
mod events;
mod follow;
mod frames;
mod history;
mod hostile;
mod memory;
mod openapi;
mod rejected_heads;
mod responses;
mod routes;
mod writes;
