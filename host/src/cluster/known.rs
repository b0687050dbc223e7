//! What a node knows of its cluster before it has the registry: written when it is made or joins.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use exesdb_node::registry::{Node, Registry};
use serde::{Deserialize, Serialize};

/// The file, in the folder of `$cluster`.
const FILE: &str = "known.json";

/// The largest file: thousands of stores.
const BYTES_MAX: u64 = 16 << 20;

/// Nodes and stores of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The features that the cluster uses.
    pub feature_level: u32,
    /// By node id.
    pub nodes: BTreeMap<u64, Node>,
    /// Of each store its name and its table of the configuration file, as TOML.
    pub stores: BTreeMap<String, String>,
}

impl Known {
    /// What a registry says.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let stores = registry.stores.values().map(|store| (store.name.clone(), store.config.clone()));
        Self {
            feature_level: registry.feature_level(),
            nodes: registry.nodes.clone(),
            stores: stores.collect(),
        }
    }

    fn path(data: &Path) -> PathBuf {
        data.join(exesdb_node::CLUSTER_NAME).join(FILE)
    }

    /// Reads what was written.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is malformed; with its path.
    pub fn read(data: &Path) -> Result<Self, String> {
        let path = Self::path(data);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = fs::metadata(&path).map_err(|error| failed(&error))?.len();
        if bytes > BYTES_MAX {
            return Err(failed(&format!("it has {bytes} bytes, over the limit of {BYTES_MAX}")));
        }
        let text = fs::read(&path).map_err(|error| failed(&error))?;
        serde_json::from_slice(&text).map_err(|error| failed(&error))
    }

    /// Writes it. Durable on return.
    ///
    /// # Errors
    ///
    /// The operating system's error, with the path.
    pub fn write(&self, data: &Path) -> Result<(), String> {
        let path = Self::path(data);
        let new = path.with_extension("json.new");
        let folder = path.parent().expect("it is in a folder").to_owned();
        let text = serde_json::to_vec_pretty(self).expect("it has keys of text");
        let write = || {
            fs::create_dir_all(&folder)?;
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|error| {
            format!("writing {} failed: {error}{}", path.display(), exesdb_storage::advice(&error))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Known;

    #[test]
    fn what_was_written_is_read_back_and_damage_is_refused_with_the_path() {
        let data = tempfile::tempdir().unwrap();
        let stores = [("main".to_owned(), "name = \"main\"".to_owned())];
        let known = Known { feature_level: 1, nodes: [].into(), stores: stores.into() };
        known.write(data.path()).unwrap();
        assert_eq!(Known::read(data.path()), Ok(known));
        let path = Known::path(data.path());
        for text in ["", "{", "[]", "{\"feature_level\":1,\"nodes\":{},\"stores\":{},\"more\":1}"] {
            fs::write(&path, text).unwrap();
            assert!(Known::read(data.path()).unwrap_err().contains("known.json"), "{text}");
        }
    }
}
