//! A configuration that was read and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use exesdb_plugin::{Grants, SettingValue};

use super::address;
use super::schema;
use super::schema::Number;
use super::source::Place;

/// Everything that `serve` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of all databases and of the control socket.
    pub data: PathBuf,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Names, in lower case and without a port, that requests may be sent to besides loopback names. Others are refused
    /// if there are any, or if `listen` is a loopback address.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may send requests and read responses, such as `https://app.example.org`.
    pub allowed_origins: Vec<String>,
    /// At least one store; names are unique. In a cluster they are those that its first node begins with.
    pub stores: Vec<StoreConfig>,
    /// Where the file has its stores, if it names any.
    pub store_place: Option<Place>,
    /// What the host is in a cluster, if it is a node of one.
    pub cluster: Option<ClusterConfig>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// Where other nodes reach it: host and port.
    pub advertise: String,
    /// Where clients reach it, if that does not follow from where the gateway listens.
    pub advertise_clients: Option<String>,
    /// Where other nodes may be: host and port.
    pub peers: Vec<String>,
    /// A name whose addresses are those of other nodes, and their port.
    pub peers_dns: Option<String>,
    /// Its name, if it is not that of the machine.
    pub name: Option<String>,
    /// What fails together with it.
    pub zone: Option<String>,
    /// Files of an authority of the operator's.
    pub tls: Option<TlsFiles>,
    /// MiB of the log of each store that are kept for nodes that are behind.
    pub log_retain_mib: u32,
}

/// Files in PEM. Relative paths were resolved against the directory of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the authority.
    pub ca: PathBuf,
    /// The node's certificate.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// One store (one tenant): its components, how many instances of each there are, and what they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// 1 to 64 of `a-z 0-9 -`; a directory name and a part of URLs and supervision paths.
    pub name: String,
    /// Gateway workers.
    pub gateway_pool_size: u32,
    /// Instances of the streams component that decide about changes, partitioned by stream.
    pub writers: u32,
    /// Instances of the streams component that read.
    pub readers: u32,
    /// Instances of the snapshots component.
    pub snapshot_workers: u32,
    /// Instances of the subscriptions component that keep what is stored.
    pub subscription_workers: u32,
    /// Supervisors of emitters.
    pub emitter_pool_size: u32,
    /// Durable subscriptions, each of which has an emitter.
    pub subscriptions_max: u32,
    /// MiB of free disk space below which the store takes no writes but those that make room.
    pub disk_reserve_mib: u32,
    /// Whether the store has a pubsub child.
    pub pubsub: bool,
    /// Where each component comes from.
    pub components: Components,
    /// Where the file names components, by component.
    pub component_places: BTreeMap<String, Place>,
    /// Settings by component (`streams`, `snapshots`, `subscriptions`, `gateway`), then by key. When the component is loaded, they are
    /// checked against those that it declares.
    pub settings: BTreeMap<String, BTreeMap<String, Setting>>,
    /// Sinks, by their names.
    pub sinks: BTreeMap<String, SinkConfig>,
    /// What each instance may use if its component has no limits of its own.
    pub limits: Limits,
    /// What each instance of a component may use, by component, where it differs from [`StoreConfig::limits`].
    pub component_limits: BTreeMap<String, Limits>,
    /// Where the file sets limits, by component (empty for all components) and key.
    pub limit_places: BTreeMap<(&'static str, &'static str), Place>,
    /// Table files that its database keeps open. Not a key of the file: derived from the process's limit on open files.
    pub open_tables: usize,
    /// The data directory, as a path that is valid when the store starts. No sink is granted it.
    pub data: PathBuf,
}

/// Where the components of a store come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// World `streams-plugin`.
    pub streams: ComponentSource,
    /// World `snapshots-plugin`.
    pub snapshots: ComponentSource,
    /// World `subscriptions-plugin`.
    pub subscriptions: ComponentSource,
    /// World `gateway-steps-plugin` or `gateway-http-plugin`.
    pub gateway: ComponentSource,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// One that this binary carries: `streams`, `snapshots`, `subscriptions`, `gateway-http`, `webhook` or `ndjson-file`.
    Builtin(String),
    /// A component file. A relative path was resolved against the directory of the configuration file.
    File(PathBuf),
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// World `emitter-plugin`.
    pub component: ComponentSource,
    /// Where the file names the component.
    pub component_place: Place,
    /// The durable subscription whose events it takes.
    pub subscription: String,
    /// Events that are passed to it at a time.
    pub batch_events: u32,
    /// What it may use outside of itself. A relative path was resolved against the directory of the configuration file.
    pub grants: Grants,
    /// Where the file names the directory, if it does.
    pub directory_place: Option<Place>,
    /// The settings of its component.
    pub settings: BTreeMap<String, Setting>,
}

/// A setting as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, of the type that it is written in.
    pub value: SettingValue,
    /// Where its key is.
    pub key_place: Place,
    /// Where its value is.
    pub value_place: Place,
}

/// What an instance may use before it is stopped, and how much may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of a call since the guest last waited for the host, in milliseconds.
    pub call_cpu_ms: u32,
    /// Time from a persistence call to its result, in milliseconds.
    pub call_wall_ms: u32,
    /// Time from the last part of a request to the beginning of the gateway's response, in milliseconds.
    pub response_wall_ms: u32,
    /// Sum of an instance's linear memories, in MiB.
    pub memory_mib: u32,
    /// Changes that may wait for an instance, and as many reads; the next one is refused as overloaded.
    pub mailbox: u32,
    /// Gateway instances of one worker at a time: one for each request in progress, live streams included.
    pub gateway_instances_per_worker: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from(schema::DATA.default),
            listen: schema::LISTEN.default.parse().expect("the schema has an address"),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            stores: vec![StoreConfig::named(schema::NAME.default)],
            store_place: None,
            cluster: None,
        }
    }
}

impl Config {
    /// Checks that the file leaves the stores to the cluster: all nodes but the first get them from there.
    ///
    /// # Errors
    ///
    /// Where the file names stores, and what to do.
    pub fn check_stores_are_left_to_the_cluster(&self) -> Result<(), String> {
        let Some(place) = &self.store_place else { return Ok(()) };
        Err(format!(
            "{place}: a node gets its stores from the cluster, which has those that the file of its first node named when \
             `exesdb cluster init` ran; remove the [[store]] tables"
        ))
    }
}

impl TlsFiles {
    /// The folder in a data directory for certificates and keys.
    pub fn folder(data: &Path) -> PathBuf {
        data.join(exesdb_node::CLUSTER_NAME).join("tls")
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            listen: schema::PEER_LISTEN.default.parse().expect("the schema has an address"),
            advertise: schema::PEER_LISTEN.default.to_owned(),
            advertise_clients: None,
            peers: Vec::new(),
            peers_dns: None,
            name: None,
            zone: None,
            tls: None,
            log_retain_mib: schema::LOG_RETAIN_MIB.default,
        }
    }
}

impl ClusterConfig {
    /// The node's name: its own, or that of the machine, which is given.
    ///
    /// # Errors
    ///
    /// The machine's name is none of a node, and what to do.
    pub fn node_name(&self, machine: &str) -> Result<String, String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        address::node(&machine.to_ascii_lowercase()).ok_or_else(|| {
            format!(
                "the machine's host name is {machine:?}, which cannot be the name of a node; add name to [cluster], {}",
                schema::NODE_NAME.expected
            )
        })
    }

    /// The files of the node's certificates: those that the operator names, or those that `init` and `join` write into the data
    /// directory.
    pub fn tls_files(&self, data: &Path) -> TlsFiles {
        self.tls.clone().unwrap_or_else(|| {
            let folder = TlsFiles::folder(data);
            TlsFiles {
                ca: folder.join("ca.pem"),
                cert: folder.join("node.pem"),
                key: folder.join("node.key"),
            }
        })
    }

    /// Where clients reach the node, whose gateway listens there.
    pub fn client_address(&self, listen: SocketAddr) -> String {
        if let Some(address) = &self.advertise_clients {
            return address.clone();
        }
        let is_for_all = address::is_reachable(listen) && !listen.ip().to_canonical().is_loopback();
        match self.advertise.rsplit_once(':') {
            Some((host, _)) if !is_for_all => format!("{host}:{}", listen.port()),
            _ => listen.to_string(),
        }
    }
}

impl StoreConfig {
    /// A store of this name with every default.
    pub fn named(name: &str) -> Self {
        StoreConfig {
            name: name.to_owned(),
            gateway_pool_size: schema::GATEWAY_POOL_SIZE.default,
            writers: schema::WRITERS.default,
            readers: schema::READERS.default,
            snapshot_workers: schema::SNAPSHOT_WORKERS.default,
            subscription_workers: schema::SUBSCRIPTION_WORKERS.default,
            emitter_pool_size: schema::EMITTER_POOL_SIZE.default,
            subscriptions_max: schema::SUBSCRIPTIONS_MAX.default,
            disk_reserve_mib: schema::DISK_RESERVE_MIB.default,
            pubsub: schema::PUBSUB.default,
            components: Components::default(),
            component_places: BTreeMap::new(),
            settings: BTreeMap::new(),
            sinks: BTreeMap::new(),
            limits: Limits::default(),
            component_limits: BTreeMap::new(),
            limit_places: BTreeMap::new(),
            open_tables: exesdb_storage::Options::default().open_tables,
            data: PathBuf::new(),
        }
    }

    /// Whether a text can be a store's name; otherwise, what it must be.
    pub fn check_name(name: &str) -> Result<(), String> {
        schema::check_name(name)
    }

    /// Makes all paths absolute, so that they stay valid when the process changes its working directory.
    pub fn with_absolute_paths(mut self) -> std::io::Result<Self> {
        let Components { streams, snapshots, subscriptions, gateway } = &mut self.components;
        for component in [streams, snapshots, subscriptions, gateway] {
            if let ComponentSource::File(path) = component {
                *path = std::path::absolute(&*path)?;
            }
        }
        for sink in self.sinks.values_mut() {
            if let ComponentSource::File(path) = &mut sink.component {
                *path = std::path::absolute(&*path)?;
            }
            if let Some(directory) = &mut sink.grants.directory {
                *directory = std::path::absolute(&*directory)?;
            }
        }
        Ok(self)
    }

    /// The limits of each instance of a component.
    pub fn limits_of(&self, component: &str) -> &Limits {
        self.component_limits.get(component).unwrap_or(&self.limits)
    }

    /// Where the file sets a limit of a component, if it does.
    pub fn limit_place(&self, component: &'static str, limit: &'static str) -> Option<&Place> {
        let own = self.limit_places.get(&(component, limit));
        own.or_else(|| self.limit_places.get(&("", limit)))
    }

    /// Component instances that the store may have at a time.
    pub fn instances(&self) -> u32 {
        let gateway = self.gateway_pool_size * self.limits.gateway_instances_per_worker;
        let subscriptions = self.subscription_workers + self.subscriptions_max;
        let sinks = u32::try_from(self.sinks.len()).unwrap_or(u32::MAX);
        self.writers + self.readers + self.snapshot_workers + subscriptions + gateway + sinks
    }
}

impl Default for Components {
    fn default() -> Self {
        let builtin = |key: &schema::Component| ComponentSource::Builtin(key.builtin.to_owned());
        Components {
            streams: builtin(&schema::STREAMS),
            snapshots: builtin(&schema::SNAPSHOTS),
            subscriptions: builtin(&schema::SUBSCRIPTIONS),
            gateway: builtin(&schema::GATEWAY),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            call_cpu_ms: schema::CALL_CPU_MS.default,
            call_wall_ms: schema::CALL_WALL_MS.default,
            response_wall_ms: schema::RESPONSE_WALL_MS.default,
            memory_mib: schema::MEMORY_MIB.default,
            mailbox: schema::MAILBOX.default,
            gateway_instances_per_worker: schema::GATEWAY_INSTANCES_PER_WORKER.default,
        }
    }
}

/// A key and the field that it sets.
type LimitField = (&'static Number, fn(&mut Limits) -> &mut u32);

impl Limits {
    /// The fields by their keys.
    pub(super) const FIELDS: [LimitField; 6] = [
        (&schema::CALL_CPU_MS, |limits| &mut limits.call_cpu_ms),
        (&schema::CALL_WALL_MS, |limits| &mut limits.call_wall_ms),
        (&schema::RESPONSE_WALL_MS, |limits| &mut limits.response_wall_ms),
        (&schema::MEMORY_MIB, |limits| &mut limits.memory_mib),
        (&schema::MAILBOX, |limits| &mut limits.mailbox),
        (&schema::GATEWAY_INSTANCES_PER_WORKER, |limits| &mut limits.gateway_instances_per_worker),
    ];
}

impl From<&Limits> for exesdb_plugin::Limits {
    fn from(limits: &Limits) -> Self {
        exesdb_plugin::Limits {
            call_cpu_ms: limits.call_cpu_ms.into(),
            call_wall_ms: limits.call_wall_ms.into(),
            response_wall_ms: limits.response_wall_ms.into(),
            memory_bytes: (limits.memory_mib as usize) << 20,
            mailbox: limits.mailbox as usize,
            gateway_instances_per_worker: limits.gateway_instances_per_worker as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterConfig, Config, Limits, Place};
    use crate::config::schema::LIMITS_TABLE;

    #[test]
    fn a_node_is_called_as_its_machine_unless_it_has_a_name() {
        let unnamed = ClusterConfig::default();
        assert_eq!(unnamed.node_name("Db1.Example.org").as_deref(), Ok("db1.example.org"));
        assert!(unnamed.node_name("my_machine").unwrap_err().contains("add name to [cluster]"));
        let named = ClusterConfig { name: Some("node-1".into()), ..unnamed };
        assert_eq!(named.node_name("my_machine").as_deref(), Ok("node-1"));
    }

    #[test]
    fn clients_reach_a_node_where_its_gateway_listens_or_where_its_peers_do() {
        let own = ClusterConfig { advertise: "10.0.0.1:2114".into(), ..ClusterConfig::default() };
        let told = ClusterConfig { advertise_clients: Some("db:80".into()), ..own.clone() };
        for (cluster, listen, expected) in [
            (&own, "10.9.9.9:2113", "10.9.9.9:2113"),
            (&own, "0.0.0.0:2113", "10.0.0.1:2113"),
            (&own, "[::]:2113", "10.0.0.1:2113"),
            (&own, "127.0.0.1:2113", "10.0.0.1:2113"),
            (&told, "0.0.0.0:2113", "db:80"),
            (&ClusterConfig::default(), "127.0.0.1:2123", "127.0.0.1:2123"),
        ] {
            assert_eq!(cluster.client_address(listen.parse().unwrap()), expected, "{listen}");
        }
    }

    #[test]
    fn stores_in_the_file_of_a_node_that_joins_are_refused_by_their_place() {
        let place = Place { file: "exesdb.toml".into(), line: 3, column: 1 };
        let with = Config { store_place: Some(place), ..Config::default() };
        assert_eq!(Config::default().check_stores_are_left_to_the_cluster(), Ok(()));
        let refused = with.check_stores_are_left_to_the_cluster().unwrap_err();
        assert!(refused.starts_with("exesdb.toml:3:1: a node gets its stores from the cluster"), "{refused}");
    }

    #[test]
    fn every_limit_of_the_schema_has_a_field() {
        let mut in_schema: Vec<&str> = LIMITS_TABLE.keys.iter().map(|key| key.name()).collect();
        let mut with_field: Vec<&str> = Limits::FIELDS.iter().map(|(number, _)| number.name).collect();
        in_schema.sort_unstable();
        with_field.sort_unstable();
        assert_eq!(with_field, in_schema);
    }

    #[test]
    fn the_plugin_crate_has_the_same_default_limits() {
        assert_eq!(exesdb_plugin::Limits::from(&Limits::default()), exesdb_plugin::Limits::default());
    }
}
