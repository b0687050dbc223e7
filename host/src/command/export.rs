//! `exesdb export`: writes a store, or a part of it, as lines of JSON that `exesdb import` takes.

pub mod format;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::format::{Counts, FORMAT_VERSION, Header, Line, StreamLine};
use super::connection::GatewayOptions;
use super::new_file::NewFile;
use super::progress::{self, Progress};
use crate::client::{
    Client, Direction, Event, Filter, Lines, PAGE_COUNT_MAX, ReadFrom, Retention, SnapshotScope, StreamInfo,
    StreamState,
};
use crate::output::Output;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb export store.ndjson                       everything
  exesdb export --stream-prefix orders- | zstd > orders.ndjson.zst
  exesdb export new.ndjson --from 100000           what was added after position 99999
  exesdb import store.ndjson --store copy          and back, into any store

The file has the events in the order of their positions, with versions, times and tags; then, unless --to is given,
retention and deletion of streams, and snapshots. Its first line says what it is, its last one how many lines there are,
so that a truncated file is noticed. It gets its name when it is complete: an interrupted export leaves no file.

Events that retention or deletion hides are not in the file; that a stream was deleted is. Importing a newer export adds
what is new to an earlier copy, unless new events were hidden before they were exported. Data is exact to the byte: JSON
with line breaks, or with white space around it, is in base64. Durable subscriptions are not in the file; a backup has them.")]
pub struct ExportOptions {
    /// The file, which must not exist yet; `-` is stdout.
    #[arg(default_value = "-")]
    pub file: PathBuf,

    /// Only events from this position on. With `@` and its history, a position that the store has left is refused.
    #[arg(long, value_name = "POSITION[@HISTORY]")]
    pub from: Option<ReadFrom>,

    /// Only events up to this position, without retention, deletion and snapshots, which are as they are now.
    #[arg(long, value_name = "POSITION")]
    pub to: Option<u64>,

    /// Only streams whose names begin with this; given several times, with any of them.
    #[arg(long = "stream-prefix", value_name = "PREFIX")]
    pub stream_prefixes: Vec<String>,

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

/// Writes the export, and prints a summary: on stdout, or on stderr if the export itself goes to stdout.
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
        // If stderr is closed, nobody reads it.
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

/// A destination of lines.
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

/// An export that is being written.
struct Export<'a> {
    client: &'a Client,
    options: &'a ExportOptions,
    sink: &'a mut dyn Sink,
    /// The first line, until it is written.
    header: Option<String>,
    counts: Counts,
    /// The position after the last exported event. Later events were appended during the export.
    end: u64,
    progress: Progress,
}

impl<'a> Export<'a> {
    fn new(client: &'a Client, options: &'a ExportOptions, sink: &'a mut dyn Sink) -> Self {
        let progress = progress::count("lines");
        Self {
            client,
            options,
            sink,
            header: None,
            counts: Counts::default(),
            end: options.from.map_or(0, |from| from.number),
            progress,
        }
    }

    async fn write(mut self) -> anyhow::Result<Counts> {
        let ExportOptions { from, to, stream_prefixes, .. } = self.options;
        let header = Header {
            exesdb_export: FORMAT_VERSION,
            from: from.map(|from| from.number),
            to: *to,
            stream_prefixes: stream_prefixes.clone(),
        };
        self.header = Some(serde_json::to_string(&header)?);
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
        // The header is written with the next line, so that an export that fails at once has no output.
        if let Some(header) = self.header.take() {
            self.progress.inc(1);
            self.sink.line(&header)?;
        }
        self.progress.inc(1);
        self.sink.line(&serde_json::to_string(line)?)
    }

    async fn events(&mut self) -> anyhow::Result<()> {
        let filter = Filter { stream_prefixes: self.options.stream_prefixes.clone(), ..Filter::default() };
        let patience = Duration::from_secs(self.options.retry_for);
        let from = self.options.from.unwrap_or(ReadFrom::of(0));
        let mut lines = Lines::new(self.client, filter, from, patience).up_to(self.options.to);
        loop {
            match lines.next().await {
                Ok(Some((position, event))) => {
                    self.line(&Line::Event(event))?;
                    self.counts.events += 1;
                    self.end = position + 1;
                }
                Ok(None) => return Ok(()),
                Err(error) if error.is_damage() => {
                    let reached = lines.reached();
                    return Err(error).with_context(|| {
                        format!(
                            "not all events from position {reached} on can be read, and there is no export; \
                             `exesdb doctor` says which are damaged, and --to and --from export what is before and after"
                        )
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes the lines of streams with retention or deletion.
    async fn streams(&mut self) -> anyhow::Result<()> {
        // Streams are listed in byte order, each once, also if prefixes overlap.
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
        let (last_version, updated) = match self.last_exported(stream, &info).await? {
            Some(last) => (last.version, last.created),
            None => (info.last_version, info.updated),
        };
        self.counts.streams += 1;
        self.line(&Line::Stream(StreamLine {
            stream: stream.to_owned(),
            state: info.state,
            first_version: info.first_version,
            last_version,
            life_begins: info.life_begins,
            created: Some(info.created),
            updated,
            retention,
        }))
    }

    /// The last exported event of a stream, if newer ones were appended since, because the line describes what the export has
    /// of the stream. None if there are no newer events, or if all visible ones are newer.
    async fn last_exported(&self, stream: &str, info: &StreamInfo) -> anyhow::Result<Option<Event>> {
        let (all, mut from, mut count) = (Filter::default(), None, 1);
        let mut is_newest = true;
        while info.first_version.is_some() {
            let page = match self.client.read(Some(stream), &all, from, count, Direction::Backward).await {
                Ok(page) => page,
                // The stream was deleted meanwhile.
                Err(error) if error.is_not_found() || error.problem_kind() == "stream-deleted" => break,
                Err(error) => return Err(error.into()),
            };
            for event in &page.events {
                let event = Event::parse(event)?;
                if event.position < self.end {
                    return Ok(Some(event).filter(|_| !is_newest));
                }
                is_newest = false;
            }
            let Some(next) = page.next.filter(|_| !page.end) else { break };
            (from, count) = (Some(ReadFrom::of(next)), PAGE_COUNT_MAX);
        }
        Ok(None)
    }

    async fn snapshots(&mut self) -> anyhow::Result<()> {
        let is_included = |stream: &str| {
            let prefixes = &self.options.stream_prefixes;
            prefixes.is_empty() || prefixes.iter().any(|prefix| stream.starts_with(prefix))
        };
        let (client, scope) = (self.client, SnapshotScope::default());
        let mut after = None;
        loop {
            let page = client.snapshots(&scope, after.as_deref()).await?;
            for info in page.snapshots.iter().filter(|info| is_included(&info.stream)) {
                match client.snapshot_line(&info.stream, &info.source, info.version).await {
                    Ok(snapshot) => {
                        self.line(&Line::Snapshot(snapshot))?;
                        self.counts.snapshots += 1;
                    }
                    // The snapshot was deleted meanwhile.
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

/// The exported retention of a stream. Events that are hidden already become `truncate_before`, because they stay hidden
/// whatever the limits become, and because a store that never had them cannot know otherwise. It is left out where `max_count`
/// hides the same events. A stream with a tombstone has no other limits.
fn retention(info: &StreamInfo) -> Retention {
    let first = info.first_version.unwrap_or(info.last_version.saturating_add(1));
    let before = info.retention.truncate_before.unwrap_or(0).max(first);
    let counted = match info.retention.max_count {
        Some(count) => info.last_version.saturating_add(1).saturating_sub(count),
        None => 0,
    };
    let truncate_before = Some(before).filter(|before| *before > counted);
    match info.state {
        StreamState::Tombstoned => Retention { truncate_before, ..Retention::default() },
        StreamState::Live | StreamState::Deleted => Retention { truncate_before, ..info.retention.clone() },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Export, ExportOptions, Sink, retention};
    use crate::client::canned::{Canned, json};
    use crate::client::{Retention, StreamInfo, StreamState};

    /// The options of a command line.
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        options: ExportOptions,
    }

    impl Sink for Vec<String> {
        fn line(&mut self, line: &str) -> anyhow::Result<()> {
            self.push(line.to_owned());
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stream_line_names_the_last_exported_event() {
        let event = |version: u64, position: u64| {
            format!(
                r#"{{"stream":"s","version":{version},"position":{position},"id":"i","type":"t","created":"t{version}"}}"#
            )
        };
        let page = |events: &[String], end| {
            let next = if end { "null" } else { "1" };
            format!(r#"{{"events":[{}],"next":{next},"end":{end}}}"#, events.join(","))
        };
        let info = r#"{"stream":"s","state":"live","first_version":0,"last_version":3,
            "retention":{"max_count":9},"created":"t0","updated":"t3"}"#;
        // The responses to reads of the stream, and the last event that its line names.
        let table = [
            (vec![page(&[event(3, 1)], false)], (3, "t3")),
            (vec![page(&[event(3, 9)], false), page(&[event(2, 8), event(1, 1)], true)], (1, "t1")),
            (vec![page(&[event(3, 9)], false), page(&[event(2, 8)], true)], (3, "t3")),
        ];
        for (reads, (last_version, updated)) in table {
            let lines = format!("{}\n{{\"page\":{{\"next\":2,\"end\":true}}}}\n", event(1, 1));
            let streams = r#"{"streams":["s"],"more":false}"#;
            let mut responses = vec![lines, streams.to_owned(), info.to_owned()];
            responses.extend(reads);
            responses.push(r#"{"snapshots":[]}"#.to_owned());
            let gateway = Canned::start(responses.iter().map(|body| json("200 OK", body)).collect()).await;
            let options = Arguments::parse_from(["export"]).options;
            let mut written: Vec<String> = Vec::new();
            Export::new(&gateway.client, &options, &mut written).write().await.unwrap();
            let expected = format!(
                r#"{{"stream":{{"stream":"s","state":"live","first_version":0,"last_version":{last_version},"created":"t0","updated":"{updated}","retention":{{"max_count":9}}}}}}"#
            );
            assert_eq!(written[2], expected);
            gateway.requests.await.unwrap();
        }
    }

    #[test]
    fn hidden_events_become_truncate_before() {
        use StreamState::{Deleted, Live, Tombstoned};
        // The state, the first version, `max_count` and `truncate_before`, and the exported `truncate_before`. The last version
        // is 9.
        let cases = [
            (Live, Some(0), None, None, None),
            (Live, Some(0), None, Some(0), None),
            (Live, Some(4), None, None, Some(4)),
            (Live, Some(4), None, Some(4), Some(4)),
            (Live, Some(4), None, Some(2), Some(4)),
            (Live, None, None, None, Some(10)),
            (Live, None, None, Some(12), Some(12)),
            (Live, Some(7), Some(3), None, None),
            (Live, Some(7), Some(3), Some(7), None),
            (Live, Some(8), Some(3), Some(7), Some(8)),
            (Live, None, Some(3), None, Some(10)),
            (Live, Some(0), Some(99), None, None),
            (Deleted, None, Some(3), Some(10), Some(10)),
            (Tombstoned, None, Some(3), Some(10), Some(10)),
        ];
        for (state, first_version, max_count, truncate_before, expected) in cases {
            let limits =
                |truncate_before| Retention { max_count, max_age_seconds: Some(60), truncate_before };
            let info = StreamInfo {
                state,
                first_version,
                last_version: 9,
                life_begins: None,
                retention: limits(truncate_before),
                created: String::new(),
                updated: String::new(),
            };
            let expected = match state {
                Tombstoned => Retention { truncate_before: expected, ..Retention::default() },
                Live | Deleted => limits(expected),
            };
            assert_eq!(retention(&info), expected, "{state:?} {first_version:?} {max_count:?}");
        }
    }
}
