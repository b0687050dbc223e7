//! What `exesdb export` wrote, put back: events where they were, then how long streams keep them, and snapshots.
//!
//! The file is read three times: to check it, to look at the streams here that its lines are about, and to send it, in its
//! order. What is there already is found to be so and not added again, so an import that was interrupted goes on when it
//! is started again. What the store refuses because of one stream is sent again without that stream. What a line says of a
//! stream is applied only where it is the same stream: see [`stream_line`].

mod event_line;
mod holes;
mod snapshot_line;
mod stream_line;
mod streams;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use self::event_line::EventLine;
use self::holes::Holes;
use self::snapshot_line::SnapshotLine;
use self::streams::Awaited;
use super::send::BATCH_BYTES_MAX;
use super::trouble::{Kind, Troubles, is_about_events};
use crate::client::{Client, ClientError, IMPORT_EVENTS_MAX, ImportRequest, Retry};
use crate::command::export::format::{Counts, ExportReader, FormatError, Line};
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
    /// Streams whose retention or deletion is as in the file.
    pub(super) streams: u64,
    /// Streams whose retention or deletion was not applied.
    pub(super) streams_refused: u64,
    /// Snapshots that were recorded.
    pub(super) snapshots: u64,
    /// Snapshots that the store does not take.
    pub(super) snapshots_refused: u64,
    /// What was not taken.
    #[serde(skip)]
    pub(super) troubles: Troubles,
}

/// Checks a file, whose name is `name`, and sends everything that is in it.
pub(super) async fn import(
    client: &Client,
    mut file: File,
    name: &str,
    patience: Duration,
) -> anyhow::Result<Imported> {
    let again = || format!("{name} cannot be read again");
    let (counts, holes) = check(&file).with_context(|| format!("{name} (nothing was sent)"))?;
    let mut retry = Retry::new(patience);
    file.rewind().with_context(again)?;
    let awaited = streams::look(client, BufReader::new(&file), &counts, &mut retry)
        .await
        .with_context(|| format!("looking at the streams of {name} (nothing was sent)"))?;
    file.rewind().with_context(again)?;
    send(client, BufReader::new(&file), &counts, retry, awaited, holes).await
}

/// Reads a file from its first line to its last, and says how many lines it has, and which streams may have holes.
fn check(file: &File) -> Result<(Counts, Holes), FormatError> {
    let (_, mut reader) = ExportReader::begin(BufReader::new(file))?;
    let (mut counts, mut holes) = (Counts::default(), Holes::default());
    while let Some(line) = reader.next_line()? {
        let wrong = |detail: String| FormatError::Line { line: reader.line(), detail };
        match line {
            Line::Event(event) => EventLine::parse(&event, 0).map(drop).map_err(wrong)?,
            Line::Snapshot(snapshot) => SnapshotLine::parse(&snapshot).map(drop).map_err(wrong)?,
            Line::Stream(line) => holes.note(&line),
            Line::End(end) => counts = end,
        }
    }
    Ok((counts, holes))
}

/// Sends everything. `counts` is what the file has.
async fn send(
    client: &Client,
    input: impl BufRead,
    counts: &Counts,
    retry: Retry,
    awaited: HashMap<String, Awaited>,
    holes: Holes,
) -> anyhow::Result<Imported> {
    let (header, mut reader) = ExportReader::begin(input)?;
    let mut sender = Sender {
        client,
        retry,
        progress: progress::bar(counts.events + counts.streams + counts.snapshots, "lines"),
        is_part: header.from.is_some(),
        awaited,
        holes,
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
    let mut done = sender.done;
    done.refused = done.troubles.rows;
    let streams = [Kind::Deletion, Kind::Tombstone, Kind::Retention];
    done.streams_refused = streams.iter().map(|kind| done.troubles.of_kind(*kind)).sum();
    done.snapshots_refused = done.troubles.of_kind(Kind::Snapshot);
    Ok(done)
}

struct Sender<'a> {
    client: &'a Client,
    retry: Retry,
    progress: Progress,
    /// The export begins at a position that was asked for: what came before is in another one.
    is_part: bool,
    /// Streams that have to be looked at before the first event that is new to them is sent.
    awaited: HashMap<String, Awaited>,
    /// Streams in which versions may be missing.
    holes: Holes,
    batch: Vec<EventLine>,
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
                    let event = EventLine::parse(&event, number).map_err(wrong)?;
                    self.prepare(&event).await.with_context(place)?;
                    let missing = self.holes.before(&event.stream, event.version, &event.created);
                    if let Some(missing) = missing {
                        self.flush().await.with_context(|| format!("events before line {number}"))?;
                        self.fill(&event.stream, &missing).await.with_context(place)?;
                    }
                    let bytes = event.bytes();
                    if self.batch.len() == IMPORT_EVENTS_MAX || self.batch_bytes + bytes > BATCH_BYTES_MAX {
                        self.flush().await.with_context(|| format!("events before line {number}"))?;
                    }
                    self.batch_bytes += bytes;
                    self.batch.push(event);
                }
                Line::Stream(line) => {
                    self.flush().await.with_context(|| format!("events before line {number}"))?;
                    self.stream(&line, number).await.with_context(place)?;
                    self.progress.inc(1);
                }
                Line::Snapshot(snapshot) => {
                    self.flush().await.with_context(|| format!("events before line {number}"))?;
                    let snapshot = SnapshotLine::parse(&snapshot).map_err(wrong)?;
                    self.snapshot(&snapshot, number).await.with_context(place)?;
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
    async fn import(&mut self, events: &[EventLine]) -> Result<(), ClientError> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let events: Vec<&EventLine> =
                part.iter().filter(|event| !self.done.troubles.is_refused(&event.stream)).collect();
            self.done.troubles.rows += (part.len() - events.len()) as u64;
            if events.is_empty() {
                continue;
            }
            match self.import_once(&events).await {
                Ok(()) => {}
                // Fewer at a time tell which it is about. They may also be more than fits at once, for what an event
                // takes in the store depends on its tags as well.
                Err(error) if is_about_events(&error) => match part {
                    [event] => {
                        let detail = event.refusal(&error, self.is_part);
                        self.done.troubles.refuse_because(&event.stream, event.line, detail);
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

    async fn import_once(&mut self, events: &[&EventLine]) -> Result<(), ClientError> {
        let client = self.client;
        let imported =
            patiently(&mut self.retry, async || client.import(&ImportRequest { events }).await).await?;
        self.done.added += imported.added;
        self.done.already_there += imported.repeated;
        self.done.hidden += imported.hidden;
        Ok(())
    }

    /// Records a snapshot, if it is of a stream of which everything before was taken.
    async fn snapshot(&mut self, line: &SnapshotLine, number: u64) -> Result<(), ClientError> {
        let (stream, version) = (line.stream.as_str(), line.version);
        if self.done.troubles.is_refused(stream) {
            self.done.troubles.count(Kind::Snapshot);
            return Ok(());
        }
        let (client, snapshot) = (self.client, line.snapshot());
        let recorded = patiently(&mut self.retry, async || {
            client.put_snapshot(stream, &line.source, version, &snapshot, Some(&line.created)).await
        })
        .await;
        match recorded {
            Ok(()) => self.done.snapshots += 1,
            Err(error) if is_about_events(&error) || error.is_not_found() => {
                let detail = format!("its snapshot of version {version} was not recorded: {error}");
                self.done.troubles.note(stream, number, detail);
                self.done.troubles.count(Kind::Snapshot);
            }
            Err(error) => return Err(error),
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek as _, Write as _};
    use std::time::Duration;

    use super::{Imported, check};
    use crate::client::canned::{Canned, json};
    use crate::command::export::format::Counts;

    const EVENT: &str = r#"{"stream":"s","version":4,"position":9,"id":"i","type":"t","data":{"b":1e400},"metadata":null,"created":"c"}"#;

    fn export(lines: &[&str], end: Counts) -> String {
        let end = serde_json::to_string(&end).unwrap();
        format!("{{\"exesdb_export\":1}}\n{}{{\"end\":{end}}}\n", lines.concat())
    }

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    async fn import(text: &str, answers: &[(&str, &str)]) -> (anyhow::Result<Imported>, Vec<String>) {
        let answers = answers.iter().map(|(status, body)| json(status, body)).collect();
        let gateway = Canned::start(answers).await;
        let outcome = super::import(&gateway.client, file(text), "f", Duration::from_secs(30)).await;
        (outcome, gateway.requests.await.unwrap())
    }

    fn head(request: &str) -> &str {
        request.split(" HTTP/").next().unwrap().trim_start_matches("/v1/stores/main")
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").unwrap().1
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
                "DELETE /v1/stores/main/streams/gone?expected_version=7&tombstone=true",
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
        assert!(
            done.troubles
                .text("events")
                .unwrap()
                .contains("line 2, stream s: its event of version 4 was not imported: limit (413)")
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_whole_is_not_sent() {
        let event = format!("{{\"event\":{EVENT}}}\n");
        let whole = export(&[&event], Counts { events: 1, ..Counts::default() });
        assert_eq!(check(&file(&whole)).unwrap().0.events, 1);
        let broken = |from: &str, to: &str| whole.replace(from, to);
        let cases = [
            (whole[..whole.len() - 1].to_owned(), "cut off"),
            (broken("\"position\":9,", ""), "line 2 is damaged: the event has no position"),
            (broken("\"version\":4", "\"version\":-4"), "line 2 is damaged"),
            (broken("\"stream\":\"s\"", "\"stream\":1"), "line 2 is damaged"),
        ];
        for (text, expected) in cases {
            let (outcome, requests) = import(&text, &[]).await;
            let error = format!("{:#}", outcome.unwrap_err());
            assert!(error.contains(expected) && error.contains("f (nothing was sent)"), "{error}");
            assert_eq!(requests, Vec::<String>::new());
        }
    }
}
