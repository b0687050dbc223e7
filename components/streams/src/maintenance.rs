//! Keeps the component's data small and whole.
//!
//! [`scavenge()`] removes the events that retention and deletion hide: their content is gone, and with it what finds them;
//! what stays is the link of the store's hash chain at their positions.
//!
//! [`verify()`] compares everything that the component wrote with everything else, and puts right what follows from the
//! events: the entries of `index`, `ids`, `labels` and `retained`, and a head that is lost but can be told for certain.
//! Events are never touched.
//!
//! Both go in steps that look at a bounded amount of data. Where a step ended is in the cursor, not in the store.

mod cursor;
mod labelled;
mod located;
pub mod scavenge;
pub mod verify;

pub use scavenge::{Scavenged, scavenge};
pub use verify::verify;
