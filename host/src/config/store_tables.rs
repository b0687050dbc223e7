//! The table of each store as text: what a cluster keeps of it, and what its nodes read of that.

use std::path::Path;

use super::model::{Config, StoreConfig};
use super::parse::parse;
use super::schema;
use super::source::{self, ConfigError, SourceText};

/// A store, and its table of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTable {
    /// The store's name.
    pub name: String,
    /// The table as TOML: a file with this store alone.
    pub toml: String,
}

/// The tables of the stores of a configuration file, in order; without any, that of the default store.
///
/// # Errors
///
/// As [`Config::load`].
pub fn store_tables(path: Option<&Path>) -> Result<Vec<StoreTable>, ConfigError> {
    let text = path.map(source::read).transpose()?.unwrap_or_default();
    let source = SourceText { file: path.unwrap_or(Path::new("")), text: &text };
    let config = parse(source).map_err(|violation| source.error(violation))?;
    let mut document: toml::Table = text.parse().expect("it was parsed before");
    let tables = match document.remove(schema::STORE) {
        Some(toml::Value::Array(tables)) => tables,
        _ => config.stores.iter().map(default_table).collect(),
    };
    let one = |(store, table): (&StoreConfig, toml::Value)| {
        let alone = toml::Table::from_iter([(schema::STORE.to_owned(), toml::Value::Array(vec![table]))]);
        StoreTable { name: store.name.clone(), toml: alone.to_string() }
    };
    Ok(config.stores.iter().zip(tables).map(one).collect())
}

fn default_table(store: &StoreConfig) -> toml::Value {
    toml::Table::from_iter([(schema::NAME.name.to_owned(), store.name.clone().into())]).into()
}

/// The store of a table that a cluster keeps. Errors name it as `file`, and relative paths are relative to that.
///
/// # Errors
///
/// As [`Config::load`]: the table is a claim of whoever made the cluster, perhaps with another version.
pub fn store_of(file: &Path, table: &StoreTable) -> Result<StoreConfig, ConfigError> {
    let source = SourceText { file, text: &table.toml };
    let Config { stores, .. } = parse(source).map_err(|violation| source.error(violation))?;
    let count = stores.len();
    match <[StoreConfig; 1]>::try_from(stores) {
        Ok([store]) if store.name == table.name => Ok(store),
        _ => {
            let message = format!("there are {count} stores, or another one than {}", table.name);
            Err(ConfigError::of_file(file, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{StoreTable, store_of, store_tables};
    use crate::config::model::{ComponentSource, Config, StoreConfig};

    #[test]
    fn a_store_is_the_same_when_it_is_read_from_its_table() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("exesdb.toml");
        let text = "data = \"d\"\n[cluster]\n[[store]]\nname = \"a\"\nwriters = 2\n[store.components]\nstreams = \"s.wasm\"\n\
                    [store.settings.streams]\n\"a b\" = \"x\\ny\"\n[store.limits]\nmemory_mib = 3\n[store.limits.gateway]\n\
                    memory_mib = 4\n[[store]]\nname = \"b\"\n[store.sinks.s]\ncomponent = \"builtin:webhook\"\n\
                    subscription = \"s\"\nallowed_hosts = [\"h\"]\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let tables = store_tables(Some(&file)).unwrap();
        assert_eq!(tables.iter().map(|table| &*table.name).collect::<Vec<_>>(), ["a", "b"]);
        for (table, written) in tables.iter().zip(&config.stores) {
            let mut read = store_of(&file, table).unwrap();
            // Places are those in the table.
            let mut written = written.clone();
            for store in [&mut read, &mut written] {
                store.component_places.clear();
                store.limit_places.clear();
            }
            let values = |store: &StoreConfig| {
                let all = store.settings.values().flatten();
                all.map(|(key, setting)| (key.clone(), setting.value.clone())).collect::<Vec<_>>()
            };
            assert_eq!(values(&read), values(&written));
            assert_eq!(
                (read.writers, read.limits, &read.components),
                (written.writers, written.limits, &written.components)
            );
            assert_eq!(read.component_limits, written.component_limits);
            assert_eq!(read.sinks.len(), written.sinks.len());
        }
        let streams = &store_of(Path::new("/n/exesdb.toml"), &tables[0]).unwrap().components.streams;
        assert_eq!(*streams, ComponentSource::File(PathBuf::from("/n/s.wasm")));
    }

    #[test]
    fn without_tables_there_is_the_default_store() {
        let tables = store_tables(None).unwrap();
        assert_eq!((tables.len(), &*tables[0].name), (1, "main"));
        assert_eq!(store_of(Path::new("f"), &tables[0]).unwrap(), StoreConfig::named("main"));
    }

    #[test]
    fn a_table_that_is_none_is_refused() {
        for toml in [
            "",
            "[[store]]\nname = \"b\"",
            "[[store]]\nname = \"a\"\n[[store]]\nname = \"b\"",
            "x",
            "[[store]]",
        ] {
            let table = StoreTable { name: "a".into(), toml: toml.into() };
            assert!(store_of(Path::new("f"), &table).is_err(), "{toml}");
        }
    }
}
