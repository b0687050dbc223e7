//! `exesdb import`: imports an export, or the rows of a CSV or NDJSON file as events.
//!
//! All rows of a CSV or NDJSON file are read and checked before anything is sent. The id of an event is derived from its row,
//! and the event is sent with its version, so sending it again adds nothing: an interrupted import continues when it is
//! started again, and one that waits for the host repeats its request.

mod ahead;
mod csv_file;
mod export_file;
mod format;
mod lookup;
mod ndjson_file;
mod raw_row;
mod rejections;
mod row;
mod row_id;
mod rows;
mod send;
mod sort;
mod versions;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;

use self::format::{Format, format};
use self::rejections::Rejections;
use super::connection::GatewayOptions;
use super::export::format::BEGINNING;
use super::incomplete::Incomplete;
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

An export is recognized by its first line and needs no options: its events keep their versions, times, ids and tags, and
get the next positions of this store; retention, deletions and snapshots follow. Imported into a store that has the streams
already, it adds the events after their last ones. Retention, deletion and tombstone are applied if the stream here ends
with the same event, and refused if it is another stream, or ends later or earlier. Once an event, the retention or the
deletion of a stream is refused, nothing more of that stream is imported. The first ten refusals are printed with line and
reason: of refused events, the first of each stream.

Each row of any other file becomes an event: its data is a JSON object of all columns (with NDJSON, the row itself), and its
metadata names the file and line. The rows are added in the order of the file, or with --time-by in the order of time. All
rows are checked first: nothing is sent of a file with errors.

Two rows are the same if they have the same source, stream, type and content; equal rows of one file are matched in their
order. The source is the name of the file, without its folder, or what --source says. So a file can be imported again, also
when it has grown: rows that were imported before are not added again. Rows of different files are different, also if they
are equal: give --source if a file was renamed, or if two files have the same name.

The summary counts rows that were added, already there, hidden and refused. Hidden rows were added by an earlier import of
the source, and are hidden by retention or deletion now: they are not added again, except with --add-hidden. The store
remembers how many rows of a source each stream has received, but not which: that many rows, from the beginning of the
file, count as hidden if they are not visible. So new rows belong at the end of the file, whatever their times, or at its
beginning if its first row is newer than its last one (with --time-by). A file that has lost rows, such as a rotated log,
needs another --source. Backups contain these numbers, exports do not.

Rows are refused if their stream does not take them, for example after a tombstone. Up to ten lines of each of ten streams
are printed, and the rows of all other streams are imported.

A file is checked before anything is sent; stdin is kept in a temporary file for that.

Exit codes: 0 everything is in the store, 1 the import failed or was stopped, 2 invalid command line, 3 something was
refused and everything else is in the store.")]
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

    /// Use the times of the rows as the events' `created` [default: the time of the import].
    #[arg(long, requires = "time_by")]
    pub keep_times: bool,

    /// The source of the rows, which distinguishes them from equal rows of other files [default: the file's name].
    #[arg(long, value_name = "NAME", requires = "stream_by")]
    pub source: Option<String>,

    /// Add rows again that an earlier import added and that retention or deletion hides.
    #[arg(long, requires = "stream_by")]
    pub add_hidden: bool,

    /// The format of the file [default: by its extension: csv, ndjson, jsonl].
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// The maximum number of rows in one request.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub batch: u16,

    /// How long to wait for a host that goes away meanwhile, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_for: u64,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// The result of an import of rows.
#[derive(Debug, Serialize)]
struct Summary {
    /// Rows of the file.
    rows: u64,
    /// Events that were not in the store before.
    added: u64,
    /// Events that an earlier import had added.
    already_there: u64,
    /// Rows that an earlier import had added, and that retention or deletion hides.
    hidden: u64,
    /// Rows that the store refused.
    refused: u64,
    /// Streams of the rows.
    streams: u64,
}

/// Imports the file and prints a summary.
pub async fn run(options: ImportOptions) -> anyhow::Result<()> {
    let with_advice = |error: anyhow::Error| {
        let is_transient = error
            .chain()
            .any(|cause| cause.downcast_ref::<ClientError>().is_some_and(ClientError::is_transient));
        if is_transient && !is_stdin(&options.file) {
            error.context("the same command goes on from here when the host answers again")
        } else {
            error
        }
    };
    let (summary, rejections) = import(&options).await.map_err(with_advice)?;
    let mut output = Output::stdout();
    output.line(summary)?;
    output.flush()?;
    match rejections {
        None => Ok(()),
        Some(text) => Err(Incomplete(text).into()),
    }
}

/// Imports the file. Returns the summary, and the text of what was refused.
async fn import(options: &ImportOptions) -> anyhow::Result<(String, Option<String>)> {
    let name = options.file.display();
    let mut input = open(&options.file)?;
    let beginning = input.fill_buf().with_context(|| format!("{name} cannot be read"))?;
    let client = options.gateway.client();
    let patience = Duration::from_secs(options.retry_for);
    if beginning.starts_with(BEGINNING) {
        ensure!(
            options.stream_by.is_none(),
            "{name} was written by `exesdb export` and needs no columns; leave out --stream-by and --type-by"
        );
        let file = rereadable(&options.file, input)?;
        let imported = export_file::import(&client, file, &name.to_string(), patience).await?;
        let rejections = imported.rejections.text("events");
        if options.json {
            return Ok((serde_json::to_string(&imported)?, rejections));
        }
        let export_file::Imported { events, added, already_there, hidden, refused, .. } = imported;
        let export_file::Imported { streams, streams_refused, snapshots, snapshots_refused, .. } = imported;
        let text = format!(
            "{events} events: {added} added, {already_there} already there, {hidden} hidden, {refused} refused; {streams} streams with retention or deletion, {streams_refused} refused; {snapshots} snapshots, {snapshots_refused} refused"
        );
        return Ok((text, rejections));
    }
    let (summary, rejections) = import_rows(&client, options, input, patience).await?;
    let rejections = rejections.text("rows");
    if options.json {
        return Ok((serde_json::to_string(&summary)?, rejections));
    }
    let Summary { rows, added, already_there, hidden, refused, streams } = summary;
    let text = format!(
        "{rows} rows: {added} added, {already_there} already there, {hidden} hidden, {refused} refused; {streams} streams"
    );
    Ok((text, rejections))
}

async fn import_rows(
    client: &Client,
    options: &ImportOptions,
    input: Box<dyn BufRead>,
    patience: Duration,
) -> anyhow::Result<(Summary, Rejections)> {
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
    let file = rereadable(path, input)?;
    let rows = rows::Rows::check(file, format, columns, &name, source)?;
    let total = rows.total;
    let options = send::SendOptions { batch: options.batch.into(), add_hidden: options.add_hidden, patience };
    let sent = send::send(client, rows, options).await?;
    let send::Sent { added, already_there, hidden, streams, rejections } = sent;
    let refused = rejections.rows;
    Ok((Summary { rows: total, added, already_there, hidden, refused, streams }, rejections))
}

/// Checks the name of a source against the rules of the store.
fn check_source(source: &str) -> anyhow::Result<()> {
    ensure!(
        (1..=IMPORT_SOURCE_BYTES_MAX).contains(&source.len()) && !source.contains(char::is_control),
        "{source:?} cannot be the name of a source; give --source with 1 to {IMPORT_SOURCE_BYTES_MAX} bytes and no control characters"
    );
    Ok(())
}

/// A file that can be read from its beginning more than once, so that errors are found before anything is sent.
fn rereadable(path: &Path, mut input: Box<dyn BufRead>) -> anyhow::Result<File> {
    if is_file(path) {
        return File::open(path).with_context(|| format!("{} cannot be opened", path.display()));
    }
    let name = if is_stdin(path) { "stdin".into() } else { path.display().to_string() };
    copy(&mut input).with_context(|| format!("{name} cannot be kept in a temporary file"))
}

/// Copies an input that can be read only once into a temporary file.
fn copy(input: &mut impl BufRead) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether a path can be read more than once, as opposed to stdin and pipes.
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

#[cfg(test)]
mod tests {
    use super::check_source;

    #[test]
    fn names_of_sources_are_short_and_printable() {
        for (source, is_valid) in [
            ("log.csv", true),
            (&"f".repeat(256), true),
            (&"f".repeat(257), false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(check_source(source).is_ok(), is_valid, "{source:?}");
        }
    }
}
