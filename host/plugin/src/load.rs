//! From a file or the binary itself to a component that can be instantiated.
//!
//! A component is a claim too: its size is bounded, it must export what its role needs, and everything that it
//! imports is compared with what its role is offered before anything of it runs, so that the message names what is
//! missing and not just that something is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::describe::Description;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::persistence::kind::Kind;
use crate::state::State;

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

/// Why a component was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("component {path}: {error}", path = path.display())]
    File {
        /// The file as the configuration names it.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The component is too large.
    #[error("component {name} has more than {COMPONENT_BYTES_MAX} bytes; build it without debug information")]
    TooLarge {
        /// Where it comes from.
        name: String,
    },
    /// The bytes are no component.
    #[error("component {name} is not a WebAssembly component that this host can run: {reason}")]
    NotAComponent {
        /// Where it comes from.
        name: String,
        /// The compiler's words.
        reason: String,
    },
    /// The component needs something that its role is not offered.
    #[error("component {name} imports {import}, which a {role} component is not offered. {hint}")]
    Import {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// The interface.
        import: String,
        /// What is offered in its place.
        hint: String,
    },
    /// The component lacks an export of its role.
    #[error("component {name} does not export {export}, which a {role} component must; it exports {exports}")]
    Export {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// The function or interface.
        export: String,
        /// What it exports.
        exports: String,
    },
    /// An imported function has another type than the interface says. (An exported one shows at the first start.)
    #[error("component {name} does not match the interfaces of a {role} component: {reason}")]
    Mismatch {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// The engine's words.
        reason: String,
    },
    /// The component was asked what it is, and gave no answer or one that breaks a rule.
    #[error("component {name} does not describe itself as exesdb:host/describe says: {reason}")]
    Describe {
        /// Where it comes from.
        name: String,
        /// What went wrong.
        reason: String,
    },
}

/// A component that was checked for a role and can be instantiated at any time.
pub(crate) struct Loaded {
    pub(crate) component: Component,
    pub(crate) pre: InstancePre<State>,
    /// Where it comes from, for messages.
    pub(crate) name: String,
    /// SHA-256 of the component's bytes, in hex.
    pub(crate) digest: String,
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
        let indices = K::indices(&loaded.component).map_err(|export| loaded.lacks(role, export))?;
        Ok(Arc::new(Self { loaded, indices, engine: engine.clone() }))
    }

    /// What the component says of itself; none of one that does not.
    ///
    /// # Errors
    ///
    /// [`LoadError::Describe`].
    pub async fn describe(
        &self,
        role: &'static str,
        limits: &Limits,
    ) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, role, limits).await
    }

    /// SHA-256 of the component's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.loaded.digest
    }
}

impl Loaded {
    pub(crate) fn lacks(&self, role: &'static str, export: String) -> LoadError {
        let ty = self.component.component_type();
        let exports: Vec<_> = ty.exports(self.component.engine()).map(|(name, _)| name.to_owned()).collect();
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        LoadError::Export { name: self.name.clone(), role, export, exports }
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
    let component = Component::new(&engine.wasmtime, &wasm)
        .map_err(|error| LoadError::NotAComponent { name: name.clone(), reason: format!("{error:#}") })?;
    check_imports(&component, &name, role)?;
    let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::Mismatch {
        name: name.clone(),
        role,
        reason: format!("{error:#}"),
    })?;
    let digest = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Loaded { component, pre, name, digest })
}

fn read(source: &Source) -> Result<(String, Vec<u8>), LoadError> {
    match source {
        Source::Builtin { name, wasm } => Ok((format!("builtin:{name}"), wasm.to_vec())),
        Source::File(path) => {
            let file_error = |error| LoadError::File { path: path.clone(), error };
            let mut wasm = Vec::new();
            open(path)
                .map_err(file_error)?
                .take(COMPONENT_BYTES_MAX + 1)
                .read_to_end(&mut wasm)
                .map_err(file_error)?;
            if wasm.len() as u64 > COMPONENT_BYTES_MAX {
                return Err(LoadError::TooLarge { name: path.display().to_string() });
            }
            Ok((path.display().to_string(), wasm))
        }
    }
}

/// Opens a file through the folder it lies in, so that a link in a plugin folder cannot lead out of it.
fn open(path: &Path) -> std::io::Result<cap_std::fs::File> {
    let no_file = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "this path names no file");
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    folder.open(path.file_name().ok_or_else(no_file)?)
}

/// Interfaces that any component may import.
const OFFERED: &[&str] =
    &["exesdb:host/logging@0.1.0", "exesdb:host/config@0.1.0", "exesdb:store/types@0.1.0"];

/// Interfaces for persistence components.
const OFFERED_TO_PERSISTENCE: &[&str] = &["exesdb:storage/keyspaces@0.1.0", "exesdb:host/clock@0.1.0"];

/// Interfaces for gateways. WASI's come in the version that the engine implements; any 0.2 matches.
const OFFERED_TO_GATEWAYS: &[&str] = &[
    "exesdb:store/streams@0.1.0",
    "exesdb:store/snapshots@0.1.0",
    "exesdb:store/live@0.1.0",
    "exesdb:store/history@0.1.0",
    "wasi:http/types@0.2",
    "wasi:io/error@0.2",
    "wasi:io/poll@0.2",
    "wasi:io/streams@0.2",
    "wasi:clocks/wall-clock@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:random/random@0.2",
    "wasi:cli/stdin@0.2",
    "wasi:cli/stdout@0.2",
    "wasi:cli/stderr@0.2",
];

fn check_imports(component: &Component, name: &str, role: &'static str) -> Result<(), LoadError> {
    let for_role = if role == "gateway" { OFFERED_TO_GATEWAYS } else { OFFERED_TO_PERSISTENCE };
    let ty = component.component_type();
    for (import, item) in ty.imports(component.engine()) {
        let offered = matches!(item.ty, ComponentItem::ComponentInstance(_))
            && OFFERED.iter().chain(for_role).any(|offer| satisfies(offer, import));
        if !offered {
            return Err(LoadError::Import {
                name: name.to_owned(),
                role,
                import: import.to_owned(),
                hint: hint(import, for_role),
            });
        }
    }
    Ok(())
}

/// Whether an offer serves an import: the same interface, of a version that the engine takes for compatible.
fn satisfies(offer: &str, import: &str) -> bool {
    let (Some((interface, offered)), Some((wanted_interface, wanted))) =
        (offer.rsplit_once('@'), import.rsplit_once('@'))
    else {
        return false;
    };
    // Below 1.0 the second number is the compatible track.
    let track = |version: &str| {
        let mut numbers = version.split('.').map(str::to_owned);
        (numbers.next(), numbers.next())
    };
    interface == wanted_interface && track(offered) == track(wanted)
}

fn hint(import: &str, for_role: &[&str]) -> String {
    let interface = import.split('@').next().unwrap_or(import);
    let same = OFFERED.iter().chain(for_role).find(|offer| offer.split('@').next() == Some(interface));
    match same {
        Some(offer) => format!("Build it against {offer}"),
        None => format!("Offered are {}", [OFFERED, for_role].concat().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{OFFERED_TO_GATEWAYS, hint, satisfies};

    #[test]
    fn an_offer_serves_imports_of_its_track() {
        assert!(satisfies("wasi:http/types@0.2", "wasi:http/types@0.2.12"));
        assert!(satisfies("exesdb:store/live@0.1.0", "exesdb:store/live@0.1.7"));
        assert!(!satisfies("exesdb:store/live@0.1.0", "exesdb:store/live@0.2.0"));
        assert!(!satisfies("wasi:http/types@0.2", "wasi:http/types@0.3.0"));
        assert!(!satisfies("wasi:http/types@0.2", "wasi:http/outgoing-handler@0.2.0"));
        assert!(!satisfies("wasi:http/types@0.2", "unversioned"));
    }

    #[test]
    fn the_hint_names_the_version_that_there_is() {
        assert_eq!(
            hint("exesdb:store/live@0.9.0", OFFERED_TO_GATEWAYS),
            "Build it against exesdb:store/live@0.1.0"
        );
        assert!(hint("a:b/c@1.0.0", OFFERED_TO_GATEWAYS).starts_with("Offered are "));
    }
}
