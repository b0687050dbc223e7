//! Checks the arguments that name snapshots, which come from clients.

use exesdb_sdk::arguments::{check_part, check_stream_id};
use exesdb_sdk::snapshots::{SnapshotId, SnapshotScope};
use exesdb_sdk::types::{Error, invalid};

/// Maximum bytes of a source id, which is part of every key.
pub const SOURCE_ID_BYTES_MAX: usize = 256;

pub(crate) fn check_id(argument: &str, id: &SnapshotId) -> Result<(), Error> {
    check_stream_id(&format!("{argument}.stream-id"), &id.stream_id)?;
    check_source_id(&format!("{argument}.source-id"), &id.source_id)
}

pub(crate) fn check_source_id(argument: &str, source_id: &str) -> Result<(), Error> {
    Ok(check_part(argument, source_id, SOURCE_ID_BYTES_MAX)?)
}

pub(crate) fn check_scope(scope: &SnapshotScope) -> Result<(), Error> {
    if let Some(stream_id) = &scope.stream_id {
        check_stream_id("scope.stream-id", stream_id)?;
    }
    if let Some(source_id) = &scope.source_id {
        check_source_id("scope.source-id", source_id)?;
    }
    Ok(())
}

/// Checks that `after` is in the scope: a list cannot continue from elsewhere.
pub(crate) fn check_after(scope: &SnapshotScope, after: &SnapshotId) -> Result<(), Error> {
    let is_other =
        |wanted: &Option<String>, given: &str| wanted.as_ref().is_some_and(|wanted| wanted != given);
    if is_other(&scope.stream_id, &after.stream_id) {
        return Err(invalid(
            "after.stream-id",
            "is not the scope's; give the last snapshot of the page before",
        ));
    }
    if is_other(&scope.source_id, &after.source_id) {
        return Err(invalid(
            "after.source-id",
            "is not the scope's; give the last snapshot of the page before",
        ));
    }
    Ok(())
}
