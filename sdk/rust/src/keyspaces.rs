//! The key-value log that the host offers to persistence components: `exesdb:storage/keyspaces`.

pub use crate::bindings::common::exesdb::storage::keyspaces::{
    Batch, BatchError, Committed, Direction, Entry, Error, Expectation, Guard, Location, Operation, Page,
    Position, Put, Range, Stamp,
};
