//! `exesdb serve`: its options, and the configuration that they and a file make.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, parse_listen};

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb serve
  exesdb serve --data /var/lib/exesdb --listen 127.0.0.1:2113
  exesdb serve --config exesdb.toml

Only the stores that the file names are served (without a file, main). The log says which those are, and warns of stores in
the data directory that are not among them.

A configuration file, here with every default:
  data = \"./exesdb-data\"            # relative paths are relative to the file; --data and EXESDB_DATA go before it
  listen = \"127.0.0.1:2113\"
  allowed_hosts = []                # further names that requests may be sent to, such as \"db.example.org\"; others are
                                    # refused when there are any, or when it listens on loopback
  allowed_origins = []              # origins whose web pages may read and write, such as \"https://app.example.org\"

  [[store]]                         # one for each store
  name = \"main\"
  gateway_pool_size = 3
  writers = 4
  readers = 2
  snapshot_workers = 2
  disk_reserve_mib = 256            # of free disk below which only what makes room is written
  pubsub = true

  [store.components]                # or the path of a component file
  streams = \"builtin:streams\"
  snapshots = \"builtin:snapshots\"
  gateway = \"builtin:gateway-http\"

  [store.settings.streams]          # the component declares which settings it has
  index-correlation = false         # find events by $correlationId and $causationId: those appended since it is on

  [store.limits]                    # of each instance
  call_cpu_ms = 1000
  call_wall_ms = 30000
  memory_mib = 64
  mailbox = 1024
  response_wall_ms = 40000          # until the gateway's response begins
  gateway_instances_per_worker = 64

  [store.limits.gateway]            # of each instance of one component (streams, snapshots, gateway), instead
  memory_mib = 64")]
pub struct ServeOptions {
    /// Where data is kept; goes before the file's `data`, and so does the environment variable [default: ./exesdb-data].
    #[arg(long, env = "EXESDB_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where the gateway listens: an address or a name with a port, or a port of 127.0.0.1; goes before the file's
    /// `listen` [default: 127.0.0.1:2113].
    #[arg(long, env = "EXESDB_LISTEN", value_name = "[ADDR:]PORT", value_parser = parse_listen)]
    pub listen: Option<SocketAddr>,

    /// The stores, their components and limits; without it, one store `main` with everything built in.
    #[arg(long, env = "EXESDB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeOptions {
    /// What is to run: options before the file, the file before the defaults.
    pub fn config(self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        if let Some(data) = self.data {
            config.data = data;
        }
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        Ok(config)
    }
}
