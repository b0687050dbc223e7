//! From the bytes of a component to one of which instances can be made.
//!
//! A component is untrusted input: its size is bounded, and its exports and imports are compared with its role before it is
//! compiled, which takes seconds for a large one. The error names everything that is missing.

mod describe;
mod error;
mod offer;
mod shape;
mod source;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};

use crate::crash::Crash;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::state::State;

pub use error::LoadError;
pub(crate) use error::STARTED;
pub use offer::Misfit;
pub use shape::NotAComponent;
use shape::Shape;
pub use source::WasmSource;

/// A component that was checked for a role, compiled and linked.
pub(crate) struct Loaded {
    pub(crate) component: Component,
    pub(crate) pre: InstancePre<State>,
    pub(crate) identity: Arc<Identity>,
}

impl Loaded {
    /// The error for a missing exported function.
    pub(crate) fn lacks(&self, role: &'static str, export: &str) -> LoadError {
        let ty = self.component.component_type();
        let exports: Vec<_> = ty.exports(self.component.engine()).map(|(name, _)| name.to_owned()).collect();
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        self.other_contract(role, format!("it does not export {export}, and exports {exports}"))
    }

    /// The error for an exported function whose type differs from the host's contract.
    pub(crate) fn mistyped(&self, role: &'static str, error: &wasmtime::Error) -> LoadError {
        self.other_contract(role, format!("{error:#}"))
    }

    fn other_contract(&self, role: &'static str, difference: String) -> LoadError {
        LoadError::OtherContract { name: self.identity.name.clone(), role, difference }
    }

    /// The error for an instance that ended in `step`, before it served.
    pub(crate) fn not_started(
        &self,
        role: &'static str,
        step: &'static str,
        crash: &Crash,
        limits: &Limits,
    ) -> LoadError {
        LoadError::of_crash(self.identity.name.clone(), role, step, crash, limits)
    }
}

/// Reads, compiles and links a component.
pub(crate) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    role: &'static str,
    source: &WasmSource,
) -> Result<Loaded, LoadError> {
    let (name, wasm) = source::read(source)?;
    let shape = Shape::of(&wasm).map_err(|reason| LoadError::NotAComponent { name: name.clone(), reason })?;
    offer::check(&shape, role).map_err(|misfit| LoadError::Misfit { name: name.clone(), misfit })?;
    let component = Component::new(&engine.wasmtime, &wasm)
        .map_err(|error| LoadError::NotCompiled { name: name.clone(), reason: format!("{error:#}") })?;
    let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::OtherContract {
        name: name.clone(),
        role,
        difference: mismatch(&error, &shape, role),
    })?;
    let digest = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Loaded { component, pre, identity: Arc::new(Identity { name, digest }) })
}

/// Why a component does not link. Imports of later versions than the host's are named, because they are the likely cause.
fn mismatch(error: &wasmtime::Error, shape: &Shape, role: &str) -> String {
    let later = offer::later_than_offered(shape, role);
    let ours = later.iter().filter(|import| import.starts_with("exesdb:")).cloned().collect::<Vec<_>>();
    let hint = if ours.is_empty() {
        String::new()
    } else {
        format!("; it imports later versions than this host offers: {}", ours.join(", "))
    };
    format!("{error:#}{hint}")
}
