//! `exesdb import`: what `exesdb export` wrote, or events from a CSV or NDJSON file.
//!
//! Of a CSV or NDJSON file all rows are read and checked before anything is sent. Every event has an id made from its row, so sending it
//! again adds nothing: an import that was interrupted goes on when it is started again, and one that waits for a
//! host to come back just sends the same again.

mod csv_file;
mod export_file;
mod ndjson_file;
mod plan;
mod row;
mod send;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::export::format::BEGINNING;
use crate::cli::GatewayOptions;
use crate::client::Client;
use crate::output::Output;

/// Lanes of an import whose whole-store order does not matter: enough that the host's commits are shared.
const CONCURRENCY_WITHOUT_TIME: u16 = 8;

/// Options of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb import receipt.csv --stream-by case:concept:name --type-by concept:name --time-by time:timestamp
  exesdb import orders.ndjson --stream-by order_id --type-by kind
  zcat big.csv.gz | exesdb import - --format csv --stream-by id --type-by kind
  exesdb import store.ndjson --store copy          what `exesdb export` wrote

An export is known by its first line and needs no options: its events get the versions, times, ids and tags that they
had, and the next positions of this store; retention, deletions and snapshots follow.

Of any other file each row becomes an event: its data is a JSON object of all columns (of NDJSON, the row itself), its metadata says
where it came from. Events of one stream keep their order. With --time-by the whole store gets the rows in the
order of time, as long as --concurrency is 1.

Nothing is added twice: the same row of the same stream and type is the same event, whatever the file is called.
An import that was interrupted goes on when it is started again.")]
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

    /// What the file is [default: by its extension: csv, ndjson, jsonl].
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// How many rows of one stream may go into one append.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub batch: u16,

    /// How many appends may be under way, each to another stream [default: 1 with --time-by, otherwise 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,

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

/// What an import did.
#[derive(Debug, Serialize)]
struct Summary {
    /// Rows in the file.
    rows: u64,
    /// Events that were not in the store before.
    added: u64,
    /// Events that an earlier import had added.
    already_there: u64,
    /// Streams that the rows belong to.
    streams: u64,
}

/// Reads, checks, sends and sums up.
pub async fn run(options: ImportOptions) -> anyhow::Result<()> {
    let mut input = open(&options.file)?;
    let name = options.file.display();
    let beginning = input.fill_buf().with_context(|| format!("{name} cannot be read"))?;
    let client = options.gateway.client();
    let patience = Duration::from_secs(options.retry_for);
    let mut output = Output::stdout();
    if beginning.starts_with(BEGINNING) {
        ensure!(
            options.stream_by.is_none(),
            "{name} was written by `exesdb export` and says itself what is what; leave out --stream-by and --type-by"
        );
        let imported = import_export(&client, &options.file, input, patience).await?;
        if options.json {
            output.line(serde_json::to_string(&imported)?)?;
        } else {
            let export_file::Imported { events, added, already_there, streams, snapshots } = imported;
            output.line(format!(
                "{events} events: {added} added, {already_there} already there; {streams} streams with retention or deletion, {snapshots} snapshots"
            ))?;
        }
        return output.flush();
    }
    let summary = import_rows(&client, &options, input, patience).await?;
    if options.json {
        output.line(serde_json::to_string(&summary)?)?;
    } else {
        let Summary { rows, added, already_there, streams } = summary;
        output
            .line(format!("{rows} rows: {added} added, {already_there} already there; {streams} streams"))?;
    }
    output.flush()
}

/// A file is read twice: what is wrong with it is found before anything is sent. Stdin can be read only once.
async fn import_export(
    client: &Client,
    path: &Path,
    input: impl BufRead,
    patience: Duration,
) -> anyhow::Result<export_file::Imported> {
    let counts = if is_stdin(path) { None } else { Some(export_file::check(path)?) };
    export_file::send(client, input, counts, patience).await
}

async fn import_rows(
    client: &Client,
    options: &ImportOptions,
    input: impl BufRead,
    patience: Duration,
) -> anyhow::Result<Summary> {
    let (name, rows) = read(options, input)?;
    let total = rows.len() as u64;
    let in_order_of_time = options.time_by.is_some();
    let lanes = options.concurrency.unwrap_or(if in_order_of_time { 1 } else { CONCURRENCY_WITHOUT_TIME });
    let plan = plan::plan(rows, &name, options.batch.into(), lanes.into());
    let streams = plan.streams;
    let sent = send::send(client, plan, total, patience).await?;
    Ok(Summary { rows: total, added: sent.added, already_there: sent.already_there, streams })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// The file's name and its rows.
fn read(options: &ImportOptions, input: impl Read) -> anyhow::Result<(String, Vec<row::Row>)> {
    let path = &options.file;
    let (Some(stream), Some(event_type)) = (&options.stream_by, &options.type_by) else {
        bail!(
            "{} was not written by `exesdb export`; say with --stream-by and --type-by which columns name the stream and the type",
            path.display()
        );
    };
    let format = format(path, options.format)?;
    let columns = row::Columns { stream, event_type, time: options.time_by.as_deref() };
    let name = if is_stdin(path) {
        "stdin".to_owned()
    } else {
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    };
    let rows = match format {
        Format::Csv => csv_file::read(input, columns),
        Format::Ndjson => ndjson_file::read(BufReader::new(input), columns),
    };
    let rows = rows.map_err(|bad| anyhow::anyhow!("{}", bad.in_file(&name)))?;
    Ok((name, rows))
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
    use super::{Format, format};
    use std::path::Path;

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
