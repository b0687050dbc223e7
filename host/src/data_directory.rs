//! The data directory: a folder for each store, and one for compiled components.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cap_std::fs::Dir;
use exesdb_storage::dump::unfinished;

use crate::config::{Config, StoreConfig};

/// The folder of compiled components; no store can have this name. Its content is run as machine code, so it belongs to
/// the host's user, as the databases do.
pub(crate) const COMPILED: &str = ".compiled";

/// Creates the data directory, which only its owner may enter, with a folder for each store. Returns its path without
/// links. The folders are created and opened through the directory's handle, so that none of them can be a link that
/// leads out of it.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let shown = config.data.display();
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data);
    created.map_err(|error| failed(&error, format_args!("the data directory {shown} cannot be made")))?;
    let directory = Dir::open_ambient_dir(&config.data, cap_std::ambient_authority())
        .map_err(|error| failed(&error, format_args!("the data directory {shown} cannot be opened")))?;
    for folder in config.stores.iter().map(|store| store.name.as_str()).chain([COMPILED]) {
        directory.create_dir_all(folder).and_then(|()| directory.open_dir(folder)).map_err(|error| {
            let path = config.data.join(folder);
            failed(&error, format_args!("the folder {} cannot be made or entered", path.display()))
        })?;
    }
    config.data.canonicalize().with_context(|| format!("cannot find the data directory {shown}"))
}

/// The names of the stores in a data directory, in order.
pub(crate) fn stores_in(data: &Path) -> anyhow::Result<Vec<String>> {
    let message = || format!("cannot list the data directory {}", data.display());
    let mut stores = Vec::new();
    for entry in std::fs::read_dir(data).with_context(message)? {
        let entry = entry.with_context(message)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // This process could not serve a folder that it cannot read.
        if StoreConfig::check_name(&name).is_ok() && has_store(&entry.path()).unwrap_or(false) {
            stores.push(name);
        }
    }
    stores.sort_unstable();
    Ok(stores)
}

/// Whether a folder contains a store, damaged or not. The error says why that cannot be determined.
pub(crate) fn has_store(folder: &Path) -> anyhow::Result<bool> {
    let look = || {
        // An unfinished restore may have left a durable mark.
        if unfinished::is_unfinished(folder)? {
            return Ok(false);
        }
        Ok(folder.join("data").try_exists()? || folder.join("durable.mark").try_exists()?)
    };
    look().map_err(|error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run this as the user to whom the folder belongs",
            _ => "",
        };
        anyhow::anyhow!("{} cannot be looked into ({error}){advice}", folder.display())
    })
}

/// Says why a folder contains no store, and what to do.
pub(crate) fn absence(folder: &Path) -> String {
    let path = folder.display();
    if unfinished::is_unfinished(folder).unwrap_or(false) {
        return format!(
            "a restore into {path} was not finished; repeat it, or end it with `exesdb restore --give-up`, and the same --store and --data"
        );
    }
    let stores = folder.parent().and_then(|data| stores_in(data).ok()).unwrap_or_default();
    let existing = if stores.is_empty() {
        String::new()
    } else {
        format!("; the data directory has {}", stores.join(", "))
    };
    format!(
        "there is no store in {path}{existing}; give --data and --store, or --config, as for `exesdb serve`"
    )
}

/// A failed system call, with what to do about it.
fn failed(error: &io::Error, what: std::fmt::Arguments<'_>) -> anyhow::Error {
    anyhow::anyhow!("{what}: {error}{}", exesdb_storage::advice(error))
}
