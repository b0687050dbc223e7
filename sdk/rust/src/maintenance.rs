//! Scavenging and verification of a persistence component's data: `exesdb:store/maintenance`.

use std::marker::PhantomData;

use crate::panic;
use crate::types::Error;
use crate::view::HostView;

/// The maintenance functions of a persistence component.
pub use crate::bindings::store::maintenance::exports::exesdb::store::maintenance::Guest as Maintenance;
pub use crate::bindings::store::maintenance::exports::exesdb::store::maintenance::{
    Cursor, Finding, ScavengeStep, VerifyStep,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: Maintenance> Maintenance for Registered<P> {
    fn scavenge(view: &HostView, from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        panic::install_hook();
        P::scavenge(view, from)
    }

    fn verify(view: &HostView, from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        panic::install_hook();
        P::verify(view, from, repair)
    }
}
