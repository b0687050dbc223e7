//! Every limit of this crate, with its unit in its name, and the reason for it.

use std::time::Duration;

/// Most nodes of a cluster, removed ones among them: every node is a member of `$cluster`.
pub const NODES_MAX: usize = exesdb_cluster::limits::MEMBERS_MAX;

/// Most stores: with `$cluster`, the 256 replicas that a node can have.
pub const STORES_MAX: usize = 255;

/// Most voters that can be asked for. Five survive the loss of two nodes; more make each append slower.
pub const VOTERS_WANTED_MAX: u8 = 5;

/// Nodes from which on `$cluster` has five voters instead of three.
pub const FIVE_VOTERS_FROM: usize = 5;

/// Longest name of a node: what a certificate can name.
pub const NODE_NAME_BYTES_MAX: usize = 253;

/// Longest name of a store, as for a store that belongs to no cluster.
pub const STORE_NAME_BYTES_MAX: usize = 64;

/// Longest name of a zone.
pub const ZONE_BYTES_MAX: usize = 64;

/// Most addresses of a node for peers, and for clients: a few networks.
pub const ADDRESSES_MAX: usize = 8;

/// Longest address: the longest host name, and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Longest configuration of a store. The records of all stores fit into one batch.
pub const CONFIG_BYTES_MAX: usize = 16 * 1024;

/// Longest certificate signing request, certificate, and chain of an authority, in PEM.
pub const PEM_BYTES_MAX: usize = 64 * 1024;

/// Longest file of an identity or an unfinished initialisation: that of 256 replicas, or 255 stores.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Highest id and number. 2^48: what a JSON number holds exactly, and nobody reaches.
pub const NUMBER_MAX: u64 = 1 << 48;

/// Entries by which a replica may lag when it becomes a voter: some heartbeats' worth. One that lags more would make
/// appends wait.
pub const CAUGHT_UP_ENTRIES: u64 = 1000;

/// How long ago a replica may have answered to become a voter: some heartbeats. A group counts on its voters.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How often a coordinator looks at its group: short beside the time of a membership change.
pub const COORDINATOR_TICK: Duration = Duration::from_millis(200);

/// How long a coordinator waits for a change of members. After that it looks again and asks again.
pub const CHANGE_WAIT: Duration = Duration::from_secs(10);

/// How often the registry is read without a word that it changed: after a snapshot nobody gives one.
pub const REGISTRY_TICK: Duration = Duration::from_millis(200);

/// How often a change of the registry is decided again because another one came first.
pub const CHANGE_TRIES: usize = 10;

/// How often it is looked whether a replica was installed.
pub const ADMISSION_TICK: Duration = Duration::from_millis(100);

const _: () = assert!(STORES_MAX * CONFIG_BYTES_MAX < exesdb_storage::limits::BATCH_BYTES_MAX);
const _: () = assert!(NODE_NAME_BYTES_MAX <= exesdb_cluster::limits::NODE_NAME_BYTES_MAX);
