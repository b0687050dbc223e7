//! Removes hidden events, and verifies the component's data.
//!
//! [`scavenge()`] removes the content and the index entries of events that retention and deletion hide. Their links of the
//! store's hash chain stay at their positions.
//!
//! [`verify()`] cross-checks all keyspaces of the component, and repairs what the events determine: the entries of `index`,
//! `ids`, `labels` and `retained`, and a lost head that can be reconstructed with certainty. It never changes events.
//!
//! Both take steps over a bounded amount of data. The cursor, not the store, holds the progress.

mod cursor;
mod labelled;
mod located;
pub mod scavenge;
pub mod verify;

pub use scavenge::{Scavenged, scavenge};
pub use verify::verify;
