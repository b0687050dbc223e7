//! The keys of the configuration file, with their types, defaults and bounds.
//!
//! This is their only source: the parser checks by it, `exesdb serve --help` and `docs/configuration.md` show it, and
//! the defaults of a configuration are its defaults.

mod cluster;

use exesdb_plugin::{INSTANCES_MAX, MEMORY_BYTES_MAX};

pub(super) use self::cluster::{
    ADVERTISE, ADVERTISE_CLIENTS, CA, CERT, CLUSTER, CLUSTER_TABLE, LOG_RETAIN_MIB, NODE_NAME, PEER_LISTEN,
    PEERS, PEERS_DNS, TLS, TLS_KEY, TLS_TABLE, ZONE,
};
use super::web;

/// The largest configuration file, in bytes: thousands of stores. A larger file is the wrong file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Stores of one process: each has a database with threads and files of its own.
pub(super) const STORES_MAX: usize = 256;
/// Component instances of all stores together.
pub(super) const STORE_INSTANCES_MAX: u32 = INSTANCES_MAX;
/// The longest store name, in bytes: it is a directory name and a URL segment.
const STORE_NAME_BYTES_MAX: usize = 64;
/// Names in one list: people write them by hand.
pub(super) const NAMES_MAX: usize = 64;
/// Settings of one component: it gets them as one list.
pub(super) const SETTINGS_MAX: usize = 256;
/// A setting's value, in bytes: larger data belongs in a file.
pub(super) const SETTING_BYTES_MAX: usize = 64 << 10;

/// Sinks of one store: each has an instance, and a consumer of a subscription.
pub(super) const SINKS_MAX: usize = 64;
/// The longest name of a durable subscription, in bytes, as the contract says.
pub(super) const SUBSCRIPTION_BYTES_MAX: usize = 512;

/// The data directory, relative to the working directory.
pub const DEFAULT_DATA: &str = DATA.default;
/// The address and port of the gateway's listener.
pub const DEFAULT_LISTEN: &str = LISTEN.default;
/// The store of a host without a configuration file.
pub const DEFAULT_STORE: &str = NAME.default;

/// A key whose value is a text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    /// What the value must be, as error messages say it.
    pub(super) expected: &'static str,
    pub(super) meaning: &'static str,
}

/// A key whose value is a list of texts, empty by default.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) name: &'static str,
    /// What each of them must be.
    pub(super) expected: &'static str,
    pub(super) meaning: &'static str,
}

/// A key whose value is a whole number.
#[derive(Debug)]
pub(super) struct Number {
    pub(super) name: &'static str,
    pub(super) default: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Of what it is a number, where the name does not end with it.
    pub(super) unit: &'static str,
    pub(super) meaning: &'static str,
    pub(super) why_bounded: &'static str,
}

/// A key whose value is true or false.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) default: bool,
    pub(super) meaning: &'static str,
}

/// A key that says which component has a role in the store.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: &'static str,
    /// The component that the binary carries for this role.
    pub(super) builtin: &'static str,
    pub(super) meaning: &'static str,
}

/// A key of any type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    Text(&'static Text),
    Names(&'static Names),
    Number(&'static Number),
    Flag(&'static Flag),
    Component(&'static Component),
}

impl Key {
    pub(super) fn name(self) -> &'static str {
        match self {
            Key::Text(key) => key.name,
            Key::Names(key) => key.name,
            Key::Number(key) => key.name,
            Key::Flag(key) => key.name,
            Key::Component(key) => key.name,
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Key::Text(key) => key.meaning,
            Key::Names(key) => key.meaning,
            Key::Number(key) => key.meaning,
            Key::Flag(key) => key.meaning,
            Key::Component(key) => key.meaning,
        }
    }
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table {
    /// As it is written in the file; empty for what comes before all tables.
    pub(super) header: &'static str,
    pub(super) meaning: &'static str,
    pub(super) keys: &'static [Key],
    /// Tables within it.
    pub(super) tables: &'static [&'static str],
}

impl Table {
    /// The names of its keys and tables.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name()).chain(self.tables.iter().copied())
    }
}

pub(super) const DATA: Text = Text {
    name: "data",
    default: "./exesdb-data",
    expected: "a directory such as \"./exesdb-data\"",
    meaning: "The directory of all databases, relative to the file. --data and EXESDB_DATA take precedence.",
};

pub(super) const LISTEN: Text = Text {
    name: "listen",
    default: "127.0.0.1:2113",
    expected: "an address and a port such as \"127.0.0.1:2113\"",
    meaning: "Where the gateway listens. --listen and EXESDB_LISTEN take precedence.",
};

pub(super) const ALLOWED_HOSTS: Names = Names {
    name: "allowed_hosts",
    expected: web::HOST,
    meaning: "Further names that requests may be sent to, such as \"db.example.org\". Other names are refused if there \
              are any, or if the gateway listens on loopback.",
};

pub(super) const ALLOWED_ORIGINS: Names = Names {
    name: "allowed_origins",
    expected: web::ORIGIN,
    meaning: "Origins whose web pages may read and write, such as \"https://app.example.org\".",
};

pub(super) const NAME: Text = Text {
    name: "name",
    default: "main",
    expected: "1 to 64 characters of a-z, 0-9 and -",
    meaning: "The name of the store, required: its folder in the data directory, and a part of URLs. Names must differ.",
};

/// A number of workers or instances.
const fn pool(name: &'static str, default: u32, meaning: &'static str) -> Number {
    let why_bounded = "Far more than there are cores to run them.";
    Number { name, default, min: 1, max: 64, unit: "", meaning, why_bounded }
}

pub(super) const GATEWAY_POOL_SIZE: Number = pool("gateway_pool_size", 3, "Gateway workers.");
pub(super) const WRITERS: Number = pool(
    "writers",
    1,
    "Instances of the streams component that decide about changes, partitioned by stream.",
);
pub(super) const READERS: Number = pool("readers", 2, "Instances of the streams component that read.");
pub(super) const SNAPSHOT_WORKERS: Number =
    pool("snapshot_workers", 2, "Instances of the snapshots component.");

pub(super) const SUBSCRIPTION_WORKERS: Number = pool(
    "subscription_workers",
    1,
    "Instances of the subscriptions component that keep what is stored of durable subscriptions.",
);
pub(super) const EMITTER_POOL_SIZE: Number = pool(
    "emitter_pool_size",
    2,
    "Supervisors of emitters, to which durable subscriptions are partitioned by name.",
);

pub(super) const SUBSCRIPTIONS_MAX: Number = Number {
    name: "subscriptions_max",
    // An idle emitter has about 300 KiB of memory.
    default: 100,
    min: 1,
    max: 4_096,
    unit: "subscriptions",
    meaning: "Durable subscriptions of the store. Each has an emitter: an instance of the subscriptions component.",
    why_bounded: "Each holds its memory as long as it is active.",
};

pub(super) const DISK_RESERVE_MIB: Number = Number {
    name: "disk_reserve_mib",
    // The next journal file, a flush of two memtables, and a compaction of what they became.
    default: 256,
    min: 64,
    max: 1 << 20,
    unit: "MiB",
    meaning: "Free disk space below which the store takes no writes but those that make room.",
    why_bounded: "A journal file has 64 MiB, and more than a tebibyte is not a reserve.",
};

pub(super) const PUBSUB: Flag = Flag {
    name: "pubsub",
    default: true,
    meaning: "Whether appends wake followers. Without it, followers look for new events at intervals.",
};

const fn component(role: &'static str, builtin: &'static str, meaning: &'static str) -> Component {
    Component { name: role, builtin, meaning }
}

pub(super) const STREAMS: Component = component("streams", "streams", "World `streams-plugin`.");
pub(super) const SNAPSHOTS: Component = component("snapshots", "snapshots", "World `snapshots-plugin`.");
pub(super) const SUBSCRIPTIONS: Component =
    component("subscriptions", "subscriptions", "World `subscriptions-plugin`.");
pub(super) const GATEWAY: Component =
    component("gateway", "gateway-http", "World `gateway-steps-plugin` or `gateway-http-plugin`.");

pub(super) const SINK_COMPONENT: Text = Text {
    name: "component",
    default: "",
    expected: "\"builtin:webhook\", \"builtin:ndjson-file\" or the path of a component file",
    meaning: "The component, required. World `emitter-plugin`.",
};

/// The built-in components that a sink can have.
pub(super) const SINK_BUILTINS: [&str; 2] = ["webhook", "ndjson-file"];

pub(super) const SINK_SUBSCRIPTION: Text = Text {
    name: "subscription",
    default: "",
    expected: "the name of a durable subscription, 1 to 512 bytes without control characters",
    meaning: "The durable subscription whose events the sink takes, required. The sink waits until it is created.",
};

pub(super) const BATCH_EVENTS: Number = Number {
    name: "batch_events",
    default: 100,
    min: 1,
    max: 1_000,
    unit: "events",
    meaning: "Events that are passed to the sink at a time. What it has not done in a quarter of the subscription's \
              `ack_timeout_ms` is passed again later.",
    why_bounded: "A page has at most so many.",
};

pub(super) const SINK_ALLOWED_HOSTS: Names = Names {
    name: "allowed_hosts",
    expected: "a host such as \"hooks.example.org\", or one port of it such as \"hooks.example.org:8080\"",
    meaning: "Hosts that the sink may send HTTP requests to. Others are denied.",
};

pub(super) const DIRECTORY: Text = Text {
    name: "directory",
    default: "",
    expected: "a directory such as \"./events\"",
    meaning: "A directory that the sink may read and write, relative to this file. It must exist. Without it, the sink has no \
              files.",
};

pub(super) const CALL_CPU_MS: Number = Number {
    name: "call_cpu_ms",
    // A call of a built-in component takes microseconds: one that takes a second loops.
    default: 1_000,
    min: 1,
    max: 60_000,
    unit: "milliseconds",
    meaning: "CPU time of a call since it last waited for the host.",
    why_bounded: "After a minute the client has given up long ago.",
};

pub(super) const CALL_WALL_MS: Number = Number {
    name: "call_wall_ms",
    // Reads wait for the disk, and a busy disk may take seconds.
    default: 30_000,
    min: 10,
    max: 600_000,
    unit: "milliseconds",
    meaning: "Time from a call of a persistence component to its result, reads from the disk included, commits not; of a \
              gateway on steps, from a call to its step; of a sink, from a call to its result, requests and files included.",
    why_bounded: "A disk that takes ten minutes is broken.",
};

pub(super) const RESPONSE_WALL_MS: Number = Number {
    name: "response_wall_ms",
    // A call into the store may take its 30 seconds, and the gateway some more.
    default: 40_000,
    min: 10,
    max: 600_000,
    unit: "milliseconds",
    meaning: "Time from the last part of a request to the beginning of the gateway's response.",
    why_bounded: "After ten minutes the client has given up long ago.",
};

pub(super) const MEMORY_MIB: Number = Number {
    name: "memory_mib",
    // A request of 4 MiB in several copies, and little enough for hundreds of instances.
    default: 64,
    min: 1,
    max: (MEMORY_BYTES_MAX >> 20) as u32,
    unit: "MiB",
    meaning: "All linear memories of an instance together.",
    why_bounded: "The engine's pool has this much room for an instance.",
};

pub(super) const MAILBOX: Number = Number {
    name: "mailbox",
    // A list of changes has about as many: a change that waits for more than the next list is better refused.
    default: 1_024,
    min: 1,
    max: 65_536,
    unit: "calls",
    meaning: "Changes that may wait for an instance of a persistence component, and as many reads. The next one is refused \
              as overloaded.",
    why_bounded: "Each may hold a request of 8 MiB.",
};

pub(super) const GATEWAY_INSTANCES_PER_WORKER: Number = Number {
    name: "gateway_instances_per_worker",
    // A gateway on steps has an instance for each step that is computed. One that speaks wasi:http holds an instance for each
    // live stream, and three in four may be live: 3 workers serve 144 followers of a store.
    default: 64,
    min: 1,
    max: 4_096,
    unit: "instances",
    meaning: "Gateway instances of one worker at a time: one for each step that is computed. If the gateway speaks wasi:http, \
              one for each request in progress, live streams included.",
    why_bounded: "Each holds its memory as long as it works.",
};

/// The table that has the stores.
pub(super) const STORE: &str = "store";
pub(super) const COMPONENTS: &str = "components";
pub(super) const SETTINGS: &str = "settings";
pub(super) const LIMITS: &str = "limits";
pub(super) const SINKS: &str = "sinks";
/// The role of the components of sinks.
pub(super) const SINK: &str = "sink";

pub(super) const TOP_TABLE: Table = Table {
    header: "",
    meaning: "Keys before the first table",
    keys: &[Key::Text(&DATA), Key::Text(&LISTEN), Key::Names(&ALLOWED_HOSTS), Key::Names(&ALLOWED_ORIGINS)],
    tables: &[STORE, CLUSTER],
};

pub(super) const STORE_TABLE: Table = Table {
    header: "[[store]]",
    meaning: "One for each store.",
    keys: &[
        Key::Text(&NAME),
        Key::Number(&GATEWAY_POOL_SIZE),
        Key::Number(&WRITERS),
        Key::Number(&READERS),
        Key::Number(&SNAPSHOT_WORKERS),
        Key::Number(&SUBSCRIPTION_WORKERS),
        Key::Number(&EMITTER_POOL_SIZE),
        Key::Number(&SUBSCRIPTIONS_MAX),
        Key::Number(&DISK_RESERVE_MIB),
        Key::Flag(&PUBSUB),
    ],
    tables: &[COMPONENTS, SETTINGS, LIMITS, SINKS],
};

pub(super) const COMPONENTS_TABLE: Table = Table {
    header: "[store.components]",
    meaning: "A built-in component, or the path of a component file, relative to this file.",
    keys: &[
        Key::Component(&STREAMS),
        Key::Component(&SNAPSHOTS),
        Key::Component(&SUBSCRIPTIONS),
        Key::Component(&GATEWAY),
    ],
    tables: &[],
};

/// The roles that components have in a store.
pub(super) const ROLES: [&str; 4] = [STREAMS.name, SNAPSHOTS.name, SUBSCRIPTIONS.name, GATEWAY.name];

/// The components whose instances can have limits of their own.
pub(super) const LIMITED: [&str; 5] = [STREAMS.name, SNAPSHOTS.name, SUBSCRIPTIONS.name, GATEWAY.name, SINK];

pub(super) const SINK_TABLE: Table = Table {
    header: "[store.sinks.NAME]",
    meaning: "One for each sink of the store, with a name of its own: 1 to 64 characters of a-z, 0-9 and -. Its component's \
              settings are in `[store.sinks.NAME.settings]`.",
    keys: &[
        Key::Text(&SINK_COMPONENT),
        Key::Text(&SINK_SUBSCRIPTION),
        Key::Number(&BATCH_EVENTS),
        Key::Names(&SINK_ALLOWED_HOSTS),
        Key::Text(&DIRECTORY),
    ],
    tables: &[SETTINGS],
};

pub(super) const SETTINGS_TABLE: Table = Table {
    header: "[store.settings]",
    meaning: "Settings of components, in a table for each.",
    keys: &[],
    tables: &ROLES,
};

pub(super) const LIMITS_TABLE: Table = Table {
    header: "[store.limits]",
    meaning: "What each instance of a component may use.",
    keys: &[
        Key::Number(&CALL_CPU_MS),
        Key::Number(&CALL_WALL_MS),
        Key::Number(&MEMORY_MIB),
        Key::Number(&MAILBOX),
        Key::Number(&RESPONSE_WALL_MS),
        Key::Number(&GATEWAY_INSTANCES_PER_WORKER),
    ],
    tables: &LIMITED,
};

const PERSISTENCE_LIMITS: &[Key] =
    &[Key::Number(&CALL_CPU_MS), Key::Number(&CALL_WALL_MS), Key::Number(&MEMORY_MIB), Key::Number(&MAILBOX)];

/// The limits that a component can have for itself, by its role.
pub(super) const COMPONENT_LIMITS: [Table; 5] = [
    component_limits("[store.limits.streams]", PERSISTENCE_LIMITS),
    component_limits("[store.limits.snapshots]", PERSISTENCE_LIMITS),
    component_limits("[store.limits.subscriptions]", PERSISTENCE_LIMITS),
    component_limits(
        "[store.limits.gateway]",
        &[
            Key::Number(&CALL_CPU_MS),
            Key::Number(&CALL_WALL_MS),
            Key::Number(&RESPONSE_WALL_MS),
            Key::Number(&MEMORY_MIB),
        ],
    ),
    component_limits(
        "[store.limits.sink]",
        &[Key::Number(&CALL_CPU_MS), Key::Number(&CALL_WALL_MS), Key::Number(&MEMORY_MIB)],
    ),
];

const fn component_limits(header: &'static str, keys: &'static [Key]) -> Table {
    let meaning = "What each instance of this component may use instead.";
    Table { header, meaning, keys, tables: &[] }
}

/// Whether a text can be a store's name; otherwise, what it must be.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if is_name(name) { Ok(()) } else { Err(format!("name is {name:?}; it must be {}", NAME.expected)) }
}

/// Whether a text can be the name of a store, or of a sink, which is a part of paths, too.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=STORE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}
