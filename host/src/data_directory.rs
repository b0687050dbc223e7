//! The data directory: a folder for each store, and one for compiled components.

use std::path::PathBuf;

use anyhow::Context as _;
use cap_std::fs::Dir;

use crate::config::Config;

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

/// A failed system call, with what to do about it.
fn failed(error: &std::io::Error, what: std::fmt::Arguments<'_>) -> anyhow::Error {
    anyhow::anyhow!("{what}: {error}{}", exesdb_storage::advice(error))
}
