//! `exesdb kill`: sends an exit signal to a child of the tree.

use clap::Args;
use exesdb_supervisor::Reason;

use super::connection::ControlOptions;
use crate::control::{ControlClient, Request, Response};
use crate::output::{Output, printable};

/// Options of `kill`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb kill host/main/system/gateway-system
  exesdb kill main/system/core-system/store-system/store     the root's `host/` may be left out
  exesdb kill main/system/gateway-system --reason shutdown

The strategy of its supervisor decides what is restarted with it: `exesdb events` shows it. Nothing restarts the root:
`exesdb kill host` ends the whole host with all its stores, and it stays down until somebody starts it again.")]
pub struct KillOptions {
    /// The child: its path as `exesdb tree` shows it.
    pub path: String,

    /// The exit reason: killed (at once), normal, shutdown, shutdown:WHY or error:WHY (in order).
    #[arg(long, default_value = "killed")]
    pub reason: Reason,

    /// Print the host's response as JSON.
    #[arg(long)]
    pub json: bool,

    /// The host.
    #[command(flatten)]
    pub control: ControlOptions,
}

/// Sends the signal.
pub async fn run(options: KillOptions) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&options.control.data).await?;
    let request = Request::Kill { path: options.path, reason: options.reason.clone() };
    let response = client.ask(&request).await?;
    let Response::Killed { path } = &response else { return Err(client.unexpected(&response).into()) };
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&response)?)?;
    } else {
        output.line(format!("sent {} to {}", printable(&options.reason.to_string()), printable(path)))?;
    }
    output.flush()
}
