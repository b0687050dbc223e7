//! The types that all interfaces of the store share: `exesdb:store/types`.

pub use crate::bindings::common::exesdb::store::types::{
    ConditionFailure, Direction, Error, EventData, ExpectedVersion, HistoryChange, HistoryId,
    InvalidArgument, MissingVersion, Position, RecordedEvent, StreamLife, Version, VersionConflict,
};
