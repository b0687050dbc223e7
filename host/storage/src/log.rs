//! The event log: one record for each position, in one keyspace, hash-chained.
//!
//! The log lies in the keyspace `storage.log`. The first record makes the store's format 3. A store that has events of
//! format 2 by then goes on with the keyspace in which the streams component of that time kept them, `streams.events`: its
//! records have the same keys, have their link at the same place, and are chained by the same formula. Only the layout of
//! the events differs, and they are turned when they are read. What an import left empty has no records there; the
//! keyspace `streams.gaps` lists it.

mod old_event;
mod page;
mod record;
mod snapshot;
mod verify;

pub use page::{LogPage, LogRead};
pub(crate) use record::{LINK_AT, event_value, gap_value, removed_value};
pub(crate) use snapshot::log_keyspace;
pub use verify::{LogCursor, LogFinding, LogPlace, LogVerification};
