//! The exports of `exesdb:store/maintenance`, which every persistence component has.

use super::kind::{Function, Kind, exports};
use super::pool::{Caller, Partition, Pool};
use crate::bindings::maintenance::{ScavengeStep, VerifyStep};
use crate::bindings::types::Error;

exports! {
    "exesdb:store/maintenance@0.1.0";
    scavenge: Function<(Option<Vec<u8>>,), ScavengeStep> = "scavenge",
    verify: Function<(Option<Vec<u8>>, bool), VerifyStep> = "verify",
}

/// The exports of a kind, and among them those of this interface.
pub trait Maintained {
    /// Those.
    fn maintenance(&self) -> &Exports;
}

/// What the operator asks of a component.
impl<K: Kind> Pool<K>
where
    K::Exports: Maintained,
{
    /// One step of removing what retention and deletion have hidden; `from` is where the step before ended.
    ///
    /// # Errors
    ///
    /// The component's, or that it is being restarted: the step can be done again.
    pub async fn scavenge(&self, from: Option<Vec<u8>>) -> Result<ScavengeStep, Error> {
        let caller = Caller::operator();
        self.ask(Partition::Any, caller, "scavenge", |exports| &exports.maintenance().scavenge, (from,)).await
    }

    /// One step of comparing everything with everything else; `from` is where the step before ended.
    ///
    /// # Errors
    ///
    /// As for [`scavenge`](Self::scavenge).
    pub async fn verify(&self, from: Option<Vec<u8>>, repair: bool) -> Result<VerifyStep, Error> {
        let (caller, params) = (Caller::operator(), (from, repair));
        self.ask(Partition::Any, caller, "verify", |exports| &exports.maintenance().verify, params).await
    }
}
