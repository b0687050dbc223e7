//! `exesdb export`: a store, or a part of it, as lines of JSON that `exesdb import` takes.

pub mod format;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::format::{Counts, FORMAT_VERSION, Header, Line, StreamLine};
use super::new_file::NewFile;
use super::progress::{self, Progress};
use crate::cli::GatewayOptions;
use crate::client::{Client, Filter, Lines, Place, Retention, SnapshotScope, StreamInfo, StreamState};
use crate::output::Output;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb export store.ndjson                       everything
  exesdb export --stream-prefix orders- | zstd > orders.ndjson.zst
  exesdb export new.ndjson --from 100000           what was added behind position 99999
  exesdb import store.ndjson --store copy          and back, into any store

The file has the events in the order of their positions, with versions, times and tags; then, unless --to is given, how
long streams keep their events and which were deleted, and the snapshots. Its first line says what it is, its last how many lines there are: a
file that was cut off is noticed. It gets its name when it is whole: an export that is ended leaves no file.

Events that are hidden by retention or deletion are not in it; that streams were deleted is. Data is as it was to the
byte: JSON with line breaks, or with white space around it, is in base64.")]
pub struct ExportOptions {
    /// The file, which must not be there; `-` is stdout.
    #[arg(default_value = "-")]
    pub file: PathBuf,

    /// Only events from this position on; with `@` and its history, a position that the store has left is refused.
    #[arg(long, value_name = "POSITION[@HISTORY]")]
    pub from: Option<Place>,

    /// Only events up to this position, and neither retention, deletion nor snapshots: those are as they are now.
    #[arg(long, value_name = "POSITION")]
    pub to: Option<u64>,

    /// Only streams that begin with this; given several times, with one of them.
    #[arg(long = "stream-prefix", value_name = "PREFIX")]
    pub stream_prefixes: Vec<String>,

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

/// Writes the export, and says what is in it: on stdout, or on stderr if the export itself goes to stdout.
pub async fn run(options: ExportOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let summary = |counts: Counts| {
        if options.json {
            return serde_json::to_string(&counts).expect("counts are JSON");
        }
        let Counts { events, streams, snapshots } = counts;
        format!("{events} events, {streams} streams with retention or deletion, {snapshots} snapshots")
    };
    if options.file.as_os_str() == "-" {
        let mut output = Output::stdout();
        let counts = Export::new(&client, &options, &mut output).write().await?;
        output.flush()?;
        // Nobody's loss if nobody reads it.
        let _ = writeln!(std::io::stderr(), "{}", summary(counts));
        return Ok(());
    }
    let mut file = NewFile::create(&options.file)?;
    let counts = Export::new(&client, &options, &mut file).write().await?;
    file.finish()?;
    let mut output = Output::stdout();
    output.line(summary(counts))?;
    output.flush()
}

/// Where lines go.
trait Sink {
    fn line(&mut self, line: &str) -> anyhow::Result<()>;
}

impl Sink for Output {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        Output::line(self, line)
    }
}

impl Sink for NewFile {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.write_all(line.as_bytes())?;
        Ok(self.write_all(b"\n")?)
    }
}

/// An export under way.
struct Export<'a> {
    client: &'a Client,
    options: &'a ExportOptions,
    sink: &'a mut dyn Sink,
    counts: Counts,
    progress: Progress,
}

impl<'a> Export<'a> {
    fn new(client: &'a Client, options: &'a ExportOptions, sink: &'a mut dyn Sink) -> Self {
        let progress = progress::count("lines");
        Self { client, options, sink, counts: Counts::default(), progress }
    }

    async fn write(mut self) -> anyhow::Result<Counts> {
        let ExportOptions { from, to, stream_prefixes, .. } = self.options;
        let header = Header {
            exesdb_export: FORMAT_VERSION,
            from: from.map(|from| from.number),
            to: *to,
            stream_prefixes: stream_prefixes.clone(),
        };
        self.line(&header)?;
        self.events().await?;
        if to.is_none() {
            self.streams().await.context("reading the streams")?;
            self.snapshots().await.context("reading the snapshots")?;
        }
        self.line(&Line::End(self.counts))?;
        self.progress.finish_and_clear();
        Ok(self.counts)
    }

    fn line(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        self.progress.inc(1);
        self.sink.line(&serde_json::to_string(line)?)
    }

    async fn events(&mut self) -> anyhow::Result<()> {
        let filter = Filter { stream_prefixes: self.options.stream_prefixes.clone(), ..Filter::default() };
        let patience = Duration::from_secs(self.options.retry_for);
        let from = self.options.from.unwrap_or(Place::of(0));
        let mut lines = Lines::new(self.client, filter, from, patience);
        while let Some((position, event)) = lines.next().await? {
            if self.options.to.is_some_and(|to| position > to) {
                break;
            }
            self.line(&Line::Event(event))?;
            self.counts.events += 1;
        }
        Ok(())
    }

    /// Streams of which there is more to say than their events.
    async fn streams(&mut self) -> anyhow::Result<()> {
        // In byte order and each once, whatever the prefixes are.
        let mut prefixes = self.options.stream_prefixes.clone();
        prefixes.sort();
        prefixes.dedup();
        if prefixes.is_empty() {
            prefixes.push(String::new());
        }
        let mut last: Option<String> = None;
        for prefix in &prefixes {
            let mut after: Option<String> = None;
            loop {
                let page = self.client.streams(prefix, after.as_deref(), true).await?;
                for stream in &page.streams {
                    if last.as_ref().is_none_or(|last| last < stream) {
                        self.stream(stream).await?;
                        last = Some(stream.clone());
                    }
                }
                after = page.streams.into_iter().next_back();
                if !page.more || after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn stream(&mut self, stream: &str) -> anyhow::Result<()> {
        let info = self.client.stream_info(stream).await?;
        let retention = retention(&info);
        let plain = info.state == StreamState::Live && retention == Retention::default();
        if plain {
            return Ok(());
        }
        self.counts.streams += 1;
        self.line(&Line::Stream(StreamLine {
            stream: stream.to_owned(),
            state: info.state,
            first_version: info.first_version,
            last_version: info.last_version,
            updated: info.updated,
            retention,
        }))
    }

    async fn snapshots(&mut self) -> anyhow::Result<()> {
        let wanted = |stream: &str| {
            let prefixes = &self.options.stream_prefixes;
            prefixes.is_empty() || prefixes.iter().any(|prefix| stream.starts_with(prefix))
        };
        let (client, scope) = (self.client, SnapshotScope::default());
        let mut after = None;
        loop {
            let page = client.snapshots(&scope, after.as_deref()).await?;
            for info in page.snapshots.iter().filter(|info| wanted(&info.stream)) {
                match client.snapshot_line(&info.stream, &info.source, info.version).await {
                    Ok(snapshot) => {
                        self.line(&Line::Snapshot(snapshot))?;
                        self.counts.snapshots += 1;
                    }
                    // It was deleted since it was listed.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// What holds of a stream, with what is hidden already as the version before which nothing is kept: it stays hidden
/// whatever the limits become, and a store that never had those events knows it as nothing else.
fn retention(info: &StreamInfo) -> Retention {
    let kept = info.first_version.unwrap_or(info.last_version.saturating_add(1));
    let before = info.retention.truncate_before.unwrap_or(0).max(kept);
    Retention { truncate_before: Some(before).filter(|before| *before > 0), ..info.retention.clone() }
}

#[cfg(test)]
mod tests {
    use super::retention;
    use crate::client::{Retention, StreamInfo, StreamState};

    #[test]
    fn what_is_hidden_is_said_by_version() {
        let cases = [
            (Some(0), None, None),
            (Some(0), Some(0), None),
            (Some(4), None, Some(4)),
            (Some(4), Some(4), Some(4)),
            (Some(4), Some(2), Some(4)),
            (None, None, Some(10)),
            (None, Some(12), Some(12)),
        ];
        for (first_version, truncate_before, expected) in cases {
            let info = StreamInfo {
                state: StreamState::Live,
                first_version,
                last_version: 9,
                retention: Retention { max_count: Some(3), max_age_seconds: None, truncate_before },
                updated: String::new(),
            };
            let expected = Retention { max_count: Some(3), max_age_seconds: None, truncate_before: expected };
            assert_eq!(retention(&info), expected);
        }
    }
}
