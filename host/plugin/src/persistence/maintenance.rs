//! The exports of `exesdb:store/maintenance`.

use crate::bindings::store::maintenance as wit;
use crate::persistence::exports::{Function, ViewParam, exports};

exports! {
    maintenance: "exesdb:store/maintenance@0.2.0";
    scavenge: Function<(ViewParam, Option<Vec<u8>>), wit::ScavengeStep> = "scavenge",
    verify: Function<(ViewParam, Option<Vec<u8>>, bool), wit::VerifyStep> = "verify",
}
pub(crate) use maintenance::{Exports, INTERFACE, Indices};

/// Exports that include those of the maintenance interface.
pub trait Maintained {
    /// The exports of the maintenance interface; none if the component has no such upkeep.
    fn maintenance(&self) -> Option<&Exports>;
}
