//! `exesdb restore`: a store from a backup, all of it or up to a position.

mod onward;
mod stream;
mod up_to;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use exesdb_storage::dump::{self, RestoreError, Summary, unfinished};
use exesdb_storage::{Options, Store};
use serde_json::json;

use super::progress;
use crate::config::{DEFAULT_STORE, StoreConfig};
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
in its place until the restore is repeated or given up (--give-up). A host may run on the data directory meanwhile, if it
does not serve this store: a store is served once a configuration file names it (`main` also without one) and the host is
started with the file.

A restored store begins a new history: clients that hold positions beyond the backup's end are refused, and told so.

With --up-to, events keep their versions, times and positions. Retention and deletion are as they were at the time of
the backup, for their history is not kept. What only its age hides is copied and stays hidden, until it is scavenged;
what else is hidden, or was scavenged, is not in the new store. Streams that had events up to the position, none of which
is copied, go on counting after them; one that was deleted and begun again later is deleted. Streams that began later are
not there. Snapshots of versions that a stream no longer reaches are left out.")]
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
    let mut backup = Backup::open(file)?;
    let OfflineOptions { data, config, .. } = &options.offline;
    let serving = how_to_serve(&store.config.name, data.as_deref(), config.as_deref());
    let Some(position) = options.up_to else {
        store.prepare()?;
        let summary = whole(&folder, &mut backup)?;
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

/// The names of the stores in a data directory, in order.
pub(crate) fn stores_in(data: &Path) -> anyhow::Result<Vec<String>> {
    let shown = || format!("cannot list the data directory {}", data.display());
    let mut stores = Vec::new();
    for entry in std::fs::read_dir(data).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A folder that cannot be read is none that this process could serve.
        if StoreConfig::check_name(&name).is_ok() && has_store(&entry.path()).unwrap_or(false) {
            stores.push(name);
        }
    }
    stores.sort_unstable();
    Ok(stores)
}

/// Why a folder has no store, and what to do.
pub(crate) fn absence(folder: &Path) -> String {
    let shown = folder.display();
    if unfinished::is_unfinished(folder).unwrap_or(false) {
        return format!(
            "a restore into {shown} was not finished; repeat it, or end it with `exesdb restore --give-up`"
        );
    }
    let stores = folder.parent().and_then(|data| stores_in(data).ok()).unwrap_or_default();
    let there_are = if stores.is_empty() {
        String::new()
    } else {
        format!("; the data directory has {}", stores.join(", "))
    };
    format!(
        "there is no store in {shown}{there_are}; give --data and --store, or --config, as for `exesdb serve`"
    )
}

/// Whether there is a store in a folder, whole or not. The error says why nobody can tell.
pub(crate) fn has_store(folder: &Path) -> anyhow::Result<bool> {
    let look = || {
        // A restore that is not finished may have left a mark of its own.
        if unfinished::is_unfinished(folder)? {
            return Ok(false);
        }
        Ok(folder.join("data").try_exists()? || folder.join("durable.mark").try_exists()?)
    };
    look().map_err(|error: io::Error| {
        let what_to_do = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run this as the user to whom the folder belongs",
            _ => "",
        };
        anyhow!("{} cannot be looked into ({error}){what_to_do}", folder.display())
    })
}

/// How the restored store is served, a line each. `data` and `config` are what the restore was given.
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

/// A backup that is read.
struct Backup<'a> {
    path: &'a Path,
    input: BufReader<File>,
}

impl<'a> Backup<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(Self { path, input: BufReader::with_capacity(BUFFER_BYTES, file) })
    }
}

/// Makes a store of all that a backup has.
fn whole(folder: &Path, backup: &mut Backup<'_>) -> anyhow::Result<Summary> {
    let bar = progress::bytes();
    let summary = dump::restore(folder, &mut backup.input, &mut |progress| {
        bar.set_position(progress.bytes);
        bar.set_message(format!("{}.{}", progress.owner, progress.keyspace));
    });
    bar.finish_and_clear();
    summary.map_err(|error| match error {
        RestoreError::Dump(why) => {
            anyhow::Error::from(why).context(format!("{} cannot be restored", backup.path.display()))
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::how_to_serve;

    #[test]
    fn how_a_restored_store_is_served() {
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
