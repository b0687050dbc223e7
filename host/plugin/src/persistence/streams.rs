//! The streams component: its exports and its changes, and the pool's functions that call them.

mod change;
mod exports;
mod kind;
mod pool;

pub use kind::StreamsKind;
pub use pool::StreamsPool;
