//! `exesdb import`: what `exesdb export` wrote, or events from a CSV or NDJSON file.
//!
//! Of a CSV or NDJSON file all rows are read and checked before anything is sent. Every event has an id made from its row,
//! and is sent with the version that it gets, so sending it again adds nothing: an import that was interrupted goes on
//! when it is started again, and one that waits for a host to come back just sends the same again.

mod csv_file;
mod export_file;
mod identity;
mod ndjson_file;
mod order;
mod placing;
mod row;
mod rows;
mod send;
mod trouble;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::trouble::Troubles;
use super::export::format::BEGINNING;
use crate::cli::{GatewayOptions, NotAll};
use crate::client::{Client, ClientError, IMPORT_SOURCE_BYTES_MAX};
use crate::output::Output;

/// Options of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb import receipt.csv --stream-by case:concept:name --type-by concept:name --time-by time:timestamp
  exesdb import orders.ndjson --stream-by order_id --type-by kind
  zcat big.csv.gz | exesdb import - --source big.csv --format csv --stream-by id --type-by kind
  exesdb import store.ndjson --store copy          what `exesdb export` wrote

An export is known by its first line and needs no options: its events get the versions, times, ids and tags that they
had, whatever the clocks say, and the next positions of this store; retention, deletions and snapshots follow. Imported
into a store that has the streams already, it adds what comes after their last events. Retention, deletion and tombstone are
applied where the stream here ends with the same event, and refused where it is another one, has gone on or has come less
far. Once an event, the retention or the deletion of a stream is refused, nothing more of it is taken. What was refused is
told, for the first ten with the line and why: of refused events, the first of each stream.

Of any other file each row becomes an event: its data is a JSON object of all columns (of NDJSON, the row itself), its
metadata says where it came from. The store gets the rows in the order of the file, with --time-by in that of time. All
rows are checked first: of a file with faults nothing is sent.

What is the same row: one of the same source that has the same stream, type and content; of rows that read the same, the
first is the first, the second the second. The source is the file's name, without its folder; --source gives another.
So a file may be imported again, also when it has grown: what is there is not added again. Rows of another file are other
rows, also if they read the same: give --source where a file was renamed, and where two files have one name.

The summary says how many rows were added, already there, hidden and refused. Hidden are rows that an earlier import of
the source added and that retention or deletion hides now: they are not added again, unless --add-hidden says so. The
store remembers how many rows of a source each stream has had, and not which: hidden are the first rows of the stream in
the file that cannot be seen, only as many as it has had. So new rows belong at the end of the file, whatever their times,
or at its beginning if its first row is newer than its last (with --time-by). A file that has lost rows, such as a log
that was rotated, needs another --source. A backup has these numbers, an export has not.

Refused are rows of streams that do not take them, as after a tombstone: they are told with their lines, up to ten of
each of ten streams, and the rows of all other streams are imported.

A file is checked before anything is sent; stdin is kept in a temporary file for that.

Exit codes: 0 all is in the store, 1 the import failed or was stopped, 2 the command line makes no sense, 3 something was
refused and all else is in the store.")]
pub struct ImportOptions {
    /// The file; `-` is stdin.
    pub file: PathBuf,

    /// The column (of NDJSON, the top-level key) that names the stream.
    #[arg(long, value_name = "COLUMN", requires = "type_by")]
    pub stream_by: Option<String>,

    /// The column that names the event's type.
    #[arg(long, value_name = "COLUMN", requires = "stream_by")]
    pub type_by: Option<String>,

    /// The column with the event's time (RFC 3339, also with a space for the T): rows are sent in its order.
    #[arg(long, value_name = "COLUMN", requires = "stream_by")]
    pub time_by: Option<String>,

    /// The events' `created` are the times of their rows [default: the time of the import].
    #[arg(long, requires = "time_by")]
    pub keep_times: bool,

    /// What the rows come from; tells them from rows of other files that read the same [default: the file's name].
    #[arg(long, value_name = "NAME", requires = "stream_by")]
    pub source: Option<String>,

    /// Add the rows again that an earlier import added and that retention or deletion hides.
    #[arg(long, requires = "stream_by")]
    pub add_hidden: bool,

    /// What the file is [default: by its extension: csv, ndjson, jsonl].
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// How many rows go into one request.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub batch: u16,

    /// How long to wait for a host that went away, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_for: u64,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// Which store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// What a file of events can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// One JSON object a line.
    #[value(alias = "jsonl")]
    Ndjson,
}

/// What an import of rows did.
#[derive(Debug, Serialize)]
struct Summary {
    /// Rows in the file.
    rows: u64,
    /// Events that were not in the store before.
    added: u64,
    /// Events that an earlier import had added.
    already_there: u64,
    /// Rows that an earlier import had added, and that retention or deletion hides.
    hidden: u64,
    /// Rows that the store does not take.
    refused: u64,
    /// Streams that the rows belong to.
    streams: u64,
}

/// Reads, checks, sends and sums up.
pub async fn run(options: ImportOptions) -> anyhow::Result<()> {
    let is_again = |error: anyhow::Error| {
        let is_passing = error
            .chain()
            .any(|cause| cause.downcast_ref::<ClientError>().is_some_and(ClientError::is_passing));
        // Nothing but the host was in the way.
        if is_passing && !is_stdin(&options.file) {
            error.context("the same command goes on from here when the host answers again")
        } else {
            error
        }
    };
    let (summary, troubles) = import(&options).await.map_err(is_again)?;
    let mut output = Output::stdout();
    output.line(summary)?;
    output.flush()?;
    match troubles {
        None => Ok(()),
        Some(text) => Err(NotAll(text).into()),
    }
}

/// Imports the file. The summary, and what was not taken.
async fn import(options: &ImportOptions) -> anyhow::Result<(String, Option<String>)> {
    let name = options.file.display();
    let mut input = open(&options.file)?;
    let beginning = input.fill_buf().with_context(|| format!("{name} cannot be read"))?;
    let client = options.gateway.client();
    let patience = Duration::from_secs(options.retry_for);
    if beginning.starts_with(BEGINNING) {
        ensure!(
            options.stream_by.is_none(),
            "{name} was written by `exesdb export` and says itself what is what; leave out --stream-by and --type-by"
        );
        let file = twice_readable(&options.file, input)?;
        let imported = export_file::import(&client, file, &name.to_string(), patience).await?;
        let troubles = imported.troubles.text("events");
        if options.json {
            return Ok((serde_json::to_string(&imported)?, troubles));
        }
        let export_file::Imported { events, added, already_there, hidden, refused, .. } = imported;
        let export_file::Imported { streams, streams_refused, snapshots, snapshots_refused, .. } = imported;
        let text = format!(
            "{events} events: {added} added, {already_there} already there, {hidden} hidden, {refused} refused; {streams} streams with retention or deletion, {streams_refused} refused; {snapshots} snapshots, {snapshots_refused} refused"
        );
        return Ok((text, troubles));
    }
    let (summary, troubles) = import_rows(&client, options, input, patience).await?;
    let troubles = troubles.text("rows");
    if options.json {
        return Ok((serde_json::to_string(&summary)?, troubles));
    }
    let Summary { rows, added, already_there, hidden, refused, streams } = summary;
    let text = format!(
        "{rows} rows: {added} added, {already_there} already there, {hidden} hidden, {refused} refused; {streams} streams"
    );
    Ok((text, troubles))
}

async fn import_rows(
    client: &Client,
    options: &ImportOptions,
    input: Box<dyn BufRead>,
    patience: Duration,
) -> anyhow::Result<(Summary, Troubles)> {
    let path = &options.file;
    let name =
        if is_stdin(path) { "stdin".into() } else { path.file_name().unwrap_or_default().to_string_lossy() };
    let (Some(stream), Some(event_type)) = (&options.stream_by, &options.type_by) else {
        bail!(
            "{} was not written by `exesdb export`; say with --stream-by and --type-by which columns name the stream and the type",
            path.display()
        );
    };
    let format = format(path, options.format)?;
    let source = match &options.source {
        Some(source) => source.clone(),
        None if is_file(path) => name.clone().into_owned(),
        None => bail!(
            "{name} has no name of its own; give --source NAME, such as the name of the file that the rows come from: it tells them from rows of other files that read the same"
        ),
    };
    check_source(&source)?;
    let columns = row::Columns {
        stream: stream.clone(),
        event_type: event_type.clone(),
        time: options.time_by.clone(),
        keep_times: options.keep_times,
    };
    let file = twice_readable(path, input)?;
    let rows = rows::Rows::check(file, format, columns, &name, source)?;
    let total = rows.total;
    let sending = send::Sending { batch: options.batch.into(), add_hidden: options.add_hidden, patience };
    let sent = send::send(client, rows, sending).await?;
    let send::Sent { added, already_there, hidden, streams, troubles } = sent;
    let refused = troubles.rows;
    Ok((Summary { rows: total, added, already_there, hidden, refused, streams }, troubles))
}

/// Checks that the store takes a source's name.
fn check_source(source: &str) -> anyhow::Result<()> {
    ensure!(
        (1..=IMPORT_SOURCE_BYTES_MAX).contains(&source.len()) && !source.contains(char::is_control),
        "{source:?} cannot be the name of a source; give --source with 1 to {IMPORT_SOURCE_BYTES_MAX} bytes and no control characters"
    );
    Ok(())
}

/// A file, from its beginning: it is read more than once, so that what is wrong with it is found before anything is sent.
fn twice_readable(path: &Path, mut input: Box<dyn BufRead>) -> anyhow::Result<File> {
    if is_file(path) {
        return File::open(path).with_context(|| format!("{} cannot be opened", path.display()));
    }
    let name = if is_stdin(path) { "stdin".into() } else { path.display().to_string() };
    copied(&mut input).with_context(|| format!("{name} cannot be kept in a temporary file"))
}

/// What can be read only once, in a file of no name.
fn copied(input: &mut impl BufRead) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether it can be read twice: stdin and pipes cannot.
fn is_file(path: &Path) -> bool {
    !is_stdin(path) && path.is_file()
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn format(path: &Path, given: Option<Format>) -> anyhow::Result<Format> {
    if let Some(format) = given {
        return Ok(format);
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Ok(Format::Csv),
        "ndjson" | "jsonl" => Ok(Format::Ndjson),
        _ => bail!("{} does not say what it is; give --format csv or --format ndjson", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, check_source, format};
    use std::path::Path;

    #[test]
    fn a_source_has_a_name_that_the_store_takes() {
        for (source, is_taken) in [
            ("log.csv", true),
            (&"f".repeat(256), true),
            (&"f".repeat(257), false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(check_source(source).is_ok(), is_taken, "{source:?}");
        }
    }

    #[test]
    fn the_extension_says_what_a_file_is() {
        let cases = [
            ("a.csv", None, Some(Format::Csv)),
            ("a.b.CSV", None, Some(Format::Csv)),
            ("a.ndjson", None, Some(Format::Ndjson)),
            ("a.jsonl", None, Some(Format::Ndjson)),
            ("a.json", None, None),
            ("-", None, None),
            ("csv", None, None),
            ("a.csv", Some(Format::Ndjson), Some(Format::Ndjson)),
        ];
        for (path, given, expected) in cases {
            assert_eq!(format(Path::new(path), given).ok(), expected, "{path}");
        }
    }
}
