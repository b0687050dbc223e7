//! `exesdb cluster`: makes a cluster, adds nodes, and shows and moves what its nodes do. One file for each action.

pub mod init;
pub mod join;
pub mod local;
pub mod node;
pub mod status;
pub mod token;
pub mod transfer_leader;

use clap::{Args, Subcommand};

/// Options of `cluster`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster local 3 --dir ./demo           three nodes on this machine, until Ctrl-C
  exesdb cluster status

A cluster of several machines, with a configuration file on each that has a table [cluster]:
  exesdb cluster init --config exesdb.toml      on the first one; then `exesdb serve --config exesdb.toml`
  exesdb cluster token --data DIR               on the first one, for each other one
  exesdb cluster join TOKEN --config exesdb.toml    on each other one; then `exesdb serve --config exesdb.toml`

`init` and `join` work on the data directory of a node that does not run. `token` uses the control socket of a running one
(--data), `status` and `transfer-leader` its gateway (--url).")]
pub struct ClusterOptions {
    /// The action.
    #[command(subcommand)]
    pub action: Action,
}

/// The actions on a cluster.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make this node the first one of a new cluster.
    Init(init::InitOptions),
    /// Print a token with which one more node can join within an hour.
    Token(token::TokenOptions),
    /// Make this node one of a cluster.
    Join(join::JoinOptions),
    /// Show nodes, stores, replicas, what is wrong and what to do.
    Status(status::StatusOptions),
    /// Make a cluster on this machine and run it until Ctrl-C.
    Local(local::LocalOptions),
    /// Have another node lead a store.
    TransferLeader(transfer_leader::TransferLeaderOptions),
}

/// Carries out the action.
pub async fn run(options: ClusterOptions) -> anyhow::Result<()> {
    match options.action {
        Action::Init(options) => init::run(&options),
        Action::Token(options) => token::run(options).await,
        Action::Join(options) => join::run(options).await,
        Action::Status(options) => status::run(options).await,
        Action::Local(options) => local::run(options).await,
        Action::TransferLeader(options) => transfer_leader::run(options).await,
    }
}
