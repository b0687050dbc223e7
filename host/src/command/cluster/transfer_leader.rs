//! `exesdb cluster transfer-leader`: has another node lead a store.

use clap::Args;

use crate::client::{Client, DEFAULT_URL, GatewayUrl};
use crate::output::{Output, printable};

/// Options of `cluster transfer-leader`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster transfer-leader main
  exesdb cluster transfer-leader main node-2

Appends wait for about a second meanwhile, and none fails. Any node can be asked.")]
pub struct TransferLeaderOptions {
    /// The store.
    pub store: String,

    /// The node that is to lead [default: the one that has most of the store].
    pub node: Option<String>,

    /// Print the gateway's response as JSON.
    #[arg(long)]
    pub json: bool,

    /// The gateway of a node.
    #[arg(long, env = "EXESDB_URL", default_value = DEFAULT_URL)]
    pub url: GatewayUrl,
}

/// Moves the leader.
pub async fn run(options: TransferLeaderOptions) -> anyhow::Result<()> {
    let client = Client::new(options.url, &options.store);
    let moved = client.transfer_leader(options.node.as_deref()).await?;
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::json!({ "store": moved.store, "leader": moved.leader }))?;
    } else {
        output.line(format!("{} leads {}", printable(&moved.leader), printable(&moved.store)))?;
    }
    output.flush()
}
