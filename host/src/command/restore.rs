//! `exesdb restore`: a store from a backup, all of it or up to a position.

mod onward;
mod stream;
mod up_to;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use exesdb_storage::dump::{self, Summary, unfinished};
use exesdb_storage::{Options, Store};
use serde_json::json;

use super::progress;
use crate::control::Keeper;
use crate::offline::{self, OfflineOptions};
use crate::output::Output;

/// Bytes that are read from a backup at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb restore main.backup --data /var/lib/exesdb
  exesdb restore main.backup --store copy
  exesdb restore --give-up --store copy            after a restore that was killed
  exesdb restore main.backup --up-to 41999         without what was appended behind position 41999

The store must not be there yet. The backup is verified from its first byte to its last, and so is what was written,
before the store gets its name: a restore that fails or is interrupted leaves no store, and `exesdb serve` starts none
in its place until the restore is repeated or given up (--give-up).

A restored store begins a new history: clients that hold positions beyond the backup's end are refused, and told so.

With --up-to, events keep their versions, times and positions. Retention and deletion are as they were at the time of
the backup, for their history is not kept; what they hide is not in the new store. Streams that had events up to the
position, all of them hidden by now, go on counting after the hidden ones; one that was deleted and begun again later is
deleted. Streams that began later are not there. Snapshots of versions that a stream no longer reaches are left out.")]
pub struct RestoreOptions {
    /// The file that `exesdb backup` wrote.
    #[arg(required_unless_present = "give_up")]
    pub file: Option<PathBuf>,

    /// Only events up to this position.
    #[arg(long, value_name = "POSITION")]
    pub up_to: Option<u64>,

    /// Give up a restore that failed or was killed: removes what it left, so that `serve` makes a new, empty store.
    #[arg(long, conflicts_with_all = ["file", "up_to"])]
    pub give_up: bool,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// Which store.
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// Restores the store and says what is in it.
pub fn run(options: &RestoreOptions) -> anyhow::Result<()> {
    let store = options.offline.store()?;
    let folder = store.folder();
    let mut output = Output::stdout();
    let Some(file) = &options.file else {
        ensure!(
            unfinished::give_up(&folder)?,
            "there is no unfinished restore in {}; nothing was changed",
            folder.display()
        );
        up_to::clean_up(&store)?;
        output
            .line(format!("{}: the unfinished restore was given up; there is no store", folder.display()))?;
        return output.flush();
    };
    let mut input = open(file)?;
    let Some(position) = options.up_to else {
        store.prepare()?;
        let summary = whole(&folder, &mut input)?;
        let (events, entries) = (summary.head.next_position, summary.entries());
        let keepers = Keeper::all(&Store::open(&folder, Options::default())?.snapshot());
        let keepers = keepers.map_err(anyhow::Error::msg)?;
        if options.json {
            let line =
                json!({ "next_position": events, "entries": entries, "folder": folder, "keepers": keepers });
            output.line(line)?;
            return output.flush();
        }
        output.line(format!(
            "{}: {entries} entries restored and verified; the next position is {events}",
            folder.display()
        ))?;
        for keeper in &keepers {
            output.line(format!("{}; serve it with that one", keeper.sentence()))?;
        }
        return output.flush();
    };
    ensure!(
        !has_store(&folder),
        "{} has a store already; restore into another store, or move that away",
        folder.display()
    );
    let copied = offline::run(up_to::restore(&store, &mut input, position))?;
    let up_to::Copied { events, streams, snapshots, .. } = copied;
    output.line(if options.json {
        json!({ "events": events, "streams": streams, "snapshots": snapshots, "folder": folder }).to_string()
    } else {
        format!(
            "{}: {events} events up to position {position}, {streams} streams with retention or deletion, {snapshots} snapshots",
            folder.display()
        )
    })?;
    output.flush()
}

/// Whether there is a store in a folder, whole or not.
pub(super) fn has_store(folder: &Path) -> bool {
    // A restore that is not finished may have left a mark of its own.
    let is_unfinished = unfinished::is_unfinished(folder).unwrap_or(false);
    !is_unfinished && ["data", "durable.mark"].iter().any(|name| folder.join(name).exists())
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

/// Makes a store of all that a backup has.
fn whole(folder: &Path, input: &mut BufReader<File>) -> anyhow::Result<Summary> {
    let bar = progress::bytes();
    let summary = dump::restore(folder, input, &mut |progress| {
        bar.set_position(progress.bytes);
        bar.set_message(format!("{}.{}", progress.owner, progress.keyspace));
    });
    bar.finish_and_clear();
    Ok(summary?)
}
