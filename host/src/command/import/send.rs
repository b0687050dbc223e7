//! Sending the rows of a file: in order, many at a time, until the store has them.
//!
//! Rows are sent as an import, each with the version that it gets, so that one request takes rows of many streams and the
//! whole store has them in their order. What the store refuses because of one stream is sent again without that stream.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use serde::Serialize;
use serde_json::value::RawValue;

use super::identity;
use super::placing::{Fate, Reading, Stream, Visible, VisibleRow};
use super::rows::{Pending, Rows};
use super::trouble::{Troubles, is_about_events};
use crate::client::{
    Client, ClientError, Direction, Event, Filter, ImportMark, ImportState, Imported, PAGE_COUNT_MAX, Place,
    Retry, RowsRequest,
};
use crate::command::progress;

/// Bytes of data and metadata in one request: what the API's 4 MiB leave beside names, ids and punctuation.
pub(super) const BATCH_BYTES_MAX: usize = 3 << 20;
/// Streams that are read at a time.
const READS: usize = 16;
/// How often a stream is looked at anew because others write to it, before its rows are given up.
const LOOKS_MAX: u32 = 10;

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Events that were not there before.
    pub(super) added: u64,
    /// Events that an earlier import had added.
    pub(super) already_there: u64,
    /// Events that an earlier import had added, and that retention or deletion hides.
    pub(super) hidden: u64,
    /// Streams that the rows belong to.
    pub(super) streams: u64,
    /// What was not taken.
    pub(super) troubles: Troubles,
}

/// How rows are sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// Rows in one request.
    pub(super) batch: usize,
    /// Rows that cannot be seen are added again.
    pub(super) add_hidden: bool,
    /// How long a host that went away is waited for.
    pub(super) patience: Duration,
}

/// Sends all rows.
pub(super) async fn send(client: &Client, mut rows: Rows, sending: Sending) -> anyhow::Result<Sent> {
    let progress = progress::bar(rows.total, "rows");
    let mut sender = Sender {
        client,
        sending,
        counts_all: true,
        has_answered: false,
        retry: Retry::new(sending.patience),
        streams: HashMap::new(),
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
struct Target {
    stream: Stream,
    looks: u32,
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

/// What is sent of some rows, and what holds when it was taken.
struct Plan<'a> {
    events: Vec<NewEvent<'a>>,
    marks: Vec<ImportMark<'a>>,
    streams: HashMap<&'a str, Target>,
    /// How many of the events are expected to be there.
    there: u64,
    hidden: u64,
    /// Rows of streams that are refused, with their lines.
    refused: Vec<(&'a str, u64)>,
}

struct Sender<'a> {
    client: &'a Client,
    sending: Sending,
    /// No stream was met that has rows which the store has not counted, as a copy of another store has.
    counts_all: bool,
    /// The gateway has answered: before that, its address is probably wrong.
    has_answered: bool,
    retry: Retry,
    streams: HashMap<String, Target>,
    sent: Sent,
}

impl Sender<'_> {
    async fn send(&mut self, rows: &mut Rows, progress: &progress::Progress) -> anyhow::Result<()> {
        loop {
            let batch = self.batch(rows)?;
            if batch.is_empty() {
                return Ok(());
            }
            self.look_up(rows, &batch).await?;
            let metadata: Vec<Box<RawValue>> = batch
                .iter()
                .map(|pending| identity::metadata(&pending.row, rows.source(), pending.line))
                .collect();
            let batch: Vec<(&Pending, &RawValue)> =
                batch.iter().zip(metadata.iter().map(|metadata| &**metadata)).collect();
            let mut parts = vec![&batch[..]];
            while let Some(part) = parts.pop() {
                let plan = self.plan(part, rows);
                match self.import(&plan).await {
                    Ok(imported) => {
                        let Plan { streams, refused, .. } = plan;
                        let streams: Vec<_> =
                            streams.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
                        self.streams.extend(streams);
                        self.count(imported);
                        for (stream, line) in refused {
                            self.sent.troubles.also(stream, line);
                        }
                        progress.inc(part.len() as u64);
                    }
                    Err(error) if is_about_events(&error) => match part {
                        [(pending, _)] => {
                            self.look_again(rows, pending, &error).await?;
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
        }
    }

    /// The rows of the next request.
    fn batch(&self, rows: &mut Rows) -> anyhow::Result<Vec<Pending>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.sending.batch && bytes < BATCH_BYTES_MAX - ROW_BYTES {
            let Some(pending) = rows.next()? else { break };
            bytes += pending.row.data.get().len() + EVENT_BYTES;
            batch.push(pending);
        }
        Ok(batch)
    }

    /// Asks about those streams of the rows that are not known yet, and reads those that have to be.
    async fn look_up(&mut self, rows: &Rows, batch: &[Pending]) -> anyhow::Result<()> {
        let mut unknown: Vec<&str> = batch.iter().map(|pending| pending.row.stream.as_str()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.retain(|stream| !self.streams.contains_key(*stream));
        if unknown.is_empty() {
            return Ok(());
        }
        let asking = Asking { client: self.client, rows, sending: self.sending };
        let states = asking.states(&unknown, self.has_answered).await?;
        self.has_answered = true;
        let (counts_all, add_hidden) = (self.counts_all, self.sending.add_hidden);
        let found: Vec<(&str, Stream)> = iter(unknown.into_iter().zip(states))
            .map(async |(name, state)| {
                let (stream, reading) =
                    Stream::begin(state.count, state.info.as_ref(), counts_all, add_hidden);
                let from = state.info.and_then(|info| info.first_version);
                let stream = match reading {
                    Reading::Nothing => stream,
                    Reading::First => stream.with_first(asking.first(name, from).await?.as_ref()),
                    Reading::All => stream.with_all(asking.visible(name, from).await?),
                };
                anyhow::Ok((name, stream))
            })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        let targets = found.into_iter().map(|(name, stream)| (name.to_owned(), Target { stream, looks: 0 }));
        self.streams.extend(targets);
        Ok(())
    }

    /// Says for each row what is sent of it.
    fn plan<'r>(&self, part: &[(&'r Pending, &'r RawValue)], rows: &'r Rows) -> Plan<'r> {
        let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0);
        let mut plan = Plan {
            events: Vec::with_capacity(part.len()),
            marks: Vec::new(),
            streams: HashMap::new(),
            there: 0,
            hidden: 0,
            refused: Vec::new(),
        };
        for (pending, metadata) in part {
            let stream = pending.row.stream.as_str();
            if self.sent.troubles.is_refused(stream) {
                plan.refused.push((stream, pending.line));
                continue;
            }
            let target = plan.streams.entry(stream).or_insert_with(|| self.streams[stream].clone());
            let version = match target.stream.place(pending.place, pending.ordinal, &pending.id) {
                Fate::Hidden => {
                    plan.hidden += 1;
                    continue;
                }
                Fate::There(version) => {
                    plan.there += 1;
                    version
                }
                Fate::New(version) => version,
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

    /// Sends what was planned, again and again while the host is away. Versions and ids make that safe.
    async fn import(&mut self, plan: &Plan<'_>) -> Result<Sent, ClientError> {
        let mut sent = Sent { hidden: plan.hidden, ..Sent::default() };
        if plan.events.is_empty() && plan.marks.is_empty() {
            return Ok(sent);
        }
        let request = RowsRequest { events: &plan.events, marks: &plan.marks };
        let mut is_repeated = false;
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
        // What is there and was not expected to be was added by an attempt whose answer was lost.
        let by_us = if is_repeated { repeated.saturating_sub(plan.there) } else { 0 };
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

    /// The store refused a row: it has been written to by others, or the file is in another order than it was. Looks at
    /// the stream anew; if that cannot help, the stream's rows are not taken.
    async fn look_again(
        &mut self,
        rows: &Rows,
        pending: &Pending,
        error: &ClientError,
    ) -> anyhow::Result<()> {
        let name = pending.row.stream.as_str();
        let target = self.streams[name].clone();
        let can_help = matches!(error.problem_kind(), "wrong-expected-version" | "event-id-conflict");
        if !can_help || target.looks == LOOKS_MAX {
            self.sent.troubles.refuse(name, pending.line, error);
            return Ok(());
        }
        let asking = Asking { client: self.client, rows, sending: self.sending };
        let state = asking.states(&[name], true).await?.into_iter().next();
        let ImportState { count, info } = state.context("the store told nothing of the stream")?;
        let from = info.as_ref().and_then(|info| info.first_version);
        let visible = asking.visible(name, from).await?;
        self.counts_all &= count.rows > 0 || !visible.has_rows();
        let next = info.map_or(0, |info| info.last_version.saturating_add(1));
        let stream = target.stream.looked_at_again(count, next, visible);
        self.streams.insert(name.to_owned(), Target { stream, looks: target.looks + 1 });
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

/// Bytes of an event beside its data: names, id, metadata and punctuation, and a mark of its stream and source.
const EVENT_BYTES: usize = 1_024 + 576;
/// The largest row that may come last.
const ROW_BYTES: usize = 1 << 20;

/// Questions about streams of the store.
struct Asking<'a> {
    client: &'a Client,
    rows: &'a Rows,
    sending: Sending,
}

impl Asking<'_> {
    /// What the store knows of streams. If it `has_answered` before, it is waited for.
    async fn states(&self, streams: &[&str], has_answered: bool) -> Result<Vec<ImportState>, ClientError> {
        let mut retry = Retry::new(self.sending.patience);
        loop {
            match self.client.import_states(self.rows.source(), streams).await {
                Ok(states) => return Ok(states),
                // Nothing has ever answered there: the address is probably wrong.
                Err(error @ ClientError::Unreachable { .. }) if !has_answered => return Err(error),
                Err(error) => retry.wait_after(error).await?,
            }
        }
    }

    /// The first visible event of a stream that is a row of the file.
    async fn first(&self, name: &str, from: Option<u64>) -> anyhow::Result<Option<VisibleRow>> {
        // Most often the first visible event is.
        let mut pages = Pages { asking: self, name, from, count: 1 };
        while let Some(events) = pages.next().await? {
            for event in events {
                if let Some(row) = self.row(event)? {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// All visible events of a stream, from the first of them on.
    async fn visible(&self, name: &str, from: Option<u64>) -> anyhow::Result<Visible> {
        let mut visible = Visible::default();
        let mut pages = Pages { asking: self, name, from, count: PAGE_COUNT_MAX };
        while let Some(events) = pages.next().await? {
            for event in events {
                visible.push(self.row(event)?);
            }
        }
        Ok(visible)
    }

    fn row(&self, event: Event) -> anyhow::Result<Option<VisibleRow>> {
        let place = self.rows.find(&event)?;
        Ok(place.map(|place| VisibleRow { place, id: event.id, version: event.version }))
    }
}

/// The visible events of a stream, page by page: a small one, and then larger ones.
struct Pages<'a> {
    asking: &'a Asking<'a>,
    name: &'a str,
    from: Option<u64>,
    count: u64,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Event>>, ClientError> {
        let Some(from) = self.from else { return Ok(None) };
        let mut retry = Retry::new(self.asking.sending.patience);
        let page = loop {
            let (client, all) = (self.asking.client, Filter::default());
            match client
                .read(Some(self.name), &all, Some(Place::of(from)), self.count, Direction::Forward)
                .await
            {
                Ok(page) => break page,
                // It was deleted in between.
                Err(error) if error.is_not_found() || error.problem_kind() == "stream-deleted" => {
                    return Ok(None);
                }
                Err(error) => retry.wait_after(error).await?,
            }
        };
        self.from = page.next.filter(|next| !page.end && *next > from);
        self.count = (self.count * 32).min(PAGE_COUNT_MAX);
        page.events.iter().map(|event| Event::parse(event)).collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::time::Duration;

    use super::{Sending, Sent, send};
    use crate::client::canned::{Canned, json};
    use crate::command::import::Format;
    use crate::command::import::row::Columns;
    use crate::command::import::rows::Rows;

    /// A file with one row of each of these streams, sent in one request if the gateway lets it; and the requests.
    async fn import(streams: &[&str], answers: &[(&str, &str)]) -> (anyhow::Result<Sent>, Vec<String>) {
        let mut file = tempfile::tempfile().unwrap();
        write!(file, "s,t\n{}", streams.iter().map(|stream| format!("{stream},x\n")).collect::<String>())
            .unwrap();
        file.rewind().unwrap();
        let columns = Columns { stream: "s".into(), event_type: "t".into(), time: None, keep_times: false };
        let rows = Rows::check(file, Format::Csv, columns, "f", "f".into()).unwrap();
        let answers = answers.iter().map(|(status, body)| json(status, body)).collect();
        let gateway = Canned::start(answers).await;
        let sending = Sending { batch: 10, add_hidden: false, patience: Duration::from_secs(30) };
        let sent = send(&gateway.client, rows, sending).await;
        (sent, gateway.requests.await.unwrap())
    }

    fn counts(sent: &Sent) -> [u64; 4] {
        [sent.added, sent.already_there, sent.hidden, sent.troubles.rows]
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").unwrap().1
    }

    const CONFLICT: (&str, &str) =
        ("409 Conflict", r#"{"type":"urn:exesdb:problem:wrong-expected-version","title":"conflict"}"#);
    const DEAD: (&str, &str) = ("410 Gone", r#"{"type":"urn:exesdb:problem:stream-deleted","title":"dead"}"#);

    fn taken(added: u64, repeated: u64) -> String {
        format!(r#"{{"added":{added},"repeated":{repeated},"hidden":0,"durable_position":9}}"#)
    }

    /// What the store knows of streams: each with its rows, and its first and last version.
    fn states(streams: &[(&str, u64, Option<u64>, u64)]) -> String {
        let state = |(stream, rows, first, last): &(&str, u64, Option<u64>, u64)| {
            let first = first.map_or(String::new(), |first| format!(r#""first_version":{first},"#));
            format!(
                r#"{{"stream":"{stream}","rows":{rows},"leading_rows":{rows},"info":{{"stream":"{stream}","state":"live",{first}"last_version":{last},"retention":{{}},"created":"c","updated":"u"}}}}"#
            )
        };
        format!(r#"{{"states":[{}]}}"#, streams.iter().map(state).collect::<Vec<_>>().join(","))
    }

    /// What the store knows of so many streams that it does not have.
    fn none(streams: usize) -> String {
        format!(
            r#"{{"states":[{}]}}"#,
            vec![r#"{"stream":"s","rows":0,"leading_rows":0}"#; streams].join(",")
        )
    }

    #[tokio::test]
    async fn what_an_attempt_added_whose_answer_was_lost_counts_as_added() {
        let away = ("503 Service Unavailable", "{}");
        let (none, there) = (none(2), taken(0, 2));
        let none = ("200 OK", none.as_str());
        let (sent, requests) = import(&["a", "b"], &[none, away, ("200 OK", &there)]).await;
        assert_eq!(counts(&sent.unwrap()), [2, 0, 0, 0]);
        assert_eq!(body(&requests[1]), body(&requests[2]));
        // Without such an attempt it was there before.
        let (sent, _) = import(&["a", "b"], &[none, ("200 OK", &there)]).await;
        assert_eq!(counts(&sent.unwrap()), [0, 2, 0, 0]);
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_stops_no_other() {
        let (one, of_three, of_one) = (taken(1, 0), none(3), none(1));
        let one = ("200 OK", one.as_str());
        let (sent, requests) =
            import(&["a", "dead", "b"], &[("200 OK", &of_three), DEAD, one, DEAD, DEAD, one]).await;
        let sent = sent.unwrap();
        assert_eq!(counts(&sent), [2, 0, 0, 1]);
        assert_eq!(sent.troubles.text("rows").unwrap().matches("line 3, stream dead: dead (410)").count(), 1);
        let sizes: Vec<_> =
            requests[1..].iter().map(|request| body(request).matches("\"id\"").count()).collect();
        assert_eq!(sizes, [3, 1, 2, 1, 1]);
        // Of a stream that was refused once, nothing more is sent.
        let (sent, requests) = import(&["dead", "dead"], &[("200 OK", &of_one), DEAD, DEAD]).await;
        let sent = sent.unwrap();
        assert_eq!((counts(&sent), requests.len()), ([0, 0, 0, 2], 3));
        assert!(sent.troubles.text("rows").unwrap().contains("lines 2, 3, stream dead: "));
    }

    #[tokio::test]
    async fn a_stream_that_others_wrote_to_is_looked_at_anew() {
        let (of_one, now, one) = (none(1), states(&[("a", 0, Some(0), 4)]), taken(1, 0));
        let other = r#"{"stream":"a","version":0,"position":0,"id":"i","type":"t","data":1,"created":"c"}"#;
        let page = format!(r#"{{"events":[{other}],"next":1,"end":true}}"#);
        let answers = [of_one.as_str(), CONFLICT.1, &now, &page, &one];
        let statuses = ["200 OK", CONFLICT.0, "200 OK", "200 OK", "200 OK"];
        let answers: Vec<_> = statuses.into_iter().zip(answers).collect();
        let (sent, requests) = import(&["a"], &answers).await;
        assert_eq!(counts(&sent.unwrap()), [1, 0, 0, 0]);
        assert!(
            body(&requests[1]).contains(r#""version":0,"#) && body(&requests[4]).contains(r#""version":5,"#)
        );
    }

    #[tokio::test]
    async fn the_store_is_asked_about_all_streams_at_once_and_told_their_rows() {
        let (known, one) = (states(&[("a", 0, Some(0), 6), ("b", 1, None, 8)]), taken(2, 0));
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
