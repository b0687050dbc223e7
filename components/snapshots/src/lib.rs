//! The snapshots component that ships with exesdb. It stores states that clients computed from streams up to a version.
//!
//! The rules are functions over [`Keyspaces`](exesdb_sdk::keyspaces::Keyspaces) and are tested natively; this file connects
//! them to the host.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `snapshots` | stream id, a zero byte, source id, a zero byte, version in 8 bytes, inverted | snapshot |
//! | `infos` | the same | info |
//! | `sources` | source id, a zero byte, stream id, a zero byte, version in 8 bytes, inverted | info |
//!
//! Whole numbers are big-endian. Ids have no control characters, so a zero byte terminates them. An inverted version is
//! `u64::MAX` minus the version, so that the newest snapshot comes first.
//!
//! Every snapshot has an info in `infos` and the same one in `sources`; all three are written and deleted in one batch. A
//! list reads infos instead of snapshots: for one source in any stream those in `sources`, otherwise those in `infos`.
//!
//! A snapshot consists of, in this order: format (1, one byte); time when it was recorded (8 bytes); content type; data;
//! metadata. An info consists of: format (1, one byte); time (8 bytes); content type; length of the data (8 bytes). A text
//! is its length in 2 bytes and its UTF-8; data and metadata are their length in 4 bytes and their bytes. Times are
//! microseconds since 1970-01-01T00:00:00 UTC.

pub mod layout;
pub mod maintenance;
pub mod rules;

use exesdb_sdk::clock;
use exesdb_sdk::describe::{Description, description};
use exesdb_sdk::keyspaces::HostKeyspaces;
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope, SnapshotsPlugin,
};
use exesdb_sdk::types::{Error, Version};

/// The component, which stores snapshots in the keyspaces that the host provides.
pub struct Snapshots;

impl SnapshotsPlugin for Snapshots {
    fn record_snapshot(id: SnapshotId, snapshot: SnapshotData) -> Result<(), Error> {
        rules::record(&HostKeyspaces, clock::now(), &id, &snapshot)
    }

    fn read_snapshot(id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        rules::read(&HostKeyspaces, &id)
    }

    fn read_latest(
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        rules::read_latest(&HostKeyspaces, &stream_id, &source_id, at_most)
    }

    fn list_snapshots(
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        rules::list(&HostKeyspaces, &scope, after.as_ref(), count)
    }

    fn delete_snapshot(id: SnapshotId) -> Result<(), Error> {
        rules::delete(&HostKeyspaces, &id)
    }

    fn keep_newest(stream_id: String, source_id: String, keep: u32) -> Result<u64, Error> {
        rules::keep_newest(&HostKeyspaces, &stream_id, &source_id, keep)
    }

    fn import_snapshot(id: SnapshotId, snapshot: SnapshotData, created: u64) -> Result<(), Error> {
        rules::import(&HostKeyspaces, &id, &snapshot, created)
    }
}

impl Maintenance for Snapshots {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        maintenance::scavenge(from.as_ref())
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(&HostKeyspaces, from.as_ref(), repair)
    }
}

/// The version of the layout in keyspaces. It goes up when older builds of this component could not read the new layout.
pub const STATE_VERSION: u32 = 1;

/// Describes the component.
#[must_use]
pub fn describe() -> Description {
    description("snapshots", STATE_VERSION)
}

#[cfg(feature = "export")]
exesdb_sdk::snapshots_plugin!(Snapshots);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
