//! Imports an export: events at their versions, then retention and deletion of streams, and snapshots.
//!
//! The file is read three times: to check it, to look up the streams of its lines, and to send it, in its order. The store
//! does not add again what it has already, so an interrupted import continues when it is started again. The line of a stream is
//! applied only to the same stream: see [`stream_line`].

mod continued;
mod event_line;
mod gaps;
mod sender;
mod snapshot_line;
mod stream_line;
mod streams;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _};
use std::time::Duration;

use anyhow::Context as _;

use self::continued::ContinuedStream;
use self::event_line::EventLine;
use self::gaps::Gaps;
pub(super) use self::sender::Imported;
use self::sender::Sender;
use self::snapshot_line::SnapshotLine;
use super::ahead::Ahead;
use super::rejections::Kind;
use crate::client::{Client, IMPORT_BYTES_MAX, IMPORT_EVENTS_MAX, Retry};
use crate::command::export::format::{Counts, ExportReader, FormatError, Line};
use crate::command::progress;

/// Checks a file and sends its content. `name` is the name of the file for messages.
pub(super) async fn import(
    client: &Client,
    mut file: File,
    name: &str,
    patience: Duration,
) -> anyhow::Result<Imported> {
    let message = || format!("{name} cannot be read again");
    let (counts, gaps) = check(&file).with_context(|| format!("{name} (nothing was sent)"))?;
    let mut retry = Retry::new(patience);
    file.rewind().with_context(message)?;
    let continued = continued::find(client, BufReader::new(&file), &counts, &mut retry)
        .await
        .with_context(|| format!("looking at the streams of {name} (nothing was sent)"))?;
    file.rewind().with_context(message)?;
    send(client, BufReader::new(&file), &counts, retry, continued, gaps).await
}

/// Checks a file from its first line to its last. Returns its counts, and the streams that may have gaps.
fn check(file: &File) -> Result<(Counts, Gaps), FormatError> {
    let (_, mut reader) = ExportReader::begin(BufReader::new(file))?;
    let (mut counts, mut gaps) = (Counts::default(), Gaps::default());
    while let Some(line) = reader.next_line()? {
        let wrong = |detail: String| FormatError::Line { line: reader.line(), detail };
        match line {
            Line::Event(event) => EventLine::parse(&event, 0).map(drop).map_err(wrong)?,
            Line::Snapshot(snapshot) => SnapshotLine::parse(&snapshot).map(drop).map_err(wrong)?,
            Line::Stream(line) => gaps.add(&line),
            Line::End(end) => counts = end,
        }
    }
    Ok((counts, gaps))
}

/// Sends the content of a file that has these counts.
async fn send(
    client: &Client,
    input: impl BufRead,
    counts: &Counts,
    retry: Retry,
    continued: HashMap<String, ContinuedStream>,
    gaps: Gaps,
) -> anyhow::Result<Imported> {
    let (header, mut reader) = ExportReader::begin(input)?;
    let mut sender = Sender {
        client,
        retry,
        progress: progress::bar(counts.events + counts.streams + counts.snapshots, "lines"),
        is_part: header.from.is_some(),
        continued,
        gaps,
        batch: Vec::new(),
        batch_bytes: 0,
        ahead: Ahead::default(),
        done: Imported::default(),
    };
    let result = send_lines(&mut sender, &mut reader).await;
    sender.progress.finish_and_clear();
    result.with_context(|| {
        let Imported { added, already_there, hidden, .. } = sender.done;
        format!("stopped: {added} events were added, and {} were there before", already_there + hidden)
    })?;
    let mut done = sender.done;
    done.refused = done.rejections.rows;
    let streams = [Kind::Deletion, Kind::Tombstone, Kind::Retention];
    done.streams_refused = streams.iter().map(|kind| done.rejections.of_kind(*kind)).sum();
    done.snapshots_refused = done.rejections.of_kind(Kind::Snapshot);
    Ok(done)
}

/// Sends everything, in the order of the file.
async fn send_lines<R: BufRead>(sender: &mut Sender<'_>, reader: &mut ExportReader<R>) -> anyhow::Result<()> {
    while let Some(line) = reader.next_line()? {
        let number = reader.line();
        let at_line = || format!("line {number}");
        let wrong = |detail: String| FormatError::Line { line: number, detail };
        match line {
            Line::Event(event) => {
                let event = EventLine::parse(&event, number).map_err(wrong)?;
                sender.prepare(&event).await.with_context(at_line)?;
                let missing = sender.gaps.before(&event.stream, event.version, &event.created);
                if let Some(missing) = missing {
                    sender.flush().await.with_context(|| format!("events before line {number}"))?;
                    sender.fill(&event.stream, &missing).await.with_context(at_line)?;
                }
                let bytes = event.bytes();
                if sender.batch.len() == IMPORT_EVENTS_MAX || sender.batch_bytes + bytes > IMPORT_BYTES_MAX {
                    sender.send_batch().await.with_context(|| format!("events before line {number}"))?;
                }
                sender.batch_bytes += bytes;
                sender.batch.push(event);
            }
            Line::Stream(line) => {
                sender.flush().await.with_context(|| format!("events before line {number}"))?;
                sender.stream(&line, number).await.with_context(at_line)?;
                sender.progress.inc(1);
            }
            Line::Snapshot(snapshot) => {
                sender.flush().await.with_context(|| format!("events before line {number}"))?;
                let snapshot = SnapshotLine::parse(&snapshot).map_err(wrong)?;
                sender.snapshot(&snapshot, number).await.with_context(at_line)?;
                sender.progress.inc(1);
            }
            Line::End(_) => sender.flush().await.context("the last events")?,
        }
    }
    Ok(())
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

    async fn import(text: &str, responses: &[(&str, &str)]) -> (anyhow::Result<Imported>, Vec<String>) {
        let responses = responses.iter().map(|(status, body)| json(status, body)).collect();
        let gateway = Canned::start(responses).await;
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
    async fn events_streams_and_snapshots_are_imported() {
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
    async fn a_request_that_is_too_large_is_split() {
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
            done.rejections
                .text("events")
                .unwrap()
                .contains("line 2, stream s: its event of version 4 was not imported: limit (413)")
        );
    }

    #[tokio::test]
    async fn nothing_is_sent_of_an_incomplete_file() {
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
