//! `exesdb restart`: starts a child that does not run.

use clap::Args;

use super::connection::ControlOptions;
use crate::control::{ControlClient, Request, Response};
use crate::output::{Output, printable};

/// Options of `restart`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb restart main                          a store that gave up and was parked

A child that runs is not touched: `exesdb kill` has its supervisor restart it.")]
pub struct RestartOptions {
    /// The child: its path as `exesdb tree` shows it; the root's `host/` may be left out.
    pub path: String,

    /// Print the host's response as JSON.
    #[arg(long)]
    pub json: bool,

    /// The host.
    #[command(flatten)]
    pub control: ControlOptions,
}

/// Starts the child.
pub async fn run(options: RestartOptions) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&options.control.data).await?;
    let response = client.ask(&Request::Restart { path: options.path }).await?;
    let Response::Restarted { path } = &response else { return Err(client.unexpected(&response).into()) };
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&response)?)?;
    } else {
        output.line(format!("started {}", printable(path)))?;
    }
    output.flush()
}
