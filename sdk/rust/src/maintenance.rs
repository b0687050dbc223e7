//! What keeps a persistence component's data small and whole: `exesdb:store/maintenance`, which its world exports beside
//! its own interface.

use std::marker::PhantomData;

use crate::panic;
use crate::types::Error;

/// What every persistence component does for its operator.
pub use crate::bindings::maintenance::exports::exesdb::store::maintenance::Guest as Maintenance;
pub use crate::bindings::maintenance::exports::exesdb::store::maintenance::{
    Cursor, Finding, ScavengeStep, VerifyStep,
};

/// The registered plugin with what the SDK does around each call.
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
