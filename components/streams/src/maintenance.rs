//! Removes hidden events, and verifies the component's data.
//!
//! [`scavenge()`] removes the content and the index entries of events that retention and deletion hide.
//!
//! [`verify()`] cross-checks all keyspaces of the component with the log, and repairs what the events determine: the entries
//! of `index`, `ids`, `labels` and `retained`, and a lost head that can be reconstructed with certainty. It never changes
//! events.
//!
//! Both take steps over a bounded amount of data, and hand back batches for the host to apply. The cursor, not the store,
//! holds the progress.

mod labelled;
mod located;
mod log;
pub mod scavenge;
pub mod verify;

pub use scavenge::{Scavenged, scavenge};
pub use verify::verify;
