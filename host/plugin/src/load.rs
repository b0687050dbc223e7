//! From a file or the binary itself to a component that can be instantiated.
//!
//! A component is a claim too: its size is bounded, it must export what its role needs, and everything that it
//! imports is compared with what its role is offered. That happens before it is compiled, which takes seconds for a
//! large one, and the message names all that is missing.

mod error;
mod offer;
mod shape;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};

use crate::crash::Crash;
use crate::describe::Description;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::persistence::kind::Kind;
use crate::state::State;

pub use error::LoadError;
pub(crate) use error::{ASKED, STARTED};
pub use offer::Misfit;
pub use shape::NotAComponent;
use shape::Shape;

/// Bytes of a component: those made from Python, the largest that are usual, have 18 to 38 MB.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Where a component comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Part of the binary.
    Builtin {
        /// As in `builtin:NAME`.
        name: &'static str,
        /// The component.
        wasm: &'static [u8],
    },
    /// A file.
    File(PathBuf),
}

/// A component that was checked for a role and can be instantiated at any time.
pub(crate) struct Loaded {
    pub(crate) component: Component,
    pub(crate) pre: InstancePre<State>,
    pub(crate) identity: Arc<Identity>,
}

/// Which component it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where it comes from: `builtin:NAME` or a path.
    pub name: String,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
}

impl Identity {
    /// As the supervision tree shows it.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::json!({ "component": self.name, "sha256": self.digest })
    }
}

/// A persistence component, ready to be instantiated.
pub struct Plugin<K: Kind> {
    pub(crate) loaded: Loaded,
    pub(crate) indices: K::Indices,
    pub(crate) engine: Engine,
}

impl<K: Kind> Plugin<K> {
    /// Loads a persistence component for a role.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing of the component was run.
    pub fn load(engine: &Engine, role: &'static str, source: &Source) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.persistence, role, source)?;
        let indices = K::indices(&loaded.component).map_err(|export| loaded.lacks(role, &export))?;
        Ok(Arc::new(Self { loaded, indices, engine: engine.clone() }))
    }

    /// What the component says of itself; none of one that does not.
    ///
    /// # Errors
    ///
    /// It cannot be started, was built against another version of the contract, or gives a wrong answer.
    pub async fn describe(
        &self,
        role: &'static str,
        limits: &Limits,
    ) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, role, limits).await
    }

    /// SHA-256 of the component's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.loaded.identity.digest
    }

    /// Which component it is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.loaded.identity
    }
}

impl Loaded {
    /// An exported function is missing.
    pub(crate) fn lacks(&self, role: &'static str, export: &str) -> LoadError {
        let ty = self.component.component_type();
        let exports: Vec<_> = ty.exports(self.component.engine()).map(|(name, _)| name.to_owned()).collect();
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        self.other_contract(role, format!("it does not export {export}, and exports {exports}"))
    }

    /// An exported function has another type than the host's contract says.
    pub(crate) fn mistyped(&self, role: &'static str, error: &wasmtime::Error) -> LoadError {
        self.other_contract(role, format!("{error:#}"))
    }

    fn other_contract(&self, role: &'static str, difference: String) -> LoadError {
        LoadError::OtherContract { name: self.identity.name.clone(), role, difference }
    }

    /// An instance ended before it was of use, at something that is done with every new one.
    pub(crate) fn not_started(
        &self,
        role: &'static str,
        doing: &'static str,
        crash: &Crash,
        limits: &Limits,
    ) -> LoadError {
        LoadError::of_crash(self.identity.name.clone(), role, doing, crash, limits)
    }
}

/// Reads, compiles and links a component.
pub(crate) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    role: &'static str,
    source: &Source,
) -> Result<Loaded, LoadError> {
    let (name, wasm) = read(source)?;
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

/// Why a component does not link, with the imports that are of a later version than the host's: they are the likely cause.
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

fn read(source: &Source) -> Result<(String, Vec<u8>), LoadError> {
    match source {
        Source::Builtin { name, wasm } => Ok((format!("builtin:{name}"), wasm.to_vec())),
        Source::File(path) => {
            let file_error = |error| LoadError::File { path: path.clone(), error };
            let mut wasm = Vec::new();
            open(path)?.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut wasm).map_err(file_error)?;
            if wasm.len() as u64 > COMPONENT_BYTES_MAX {
                return Err(LoadError::TooLarge { name: path.display().to_string() });
            }
            Ok((path.display().to_string(), wasm))
        }
    }
}

/// Opens a file through the folder it lies in, so that a link in a plugin folder cannot lead out of it. A pipe is not
/// opened: that waits until somebody writes to it.
fn open(path: &Path) -> Result<cap_std::fs::File, LoadError> {
    let Some(name) = path.file_name() else { return Err(LoadError::NotAFile { path: path.to_owned() }) };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let opened =
        cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority()).and_then(|folder| {
            if folder.metadata(name)?.is_file() { folder.open(name).map(Some) } else { Ok(None) }
        });
    match opened {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(LoadError::NotAFile { path: path.to_owned() }),
        Err(error) => Err(not_opened(path, error)),
    }
}

/// Why a path could not be opened. A link that leads to something leads out of its folder.
fn not_opened(path: &Path, error: std::io::Error) -> LoadError {
    let (path, target) = (path.to_owned(), std::fs::read_link(path).ok());
    match (error.kind(), target) {
        (std::io::ErrorKind::NotFound, target) => LoadError::Missing { path, target },
        (_, Some(target)) => LoadError::Link { path, target },
        (_, None) => LoadError::File { path, error },
    }
}
