//! `exesdb restore`: creates a store from a backup, all of it or up to a position.

mod backup;
mod events;
mod paging;
mod stream_rules;
mod up_to;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use exesdb_storage::dump::unfinished;
use exesdb_storage::{Options, Store};
use serde_json::json;

use self::backup::Backup;
use crate::config::DEFAULT_STORE;
use crate::control::Keeper;
use crate::data_directory::has_store;
use crate::offline::{self, OfflineOptions};
use crate::output::Output;

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb restore main.backup --data /var/lib/exesdb
  exesdb restore main.backup --store copy
  exesdb restore --give-up --store copy            after a restore that was killed
  exesdb restore main.backup --up-to 41999         without what was appended after position 41999

The store must not exist yet. The backup is verified from its first byte to its last, and so is what was written, before
the store gets its name: a restore that fails or is interrupted leaves no store, and `exesdb serve` starts none in its
place until the restore is repeated or given up (--give-up). A host may run on the data directory meanwhile, if it does
not serve this store: a store is served once a configuration file names it (`main` also without one) and the host is
started with the file.

A restored store begins a new history: clients that hold positions beyond the end of the backup are refused, with the
reason.

With --up-to, events keep their versions, times and positions. Retention and deletion are as they were at the time of
the backup, because their history is not kept. Events that only their age hides are copied and stay hidden until they are
scavenged; events that are hidden otherwise, or were scavenged, are not in the new store. A stream of whose events up to
the position none is copied continues its versions after them; if it was deleted and started again later, it is deleted.
Streams that began later do not exist. Snapshots of versions that a stream does not reach are left out.")]
pub struct RestoreOptions {
    /// The file that `exesdb backup` wrote.
    #[arg(required_unless_present = "give_up")]
    pub file: Option<PathBuf>,

    /// Restore only events up to this position, and no durable subscriptions.
    #[arg(long, value_name = "POSITION")]
    pub up_to: Option<u64>,

    /// Give up a restore that failed or was killed: remove what it left, so that `serve` creates a new, empty store.
    #[arg(long, conflicts_with_all = ["file", "up_to"])]
    pub give_up: bool,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// Restores the store and prints a summary.
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
    let mut backup = Backup::open(file)?;
    let OfflineOptions { data, config, .. } = &options.offline;
    let serving = how_to_serve(&store.config.name, data.as_deref(), config.as_deref());
    let Some(position) = options.up_to else {
        store.prepare()?;
        let summary = backup.restore(&folder)?;
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
        for line in serving {
            output.line(line)?;
        }
        return output.flush();
    };
    ensure!(
        !has_store(&folder)?,
        "{} has a store already; restore into another store, or move that away",
        folder.display()
    );
    let copied = offline::run(up_to::restore(&store, &mut backup, position))?;
    let up_to::Copied { events, streams, snapshots, .. } = copied;
    if options.json {
        output.line(
            json!({ "events": events, "streams": streams, "snapshots": snapshots, "folder": folder }),
        )?;
        return output.flush();
    }
    output.line(format!(
        "{}: {events} events up to position {position}, {streams} streams with retention or deletion, {snapshots} snapshots",
        folder.display()
    ))?;
    for line in serving {
        output.line(line)?;
    }
    output.flush()
}

/// Lines that say how to serve the restored store. `data` and `config` are options of the restore.
fn how_to_serve(store: &str, data: Option<&Path>, config: Option<&Path>) -> Vec<String> {
    let with_data = data.map_or_else(String::new, |data| format!(" --data {}", data.display()));
    if let Some(config) = config {
        return vec![format!("To serve it: exesdb serve --config {}{with_data}", config.display())];
    }
    if store == DEFAULT_STORE {
        return vec![format!("To serve it: exesdb serve{with_data}")];
    }
    vec![
        format!(
            "To serve it, name it in a configuration file, as each store that is served ({DEFAULT_STORE} as well):"
        ),
        "  [[store]]".to_owned(),
        format!("  name = \"{store}\""),
        format!("Then start the host with the file: exesdb serve --config FILE{with_data}"),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::how_to_serve;

    #[test]
    fn the_advice_on_serving_repeats_the_options() {
        let (data, config) = (Path::new("d"), Path::new("e.toml"));
        let table = [
            ("main", None, None, "To serve it: exesdb serve"),
            ("main", Some(data), None, "To serve it: exesdb serve --data d"),
            ("copy", None, Some(config), "To serve it: exesdb serve --config e.toml"),
            ("main", Some(data), Some(config), "To serve it: exesdb serve --config e.toml --data d"),
        ];
        for (store, data, config, line) in table {
            assert_eq!(how_to_serve(store, data, config), [line]);
        }
        let lines = how_to_serve("copy", Some(data), None);
        assert_eq!(lines[1..3], ["  [[store]]", "  name = \"copy\""]);
        assert!(lines[3].ends_with("exesdb serve --config FILE --data d"), "{lines:?}");
    }
}
