//! What `exesdb export` wrote, put back: events where they were, then how long streams keep them, and snapshots.
//!
//! Everything is sent in the order of the file. What is there already is found to be so and not added again, so an
//! import that was interrupted goes on when it is started again. What the store refuses because of one stream is sent
//! again without that stream.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::send::BATCH_BYTES_MAX;
use super::trouble::{Troubles, is_about_events};
use crate::client::{
    Client, ClientError, ExpectedVersion, IMPORT_EVENTS_MAX, ImportRequest, Retention, Retry, Snapshot,
    StreamInfo, StreamState,
};
use crate::command::export::format::{
    Counts, ExportReader, FormatError, Line, PLACEHOLDER_TYPE, StreamLine, placeholder_id,
};
use crate::command::progress::{self, Progress};

/// What an import did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Imported {
    /// Events in the file.
    pub(super) events: u64,
    /// Events that were not in the store before.
    pub(super) added: u64,
    /// Events that an earlier import had added.
    pub(super) already_there: u64,
    /// Events whose versions their streams have, and that retention or deletion hides there.
    pub(super) hidden: u64,
    /// Events that the store does not take.
    pub(super) refused: u64,
    /// Streams whose retention or deletion was set.
    pub(super) streams: u64,
    /// Snapshots that were recorded.
    pub(super) snapshots: u64,
    /// What was not taken.
    #[serde(skip)]
    pub(super) troubles: Troubles,
}

/// Reads a file from its first line to its last, and says how many lines it has. Nothing is sent.
pub(super) fn check(path: &Path) -> anyhow::Result<Counts> {
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let shown = || format!("{} (nothing was sent)", path.display());
    let (_, mut reader) = ExportReader::begin(BufReader::new(file)).with_context(shown)?;
    let mut counts = Counts::default();
    while let Some(line) = reader.next_line().with_context(shown)? {
        let wrong = |detail: String| FormatError::Line { line: reader.line(), detail };
        match line {
            Line::Event(event) => without_position(&event).map(drop).map_err(wrong).with_context(shown)?,
            Line::Snapshot(snapshot) => {
                SnapshotLine::parse(&snapshot).map(drop).map_err(wrong).with_context(shown)?;
            }
            Line::Stream(_) => {}
            Line::End(end) => counts = end,
        }
    }
    Ok(counts)
}

/// Sends everything. `counts` is what the file has, if that is known.
pub(super) async fn send(
    client: &Client,
    input: impl BufRead,
    counts: Option<Counts>,
    patience: Duration,
) -> anyhow::Result<Imported> {
    let (_, mut reader) = ExportReader::begin(input)?;
    let progress = match counts {
        Some(counts) => progress::bar(counts.events + counts.streams + counts.snapshots, "lines"),
        None => progress::count("lines"),
    };
    let mut sender = Sender {
        client,
        retry: Retry::new(patience),
        progress,
        batch: Vec::new(),
        batch_bytes: 0,
        done: Imported::default(),
    };
    let result = sender.send(&mut reader).await;
    sender.progress.finish_and_clear();
    result.with_context(|| {
        let Imported { added, already_there, hidden, .. } = sender.done;
        format!("stopped: {added} events were added, and {} were there before", already_there + hidden)
    })?;
    sender.done.refused = sender.done.troubles.rows;
    Ok(sender.done)
}

/// An event that is to be sent.
struct Waiting {
    stream: String,
    line: u64,
    event: Box<RawValue>,
}

impl Serialize for Waiting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.event.serialize(serializer)
    }
}

struct Sender<'a> {
    client: &'a Client,
    retry: Retry,
    progress: Progress,
    batch: Vec<Waiting>,
    batch_bytes: usize,
    done: Imported,
}

impl Sender<'_> {
    async fn send<R: BufRead>(&mut self, reader: &mut ExportReader<R>) -> anyhow::Result<()> {
        while let Some(line) = reader.next_line()? {
            let number = reader.line();
            let place = || format!("line {number}");
            let wrong = |detail: String| FormatError::Line { line: number, detail };
            match line {
                Line::Event(event) => {
                    let (stream, event) = without_position(&event).map_err(wrong)?;
                    let bytes = event.get().len();
                    if self.batch.len() == IMPORT_EVENTS_MAX || self.batch_bytes + bytes > BATCH_BYTES_MAX {
                        self.flush().await.with_context(|| format!("events before line {number}"))?;
                    }
                    self.batch_bytes += bytes;
                    self.batch.push(Waiting { stream, line: number, event });
                }
                Line::Stream(line) => {
                    self.flush().await.with_context(|| format!("events before line {number}"))?;
                    let set = self.stream(&line, number).await.with_context(place)?;
                    self.done.streams += u64::from(set);
                    self.progress.inc(1);
                }
                Line::Snapshot(snapshot) => {
                    self.flush().await.with_context(|| format!("events before line {number}"))?;
                    let snapshot = SnapshotLine::parse(&snapshot).map_err(wrong)?;
                    self.done.snapshots +=
                        u64::from(self.snapshot(snapshot, number).await.with_context(place)?);
                    self.progress.inc(1);
                }
                Line::End(_) => self.flush().await.context("the last events")?,
            }
        }
        Ok(())
    }

    /// Imports what was gathered.
    async fn flush(&mut self) -> Result<(), ClientError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.import(&events).await?;
        self.done.events += events.len() as u64;
        self.progress.inc(events.len() as u64);
        Ok(())
    }

    /// Imports events in order, but for those of streams that are refused.
    async fn import(&mut self, events: &[Waiting]) -> Result<(), ClientError> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let events: Vec<&Waiting> =
                part.iter().filter(|waiting| !self.done.troubles.is_refused(&waiting.stream)).collect();
            self.done.troubles.rows += (part.len() - events.len()) as u64;
            if events.is_empty() {
                continue;
            }
            match self.import_once(&events).await {
                Ok(()) => {}
                // Fewer at a time tell which it is about. They may also be more than fits at once, for what an event
                // takes in the store depends on its tags as well.
                Err(error) if is_about_events(&error) => match part {
                    [waiting] => {
                        self.done.troubles.refuse(&waiting.stream, waiting.line, &error);
                        self.done.troubles.rows += 1;
                    }
                    _ => {
                        // Those of refused streams were counted.
                        self.done.troubles.rows -= (part.len() - events.len()) as u64;
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn import_once(&mut self, events: &[&Waiting]) -> Result<(), ClientError> {
        let client = self.client;
        let imported =
            patiently(&mut self.retry, async || client.import(&ImportRequest { events }).await).await?;
        self.done.added += imported.added;
        self.done.already_there += imported.repeated;
        self.done.hidden += imported.hidden;
        Ok(())
    }

    /// Says how long a stream is kept and whether it was deleted, as in the store that it comes from. Whether that could
    /// be said.
    async fn stream(&mut self, line: &StreamLine, number: u64) -> anyhow::Result<bool> {
        let stream = line.stream.as_str();
        if self.done.troubles.is_refused(stream) {
            return Ok(false);
        }
        match self.set_stream(line, number).await {
            Ok(set) => Ok(set),
            Err(error) if is_about_events(&error) => {
                self.done.troubles.refuse(stream, number, &error);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn set_stream(&mut self, line: &StreamLine, number: u64) -> Result<bool, ClientError> {
        let mut info = self.info(&line.stream).await?;
        let is_short = |info: &Option<StreamInfo>| {
            info.as_ref().is_none_or(|info| info.last_version < line.last_version)
        };
        if line.first_version.is_none() && is_short(&info) {
            // The stream's events are gone; it goes on counting after the last of them all the same.
            self.place_hidden(line).await?;
            info = self.info(&line.stream).await?;
        }
        let Some(info) = info else {
            let detail = "it has no events to keep; is the export whole?".to_owned();
            self.done.troubles.note(&line.stream, number, detail);
            return Ok(false);
        };
        let (client, stream, retry) = (self.client, line.stream.as_str(), &mut self.retry);
        // What was deleted in this store stays deleted.
        if line.state == StreamState::Live && info.state != StreamState::Live {
            return Ok(false);
        }
        if info.state == StreamState::Live {
            // The placeholder, or what is left of the stream in this store.
            let hides_all = line.state == StreamState::Live
                && line.first_version.is_none()
                && info.first_version.is_some();
            if hides_all {
                let before = Some(line.last_version.saturating_add(1));
                let all = Retention { truncate_before: before, ..Retention::default() };
                patiently(retry, async || client.set_retention(stream, &all).await).await?;
            }
            if info.retention != line.retention || hides_all {
                patiently(retry, async || client.set_retention(stream, &line.retention).await).await?;
            }
        }
        if line.state != info.state && info.state != StreamState::Tombstoned {
            let tombstone = line.state == StreamState::Tombstoned;
            patiently(retry, async || client.delete_stream(stream, ExpectedVersion::Any, tombstone).await)
                .await?;
        }
        Ok(true)
    }

    /// Puts an event in place of those that a stream had and that are gone.
    async fn place_hidden(&mut self, line: &StreamLine) -> Result<(), ClientError> {
        let (client, events) = (self.client, [placeholder(line)]);
        patiently(&mut self.retry, async || client.import(&ImportRequest { events: &events }).await)
            .await
            .map(drop)
    }

    async fn info(&mut self, stream: &str) -> Result<Option<StreamInfo>, ClientError> {
        let client = self.client;
        match patiently(&mut self.retry, async || client.stream_info(stream).await).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records a snapshot. Whether the store took it.
    async fn snapshot(&mut self, line: SnapshotLine, number: u64) -> Result<bool, ClientError> {
        let SnapshotLine { stream, source, version, created, .. } = line;
        let metadata = line.metadata.filter(|metadata| metadata.get() != "null");
        let snapshot = Snapshot {
            data: line.data,
            data_base64: line.data_base64,
            content_type: line.content_type,
            metadata,
            metadata_base64: line.metadata_base64,
        };
        let client = self.client;
        let recorded = patiently(&mut self.retry, async || {
            client.put_snapshot(&stream, &source, version, &snapshot, Some(&created)).await
        })
        .await;
        match recorded {
            Ok(()) => Ok(true),
            Err(error) if is_about_events(&error) || error.is_not_found() => {
                self.done.troubles.note(&stream, number, format!("snapshot of version {version}: {error}"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Asks again and again while the host is away. What is asked here can be asked twice.
async fn patiently<T>(
    retry: &mut Retry,
    ask: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    loop {
        match ask().await {
            Ok(answer) => {
                retry.succeeded();
                return Ok(answer);
            }
            // Nothing has ever answered there, or the host is gone for longer than it is waited for.
            Err(error) => retry.wait_after(error).await?,
        }
    }
}

/// The event's stream, and the event as it is sent: positions belong to the store that it comes from.
fn without_position(event: &RawValue) -> Result<(String, Box<RawValue>), String> {
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(event.get()).map_err(|error| error.to_string())?;
    members.remove("position").ok_or("the event has no position")?;
    for member in ["stream", "version", "id", "type", "created"] {
        if !members.contains_key(member) {
            return Err(format!("the event has no {member}"));
        }
    }
    let stream = serde_json::from_str(members["stream"].get()).map_err(|error| error.to_string())?;
    let text = serde_json::to_string(&members).map_err(|error| error.to_string())?;
    Ok((stream, RawValue::from_string(text).map_err(|error| error.to_string())?))
}

/// An event in place of those that a stream had and that are gone.
fn placeholder(line: &StreamLine) -> Box<RawValue> {
    let event = serde_json::json!({
        "stream": line.stream,
        "version": line.last_version,
        "created": line.updated,
        "id": placeholder_id(line.last_version),
        "type": PLACEHOLDER_TYPE,
        "data": null,
    });
    RawValue::from_string(event.to_string()).expect("it was just made")
}

/// A snapshot as the gateway writes it.
#[derive(Debug, Deserialize)]
struct SnapshotLine {
    stream: String,
    #[serde(default)]
    source: String,
    version: u64,
    created: String,
    #[serde(default, deserialize_with = "as_written")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default, deserialize_with = "as_written")]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    metadata_base64: Option<String>,
}

/// A member that may be `null`, which is a value and not the lack of one.
fn as_written<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl SnapshotLine {
    fn parse(raw: &RawValue) -> Result<SnapshotLine, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Imported, check, send, without_position};
    use crate::client::canned::{Canned, json};
    use crate::command::export::format::Counts;
    use serde_json::value::RawValue;

    const EVENT: &str = r#"{"stream":"s","version":4,"position":9,"id":"i","type":"t","data":{"b":1e400},"metadata":null,"created":"c"}"#;

    fn export(lines: &[&str], end: Counts) -> String {
        let end = serde_json::to_string(&end).unwrap();
        format!("{{\"exesdb_export\":1}}\n{}{{\"end\":{end}}}\n", lines.concat())
    }

    async fn import(text: &str, answers: &[(&str, &str)]) -> (anyhow::Result<Imported>, Vec<String>) {
        let answers = answers.iter().map(|(status, body)| json(status, body)).collect();
        let gateway = Canned::start(answers).await;
        let outcome = send(&gateway.client, text.as_bytes(), None, Duration::from_secs(30)).await;
        (outcome, gateway.requests.await.unwrap())
    }

    fn head(request: &str) -> &str {
        request.split(" HTTP/").next().unwrap().trim_start_matches("/v1/stores/main")
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").unwrap().1
    }

    #[test]
    fn events_are_sent_without_their_positions() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let (stream, sent) = without_position(&raw(EVENT)).unwrap();
        assert_eq!(stream, "s");
        assert_eq!(
            sent.get(),
            r#"{"created":"c","data":{"b":1e400},"id":"i","metadata":null,"stream":"s","type":"t","version":4}"#
        );
        let hostile = ["[]", "1", "{}", r#"{"position":1}"#, &EVENT.replace("\"id\"", "\"ids\"")];
        for text in hostile {
            assert!(without_position(&raw(text)).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn events_streams_and_snapshots_are_put_back() {
        let event = format!("{{\"event\":{EVENT}}}\n");
        let text = export(
            &[
                &event,
                "{\"stream\":{\"stream\":\"gone\",\"state\":\"tombstoned\",\"last_version\":7,\"updated\":\"u\"}}\n",
                "{\"snapshot\":{\"stream\":\"s\",\"source\":\"q\",\"version\":3,\"data\":null,\"metadata_base64\":\"WyBd\",\"created\":\"2026-01-01T00:00:00Z\"}}\n",
            ],
            Counts { events: 1, streams: 1, snapshots: 1 },
        );
        let added = ("200 OK", r#"{"added":1,"repeated":0,"hidden":0,"durable_position":1}"#);
        let missing = ("404 Not Found", r#"{"type":"urn:exesdb:problem:stream-not-found"}"#);
        let live = (
            "200 OK",
            r#"{"stream":"gone","state":"live","first_version":7,"last_version":7,"retention":{},"created":"u","updated":"u"}"#,
        );
        let done = ("204 No Content", "");
        let (outcome, requests) = import(&text, &[added, missing, added, live, done, done]).await;
        let done = outcome.unwrap();
        assert_eq!((done.events, done.added, done.already_there), (1, 1, 0));
        assert_eq!((done.streams, done.snapshots, done.refused), (1, 1, 0));
        let heads: Vec<&str> = requests.iter().map(|request| head(request)).collect();
        assert_eq!(
            heads,
            [
                "POST /v1/stores/main/import",
                "GET /v1/stores/main/streams/gone",
                "POST /v1/stores/main/import",
                "GET /v1/stores/main/streams/gone",
                "DELETE /v1/stores/main/streams/gone?expected_version=any&tombstone=true",
                "PUT /v1/stores/main/streams/s/snapshots/3?source=q&created=2026%2D01%2D01T00%3A00%3A00Z",
            ]
            .map(|head| head.replace("%2D", "-"))
        );
        assert!(body(&requests[2]).contains(r#""version":7"#), "{}", requests[2]);
        assert_eq!(body(&requests[5]), r#"{"data":null,"metadata_base64":"WyBd"}"#);
    }

    #[tokio::test]
    async fn what_is_too_large_at_once_is_sent_in_parts() {
        let lines: String = (0..3).map(|_| format!("{{\"event\":{EVENT}}}\n")).collect();
        let text = export(&[&lines], Counts { events: 3, ..Counts::default() });
        let too_large =
            ("413 Content Too Large", r#"{"type":"urn:exesdb:problem:too-large","title":"limit"}"#);
        let added = ("200 OK", r#"{"added":1,"repeated":0,"hidden":0,"durable_position":1}"#);
        let two = ("200 OK", r#"{"added":2,"repeated":0,"hidden":0,"durable_position":3}"#);
        let (outcome, requests) = import(&text, &[too_large, added, two]).await;
        let done = outcome.unwrap();
        assert_eq!((done.events, done.added, done.refused), (3, 3, 0));
        let sent: Vec<_> = requests.iter().map(|request| body(request).matches("\"id\"").count()).collect();
        assert_eq!(sent, [3, 1, 2]);
        let one = export(&[&format!("{{\"event\":{EVENT}}}\n")], Counts { events: 1, ..Counts::default() });
        let (outcome, _) = import(&one, &[too_large]).await;
        let done = outcome.unwrap();
        assert_eq!((done.added, done.refused), (0, 1));
        assert!(done.troubles.text("events").unwrap().contains("line 2, stream s: limit (413)"));
    }

    #[tokio::test]
    async fn a_file_that_is_cut_off_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let event = format!("{{\"event\":{EVENT}}}\n");
        let whole = export(&[&event], Counts { events: 1, ..Counts::default() });
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(check(&path).unwrap().events, 1);
        let cut = &whole[..whole.len() - 1];
        std::fs::write(&path, cut).unwrap();
        let error = format!("{:#}", check(&path).unwrap_err());
        assert!(error.contains("nothing was sent") && error.contains("cut off"), "{error}");
        let (outcome, _) = import(cut, &[]).await;
        assert!(format!("{:#}", outcome.unwrap_err()).contains("cut off"));
        let hostile = export(&["{\"event\":{\"position\":1}}\n"], Counts { events: 1, ..Counts::default() });
        std::fs::write(&path, hostile).unwrap();
        assert!(format!("{:#}", check(&path).unwrap_err()).contains("line 2 is damaged"));
    }
}
