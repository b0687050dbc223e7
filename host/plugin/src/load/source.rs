//! Reads a component's bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::LoadError;
use crate::limits::COMPONENT_BYTES_MAX;

/// Where a component comes from.
#[derive(Debug, Clone)]
pub enum WasmSource {
    /// The host's binary.
    Builtin {
        /// The name, as in `builtin:NAME`.
        name: &'static str,
        /// The component's bytes.
        wasm: &'static [u8],
    },
    /// A file.
    File(PathBuf),
}

/// The name and the bytes of a component.
pub(super) fn read(source: &WasmSource) -> Result<(String, Vec<u8>), LoadError> {
    match source {
        WasmSource::Builtin { name, wasm } => Ok((format!("builtin:{name}"), wasm.to_vec())),
        WasmSource::File(path) => {
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

/// Opens a file relative to its folder, so that a link cannot lead out of that. A pipe is not opened, because that would wait
/// for its writer.
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

/// Why a path could not be opened. A link whose target exists leads out of its folder.
fn not_opened(path: &Path, error: std::io::Error) -> LoadError {
    let (path, target) = (path.to_owned(), std::fs::read_link(path).ok());
    match (error.kind(), target) {
        (std::io::ErrorKind::NotFound, target) => LoadError::Missing { path, target },
        (_, Some(target)) => LoadError::Link { path, target },
        (_, None) => LoadError::File { path, error },
    }
}
