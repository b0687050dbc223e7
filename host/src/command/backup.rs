//! `exesdb backup`: a whole running store in one file.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use exesdb_storage::dump;

use super::connection::ControlStoreOptions;
use super::new_file::NewFile;
use super::progress;
use crate::control::{BackupSummary, ControlClient, Keeper, Request, Response};
use crate::output::Output;

/// Options of `backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb backup main.backup
  exesdb backup /backups/main-$(date +%F) --data /var/lib/exesdb --store main

The store keeps running. The file has everything that was acknowledged when the backup began, and nothing later. It is made
durable, read back and verified, and gets its name only then: an interrupted backup leaves no file. `exesdb restore`
creates a store from it.")]
pub struct BackupOptions {
    /// The file, which must not exist yet.
    pub file: PathBuf,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// The store and its host.
    #[command(flatten)]
    pub control: ControlStoreOptions,
}

/// Writes the backup and verifies it.
pub async fn run(options: BackupOptions) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&options.control.host.data).await?;
    let mut file = NewFile::create(&options.file)?;
    let (sent, keepers) = receive(&mut client, options.control.store, &mut file).await?;
    let found = inspect(file.reread()?, &options.file)?;
    ensure!(
        found == sent,
        "{} was read back with another content than it was written with; the disk may be failing: back up to another",
        options.file.display()
    );
    file.finish()?;
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&sent)?)?;
    } else {
        let BackupSummary { next_position, entries, dump_bytes, .. } = sent;
        output.line(format!(
            "{}: {entries} entries, {dump_bytes} bytes, all positions below {next_position}; written and verified",
            options.file.display()
        ))?;
        for keeper in &keepers {
            output.line(keeper.sentence())?;
        }
    }
    output.flush()
}

/// Writes what the host sends to the file.
async fn receive(
    client: &mut ControlClient,
    store: String,
    file: &mut NewFile,
) -> anyhow::Result<(BackupSummary, Vec<Keeper>)> {
    let bar = progress::bytes();
    bar.set_message("received");
    let mut response = client.ask(&Request::Backup { store }).await?;
    loop {
        match response {
            Response::Data { bytes } => {
                file.write_all(&client.data(bytes).await?)?;
                bar.inc(bytes);
            }
            Response::BackedUp { summary, keepers } => {
                bar.finish_and_clear();
                return Ok((summary, keepers));
            }
            other => return Err(client.unexpected(&other).into()),
        }
        response = client.next().await?;
    }
}

/// Verifies the file from its first byte to its last.
fn inspect(file: File, path: &Path) -> anyhow::Result<BackupSummary> {
    let bar = progress::bytes();
    bar.set_message("verified");
    let found = dump::inspect(&mut BufReader::new(file), &mut |progress| bar.set_position(progress.bytes));
    bar.finish_and_clear();
    let found = found.with_context(|| format!("{} is not what was written", path.display()))?;
    Ok(found.into())
}
