//! What `exesdb serve` is to run: the stores, their components and their limits.
//!
//! Without a file it is one store, `main`, on loopback, with everything built in. `exesdb.toml` says otherwise;
//! [`file`] is its format. A flag or environment variable goes before the file, and the file before the default.

mod file;
mod settings;
mod web;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use exesdb_plugin::SettingValue;

pub use file::ConfigError;
pub use settings::resolve as resolve_settings;

/// Where data is kept when nothing says otherwise, relative to the working directory.
pub const DEFAULT_DATA: &str = "./exesdb-data";

/// The port of the gateway listener when nothing says otherwise.
pub const DEFAULT_PORT: u16 = 2113;

/// The store that there is when no file says otherwise.
pub const DEFAULT_STORE: &str = "main";

/// Where to listen: an IP address or a name with a port, or a port of 127.0.0.1. Otherwise what would be right.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    const RIGHT: &str = "it must be an address and a port such as 127.0.0.1:2113, localhost:2113 or 2113";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Err(RIGHT.to_owned());
    };
    if port.parse::<u16>().is_err() {
        return Err(format!("{port:?} is no port; {RIGHT}"));
    }
    let found =
        text.to_socket_addrs().map_err(|error| format!("{name:?} is not found ({error}); {RIGHT}"))?;
    let found: Vec<SocketAddr> = found.collect();
    // Of a name with both kinds of addresses that kind which clients ask by default.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| format!("{name:?} has no address; {RIGHT}"))
}

/// Everything that `serve` runs, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of all databases and of the control socket.
    pub data: PathBuf,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Names, in lower case and without a port, that requests may be sent to beside loopback names. Others are refused
    /// when there are any, or `listen` is a loopback address.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may send requests and read responses, such as `https://app.example.org`.
    pub allowed_origins: Vec<String>,
    /// At least one store; names are unique.
    pub stores: Vec<StoreConfig>,
}

/// One store (one tenant): its components, how many instances of each, and what they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// 1 to 64 of `a-z 0-9 -`; a directory name and a part of URLs and supervision paths.
    pub name: String,
    /// Gateway workers.
    pub gateway_pool_size: u16,
    /// Instances of the streams component that append, partitioned by stream.
    pub writers: u16,
    /// Instances of the streams component that read.
    pub readers: u16,
    /// Instances of the snapshots component.
    pub snapshot_workers: u16,
    /// MiB of free disk below which the store takes no writes but those that make room.
    pub disk_reserve_mib: u32,
    /// Whether the store has a pubsub child.
    pub pubsub: bool,
    /// Where each component comes from.
    pub components: Components,
    /// Where the file names each component that it names, by component.
    pub component_places: BTreeMap<String, Place>,
    /// Settings for components, by component (`streams`, `snapshots`, `gateway`), then by key. They are compared with
    /// what the component declares when it is loaded.
    pub settings: BTreeMap<String, BTreeMap<String, Setting>>,
    /// What each instance may use, where its component has no limits of its own.
    pub limits: Limits,
    /// What each instance of a component may use, by component, where it differs from [`StoreConfig::limits`].
    pub component_limits: BTreeMap<String, Limits>,
    /// Where the file sets a limit, by component (empty: of all of them) and limit.
    pub limit_places: BTreeMap<(&'static str, &'static str), Place>,
    /// Files of tables that its database keeps open: not configured, but less than the default where the process may open
    /// few files.
    pub open_tables: usize,
}

/// Where the components of a store come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// World `streams-plugin`.
    pub streams: ComponentSource,
    /// World `snapshots-plugin`.
    pub snapshots: ComponentSource,
    /// World `gateway-plugin`.
    pub gateway: ComponentSource,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// One that this binary carries, by its name: `streams`, `snapshots` or `gateway-http`.
    Builtin(String),
    /// A component file, already resolved against the directory of the configuration file.
    File(PathBuf),
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A setting as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is set to.
    pub value: SettingValue,
    /// Where its key stands.
    pub key_place: Place,
    /// Where its value stands.
    pub value_place: Place,
}

/// What an instance may use before it is stopped, and how much may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of a call since the guest last waited in the host, in milliseconds.
    pub call_cpu_ms: u32,
    /// Time from a persistence call to its answer, in milliseconds.
    pub call_wall_ms: u32,
    /// Time from the last part of a request to the beginning of the gateway's response, in milliseconds.
    pub response_wall_ms: u32,
    /// All linear memories of an instance together, in MiB.
    pub memory_mib: u32,
    /// Calls that may wait for an instance; the next one is refused as overloaded.
    pub mailbox: u32,
    /// Gateway instances that one worker may have at a time: one per request in flight, live streams included.
    pub gateway_instances_per_worker: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from(DEFAULT_DATA),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            stores: vec![StoreConfig::named(DEFAULT_STORE)],
        }
    }
}

impl StoreConfig {
    /// A store of this name with every default.
    pub fn named(name: &str) -> Self {
        StoreConfig {
            name: name.to_owned(),
            gateway_pool_size: 3,
            writers: 4,
            readers: 2,
            snapshot_workers: 2,
            // A journal beside the one in use, a flush of two memtables, and a compaction of what they became.
            disk_reserve_mib: 256,
            pubsub: true,
            components: Components::default(),
            component_places: BTreeMap::new(),
            settings: BTreeMap::new(),
            limits: Limits::default(),
            component_limits: BTreeMap::new(),
            limit_places: BTreeMap::new(),
            open_tables: exesdb_storage::Options::default().open_tables,
        }
    }
}

impl StoreConfig {
    /// Whether a text can be a store's name; if not, what would be right.
    pub fn check_name(name: &str) -> Result<(), String> {
        file::check_name(name)
    }

    /// The same with paths that stay good when the process enters another directory.
    pub fn with_absolute_paths(mut self) -> std::io::Result<Self> {
        let Components { streams, snapshots, gateway } = &mut self.components;
        for component in [streams, snapshots, gateway] {
            if let ComponentSource::File(path) = component {
                *path = std::path::absolute(&*path)?;
            }
        }
        Ok(self)
    }

    /// What each instance of a component may use.
    pub fn limits_of(&self, component: &str) -> &Limits {
        self.component_limits.get(component).unwrap_or(&self.limits)
    }

    /// Where the file sets this limit of a component, if it does.
    pub fn limit_place(&self, component: &'static str, limit: &'static str) -> Option<&Place> {
        let own = self.limit_places.get(&(component, limit));
        own.or_else(|| self.limit_places.get(&("", limit)))
    }

    /// Component instances that the store may have at a time.
    pub fn instances(&self) -> u32 {
        let pools = [self.writers, self.readers, self.snapshot_workers].map(u32::from);
        let gateway = u32::from(self.gateway_pool_size) * self.limits.gateway_instances_per_worker;
        pools.iter().sum::<u32>() + gateway
    }
}

impl Default for Components {
    fn default() -> Self {
        let builtin = |name: &str| ComponentSource::Builtin(name.to_owned());
        Components {
            streams: builtin("streams"),
            snapshots: builtin("snapshots"),
            gateway: builtin("gateway-http"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // A call of a built-in component takes microseconds: a second of CPU is a loop, not work.
            call_cpu_ms: 1_000,
            // A commit waits for the disk, and a disk that is busy may take seconds.
            call_wall_ms: 30_000,
            // A call into the store may take its 30 seconds, and the gateway some more.
            response_wall_ms: 40_000,
            // Room for a 4 MiB request in several copies, and small enough for hundreds of instances.
            memory_mib: 64,
            // Four calls' worth of what one call into the guest serves: what waits longer is better refused.
            mailbox: 1_024,
            // Live streams hold an instance each, up to three in four: 3 workers make 144 followers of a store.
            gateway_instances_per_worker: 64,
        }
    }
}

impl Config {
    /// Reads and checks a configuration file. Relative paths in it are relative to its directory.
    ///
    /// Errors name the file, line and column, what is wrong and what would be right.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = file::read(path)?;
        file::parse(&text, path).map_err(|error| error.in_file(path, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_listen;

    #[test]
    fn where_to_listen_is_an_address_a_name_or_a_port() {
        let cases = [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("80", Some("127.0.0.1:80")),
            (":80", Some("127.0.0.1:80")),
            ("0", Some("127.0.0.1:0")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("99999", None),
            ("127.0.0.1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let listen = parse_listen(text).map(|address| address.to_string());
            match expected {
                Some(expected) => assert_eq!(listen.as_deref(), Ok(expected), "{text}"),
                None => assert!(listen.unwrap_err().contains("localhost:2113"), "{text}"),
            }
        }
    }
}
