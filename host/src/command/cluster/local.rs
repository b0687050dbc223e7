//! `exesdb cluster local`: a cluster on one machine, in processes of their own.

mod children;
mod plan;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep};

use self::children::{NodeProcess, farewell, run_to_end};
use self::plan::{LocalNode, check_ports, is_member, plan, write};
use super::status::verdict;
use crate::client::Client;
use crate::control::{ControlClient, Request, Response};
use crate::output::Output;
use crate::stop_signals::StopSignals;

/// How long a node has until it answers on its control socket: components are compiled when it starts for the first time.
const START_WAIT: Duration = Duration::from_secs(120);
/// How long a node may try to join: the first one has to lead before it takes others.
const JOIN_WAIT: Duration = Duration::from_secs(60);
/// How long the nodes have until every store survives the loss of one of them: each gets a copy of every store.
const REDUNDANT_WAIT: Duration = Duration::from_secs(60);
/// Before the next try.
const PAUSE: Duration = Duration::from_millis(250);

/// Options of `cluster local`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster local 3 --dir ./demo
  exesdb append orders-1 --type placed --data '{}' --url http://127.0.0.1:2123     in another terminal: any node will do
  exesdb cluster status

The first node serves clients on --port and other nodes on the next one, the second node on ports that are 10 higher, and so
on. All of them listen on 127.0.0.1. Run again with the same folder, this starts the same cluster.

A node that ends is not started again: kill one, and see how the others go on. Ctrl-C or SIGTERM stops all nodes.")]
pub struct LocalOptions {
    /// Nodes: 1, 3 or 5. An even number survives no more failures than one less.
    #[arg(value_parser = parse_count)]
    pub nodes: u16,

    /// The folder that has the nodes' folders, 1, 2 and so on.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// The first node's port for clients.
    #[arg(long, default_value_t = 2113)]
    pub port: u16,
}

fn parse_count(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        Ok(2 | 4) => {
            Err("an even number of nodes survives no more failures than one less; give 1, 3 or 5".to_owned())
        }
        _ => Err("give 1, 3 or 5".to_owned()),
    }
}

/// Makes the cluster, if it is not there, and runs it until a signal.
pub async fn run(options: LocalOptions) -> anyhow::Result<()> {
    let nodes = plan(&options.dir, options.nodes, options.port)?;
    check_ports(&nodes)?;
    write(&options.dir, &nodes)?;
    let mut signals = StopSignals::listen()?;
    let mut running = Vec::with_capacity(nodes.len());
    let outcome = tokio::select! {
        outcome = start_and_watch(&nodes, &mut running) => outcome,
        () = signals.next() => Ok(()),
    };
    // As a tree is stopped: what was started last, first.
    while let Some(process) = running.pop() {
        process.stop().await;
    }
    outcome
}

async fn start_and_watch(nodes: &[LocalNode], running: &mut Vec<NodeProcess>) -> anyhow::Result<()> {
    let (first, others) = nodes.split_first().context("there is at least one node")?;
    run_to_end(&["cluster", "init", "--config", text(&first.config())?]).await?;
    // Nodes that joined in an earlier run may be needed for a majority, without which no other node can join.
    let (joined, new): (Vec<&LocalNode>, Vec<&LocalNode>) = others.iter().partition(|node| is_member(node));
    for node in std::iter::once(first).chain(joined) {
        start(node, running)?;
    }
    for process in running.iter_mut() {
        wait_until_it_answers(process).await?;
    }
    for node in new {
        join(first, node).await?;
        start(node, running)?;
        let process = running.last_mut().context("it was started")?;
        wait_until_it_answers(process).await?;
    }
    let is_redundant = nodes.len() == 1 || is_redundant_in_time(first, running).await?;
    greet(nodes, running, is_redundant)?;
    watch(running).await
}

fn start(node: &LocalNode, running: &mut Vec<NodeProcess>) -> anyhow::Result<()> {
    running.push(NodeProcess::start(node)?);
    Ok(())
}

async fn wait_until_it_answers(process: &mut NodeProcess) -> anyhow::Result<()> {
    let end = Instant::now() + START_WAIT;
    while ControlClient::connect(&process.node.data()).await.is_err() {
        if let Some(status) = process.has_ended() {
            bail!(ended_at_start(&process.node, status));
        }
        if Instant::now() > end {
            let (name, log) = (process.node.name(), process.node.log());
            bail!("{name} does not answer after {} s; look at {}", START_WAIT.as_secs(), log.display());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn ended_at_start(node: &LocalNode, status: ExitStatus) -> String {
    let log = std::fs::read_to_string(node.log()).unwrap_or_default();
    let why = log.lines().rev().find_map(|line| line.strip_prefix("exesdb: ")).unwrap_or("its log says why");
    format!("{} ended at its start ({status}): {why}; its log is {}", node.name(), node.log().display())
}

/// Has a node join, with a token of the first one. Both may have to be asked again: a cluster that has just begun has no leader.
async fn join(first: &LocalNode, node: &LocalNode) -> anyhow::Result<()> {
    let end = Instant::now() + JOIN_WAIT;
    loop {
        let joined = match token(first).await {
            Ok(token) => {
                run_to_end(&["cluster", "join", &token, "--config", text(&node.config())?]).await.map(drop)
            }
            Err(error) => Err(error),
        };
        match joined {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{} does not join", node.name())));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn token(first: &LocalNode) -> anyhow::Result<String> {
    let mut client = ControlClient::connect(&first.data()).await?;
    match client.ask(&Request::Invite {}).await? {
        Response::Invited { token } => Ok(token),
        other => Err(client.unexpected(&other).into()),
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8; give another --dir", path.display()))
}

/// Waits until every store survives the loss of a node: to kill one before shows nothing.
async fn is_redundant_in_time(first: &LocalNode, running: &mut [NodeProcess]) -> anyhow::Result<bool> {
    let url = format!("http://{}", first.clients()).parse().map_err(anyhow::Error::msg)?;
    let client = Client::new(url, "");
    let end = Instant::now() + REDUNDANT_WAIT;
    while Instant::now() < end {
        if let Ok(document) = client.cluster().await
            && verdict(&client.cluster_status(&document)?).is_ok()
        {
            return Ok(true);
        }
        for process in running.iter_mut() {
            if let Some(status) = process.has_ended() {
                bail!(ended_at_start(&process.node, status));
            }
        }
        sleep(PAUSE).await;
    }
    Ok(false)
}

fn greet(nodes: &[LocalNode], running: &[NodeProcess], is_redundant: bool) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    for node in nodes {
        let pid = running.iter().find(|process| process.node == *node).map_or(0, |process| process.pid);
        let (name, clients, config) = (node.name(), node.clients(), node.config());
        output.line(format!("{name}  http://{clients}  pid {pid}  {}", config.display()))?;
    }
    let any = nodes.get(1).or(nodes.first()).context("there is at least one node")?;
    output.line("")?;
    output.line("Try in another terminal (any node will do; then kill one of them, and go on):")?;
    output.line(format!(
        "  exesdb append orders-1 --type placed --data '{{}}' --url http://{}",
        any.clients()
    ))?;
    output.line(format!("  exesdb cluster status --url http://{}", any.clients()))?;
    if !is_redundant {
        output.line("Not every store survives the loss of a node yet; `exesdb cluster status` says why.")?;
    }
    output.flush()
}

/// Says which node has ended, until none is left.
async fn watch(running: &mut [NodeProcess]) -> anyhow::Result<()> {
    let mut ends: FuturesUnordered<_> = running
        .iter_mut()
        .map(|process| async {
            let status = process.ended().await;
            (&process.node, status)
        })
        .collect();
    while let Some((node, status)) = ends.next().await {
        let mut output = Output::stdout();
        output.line(farewell(node, status?))?;
        output.flush()?;
    }
    bail!("all nodes have ended; their logs say why")
}

#[cfg(test)]
mod tests {
    use super::parse_count;

    #[test]
    fn a_cluster_has_an_odd_number_of_nodes() {
        assert_eq!([1, 3, 5].map(|count: u16| parse_count(&count.to_string())), [Ok(1), Ok(3), Ok(5)]);
        for even in ["2", "4"] {
            assert!(
                parse_count(even).unwrap_err().contains("an even number of nodes survives no more"),
                "{even}"
            );
        }
        for other in ["0", "7", "-1", "three", "", "99999999999"] {
            assert_eq!(parse_count(other), Err("give 1, 3 or 5".to_owned()), "{other}");
        }
    }
}
