//! The bare scan: what reading the whole store costs the storage alone.
//!
//! A process of its own opens a copy of the store, because a store belongs to the process that has it open. For each line
//! of its input it reads all events in order, page by page, and answers with their number. It decodes nothing, copies
//! nothing and sends nothing.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use exesdb_storage::{Direction, Options, Scan, Snapshot, Store, limits};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Owner and name of the keyspace with the events, in stores of the current format and of the one before.
const LOGS: [(&str, &str); 2] = [("storage", "log"), ("streams", "events")];

/// Opens the store in this folder, and scans it for each line of the input.
pub(crate) fn serve(folder: &Path) -> anyhow::Result<()> {
    let store = Store::open(folder, Options::default())?;
    let mut output = io::stdout().lock();
    for line in io::stdin().lines() {
        line?;
        let events = scan(&store.snapshot())?;
        writeln!(output, "{events}")?;
        output.flush()?;
    }
    Ok(())
}

/// Reads all events, and returns their number.
fn scan(snapshot: &Snapshot) -> anyhow::Result<usize> {
    let mut events = 0;
    for (owner, keyspace) in LOGS {
        let mut scan = Scan {
            keyspace: keyspace.to_owned(),
            start: Vec::new(),
            end: None,
            direction: Direction::Forward,
            limit: limits::PAGE_ENTRIES_MAX,
            max_bytes: limits::PAGE_BYTES_MAX,
        };
        loop {
            let page = snapshot.scan(owner, &scan)?;
            events += page.entries.len();
            let Some((last, _)) = page.entries.last().filter(|_| page.more) else { break };
            scan.start = [last, &[0][..]].concat();
        }
    }
    Ok(events)
}

/// Copies a store that no process has open.
pub(crate) fn copy(store: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(store).with_context(|| format!("cannot read {}", store.display()))? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy(&entry, &to)?;
        } else {
            std::fs::copy(&entry, &to).with_context(|| format!("cannot copy {}", entry.display()))?;
        }
    }
    Ok(())
}

/// The running process; killed when dropped.
pub(crate) struct BareScan {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    events: usize,
}

impl BareScan {
    /// Starts this program on a store of this many events.
    pub(crate) async fn start(folder: &Path, events: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(crate::host::this_program()?)
            .arg("--bare-scan")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the bare scan")?;
        let input = child.stdin.take().context("the bare scan's input was piped")?;
        let output = child.stdout.take().context("the bare scan's output was piped")?;
        let mut scan = Self { _child: child, input, output: BufReader::new(output).lines(), events };
        // The first one waits until the store is open.
        scan.run().await?;
        Ok(scan)
    }

    /// Reads the whole store. Returns how long it took.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.input.write_all(b"\n").await?;
        let line = self.output.next_line().await?.context("the bare scan ended")?;
        let took = start.elapsed();
        let events: usize = line.parse().context("the bare scan's answer")?;
        anyhow::ensure!(
            events == self.events,
            "the bare scan found {events} events, and the store has {}: it reads another layout",
            self.events
        );
        Ok(took)
    }
}
