//! Components that keep the snapshots of a store: world `exesdb:store/snapshots-plugin`.
//!
//! ```
//! use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotPage, SnapshotsPlugin};
//! use exesdb_sdk::types::{Error, Version};
//!
//! /// Keeps nothing.
//! struct Forgetful;
//!
//! impl SnapshotsPlugin for Forgetful {
//!     fn record_snapshot(_: String, _: Version, _: SnapshotData) -> Result<(), Error> {
//!         Ok(())
//!     }
//!     fn read_snapshot(_: String, _: Version) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn read_latest(_: String) -> Result<RecordedSnapshot, Error> {
//!         Err(Error::NotFound)
//!     }
//!     fn list_snapshots(_: String, _: Option<Version>, _: u32) -> Result<SnapshotPage, Error> {
//!         Ok(SnapshotPage { snapshots: Vec::new(), more: false })
//!     }
//!     fn delete_snapshot(_: String, _: Version) -> Result<(), Error> {
//!         Err(Error::NotFound)
//!     }
//! }
//!
//! exesdb_sdk::snapshots_plugin!(Forgetful);
//! ```

use std::marker::PhantomData;

use crate::panic;
use crate::types::{Error, Version};

/// What a snapshots component does. Register the type that does it with
/// [`snapshots_plugin!`](crate::snapshots_plugin).
pub use crate::bindings::snapshots_plugin::exports::exesdb::store::snapshots::Guest as SnapshotsPlugin;
pub use crate::bindings::snapshots_plugin::exports::exesdb::store::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotInfo, SnapshotPage,
};

/// The registered plugin with what the SDK does around each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: SnapshotsPlugin> SnapshotsPlugin for Registered<P> {
    fn record_snapshot(stream_id: String, version: Version, snapshot: SnapshotData) -> Result<(), Error> {
        panic::install_hook();
        P::record_snapshot(stream_id, version, snapshot)
    }

    fn read_snapshot(stream_id: String, version: Version) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read_snapshot(stream_id, version)
    }

    fn read_latest(stream_id: String) -> Result<RecordedSnapshot, Error> {
        panic::install_hook();
        P::read_latest(stream_id)
    }

    fn list_snapshots(stream_id: String, before: Option<Version>, count: u32) -> Result<SnapshotPage, Error> {
        panic::install_hook();
        P::list_snapshots(stream_id, before, count)
    }

    fn delete_snapshot(stream_id: String, version: Version) -> Result<(), Error> {
        panic::install_hook();
        P::delete_snapshot(stream_id, version)
    }
}

/// Makes this crate a snapshots component: exports the functions of a type that implements
/// [`SnapshotsPlugin`](crate::snapshots::SnapshotsPlugin). Once per component; expands to nothing on other targets
/// than WebAssembly, where the rules can be tested.
#[macro_export]
macro_rules! snapshots_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::snapshots::Registered<$plugin>;
            $crate::bindings::snapshots_plugin::export_snapshots_plugin!(
                Registered with_types_in $crate::bindings::snapshots_plugin
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::snapshots::SnapshotsPlugin>() {}
            implements::<$plugin>();
        };
    };
}
