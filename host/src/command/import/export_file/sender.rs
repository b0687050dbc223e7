//! Sends events and snapshots of an export, in batches. A request that the store refuses because of one stream is sent again
//! without that stream.
//!
//! While nothing is refused, batches are sent [ahead](Ahead) of the answers to those before them. If one is refused, those that
//! were already sent come before what is left of it, so that its events may stand after those of other streams. From then on,
//! batches are sent one after the other.

use std::collections::HashMap;

use serde::Serialize;

use super::continued::ContinuedStream;
use super::event_line::EventLine;
use super::gaps::Gaps;
use super::snapshot_line::SnapshotLine;
use crate::client::{self, Client, ClientError, ImportRequest, Retry, import_body};
use crate::command::import::ahead::{Ahead, Answer};
use crate::command::import::rejections::{Kind, Rejections, is_about_events};
use crate::command::progress::Progress;

/// The result of an import.
#[derive(Debug, Default, Serialize)]
pub(in crate::command::import) struct Imported {
    /// Events of the file.
    pub(in crate::command::import) events: u64,
    /// Events that were not in the store before.
    pub(in crate::command::import) added: u64,
    /// Events that an earlier import had added, or an attempt of this one whose response was lost.
    pub(in crate::command::import) already_there: u64,
    /// Events whose versions their streams have, hidden by retention or deletion.
    pub(in crate::command::import) hidden: u64,
    /// Events that the store refused.
    pub(in crate::command::import) refused: u64,
    /// Streams whose retention or deletion was applied.
    pub(in crate::command::import) streams: u64,
    /// Streams whose retention or deletion was not applied.
    pub(in crate::command::import) streams_refused: u64,
    /// Snapshots that were recorded.
    pub(in crate::command::import) snapshots: u64,
    /// Snapshots that the store refused.
    pub(in crate::command::import) snapshots_refused: u64,
    /// What was refused, with reasons.
    #[serde(skip)]
    pub(in crate::command::import) rejections: Rejections,
}

impl Imported {
    fn add(&mut self, imported: client::Imported) {
        self.added += imported.added;
        self.already_there += imported.repeated;
        self.hidden += imported.hidden;
    }
}

/// The state of the import.
pub(super) struct Sender<'a> {
    pub(super) client: &'a Client,
    pub(super) retry: Retry,
    pub(super) progress: Progress,
    /// Whether the export begins at a given position, so that earlier events are in another one.
    pub(super) is_part: bool,
    /// Existing streams that have to be prepared before their first new event is sent.
    pub(super) continued: HashMap<String, ContinuedStream>,
    /// Streams in which versions may be missing.
    pub(super) gaps: Gaps,
    pub(super) batch: Vec<EventLine>,
    pub(super) batch_bytes: usize,
    /// Batches without an answer.
    pub(super) ahead: Ahead<Vec<EventLine>>,
    pub(super) done: Imported,
}

impl Sender<'_> {
    /// Sends the batch. Its answer may come later.
    pub(super) async fn send_batch(&mut self) -> Result<(), ClientError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if !self.ahead.may_send() || self.done.rejections.rejects_streams() {
            self.settle().await?;
            return self.import(&events).await;
        }
        while self.ahead.is_full() {
            self.answer().await?;
        }
        if !self.ahead.open(self.client).await {
            return self.import(&events).await;
        }
        let body = import_body(&ImportRequest { events: &events });
        self.ahead.send(events, Some(body)).await;
        Ok(())
    }

    /// Sends the batch, and waits for all answers.
    pub(super) async fn flush(&mut self) -> Result<(), ClientError> {
        self.send_batch().await?;
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        while self.answer().await? {}
        Ok(())
    }

    /// Waits for the answer to the first batch that has none. Returns whether there was one.
    async fn answer(&mut self) -> Result<bool, ClientError> {
        match self.ahead.answer().await {
            None => return Ok(false),
            Some(Answer::Imported(events, imported)) => {
                self.done.add(imported);
                self.count(&events);
            }
            Some(Answer::Back(batches)) => {
                for (events, imported) in batches {
                    match imported {
                        Some(imported) => {
                            self.done.add(imported);
                            self.count(&events);
                        }
                        None => self.import(&events).await?,
                    }
                }
            }
        }
        Ok(true)
    }

    /// Counts the events of a batch that was imported or refused.
    fn count(&mut self, events: &[EventLine]) {
        self.done.events += events.len() as u64;
        self.progress.inc(events.len() as u64);
    }

    /// Sends events in order, except those of rejected streams.
    async fn import(&mut self, events: &[EventLine]) -> Result<(), ClientError> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let events: Vec<&EventLine> =
                part.iter().filter(|event| !self.done.rejections.is_rejected(&event.stream)).collect();
            self.done.rejections.rows += (part.len() - events.len()) as u64;
            if events.is_empty() {
                continue;
            }
            match self.import_once(&events).await {
                Ok(()) => {}
                // Smaller requests tell which event it is about. The request may also be too large for the store, because the
                // size of an event there depends on its tags as well.
                Err(error) if is_about_events(&error) => match part {
                    [event] => {
                        let detail = event.rejection(&error, self.is_part);
                        self.done.rejections.reject_because(&event.stream, event.line, detail);
                        self.done.rejections.rows += 1;
                    }
                    _ => {
                        // Both halves count the events of rejected streams again.
                        self.done.rejections.rows -= (part.len() - events.len()) as u64;
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        self.count(events);
        Ok(())
    }

    async fn import_once(&mut self, events: &[&EventLine]) -> Result<(), ClientError> {
        let client = self.client;
        let imported = self.retry.run(async || client.import(&ImportRequest { events }).await).await?;
        self.done.add(imported);
        Ok(())
    }

    /// Records a snapshot, unless its stream was rejected.
    pub(super) async fn snapshot(&mut self, line: &SnapshotLine, number: u64) -> Result<(), ClientError> {
        let (stream, version) = (line.stream.as_str(), line.version);
        if self.done.rejections.is_rejected(stream) {
            self.done.rejections.count(Kind::Snapshot);
            return Ok(());
        }
        let (client, snapshot) = (self.client, line.snapshot());
        let recorded = self
            .retry
            .run(async || {
                client.put_snapshot(stream, &line.source, version, &snapshot, Some(&line.created)).await
            })
            .await;
        match recorded {
            Ok(()) => self.done.snapshots += 1,
            Err(error) if is_about_events(&error) || error.is_not_found() => {
                let detail = format!("its snapshot of version {version} was not recorded: {error}");
                self.done.rejections.add(stream, number, detail);
                self.done.rejections.count(Kind::Snapshot);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
