//! The stores in a data directory.

use std::io;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use exesdb_storage::dump::unfinished;

use crate::config::StoreConfig;

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
        anyhow!("{} cannot be looked into ({error}){advice}", folder.display())
    })
}

/// Says why a folder contains no store, and what to do.
pub(crate) fn absence(folder: &Path) -> String {
    let path = folder.display();
    if unfinished::is_unfinished(folder).unwrap_or(false) {
        return format!(
            "a restore into {path} was not finished; repeat it, or end it with `exesdb restore --give-up`"
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
