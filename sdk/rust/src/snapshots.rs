//! Components that store snapshots: world `exesdb:store/snapshots-plugin`.
//!
//! ```
//! use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
//! use exesdb_sdk::snapshots::{
//!     RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope, SnapshotsPlugin,
//! };
//! use exesdb_sdk::types::{Error, Version};
//!
//! /// Discards all snapshots.
//! struct Forgetful;
//!
//! impl SnapshotsPlugin for Forgetful {
//!     fn record_snapshot(_: SnapshotId, _: SnapshotData) -> Result<(), Error> {
//!         Ok(())
//!     }
//!     fn read_snapshot(_: SnapshotId) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn read_latest(_: String, _: String, _: Option<Version>) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn list_snapshots(_: SnapshotScope, _: Option<SnapshotId>, _: u32) -> Result<SnapshotPage, Error> {
//!         Ok(SnapshotPage { snapshots: Vec::new(), more: false })
//!     }
//!     fn delete_snapshot(_: SnapshotId) -> Result<(), Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn keep_newest(_: String, _: String, _: u32) -> Result<u64, Error> {
//!         Ok(0)
//!     }
//!     fn import_snapshot(_: SnapshotId, _: SnapshotData, _: u64) -> Result<(), Error> {
//!         Ok(())
//!     }
//! }
//!
//! impl Maintenance for Forgetful {
//!     fn scavenge(_: Option<Cursor>) -> Result<ScavengeStep, Error> {
//!         Ok(ScavengeStep { next: None, examined: 0, removed: 0, bytes: 0 })
//!     }
//!     fn verify(_: Option<Cursor>, _: bool) -> Result<VerifyStep, Error> {
//!         Ok(VerifyStep { next: None, examined: 0, findings: Vec::new(), found: 0 })
//!     }
//! }
//!
//! exesdb_sdk::snapshots_plugin!(Forgetful);
//! ```

use std::marker::PhantomData;

use crate::panic;
use crate::types::{Error, Version};

/// A snapshots component. Register the type that implements it with [`snapshots_plugin!`](crate::snapshots_plugin).
pub use crate::bindings::snapshots_plugin::exports::exesdb::store::snapshots::Guest as SnapshotsPlugin;
pub use crate::bindings::snapshots_plugin::exports::exesdb::store::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotScope,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: SnapshotsPlugin> SnapshotsPlugin for Registered<P> {
    fn record_snapshot(id: SnapshotId, snapshot: SnapshotData) -> Result<(), Error> {
        panic::install_hook();
        P::record_snapshot(id, snapshot)
    }

    fn read_snapshot(id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read_snapshot(id)
    }

    fn read_latest(
        stream_id: String,
        source_id: String,
        at_most: Option<Version>,
    ) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read_latest(stream_id, source_id, at_most)
    }

    fn list_snapshots(
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        panic::install_hook();
        P::list_snapshots(scope, after, count)
    }

    fn delete_snapshot(id: SnapshotId) -> Result<(), Error> {
        panic::install_hook();
        P::delete_snapshot(id)
    }

    fn keep_newest(stream_id: String, source_id: String, keep: u32) -> Result<u64, Error> {
        panic::install_hook();
        P::keep_newest(stream_id, source_id, keep)
    }

    fn import_snapshot(id: SnapshotId, snapshot: SnapshotData, created: u64) -> Result<(), Error> {
        panic::install_hook();
        P::import_snapshot(id, snapshot, created)
    }
}

/// Makes this crate a snapshots component: exports the functions of a type that implements
/// [`SnapshotsPlugin`](crate::snapshots::SnapshotsPlugin) and [`Maintenance`](crate::maintenance::Maintenance). Use it once
/// per component. It expands to nothing on targets other than WebAssembly, so that the rules can be tested there.
#[macro_export]
macro_rules! snapshots_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::snapshots::Registered<$plugin>;
            $crate::bindings::snapshots_plugin::export_snapshots_plugin!(
                Registered with_types_in $crate::bindings::snapshots_plugin
            );
            type Maintained = $crate::maintenance::Registered<$plugin>;
            $crate::bindings::maintenance::export_maintenance!(
                Maintained with_types_in $crate::bindings::maintenance
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::snapshots::SnapshotsPlugin + $crate::maintenance::Maintenance>() {}
            implements::<$plugin>();
        };
    };
}
