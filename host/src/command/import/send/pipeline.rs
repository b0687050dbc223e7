//! Sends requests ahead of the answers to those before them.
//!
//! Each is decided on what the earlier ones will have added. If the store refuses one, or the connection breaks, all
//! requests without an answer are decided again and sent one after the other, as if they had not been sent: their versions and
//! ids make that safe. By then the store has answered all of them, or the connection is lost.
//!
//! Rows that are refused would let later rows of other streams overtake the rest of their request. So nothing is sent ahead for
//! streams of which it is known that they refuse rows, or that others write to them.

use std::collections::VecDeque;

use super::{Plan, Rows, Sender, Sent, TrackedStream, metadata_of, with_metadata};
use crate::client::{IMPORTS_IN_FLIGHT, ImportPipeline, Imported, RowsRequest};
use crate::command::import::rows::PendingRow;
use crate::command::progress::Progress;

/// Requests without an answer.
#[derive(Default)]
pub(super) struct Ahead {
    /// Opened after the first request has succeeded.
    pipeline: Option<ImportPipeline>,
    requests: VecDeque<Request>,
    has_succeeded: bool,
    /// Whether the gateway has no pipelines.
    is_unsupported: bool,
}

/// A request that was sent.
struct Request {
    batch: Vec<PendingRow>,
    /// The streams of its rows as they were before it.
    before: Vec<(String, TrackedStream)>,
    hidden: u64,
    /// Rows of rejected streams, with their lines.
    rejected: Vec<(String, u64)>,
    /// Whether there was nothing to send.
    is_empty: bool,
}

impl Sender<'_> {
    /// Whether rows may be sent before earlier ones are answered.
    pub(super) fn may_send_ahead(&mut self, batch: &[PendingRow]) -> bool {
        // The first request shows whether anything can be imported at all.
        let is_first = !std::mem::replace(&mut self.ahead.has_succeeded, true);
        let is_open = |pending: &PendingRow| {
            let stream = pending.row.stream.as_str();
            self.streams[stream].is_open || self.sent.rejections.is_rejected(stream)
        };
        !is_first && !self.ahead.is_unsupported && batch.iter().all(is_open)
    }

    /// Sends rows, and waits for answers only while too many requests have none.
    pub(super) async fn send_ahead(
        &mut self,
        rows: &Rows,
        batch: Vec<PendingRow>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        while self.ahead.requests.len() >= IMPORTS_IN_FLIGHT {
            self.answer(rows, progress).await?;
        }
        if self.ahead.pipeline.is_none() {
            match self.client.import_pipeline().await {
                Ok(pipeline) => self.ahead.pipeline = Some(pipeline),
                Err(error) => {
                    self.ahead.is_unsupported = !error.is_transient();
                    return self.send_batch(rows, &batch, progress, false).await;
                }
            }
        }
        let metadata = metadata_of(rows, &batch);
        let sent_rows = with_metadata(&batch, &metadata);
        let Plan { events, marks, streams, hidden, rejected, .. } = self.plan(&sent_rows, rows);
        let is_empty = events.is_empty() && marks.is_empty();
        if let Some(pipeline) = self.ahead.pipeline.as_mut().filter(|_| !is_empty) {
            // What could not be sent has no answer, either.
            drop(pipeline.send(&RowsRequest { events: &events, marks: &marks }).await);
        }
        let rejected = rejected.into_iter().map(|(stream, line)| (stream.to_owned(), line)).collect();
        let after: Vec<_> = streams.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
        let before = after.into_iter().map(|(name, target)| {
            let before = self.streams.insert(name.clone(), target).expect("all streams were loaded");
            (name, before)
        });
        let before = before.collect();
        self.ahead.requests.push_back(Request { batch, before, hidden, rejected, is_empty });
        Ok(())
    }

    /// Waits for all answers.
    pub(super) async fn settle(&mut self, rows: &Rows, progress: &Progress) -> anyhow::Result<()> {
        while !self.ahead.requests.is_empty() {
            self.answer(rows, progress).await?;
        }
        Ok(())
    }

    /// Waits for the answer to the first request that has none.
    async fn answer(&mut self, rows: &Rows, progress: &Progress) -> anyhow::Result<()> {
        let Some(request) = self.ahead.requests.front() else { return Ok(()) };
        let answered = match &mut self.ahead.pipeline {
            _ if request.is_empty => Ok(Imported { added: 0, repeated: 0, hidden: 0 }),
            Some(pipeline) => pipeline.answer().await,
            None => return self.send_again(rows, progress).await,
        };
        match answered {
            Ok(Imported { added, repeated, hidden }) => {
                let Some(request) = self.ahead.requests.pop_front() else { return Ok(()) };
                let hidden = request.hidden + hidden;
                self.count(Sent { added, already_there: repeated, hidden, ..Sent::default() });
                for (stream, line) in &request.rejected {
                    self.sent.rejections.add_row(stream, *line);
                }
                progress.inc(request.batch.len() as u64);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "requests are sent again, one after the other");
                self.send_again(rows, progress).await
            }
        }
    }

    /// Decides all requests without an answer again, and sends them one after the other.
    async fn send_again(&mut self, rows: &Rows, progress: &Progress) -> anyhow::Result<()> {
        let requests = std::mem::take(&mut self.ahead.requests);
        if let Some(mut pipeline) = self.ahead.pipeline.take() {
            // Until the host has answered, it may still be carrying them out. Those that it has carried out are found to be
            // there when they are sent again.
            for _ in requests.iter().skip(1).filter(|request| !request.is_empty) {
                if pipeline.answer().await.is_err_and(|error| error.problem_kind().is_empty()) {
                    break;
                }
            }
        }
        for request in requests.iter().rev() {
            self.streams.extend(request.before.iter().cloned());
        }
        for request in requests {
            self.send_batch(rows, &request.batch, progress, true).await?;
        }
        Ok(())
    }
}
