//! `exesdb cluster join`: makes a node one of a cluster.

use anyhow::Context as _;
use clap::Args;
use exesdb_node::join::{Begun, Joining};
use exesdb_node::{Addresses, ClusterId};
use exesdb_peers::{CertificateRequest, Credentials, JoinRequest, Token};

use super::node::{NodeOptions, NodeSetup, write_tls_files};
use crate::cluster::Welcome;
use crate::output::{Output, printable};

/// Options of `cluster join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster join exesdb1-AAAA --config exesdb.toml

`exesdb cluster token` on a node that runs makes the token. The data directory must be empty, or that of this node after an
earlier attempt: joining is safe to repeat. The file has no [[store]] tables, for the stores are those of the cluster.")]
pub struct JoinOptions {
    /// The token.
    pub token: Token,

    /// The node.
    #[command(flatten)]
    pub node: NodeOptions,
}

/// Joins.
pub async fn run(options: JoinOptions) -> anyhow::Result<()> {
    let setup = options.node.setup()?;
    setup.config.check_stores_are_left_to_the_cluster().map_err(anyhow::Error::msg)?;
    let cluster = ClusterId(options.token.cluster);
    let (data, log) = (&setup.config.data, exesdb_log::Options::default());
    let (identity, how) = match Joining::begin(data, cluster, &setup.name, log)? {
        Begun::Before(identity) => (identity, "joined before"),
        Begun::Joining(joining) => (ask(joining, &options.token, &setup).await?, "has joined"),
    };
    let files = setup.cluster.tls_files(data);
    Credentials::load(&files.ca, &files.cert, &files.key, &setup.name)?;
    let mut output = Output::stdout();
    output.line(format!("{} {how} cluster {}", identity.name, identity.cluster))?;
    output.line(format!(
        "start it with: exesdb serve --config {}",
        printable(&setup.file.display().to_string())
    ))?;
    output.flush()
}

/// Asks the node that made the token, and writes down what it answers: first the certificate, and last who the node is.
async fn ask(
    joining: Joining,
    token: &Token,
    setup: &NodeSetup,
) -> anyhow::Result<exesdb_node::identity::Identity> {
    let request = CertificateRequest::new().context("no key can be made")?;
    let addresses = Addresses { peers: setup.peer_addresses(), clients: setup.client_addresses() };
    let (name, zone) = (setup.name.clone(), setup.cluster.zone.clone());
    let asked = joining.request(ClusterId(token.cluster), name, addresses, zone, request.pem().to_owned());
    let message = JoinRequest {
        name: asked.node.name.clone(),
        incarnation: asked.node.incarnation.0,
        addresses: asked.node.addresses.peers.clone(),
        certificate_request: asked.csr.clone(),
        content: serde_json::to_value(&asked).context("a request is JSON")?,
    };
    let response = exesdb_peers::join(token, &message).await?;
    let Welcome { answer, known } = serde_json::from_value(response.content)
        .context("the answer cannot be read; is the other node of another version?")?;
    if setup.cluster.tls.is_none() {
        setup.tls_folder()?;
        let files = setup.cluster.tls_files(&setup.config.data);
        write_tls_files(&files, &request.key_pem(), &response.certificate, &response.authority)?;
    }
    known.write(&setup.config.data).map_err(anyhow::Error::msg)?;
    Ok(joining.accept(&asked, &answer)?)
}
