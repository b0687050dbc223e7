//! `exesdb cluster init`: makes the first node of a cluster.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use exesdb_node::genesis::{self, Founded, Founding, GenesisOptions, Step};
use exesdb_node::identity::Identity;
use exesdb_node::registry::{NewStore, Node, NodeState};
use exesdb_node::{Addresses, FEATURE_LEVEL};
use exesdb_peers::authority::{CERTIFICATE_FILE, KEY_FILE};
use exesdb_peers::{Authority, CertificateRequest, Credentials};

use super::node::{NodeOptions, NodeSetup, write_tls_files};
use crate::cluster::Known;
use crate::output::{Output, printable};

/// Voters of each store, once there are so many nodes.
const VOTERS: u8 = 3;

/// Options of `cluster init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster init --config exesdb.toml
  exesdb cluster init --config exesdb.toml --adopt      with the stores that are in the data directory

The stores of the cluster are those of the file's [[store]] tables, or main. The host must not run. Running it again goes on
where it was interrupted, and changes nothing once it is done.

It makes an authority, too, which signs the certificates of all nodes. Keep a copy of its key, $cluster/tls/ca.key in the data
directory, in a safe place, and on no other node.")]
pub struct InitOptions {
    /// Take over the stores that are in the data directory. All of them must be in the file.
    #[arg(long)]
    pub adopt: bool,

    /// The node.
    #[command(flatten)]
    pub node: NodeOptions,
}

/// Makes the cluster.
pub fn run(options: &InitOptions) -> anyhow::Result<()> {
    let setup = options.node.setup()?;
    let stores = setup.stores()?.into_iter();
    let founding = Founding {
        name: setup.name.clone(),
        addresses: Addresses { peers: setup.peer_addresses(), clients: setup.client_addresses() },
        zone: setup.cluster.zone.clone(),
        stores: stores
            .map(|store| NewStore { name: store.name, config: store.toml, voters: VOTERS })
            .collect(),
        adopt: options.adopt,
    };
    let genesis = GenesisOptions {
        storage: exesdb_storage::Options {
            is_json: exesdb_plugin::is_json,
            ..exesdb_storage::Options::default()
        },
        on_step: Some(Arc::new(report)),
        ..GenesisOptions::default()
    };
    let founded = genesis::init(&setup.config.data, &founding, &genesis)?;
    certify(&setup)?;
    let (Founded::Now(first) | Founded::Before(first)) = &founded;
    // Later the file has no say in what the cluster has.
    if Known::read(&setup.config.data).is_err() {
        known_at_first(&founding, first).write(&setup.config.data).map_err(anyhow::Error::msg)?;
    }
    let (identity, how) = match &founded {
        Founded::Now(identity) => (identity, "is the first node of"),
        Founded::Before(identity) => (identity, "was made the first node before, of"),
    };
    let file = printable(&setup.file.display().to_string());
    let mut output = Output::stdout();
    output.line(format!("{} {how} cluster {}", identity.name, identity.cluster))?;
    output.line(format!("start it with: exesdb serve --config {file}"))?;
    output.line(format!(
        "then, for each other node: exesdb cluster token --data {}",
        printable(&setup.config.data.display().to_string())
    ))?;
    output.flush()
}

/// What the first node knows of its cluster before it has started.
fn known_at_first(founding: &Founding, identity: &Identity) -> Known {
    let node = Node {
        name: founding.name.clone(),
        addresses: founding.addresses.clone(),
        zone: founding.zone.clone(),
        incarnation: identity.incarnation,
        state: NodeState::Up,
    };
    let stores = founding.stores.iter().map(|store| (store.name.clone(), store.config.clone()));
    Known { feature_level: FEATURE_LEVEL, nodes: [(identity.node, node)].into(), stores: stores.collect() }
}

/// Says what is done: to adopt a large store takes long.
fn report(step: &Step) {
    if let Step::Store(store) = step {
        let mut output = Output::stdout();
        // That nobody reads it is no reason to stop half way.
        drop(output.line(format!("{store} has its first replica")).and_then(|()| output.flush()));
    }
}

/// Makes the authority and the node's certificate, unless they are there, or those of the operator.
fn certify(setup: &NodeSetup) -> anyhow::Result<()> {
    let files = setup.cluster.tls_files(&setup.config.data);
    if setup.cluster.tls.is_none() {
        let folder = setup.tls_folder()?;
        let (certificate, key) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        if !certificate.exists() && key.exists() {
            // Whoever was interrupted between both has signed nothing with it.
            std::fs::remove_file(&key).with_context(|| format!("{} cannot be removed", key.display()))?;
        }
        let authority =
            if certificate.exists() { Authority::load(&folder)? } else { Authority::create(&folder)? };
        if !files.cert.exists() {
            let request = CertificateRequest::new().context("no key can be made")?;
            let signed = authority.sign(&setup.name, request.pem())?;
            write_tls_files(&files, &request.key_pem(), &signed, &authority.certificate_pem())?;
        }
    }
    Credentials::load(&files.ca, &files.cert, &files.key, &setup.name)?;
    Ok(())
}
