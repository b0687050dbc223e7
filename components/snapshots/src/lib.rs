//! The snapshots component that ships with exesdb. It stores states that clients computed from streams up to a version.
//!
//! The rules are functions over a [`View`](exesdb_sdk::view::View) and are tested natively; this file connects them to the
//! host.
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

pub mod check;
pub mod decide;
pub mod layout;
pub mod maintenance;
pub mod read;

use exesdb_sdk::describe::{Description, description};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::snapshots::{
    self, RecordedSnapshot, SnapshotId, SnapshotPage, SnapshotRequest, SnapshotScope,
};
use exesdb_sdk::types::{Decision, Error, Version};
use exesdb_sdk::view::HostView;

/// The component.
pub struct Snapshots;

impl snapshots::Snapshots for Snapshots {
    fn decide(view: &HostView, requests: Vec<SnapshotRequest>) -> Vec<Decision> {
        decide::decide(view, &requests)
    }

    fn read_latest(
        view: &HostView,
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        read::read_latest(view, &stream_id, &source_id, at_most)
    }

    fn read(view: &HostView, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        read::read(view, &id)
    }

    fn list_snapshots(
        view: &HostView,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        read::list(view, &scope, after.as_ref(), count)
    }
}

impl Maintenance for Snapshots {
    fn scavenge(_: &HostView, from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        maintenance::scavenge(from.as_ref())
    }

    fn verify(view: &HostView, from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(view, from.as_ref(), repair)
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
exesdb_sdk::persistence_plugin!(Snapshots: snapshots, maintenance);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
