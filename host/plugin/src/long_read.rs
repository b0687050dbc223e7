//! Long reads: one page after the other, and then what is still to come. Gateways read so for their clients, emitters for
//! subscriptions, and listeners of topics.

mod limits;
mod pace;
mod reader;
mod reading;
mod turns;

pub(crate) use limits::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX, RESTART_PATIENCE};
pub(crate) use pace::LiveReads;
pub(crate) use reader::Reader;
pub(crate) use reading::{Page, Reading, Shared};
pub(crate) use turns::{Turns, half};
