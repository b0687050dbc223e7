//! `exesdb serve`: its options, and the configuration that they and a file make.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, DEFAULT_DATA, DEFAULT_LISTEN, example_file, parse_listen};

fn after_help() -> String {
    let indented: Vec<String> = example_file().lines().map(|line| format!("  {line}")).collect();
    let example: Vec<&str> = indented.iter().map(|line| line.trim_end()).collect();
    format!(
        "\
Examples:
  exesdb serve
  exesdb serve --data /var/lib/exesdb --listen 127.0.0.1:2113
  exesdb serve --config exesdb.toml

Only the stores that the file names are served (without a file, main). The log says which those are, and warns of stores in
the data directory that are not among them.

A configuration file, here with every default:
{}",
        example.join("\n")
    )
}

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub struct ServeOptions {
    /// The data directory, if not the file's.
    #[arg(
        long,
        env = "EXESDB_DATA",
        value_name = "DIR",
        help = format!(
            "Where data is kept; goes before the file's `data`, and so does the environment variable [default: \
             {DEFAULT_DATA}]"
        )
    )]
    pub data: Option<PathBuf>,

    /// Where to listen, if not where the file says.
    #[arg(
        long,
        env = "EXESDB_LISTEN",
        value_name = "[ADDR:]PORT",
        value_parser = parse_listen,
        help = format!(
            "Where the gateway listens: an address or a name with a port, or a port of 127.0.0.1; goes before the \
             file's `listen` [default: {DEFAULT_LISTEN}]"
        )
    )]
    pub listen: Option<SocketAddr>,

    /// The stores, their components and limits; without it, one store `main` with everything built in.
    #[arg(long, env = "EXESDB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeOptions {
    /// What is to run. An option takes precedence over the file, and the file over the default.
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

#[cfg(test)]
mod tests {
    #[test]
    fn clients_ask_where_the_host_listens_by_default() {
        assert_eq!(crate::client::DEFAULT_URL, format!("http://{}", crate::config::DEFAULT_LISTEN));
    }
}
