//! Sends the rows of a file, in order and in batches.
//!
//! Each row is sent with its version, so that one request can have rows of many streams, and the whole store gets them in
//! order. A request that the store refuses because of one stream is sent again without that stream. While nothing is refused,
//! requests are sent [ahead](pipeline) of the answers to those before them.

mod pipeline;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use serde::Serialize;
use serde_json::value::RawValue;

use self::pipeline::Request;
use super::ahead::Ahead;
use super::lookup::Lookup;
use super::rejections::{Rejections, is_about_events};
use super::row_id;
use super::rows::{PendingRow, Rows};
use super::versions::{Decision, Required, Stream};
use crate::client::{
    Client, ClientError, IMPORT_BYTES_MAX, ImportMark, ImportState, Imported, Retry, RowsRequest, StreamState,
};
use crate::command::progress;

/// Bytes that an event may take apart from its data: names, id, metadata and punctuation, and the mark of its stream.
const EVENT_BYTES: usize = 1_024 + 576;
/// Size of the largest row, which may come last in a request.
const ROW_BYTES: usize = 1 << 20;
/// Number of streams that are read concurrently.
const CONCURRENT_READS: usize = 16;
/// How often a stream is reloaded because others write to it, before its rows are rejected.
const RELOADS_MAX: u32 = 10;

/// The result of sending.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Events that were not in the store before.
    pub(super) added: u64,
    /// Events that an earlier import had added.
    pub(super) already_there: u64,
    /// Rows that an earlier import had added, and that retention or deletion hides.
    pub(super) hidden: u64,
    /// Number of streams of the rows.
    pub(super) streams: u64,
    /// What the store refused.
    pub(super) rejections: Rejections,
}

/// Options of sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendOptions {
    /// Maximum number of rows in one request.
    pub(super) batch: usize,
    /// Whether hidden rows are added again.
    pub(super) add_hidden: bool,
    /// How long to wait for a host that is away.
    pub(super) patience: Duration,
}

/// Sends all rows.
pub(super) async fn send(client: &Client, mut rows: Rows, options: SendOptions) -> anyhow::Result<Sent> {
    let progress = progress::bar(rows.total, "rows");
    let mut sender = Sender {
        client,
        options,
        counts_all: true,
        has_responded: false,
        retry: Retry::new(options.patience),
        streams: HashMap::new(),
        ahead: Ahead::default(),
        sent: Sent::default(),
    };
    let total = rows.total;
    let result = sender.send(&mut rows, &progress).await;
    progress.finish_and_clear();
    result.with_context(|| sender.stopped(total))?;
    sender.sent.streams = sender.streams.len() as u64;
    Ok(sender.sent)
}

/// A stream of the import.
#[derive(Debug, Clone)]
struct TrackedStream {
    stream: Stream,
    reloads: u32,
    /// Whether the store takes its rows, as far as is known.
    is_open: bool,
}

/// An event as it is sent.
#[derive(Debug, Serialize)]
struct NewEvent<'a> {
    stream: &'a str,
    version: u64,
    created: u64,
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    data: &'a RawValue,
    metadata: &'a RawValue,
}

/// A request for some rows, and the state after the store accepts it.
struct Plan<'a> {
    events: Vec<NewEvent<'a>>,
    marks: Vec<ImportMark<'a>>,
    streams: HashMap<&'a str, TrackedStream>,
    /// Number of events that the store should have already.
    existing: u64,
    hidden: u64,
    /// Rows of rejected streams, with their lines.
    rejected: Vec<(&'a str, u64)>,
}

struct Sender<'a> {
    client: &'a Client,
    options: SendOptions,
    /// Whether the store has counted all rows so far. A copy of another store has rows that it did not count.
    counts_all: bool,
    /// Whether the host has ever responded. If it has not, the address is probably wrong.
    has_responded: bool,
    retry: Retry,
    streams: HashMap<String, TrackedStream>,
    ahead: Ahead<Request>,
    sent: Sent,
}

/// A row to send, with its metadata.
type SentRow<'r> = (&'r PendingRow, &'r RawValue);

impl Sender<'_> {
    async fn send(&mut self, rows: &mut Rows, progress: &progress::Progress) -> anyhow::Result<()> {
        loop {
            let batch = self.batch(rows)?;
            if batch.is_empty() {
                return self.settle(rows, progress).await;
            }
            self.load_streams(rows, &batch).await?;
            if self.may_send_ahead(&batch) {
                self.send_ahead(rows, batch, progress).await?;
            } else {
                self.settle(rows, progress).await?;
                self.send_batch(rows, &batch, progress, false).await?;
            }
        }
    }

    /// Sends rows, in parts if some are refused. `is_repeated` says that they may have been sent before.
    async fn send_batch(
        &mut self,
        rows: &Rows,
        batch: &[PendingRow],
        progress: &progress::Progress,
        is_repeated: bool,
    ) -> anyhow::Result<()> {
        let metadata = metadata_of(rows, batch);
        let batch = with_metadata(batch, &metadata);
        let mut parts = vec![&batch[..]];
        while let Some(part) = parts.pop() {
            let plan = self.plan(part, rows);
            match self.import(&plan, is_repeated).await {
                Ok(imported) => {
                    let Plan { streams, rejected, .. } = plan;
                    let streams: Vec<_> =
                        streams.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
                    self.streams.extend(streams);
                    self.count(imported);
                    for (stream, line) in rejected {
                        self.sent.rejections.add_row(stream, line);
                    }
                    progress.inc(part.len() as u64);
                }
                Err(error) if is_about_events(&error) => match part {
                    [(pending, _)] => {
                        self.reload(rows, pending, &error).await?;
                        parts.push(part);
                    }
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                Err(error) => {
                    let (pending, _) = part[0];
                    return Err(error).with_context(|| format!("rows from line {}", pending.line));
                }
            }
        }
        Ok(())
    }

    /// Takes the rows of the next request.
    fn batch(&self, rows: &mut Rows) -> anyhow::Result<Vec<PendingRow>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.options.batch && bytes < IMPORT_BYTES_MAX - ROW_BYTES {
            let Some(pending) = rows.next()? else { break };
            bytes += pending.row.data.get().len() + EVENT_BYTES;
            batch.push(pending);
        }
        Ok(batch)
    }

    /// Loads the streams of the rows that are not known yet.
    async fn load_streams(&mut self, rows: &Rows, batch: &[PendingRow]) -> anyhow::Result<()> {
        let mut unknown: Vec<&str> = batch.iter().map(|pending| pending.row.stream.as_str()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.retain(|stream| !self.streams.contains_key(*stream));
        if unknown.is_empty() {
            return Ok(());
        }
        let lookup = Lookup { client: self.client, rows, patience: self.options.patience };
        let states = lookup.states(&unknown, self.has_responded).await?;
        self.has_responded = true;
        let (counts_all, add_hidden) = (self.counts_all, self.options.add_hidden);
        let found: Vec<(&str, TrackedStream)> = iter(unknown.into_iter().zip(states))
            .map(async |(name, state)| {
                let (stream, required) =
                    Stream::begin(state.count, state.info.as_ref(), counts_all, add_hidden);
                let is_open = state.info.as_ref().is_none_or(|info| info.state != StreamState::Tombstoned);
                let from = state.info.and_then(|info| info.first_version);
                let stream = match required {
                    Required::Nothing => stream,
                    Required::First => stream.with_first(lookup.first(name, from).await?.as_ref()),
                    Required::All => stream.with_all(lookup.visible(name, from).await?),
                };
                anyhow::Ok((name, TrackedStream { stream, reloads: 0, is_open }))
            })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await?;
        self.streams.extend(found.into_iter().map(|(name, target)| (name.to_owned(), target)));
        Ok(())
    }

    /// Decides on each row, and prepares the request.
    fn plan<'r>(&self, part: &[SentRow<'r>], rows: &'r Rows) -> Plan<'r> {
        let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0);
        let mut plan = Plan {
            events: Vec::with_capacity(part.len()),
            marks: Vec::new(),
            streams: HashMap::new(),
            existing: 0,
            hidden: 0,
            rejected: Vec::new(),
        };
        for (pending, metadata) in part {
            let stream = pending.row.stream.as_str();
            if self.sent.rejections.is_rejected(stream) {
                plan.rejected.push((stream, pending.line));
                continue;
            }
            let target = plan.streams.entry(stream).or_insert_with(|| self.streams[stream].clone());
            let version = match target.stream.decide(pending.key, pending.ordinal, &pending.id) {
                Decision::Hidden => {
                    plan.hidden += 1;
                    continue;
                }
                Decision::Existing(version) => {
                    plan.existing += 1;
                    version
                }
                Decision::New(version) => version,
            };
            let time = pending.row.time.filter(|_| rows.keeps_times()).map(jiff::Timestamp::as_microsecond);
            plan.events.push(NewEvent {
                stream,
                version,
                created: time.and_then(|time| u64::try_from(time).ok()).unwrap_or(now),
                id: &pending.id,
                event_type: &pending.row.event_type,
                data: &pending.row.data,
                metadata,
            });
        }
        let source = rows.source();
        let marks = plan.streams.iter_mut().filter_map(|(stream, target)| {
            target.stream.mark().map(|count| ImportMark { stream, source, count })
        });
        plan.marks = marks.collect();
        plan
    }

    /// Sends the request until the host responds. Versions and ids make it safe to repeat.
    async fn import(&mut self, plan: &Plan<'_>, mut is_repeated: bool) -> Result<Sent, ClientError> {
        let mut sent = Sent { hidden: plan.hidden, ..Sent::default() };
        if plan.events.is_empty() && plan.marks.is_empty() {
            return Ok(sent);
        }
        let request = RowsRequest { events: &plan.events, marks: &plan.marks };
        let Imported { added, repeated, hidden } = loop {
            match self.client.import_rows(&request).await {
                Ok(imported) => {
                    self.retry.succeeded();
                    break imported;
                }
                Err(error) => self.retry.wait_after(error).await?,
            }
            is_repeated = true;
        };
        // Events that unexpectedly exist were added by an attempt whose response was lost.
        let by_us = if is_repeated { repeated.saturating_sub(plan.existing) } else { 0 };
        sent.added += added + by_us;
        sent.already_there += repeated - by_us;
        sent.hidden += hidden;
        Ok(sent)
    }

    fn count(&mut self, sent: Sent) {
        self.sent.added += sent.added;
        self.sent.already_there += sent.already_there;
        self.sent.hidden += sent.hidden;
    }

    /// Reloads the stream of a row that the store refused, because others wrote to the stream, or the file has another order
    /// than before. If that cannot help, rejects the stream.
    async fn reload(&mut self, rows: &Rows, pending: &PendingRow, error: &ClientError) -> anyhow::Result<()> {
        let name = pending.row.stream.as_str();
        let target = self.streams[name].clone();
        let can_help = matches!(error.problem_kind(), "wrong-expected-version" | "event-id-conflict");
        if !can_help || target.reloads == RELOADS_MAX {
            self.sent.rejections.reject(name, pending.line, error);
            return Ok(());
        }
        let lookup = Lookup { client: self.client, rows, patience: self.options.patience };
        let state = lookup.states(&[name], true).await?.into_iter().next();
        let ImportState { count, info } = state.context("the store told nothing of the stream")?;
        let from = info.as_ref().and_then(|info| info.first_version);
        let visible = lookup.visible(name, from).await?;
        self.counts_all &= count.rows > 0 || !visible.has_rows();
        let next = info.map_or(0, |info| info.last_version.saturating_add(1));
        let stream = target.stream.reloaded(count, next, visible);
        self.streams
            .insert(name.to_owned(), TrackedStream { stream, reloads: target.reloads + 1, is_open: false });
        Ok(())
    }

    fn stopped(&self, total: u64) -> String {
        let Sent { added, already_there, hidden, .. } = self.sent;
        format!(
            "stopped: of {total} rows {added} were added, and {} were there before",
            already_there + hidden
        )
    }
}

/// The metadata of the events that rows become.
fn metadata_of(rows: &Rows, batch: &[PendingRow]) -> Vec<Box<RawValue>> {
    batch.iter().map(|pending| row_id::metadata(&pending.row, rows.source(), pending.line)).collect()
}

fn with_metadata<'r>(batch: &'r [PendingRow], metadata: &'r [Box<RawValue>]) -> Vec<SentRow<'r>> {
    batch.iter().zip(metadata.iter().map(|metadata| &**metadata)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::time::Duration;

    use super::{SendOptions, Sent, send};
    use crate::client::canned::{Canned, json};
    use crate::command::import::format::Format;
    use crate::command::import::row::Columns;
    use crate::command::import::rows::Rows;

    /// Sends one row for each of these streams. Returns the result and the requests.
    async fn import(streams: &[&str], responses: &[(&str, &str)]) -> (anyhow::Result<Sent>, Vec<String>) {
        let mut file = tempfile::tempfile().unwrap();
        write!(file, "s,t\n{}", streams.iter().map(|stream| format!("{stream},x\n")).collect::<String>())
            .unwrap();
        file.rewind().unwrap();
        let columns = Columns { stream: "s".into(), event_type: "t".into(), time: None, keep_times: false };
        let rows = Rows::check(file, Format::Csv, columns, "f", "f".into()).unwrap();
        let responses = responses.iter().map(|(status, body)| json(status, body)).collect();
        let gateway = Canned::start(responses).await;
        let options = SendOptions { batch: 10, add_hidden: false, patience: Duration::from_secs(30) };
        let sent = send(&gateway.client, rows, options).await;
        (sent, gateway.requests.await.unwrap())
    }

    fn counts(sent: &Sent) -> [u64; 4] {
        [sent.added, sent.already_there, sent.hidden, sent.rejections.rows]
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").unwrap().1
    }

    const CONFLICT: (&str, &str) =
        ("409 Conflict", r#"{"type":"urn:exesdb:problem:wrong-expected-version","title":"conflict"}"#);
    const DEAD: (&str, &str) = ("410 Gone", r#"{"type":"urn:exesdb:problem:stream-deleted","title":"dead"}"#);

    fn accepted(added: u64, repeated: u64) -> String {
        format!(r#"{{"added":{added},"repeated":{repeated},"hidden":0,"durable_position":9}}"#)
    }

    /// The store's response about streams: each with its number of rows, and its first and last version.
    fn states(streams: &[(&str, u64, Option<u64>, u64)]) -> String {
        let state = |(stream, rows, first, last): &(&str, u64, Option<u64>, u64)| {
            let first = first.map_or(String::new(), |first| format!(r#""first_version":{first},"#));
            format!(
                r#"{{"stream":"{stream}","rows":{rows},"leading_rows":{rows},"info":{{"stream":"{stream}","state":"live",{first}"last_version":{last},"retention":{{}},"created":"c","updated":"u"}}}}"#
            )
        };
        format!(r#"{{"states":[{}]}}"#, streams.iter().map(state).collect::<Vec<_>>().join(","))
    }

    /// The store's response about streams that do not exist.
    fn none(streams: usize) -> String {
        format!(
            r#"{{"states":[{}]}}"#,
            vec![r#"{"stream":"s","rows":0,"leading_rows":0}"#; streams].join(",")
        )
    }

    #[tokio::test]
    async fn rows_of_an_attempt_whose_response_was_lost_count_as_added() {
        let away = ("503 Service Unavailable", "{}");
        let (none, there) = (none(2), accepted(0, 2));
        let none = ("200 OK", none.as_str());
        let (sent, requests) = import(&["a", "b"], &[none, away, ("200 OK", &there)]).await;
        assert_eq!(counts(&sent.unwrap()), [2, 0, 0, 0]);
        assert_eq!(body(&requests[1]), body(&requests[2]));
        // Without such an attempt, they existed before.
        let (sent, _) = import(&["a", "b"], &[none, ("200 OK", &there)]).await;
        assert_eq!(counts(&sent.unwrap()), [0, 2, 0, 0]);
    }

    #[tokio::test]
    async fn a_stream_that_refuses_rows_does_not_stop_others() {
        let (one, of_three, of_one) = (accepted(1, 0), none(3), none(1));
        let one = ("200 OK", one.as_str());
        let (sent, requests) =
            import(&["a", "dead", "b"], &[("200 OK", &of_three), DEAD, one, DEAD, DEAD, one]).await;
        let sent = sent.unwrap();
        assert_eq!(counts(&sent), [2, 0, 0, 1]);
        assert_eq!(
            sent.rejections.text("rows").unwrap().matches("line 3, stream dead: dead (410)").count(),
            1
        );
        let sizes: Vec<_> =
            requests[1..].iter().map(|request| body(request).matches("\"id\"").count()).collect();
        assert_eq!(sizes, [3, 1, 2, 1, 1]);
        // Nothing more is sent of a rejected stream.
        let (sent, requests) = import(&["dead", "dead"], &[("200 OK", &of_one), DEAD, DEAD]).await;
        let sent = sent.unwrap();
        assert_eq!((counts(&sent), requests.len()), ([0, 0, 0, 2], 3));
        assert!(sent.rejections.text("rows").unwrap().contains("lines 2, 3, stream dead: "));
    }

    #[tokio::test]
    async fn a_stream_to_which_others_wrote_is_reloaded() {
        let (of_one, now, one) = (none(1), states(&[("a", 0, Some(0), 4)]), accepted(1, 0));
        let other = r#"{"stream":"a","version":0,"position":0,"id":"i","type":"t","data":1,"created":"c"}"#;
        let page = format!(r#"{{"events":[{other}],"next":1,"end":true}}"#);
        let bodies = [of_one.as_str(), CONFLICT.1, &now, &page, &one];
        let statuses = ["200 OK", CONFLICT.0, "200 OK", "200 OK", "200 OK"];
        let responses: Vec<_> = statuses.into_iter().zip(bodies).collect();
        let (sent, requests) = import(&["a"], &responses).await;
        assert_eq!(counts(&sent.unwrap()), [1, 0, 0, 0]);
        assert!(
            body(&requests[1]).contains(r#""version":0,"#) && body(&requests[4]).contains(r#""version":5,"#)
        );
    }

    #[tokio::test]
    async fn one_request_asks_about_all_streams_and_marks_their_rows() {
        let (known, one) = (states(&[("a", 0, Some(0), 6), ("b", 1, None, 8)]), accepted(2, 0));
        let (sent, requests) = import(&["a", "b", "b"], &[("200 OK", &known), ("200 OK", &one)]).await;
        assert_eq!(counts(&sent.unwrap()), [2, 0, 1, 0]);
        assert!(requests[0].starts_with("POST /v1/stores/main/import/states HTTP"), "{}", requests[0]);
        assert_eq!(body(&requests[0]), r#"{"source":"f","streams":["a","b"]}"#);
        let sent: serde_json::Value = serde_json::from_str(body(&requests[1])).unwrap();
        let versions: Vec<_> = (0..2).map(|at| &sent["events"][at]["version"]).collect();
        assert_eq!(versions, [7, 9]);
        let mut marks = sent["marks"].as_array().unwrap().clone();
        marks.sort_by_key(|mark| mark["stream"].as_str().unwrap().to_owned());
        assert_eq!(
            marks,
            [
                serde_json::json!({"stream": "a", "source": "f", "rows": 1, "leading_rows": 1}),
                serde_json::json!({"stream": "b", "source": "f", "rows": 2, "leading_rows": 2}),
            ]
        );
    }
}
