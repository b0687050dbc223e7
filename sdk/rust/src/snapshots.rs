//! Components that store snapshots.
//!
//! ```
//! use exesdb_sdk::snapshots::{
//!     RecordedSnapshot, SnapshotId, SnapshotPage, SnapshotRequest, SnapshotScope, Snapshots,
//! };
//! use exesdb_sdk::types::{ChangeResult, Decision, Error, Version};
//! use exesdb_sdk::view::HostView;
//!
//! /// Discards all snapshots.
//! struct Forgetful;
//!
//! impl Snapshots for Forgetful {
//!     fn decide(_: &HostView, requests: Vec<SnapshotRequest>) -> Vec<Decision> {
//!         let done = |request| match request {
//!             SnapshotRequest::Put(_) | SnapshotRequest::KeepNewest(_) => {
//!                 Ok(ChangeResult { placed: Vec::new(), count: 0 })
//!             }
//!             SnapshotRequest::Remove(_) => Err(Error::NotFound),
//!         };
//!         requests.into_iter().map(|request| Decision::Done(done(request))).collect()
//!     }
//!     fn read_latest(_: &HostView, _: String, _: String, _: Option<Version>) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn read(_: &HostView, _: SnapshotId) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn list_snapshots(
//!         _: &HostView,
//!         _: SnapshotScope,
//!         _: Option<SnapshotId>,
//!         _: u32,
//!     ) -> Result<SnapshotPage, Error> {
//!         Ok(SnapshotPage { snapshots: Vec::new(), more: false })
//!     }
//! }
//!
//! exesdb_sdk::persistence_plugin!(Forgetful: snapshots);
//! ```

use std::marker::PhantomData;

use crate::panic;
use crate::types::{Decision, Error, Version};
use crate::view::HostView;

/// A snapshots component. Register the type that implements it with [`persistence_plugin!`](crate::persistence_plugin).
pub use crate::bindings::store::snapshots::exports::exesdb::store::snapshots::Guest as Snapshots;

pub use crate::bindings::store::common::exesdb::store::snapshot_types::{
    NewSnapshot, Newest, RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage,
    SnapshotRequest, SnapshotScope,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: Snapshots> Snapshots for Registered<P> {
    fn decide(view: &HostView, requests: Vec<SnapshotRequest>) -> Vec<Decision> {
        panic::install_hook();
        P::decide(view, requests)
    }

    fn read_latest(
        view: &HostView,
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read_latest(view, stream_id, source_id, at_most)
    }

    fn read(view: &HostView, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read(view, id)
    }

    fn list_snapshots(
        view: &HostView,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        panic::install_hook();
        P::list_snapshots(view, scope, after, count)
    }
}
