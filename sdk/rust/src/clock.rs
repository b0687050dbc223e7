//! The time of day: `exesdb:host/clock`.

/// Microseconds since 1970-01-01T00:00:00 UTC. The value can step backward when the system's clock is set.
pub use crate::bindings::common::exesdb::host::clock::now;
