//! Who this node is in its cluster, and what it needs before its tree starts.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exesdb_node::identity::{Identity, Opened, Place, StartError};
use exesdb_peers::{Credentials, CredentialsError, Invitations};
use parking_lot::Mutex;

use super::known::Known;
use crate::config::{ClusterConfig, Config, StoreConfig, StoreTable, store_of};

/// The node that made the cluster: its file names the stores that there are.
const FIRST_NODE: u64 = 1;

/// A node of a cluster.
pub struct Membership {
    /// Its data directory.
    pub data: PathBuf,
    /// Who it is, as of its start.
    pub identity: Identity,
    /// Its certificate and key.
    pub credentials: Credentials,
    /// What it knew of the cluster when it joined.
    pub known: Known,
    /// Addresses at which other nodes may be, besides those of the registry.
    pub(super) seeds: Vec<String>,
    /// A name and a port whose addresses are those of other nodes.
    pub(super) seeds_dns: Option<String>,
    /// Bytes of each group's log that are kept for lagging replicas.
    pub(super) log_bytes_kept: u64,
    /// How the node's log is opened.
    pub(super) log_options: exesdb_log::Options,
    /// The tokens that it made.
    pub(super) invitations: Mutex<Invitations>,
    /// Bound before the tree starts, so that a port in use is reported at once.
    listener: TcpListener,
    /// Where it listens for peers.
    pub address: SocketAddr,
    opened: Mutex<Option<Opened>>,
}

/// Why this node does not start.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Its data directory is not what it must be.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its certificate or key is not what it must be.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What it knows of the cluster cannot be read.
    #[error(
        "what this node knows of its cluster cannot be read: {0}; bring the file back from a copy, or from the folder `$cluster` of another node"
    )]
    Known(String),
    /// It cannot listen for peers.
    #[error(
        "cannot listen for peers on {address}: {error}; choose another address with `listen` in the table [cluster] of the \
         configuration file"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The operating system's error.
        error: std::io::Error,
    },
}

/// The log has twice the room that is kept for followers, so that a group goes on while what is kept is purged.
fn log_options(cluster: &ClusterConfig) -> exesdb_log::Options {
    let defaults = exesdb_log::Options::default();
    let group_bytes = 2 * (u64::from(cluster.log_retain_mib) << 20);
    exesdb_log::Options { group_bytes, node_bytes: defaults.node_bytes.max(2 * group_bytes), ..defaults }
}

impl Membership {
    /// Opens the data directory of a member, and binds its address for peers.
    ///
    /// # Errors
    ///
    /// [`MembershipError`].
    pub fn open(data: &Path, cluster: &ClusterConfig) -> Result<Arc<Self>, MembershipError> {
        let opened = Opened::open(data, log_options(cluster))?;
        let (files, listen) = (cluster.tls_files(data), cluster.listen);
        let credentials = Credentials::load(&files.ca, &files.cert, &files.key, &opened.identity.name)?;
        let known = Known::read(data).map_err(MembershipError::Known)?;
        let failed = |error| MembershipError::Listen { address: listen, error };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (identity, data) = (opened.identity.clone(), data.to_owned());
        let opened = Mutex::new(Some(opened));
        let invitations = Mutex::default();
        Ok(Arc::new(Self {
            data,
            identity,
            credentials,
            known,
            seeds: cluster.peers.clone(),
            seeds_dns: cluster.peers_dns.clone(),
            log_bytes_kept: u64::from(cluster.log_retain_mib) << 20,
            log_options: log_options(cluster),
            invitations,
            listener,
            address,
            opened,
        }))
    }

    /// The node as its peers know it.
    pub(super) fn as_peer(&self) -> exesdb_peers::Identity {
        let Identity { cluster, node, name, incarnation, .. } = &self.identity;
        exesdb_peers::Identity {
            cluster: cluster.0,
            node: *node,
            name: name.clone(),
            incarnation: incarnation.0,
        }
    }

    /// What was opened, the first time.
    pub(super) fn take_opened(&self) -> Option<Opened> {
        self.opened.lock().take()
    }

    /// The socket, which outlives the child that accepts from it.
    pub(super) fn listener(&self) -> std::io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener.try_clone()?)
    }

    /// The replica that this node has of a store.
    pub(crate) fn place(&self, store: &str) -> Option<&Place> {
        self.identity.replicas.iter().find(|place| place.store == store)
    }
}

impl Membership {
    /// The stores of the cluster, as their tables say. Relative paths in them are relative to the data directory.
    ///
    /// # Errors
    ///
    /// The node's own file names stores, and it is not the first node; or a table cannot be read by this version.
    pub fn stores(&self, own: &Config) -> anyhow::Result<Vec<StoreConfig>> {
        if self.identity.node != FIRST_NODE {
            own.check_stores_are_left_to_the_cluster().map_err(anyhow::Error::msg)?;
        }
        let file = self.data.join(exesdb_node::CLUSTER_NAME).join("stores.toml");
        let tables = self.known.stores.iter();
        let tables = tables.map(|(name, toml)| StoreTable { name: name.clone(), toml: toml.clone() });
        tables.map(|table| Ok(store_of(&file, &table)?)).collect()
    }
}
