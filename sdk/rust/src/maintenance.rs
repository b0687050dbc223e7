//! Scavenging and verification of a persistence component's data: `exesdb:store/maintenance`, which the worlds of all
//! persistence components export.

use std::marker::PhantomData;

use crate::panic;
use crate::types::Error;

/// The maintenance functions of a persistence component.
pub use crate::bindings::maintenance::exports::exesdb::store::maintenance::Guest as Maintenance;
pub use crate::bindings::maintenance::exports::exesdb::store::maintenance::{
    Cursor, Finding, ScavengeStep, VerifyStep,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: Maintenance> Maintenance for Registered<P> {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        panic::install_hook();
        P::scavenge(from)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        panic::install_hook();
        P::verify(from, repair)
    }
}
