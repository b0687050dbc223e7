//! What `exesdb serve` runs: the stores, their components and their limits.
//!
//! Without a file it is one store, `main`, on loopback, with the built-in components. `exesdb.toml` says otherwise.
//! A command line option or environment variable takes precedence over the file, and the file over the default.
//!
//! [`schema`] has the keys with their defaults and bounds. [`parse`] reads a file by it, [`model`] is the result, and
//! [`reference`] writes it down for people.

mod address;
mod listen;
mod model;
mod parse;
mod reference;
mod schema;
mod settings;
mod source;
mod store_tables;
mod table;
mod web;

pub use listen::parse_listen;
pub use model::{
    ClusterConfig, ComponentSource, Components, Config, Limits, Setting, SinkConfig, StoreConfig, TlsFiles,
};
pub use reference::{example_file, page as reference_page};
pub use schema::{DEFAULT_DATA, DEFAULT_LISTEN, DEFAULT_STORE};
pub use settings::resolve as resolve_settings;
pub use source::{ConfigError, Place};
pub use store_tables::{StoreTable, store_of, store_tables};
