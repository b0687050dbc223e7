//! `exesdb cluster init`: makes the first node of a cluster.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use exesdb_node::Addresses;
use exesdb_node::genesis::{self, Founded, Founding, GenesisOptions, Step};
use exesdb_node::registry::NewStore;
use exesdb_peers::authority::{CERTIFICATE_FILE, KEY_FILE};
use exesdb_peers::{Authority, CertificateRequest, Credentials};

use super::node::{NodeOptions, NodeSetup, tls_files, write_tls_files};
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

/// What takes long is said before the end.
fn report(step: &Step) {
    if let Step::Store(store) = step {
        tracing::info!(store, "the store has its first replica");
    }
}

/// Makes the authority and the node's certificate, unless they are there, or those of the operator.
fn certify(setup: &NodeSetup) -> anyhow::Result<()> {
    let files = tls_files(&setup.config.data, &setup.cluster);
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
