//! The snapshots component that ships with exesdb, under another name. It panics if a snapshot is recorded with the content
//! type `application/x-probe-trap`, and otherwise behaves like the original.

use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope, SnapshotsPlugin,
};
use exesdb_sdk::types::{Error, Version};
use exesdb_snapshots::Snapshots;

/// The content type that panics.
const TRAP: &str = "application/x-probe-trap";

struct Probe;

impl SnapshotsPlugin for Probe {
    fn record_snapshot(id: SnapshotId, snapshot: SnapshotData) -> Result<(), Error> {
        assert!(snapshot.content_type != TRAP, "the probe traps, as it was told");
        Snapshots::record_snapshot(id, snapshot)
    }

    fn read_snapshot(id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        Snapshots::read_snapshot(id)
    }

    fn read_latest(
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        Snapshots::read_latest(stream_id, source_id, at_most)
    }

    fn list_snapshots(
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        Snapshots::list_snapshots(scope, after, count)
    }

    fn delete_snapshot(id: SnapshotId) -> Result<(), Error> {
        Snapshots::delete_snapshot(id)
    }

    fn keep_newest(stream_id: String, source_id: String, keep: u32) -> Result<u64, Error> {
        Snapshots::keep_newest(stream_id, source_id, keep)
    }

    fn import_snapshot(id: SnapshotId, snapshot: SnapshotData, created: u64) -> Result<(), Error> {
        Snapshots::import_snapshot(id, snapshot, created)
    }
}

impl Maintenance for Probe {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        Snapshots::scavenge(from)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        Snapshots::verify(from, repair)
    }
}

fn describe() -> Description {
    description("snapshots-probe", 7)
        .setting("depth", SettingDefault::Number(3), "Nothing: it is there to be set")
        .setting("greeting", SettingDefault::Text("hello".to_owned()), "Nothing: it is there to be set")
}

exesdb_sdk::snapshots_plugin!(Probe);
exesdb_sdk::describe_component!(describe);
