//! `exesdb scavenge`: removes what retention and deletion hide, and rewrites the store's files. `exesdb compact`: only
//! rewrites them.

use anyhow::bail;
use clap::Args;

use super::connection::ControlStoreOptions;
use super::progress;
use crate::control::{ControlClient, Request, Response};
use crate::output::{Output, printable};

/// Options of `scavenge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb scavenge
  exesdb scavenge --store main --json

Events that retention or deletion hide are removed, then the store's files are rewritten without them, and the journal
is replaced: after success, no file of the store has what was deleted or overwritten before. Where that is impossible, for
example because a running backup still reads it, the command fails and says so. Earlier backups and exports are not
touched. The store keeps running. After an interrupted scavenge, start it again for the rest.")]
pub struct ScavengeOptions {
    /// Print each step as one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store and its host.
    #[command(flatten)]
    pub control: ControlStoreOptions,
}

/// Options of `compact`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb compact

The store's files are rewritten without what was overwritten and deleted, which the store otherwise does itself over time.
While a keyspace is rewritten, its files need their space twice. `exesdb scavenge` removes hidden events first.")]
pub struct CompactOptions {
    /// Print each step as one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store and its host.
    #[command(flatten)]
    pub control: ControlStoreOptions,
}

/// Removes hidden events, and rewrites the files.
pub async fn scavenge(options: ScavengeOptions) -> anyhow::Result<()> {
    let request = Request::Scavenge { store: options.control.store.clone() };
    let total = run_steps(&options.control, &request, options.json).await?;
    if let Some((component, reason)) = total.not_scavenged.first() {
        bail!(
            "what {} hides was not removed, because it cannot be asked for that: {}; everything else was done",
            printable(component),
            printable(reason)
        );
    }
    if options.json {
        return Ok(());
    }
    let mut output = Output::stdout();
    output.line("nothing of what was deleted is left in the store's tables and journal")?;
    output.flush()
}

/// Rewrites the files.
pub async fn compact(options: CompactOptions) -> anyhow::Result<()> {
    let request = Request::Compact { store: options.control.store.clone() };
    run_steps(&options.control, &request, options.json).await.map(drop)
}

/// The sum of the steps.
#[derive(Debug, Default)]
struct Total {
    /// For each component: its name, and how many entries were examined, how many removed, and their bytes.
    scavenged: Vec<(String, [u64; 3])>,
    /// Components that cannot be asked for it, and why.
    not_scavenged: Vec<(String, String)>,
    keyspaces: u64,
    bytes_before: u64,
    bytes_after: u64,
}

async fn run_steps(control: &ControlStoreOptions, request: &Request, json: bool) -> anyhow::Result<Total> {
    let mut client = ControlClient::connect(&control.host.data).await?;
    let bar = progress::count("looked at");
    let mut output = Output::stdout();
    let mut total = Total::default();
    let mut response = client.ask(request).await?;
    loop {
        if json && !matches!(response, Response::End) {
            output.line(serde_json::to_string(&response)?)?;
            output.flush()?;
        }
        match &response {
            Response::Scavenged { examined, .. } => bar.set_position(*examined),
            Response::NotScavenged { .. } => {}
            Response::Compacted { done, .. } => bar.set_position(*done),
            Response::End => break,
            other => return Err(client.unexpected(other).into()),
        }
        total.add(response);
        response = client.next().await?;
    }
    bar.finish_and_clear();
    if !json {
        for line in total.lines() {
            output.line(line)?;
        }
    }
    output.flush()?;
    Ok(total)
}

impl Total {
    fn add(&mut self, step: Response) {
        match step {
            // Each step includes those before it.
            Response::Scavenged { component, examined, removed, bytes } => {
                self.scavenged.retain(|(known, _)| *known != component);
                self.scavenged.push((component, [examined, removed, bytes]));
            }
            Response::NotScavenged { component, reason } => self.not_scavenged.push((component, reason)),
            Response::Compacted { bytes_before, bytes_after, .. } => {
                self.keyspaces += 1;
                self.bytes_before = self.bytes_before.saturating_add(bytes_before);
                self.bytes_after = self.bytes_after.saturating_add(bytes_after);
            }
            _ => {}
        }
    }

    fn lines(&self) -> Vec<String> {
        let scavenged = self.scavenged.iter().map(|(component, [examined, removed, bytes])| {
            format!("{component}: {examined} looked at, {removed} removed ({bytes} bytes)")
        });
        let Total { keyspaces, bytes_before, bytes_after, .. } = self;
        let compacted =
            format!("{keyspaces} keyspaces rewritten: {bytes_before} bytes before, {bytes_after} now");
        scavenged.chain([compacted]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Total;
    use crate::control::Response;

    #[test]
    fn steps_are_summed_up() {
        let scavenged = |component: &str, examined| Response::Scavenged {
            component: component.to_owned(),
            examined,
            removed: examined - 1,
            bytes: 7,
        };
        let compacted = |bytes_after| Response::Compacted {
            keyspace: "streams.events".to_owned(),
            bytes_before: 10,
            bytes_after,
            done: 1,
            total: 2,
        };
        let mut total = Total::default();
        for step in [
            scavenged("streams", 1),
            scavenged("streams", 5),
            scavenged("snapshots", 2),
            compacted(4),
            compacted(5),
        ] {
            total.add(step);
        }
        assert_eq!(
            total.lines(),
            [
                "streams: 5 looked at, 4 removed (7 bytes)",
                "snapshots: 2 looked at, 1 removed (7 bytes)",
                "2 keyspaces rewritten: 20 bytes before, 9 now"
            ]
        );
    }
}
