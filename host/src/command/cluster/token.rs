//! `exesdb cluster token`: has a running node make a token with which another one joins.

use clap::Args;

use super::super::connection::ControlOptions;
use crate::control::{ControlClient, Request, Response};
use crate::output::{Output, printable};

/// Options of `cluster token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster token --data /var/lib/exesdb
  TOKEN=$(exesdb cluster token)

The node must run, and have the key of the cluster's authority: the one on which `cluster init` ran has it. A token is a
password: whoever has it can join within an hour, as one node.")]
pub struct TokenOptions {
    /// Print the host's response as JSON.
    #[arg(long)]
    pub json: bool,

    /// The node.
    #[command(flatten)]
    pub control: ControlOptions,
}

/// Prints a token.
pub async fn run(options: TokenOptions) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&options.control.data).await?;
    let response = client.ask(&Request::Invite {}).await?;
    let Response::Invited { token } = &response else { return Err(client.unexpected(&response).into()) };
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&response)?)?;
    } else {
        output.line(printable(token))?;
    }
    output.flush()
}
