//! Options that say whom a command talks to: the gateway of a store, or the control socket of a host.

use std::path::PathBuf;

use clap::Args;

use crate::client::{Client, DEFAULT_URL, GatewayUrl};
use crate::config::{DEFAULT_DATA, DEFAULT_STORE};

/// Options of commands that use a store through the gateway.
#[derive(Debug, Args)]
pub struct GatewayOptions {
    /// The gateway.
    #[arg(long, env = "EXESDB_URL", default_value = DEFAULT_URL)]
    pub url: GatewayUrl,

    /// The store.
    #[arg(long, env = "EXESDB_STORE", default_value = DEFAULT_STORE)]
    pub store: String,
}

impl GatewayOptions {
    /// A client of the store.
    pub fn client(&self) -> Client {
        Client::new(self.url.clone(), &self.store)
    }
}

/// Options of commands that use a store through the control socket of its host.
#[derive(Debug, Args)]
pub struct ControlStoreOptions {
    /// The store.
    #[arg(long, env = "EXESDB_STORE", default_value = DEFAULT_STORE)]
    pub store: String,

    /// The host.
    #[command(flatten)]
    pub host: ControlOptions,
}

/// Options of commands that use the control socket of a host.
#[derive(Debug, Args)]
pub struct ControlOptions {
    /// The host's data directory, which contains its control socket.
    #[arg(long, env = "EXESDB_DATA", default_value = DEFAULT_DATA, value_name = "DIR")]
    pub data: PathBuf,
}
