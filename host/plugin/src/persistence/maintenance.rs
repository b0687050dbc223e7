//! The exports of `exesdb:store/maintenance`, which every persistence component has.

use super::exports::{Function, exports};
use super::kind::Kind;
use super::pool::{Pool, Target};
use crate::bindings::maintenance::{ScavengeStep, VerifyStep};
use crate::bindings::types::Error;
use crate::caller::Caller;

exports! {
    "exesdb:store/maintenance@0.1.0";
    scavenge: Function<(Option<Vec<u8>>,), ScavengeStep> = "scavenge",
    verify: Function<(Option<Vec<u8>>, bool), VerifyStep> = "verify",
}

/// Exports that include those of the maintenance interface.
pub trait Maintained {
    /// The exports of the maintenance interface.
    fn maintenance(&self) -> &Exports;
}

/// Maintenance by the operator.
impl<K: Kind> Pool<K>
where
    K::Exports: Maintained,
{
    /// One step of removing what retention and deletion have hidden; `from` is where the previous step ended.
    ///
    /// # Errors
    ///
    /// The component's errors, or that it is being restarted: the step can be repeated.
    pub async fn scavenge(&self, from: Option<Vec<u8>>) -> Result<ScavengeStep, Error> {
        let caller = Caller::operator();
        self.call(Target::Any, caller, "scavenge", |exports| &exports.maintenance().scavenge, (from,)).await
    }

    /// One step of checking the consistency of all data; `from` is where the previous step ended.
    ///
    /// # Errors
    ///
    /// As for [`scavenge`](Self::scavenge).
    pub async fn verify(&self, from: Option<Vec<u8>>, repair: bool) -> Result<VerifyStep, Error> {
        let (caller, params) = (Caller::operator(), (from, repair));
        self.call(Target::Any, caller, "verify", |exports| &exports.maintenance().verify, params).await
    }
}
