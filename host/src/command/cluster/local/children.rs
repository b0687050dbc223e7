//! The processes of the nodes of a cluster on one machine.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::plan::LocalNode;

/// How long a node has to stop. Then it is killed: what it acknowledged is on disk.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// The process of a node.
pub(super) struct NodeProcess {
    pub(super) node: LocalNode,
    pub(super) pid: u32,
    child: Child,
}

/// Runs this binary with these arguments, and waits for its end.
///
/// # Errors
///
/// What it wrote to stderr.
pub(super) async fn run_to_end(arguments: &[&str]) -> anyhow::Result<String> {
    let output = command()?
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .context("this program cannot be started once more")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    bail!("{}", said.strip_prefix("exesdb: ").unwrap_or(said))
}

fn command() -> anyhow::Result<Command> {
    let binary = std::env::current_exe().context("the path of this program is not known")?;
    let mut command = Command::new(binary);
    // They are for one host, and every node has its file.
    for variable in ["EXESDB_DATA", "EXESDB_LISTEN", "EXESDB_CONFIG"] {
        command.env_remove(variable);
    }
    Ok(command)
}

impl NodeProcess {
    /// Starts a node. It writes what it logs to a file of its folder.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn start(node: &LocalNode) -> anyhow::Result<Self> {
        let path = node.log();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("{} cannot be opened", path.display()))?;
        let child = command()?
            .args(["serve", "--config"])
            .arg(node.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C of a terminal goes to this process alone, which then stops the nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", node.name()))?;
        let pid = child.id().context("the process ended at once")?;
        Ok(Self { node: node.clone(), pid, child })
    }

    /// Completes when the process has ended.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// How the process has ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks the node to stop, and waits until it has.
    pub(super) async fn stop(mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // It may have ended meanwhile, and then there is nobody to ask: its id is kept until it is waited for.
        if let Some(pid) = pid.filter(|_| self.child.id().is_some()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }
}

/// What is said of a node whose process has ended.
pub(super) fn farewell(node: &LocalNode, status: ExitStatus) -> String {
    format!(
        "{} has ended ({status}); its log is {}. Start it again with: exesdb serve --config {}",
        node.name(),
        node.log().display(),
        node.config().display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::farewell;
    use crate::command::cluster::local::plan::plan;

    #[test]
    fn a_node_that_ended_can_be_started_by_the_command_that_is_shown() {
        let nodes = plan(std::path::Path::new("./demo"), 3, 2113).unwrap();
        let shown = farewell(&nodes[1], ExitStatus::from_raw(9));
        assert!(shown.starts_with("node-2 has ended (signal: 9"), "{shown}");
        assert!(shown.ends_with("exesdb serve --config ./demo/2/exesdb.toml"), "{shown}");
    }
}
