//! Stores without a host: their trees without gateways, for commands that work on data that no host serves.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use exesdb_plugin::{Clock, Engine};
use exesdb_supervisor::{Options, Registry, Root, Telemetry};

use crate::config::{Config, DEFAULT_DATA, DEFAULT_STORE, StoreConfig};
use crate::data_directory::{self, COMPILED};
use crate::tree::{self, Persistence};

/// The store to work on, and its data directory. No host may serve this store meanwhile; other stores of the directory
/// may be served.
#[derive(Debug, Args)]
pub struct OfflineOptions {
    /// The data directory, if not the file's.
    #[arg(
        long,
        env = "EXESDB_DATA",
        value_name = "DIR",
        help = format!("Where data is kept; goes before the file's `data` [default: {DEFAULT_DATA}]")
    )]
    pub data: Option<PathBuf>,

    /// The store.
    #[arg(long, env = "EXESDB_STORE", default_value = DEFAULT_STORE)]
    pub store: String,

    /// The file that `serve` is started with: it says which components and settings the store has.
    #[arg(long, env = "EXESDB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A store of a data directory, with its configuration.
#[derive(Debug)]
pub struct OfflineStore {
    /// The data directory.
    pub data: PathBuf,
    /// The store.
    pub config: StoreConfig,
}

impl OfflineOptions {
    /// Finds the store. Creates and opens nothing.
    pub fn store(&self) -> anyhow::Result<OfflineStore> {
        let config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config { stores: vec![StoreConfig::named(&self.store)], ..Config::default() },
        };
        let names: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
        let found = config.stores.iter().find(|store| store.name == self.store);
        let missing =
            || format!("there is no store {} in the file; there are: {}", self.store, names.join(", "));
        let store = found.with_context(missing)?.clone();
        // A name from the command line becomes a folder's: it is checked as those in the file are.
        StoreConfig::check_name(&store.name).map_err(anyhow::Error::msg)?;
        Ok(OfflineStore { data: self.data.clone().unwrap_or(config.data), config: store })
    }
}

impl OfflineStore {
    /// The store's folder.
    pub fn folder(&self) -> PathBuf {
        self.data.join(&self.config.name)
    }

    /// Creates the data directory and the store's folder in it, as a host does, and returns the directory's path without
    /// links.
    pub fn prepare(&self) -> anyhow::Result<PathBuf> {
        let config =
            Config { data: self.data.clone(), stores: vec![self.config.clone()], ..Config::default() };
        data_directory::prepare(&config)
    }
}

/// A store to open.
#[derive(Debug)]
pub struct Opening {
    /// Its components and limits. Stores that are open at the same time need different names.
    pub config: StoreConfig,
    /// Where its data is.
    pub folder: PathBuf,
    /// The time of day that its components see.
    pub clock: Clock,
}

/// Stores that are open, without gateways.
pub struct OfflineHost {
    root: Root,
    stores: Vec<Persistence>,
}

impl OfflineHost {
    /// Opens stores. `data` is a directory that was prepared by [`OfflineStore::prepare`].
    pub async fn start(data: &Path, stores: Vec<Opening>) -> anyhow::Result<OfflineHost> {
        let (registry, telemetry) = (Registry::new(), Telemetry::new());
        let engine = Engine::new(Some(data.join(COMPILED)))?;
        let mut loaded = Vec::with_capacity(stores.len());
        let mut folders = Vec::with_capacity(stores.len());
        for Opening { config, folder, clock } in stores {
            loaded.push(Persistence::new(&engine, config, clock, &registry, &telemetry, None));
            folders.push(folder);
        }
        let spec = tree::offline(loaded.iter().zip(folders));
        let options = Options { registry, telemetry, ..Options::default() };
        let root = Root::start(spec, options)
            .await
            .map_err(|error| anyhow::Error::msg(error.reason().message().to_owned()))?;
        Ok(OfflineHost { root, stores: loaded })
    }

    /// The stores, in the order in which they were passed to [`OfflineHost::start`].
    pub fn stores(&self) -> &[Persistence] {
        &self.stores
    }

    /// Closes the stores.
    pub async fn stop(self) {
        drop(self.root.stop().await);
    }
}

/// Runs a command that opens stores: their children block threads while they read.
pub fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system has no threads for the command")?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::OfflineOptions;

    fn options(store: &str) -> OfflineOptions {
        OfflineOptions { data: None, store: store.to_owned(), config: None }
    }

    #[test]
    fn a_path_is_not_a_store_name() {
        assert_eq!(options("main").store().unwrap().folder(), std::path::Path::new("./exesdb-data/main"));
        for name in ["", "..", "a/b", "/etc", ".compiled", "Main"] {
            assert!(options(name).store().unwrap_err().to_string().contains("a-z"), "{name}");
        }
    }

    #[test]
    fn a_store_has_the_settings_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("exesdb.toml");
        let text =
            "data = \"d\"\n[[store]]\nname = \"a\"\n[store.settings.streams]\nindex-correlation = true\n";
        std::fs::write(&file, text).unwrap();
        let options = |store: &str| OfflineOptions { config: Some(file.clone()), ..options(store) };
        let store = options("a").store().unwrap();
        assert_eq!(store.folder(), folder.path().join("d/a"));
        assert_eq!(store.config.settings["streams"]["index-correlation"].value.to_string(), "true");
        assert!(options("b").store().unwrap_err().to_string().contains("there are: a"));
    }
}
