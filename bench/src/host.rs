//! The measured host: a process of its own on a data directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::processor::ProcessorTime;

/// How long the host may take to become ready. Compiling the components takes seconds on a slow machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running host; killed when dropped.
pub(crate) struct BenchHost {
    exesdb: PathBuf,
    data: PathBuf,
    child: Child,
    address: SocketAddr,
    /// Kept open, because the host writes its log to it.
    log: Lines<BufReader<ChildStderr>>,
}

impl BenchHost {
    /// Starts `exesdb serve` with its data in a folder, and waits until it is ready.
    pub(crate) async fn start(exesdb: &Path, folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("data");
        let mut child = Command::new(exesdb)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--log", "info"])
            .arg("--data")
            .arg(&data)
            .env_remove("EXESDB_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a host to measure")?;
        let log = child.stderr.take().context("the host's log was piped")?;
        let mut log = BufReader::new(log).lines();
        let address = tokio::time::timeout(READY_WITHIN, ready(&mut log))
            .await
            .context("the host to measure did not become ready")??;
        Ok(Self { exesdb: exesdb.to_owned(), data, child, address, log })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the measured host ended by itself")
    }

    /// The processor time that it took so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<ProcessorTime> {
        ProcessorTime::of(self.pid()?)
    }

    /// The folder of its store.
    pub(crate) fn store_folder(&self) -> PathBuf {
        self.data.join("main")
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("the system does not say how much memory the measured host has")? << 10)
    }

    /// Compacts its store.
    pub(crate) async fn compact(&self) -> anyhow::Result<()> {
        let compact = Command::new(&self.exesdb).arg("compact").arg("--data").arg(&self.data).output();
        let output = compact.await.context("cannot run `exesdb compact`")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "the measured host could not compact its store: {stderr}");
        Ok(())
    }

    /// Stops it with SIGTERM, as an operator does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        let sent = Command::new("kill").arg(pid.to_string()).status().await.context("cannot run kill")?;
        anyhow::ensure!(sent.success(), "cannot stop the measured host");
        while self.log.next_line().await?.is_some() {}
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "the measured host ended with {status}");
        Ok(())
    }
}

async fn ready(log: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<SocketAddr> {
    let mut lines = Vec::new();
    while let Some(line) = log.next_line().await? {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = record["address"].as_str() {
            return address.parse().with_context(|| format!("the host logged a strange address: {address}"));
        }
        lines.push(line);
    }
    anyhow::bail!("the host to measure ended before it was ready; it logged: {}", lines.join("\n"))
}

/// The file of this program.
pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's file")
}
