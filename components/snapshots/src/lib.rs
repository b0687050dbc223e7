//! The snapshots component that ships with exesdb: keeps what somebody computed from a stream up to a version.
//!
//! The rules are functions over [`Keyspaces`](exesdb_sdk::keyspaces::Keyspaces) and are tested natively; this file ties
//! them to the store.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `snapshots` | stream id, a zero byte, version in 8 bytes | snapshot |
//! | `infos` | the same | info |
//!
//! Whole numbers are big-endian. Stream ids have no control characters; so the zero byte ends one beyond doubt. Every
//! snapshot has an info, and both are written and deleted in one batch; the infos are there so that listing snapshots
//! does not read them.
//!
//! A snapshot is, in this order: format (1, one byte); time when it was recorded (8 bytes); content type; data;
//! metadata. An info is: format (1, one byte); time (8 bytes); content type; length of the data (8 bytes). A text is its
//! length in 2 bytes and its UTF-8; data and metadata are their length in 4 bytes and their bytes. Times are microseconds
//! since 1970-01-01T00:00:00 UTC.

pub mod layout;
pub mod rules;

use exesdb_sdk::clock;
use exesdb_sdk::keyspaces::HostKeyspaces;
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotPage, SnapshotsPlugin};
use exesdb_sdk::types::{Error, Version};

/// The snapshots of the store that the host gives to this component.
pub struct Snapshots;

impl SnapshotsPlugin for Snapshots {
    fn record_snapshot(stream_id: String, version: Version, snapshot: SnapshotData) -> Result<(), Error> {
        rules::record(&HostKeyspaces, clock::now(), &stream_id, version, &snapshot)
    }

    fn read_snapshot(stream_id: String, version: Version) -> Result<RecordedSnapshot, Error> {
        rules::read(&HostKeyspaces, &stream_id, version)
    }

    fn read_latest(stream_id: String) -> Result<RecordedSnapshot, Error> {
        rules::read_latest(&HostKeyspaces, &stream_id)
    }

    fn list_snapshots(stream_id: String, before: Option<Version>, count: u32) -> Result<SnapshotPage, Error> {
        rules::list(&HostKeyspaces, &stream_id, before, count)
    }

    fn delete_snapshot(stream_id: String, version: Version) -> Result<(), Error> {
        rules::delete(&HostKeyspaces, &stream_id, version)
    }
}

exesdb_sdk::snapshots_plugin!(Snapshots);
