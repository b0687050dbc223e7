//! The streams component: the exports of `exesdb:store/streams`, and the pool's functions that call them.

mod call;
mod exports;
mod kind;
mod pool;
mod publisher;

pub use kind::StreamsKind;
pub use pool::StreamsPool;
