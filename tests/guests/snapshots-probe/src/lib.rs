//! The snapshots component that ships with exesdb, under another name. It panics if a snapshot is put with the content type
//! `application/x-probe-trap`, and otherwise behaves like the original.

use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::snapshots::{
    self, RecordedSnapshot, SnapshotId, SnapshotPage, SnapshotRequest, SnapshotScope,
};
use exesdb_sdk::types::{Decision, Error, Version};
use exesdb_sdk::view::HostView;
use exesdb_snapshots::Snapshots;

/// The content type that panics.
const TRAP: &str = "application/x-probe-trap";

struct Probe;

impl snapshots::Snapshots for Probe {
    fn decide(view: &HostView, requests: Vec<SnapshotRequest>) -> Vec<Decision> {
        let traps = |request: &SnapshotRequest| matches!(request, SnapshotRequest::Put(new) if new.snapshot.content_type == TRAP);
        assert!(!requests.iter().any(traps), "the probe traps, as it was told");
        <Snapshots as snapshots::Snapshots>::decide(view, requests)
    }

    fn read_latest(
        view: &HostView,
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        <Snapshots as snapshots::Snapshots>::read_latest(view, stream_id, source_id, at_most)
    }

    fn read(view: &HostView, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        <Snapshots as snapshots::Snapshots>::read(view, id)
    }

    fn list_snapshots(
        view: &HostView,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        <Snapshots as snapshots::Snapshots>::list_snapshots(view, scope, after, count)
    }
}

fn describe() -> Description {
    description("snapshots-probe", 7)
        .setting("depth", SettingDefault::Number(3), "Nothing: it is there to be set")
        .setting("greeting", SettingDefault::Text("hello".to_owned()), "Nothing: it is there to be set")
}

exesdb_sdk::persistence_plugin!(Probe: snapshots);
exesdb_sdk::persistence_plugin!(Snapshots: maintenance);
exesdb_sdk::describe_component!(describe);
