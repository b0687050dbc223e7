//! Sends rows [ahead](Ahead) of the answers to those before them.
//!
//! Each request is decided on what the earlier ones will have added. Those that come back are decided again, as if they had not
//! been sent.
//!
//! Rows that are refused would let later rows of other streams overtake the rest of their request. So nothing is sent ahead for
//! streams of which it is known that they refuse rows, or that others write to them.

use super::{Plan, Rows, Sender, Sent, TrackedStream, metadata_of, with_metadata};
use crate::client::{Imported, RowsRequest, import_body};
use crate::command::import::ahead::Answer;
use crate::command::import::rows::PendingRow;
use crate::command::progress::Progress;

/// A request that was sent.
pub(super) struct Request {
    batch: Vec<PendingRow>,
    /// The streams of its rows as they were before it.
    before: Vec<(String, TrackedStream)>,
    hidden: u64,
    /// Rows of rejected streams, with their lines.
    rejected: Vec<(String, u64)>,
}

impl Sender<'_> {
    /// Whether rows may be sent before earlier ones are answered.
    pub(super) fn may_send_ahead(&mut self, batch: &[PendingRow]) -> bool {
        let is_open = |pending: &PendingRow| {
            let stream = pending.row.stream.as_str();
            self.streams[stream].is_open || self.sent.rejections.is_rejected(stream)
        };
        self.ahead.may_send() && batch.iter().all(is_open)
    }

    /// Sends rows, and waits for answers only while too many requests have none.
    pub(super) async fn send_ahead(
        &mut self,
        rows: &Rows,
        batch: Vec<PendingRow>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        while self.ahead.is_full() {
            self.answer(rows, progress).await?;
        }
        if !self.ahead.open(self.client).await {
            self.settle(rows, progress).await?;
            return self.send_batch(rows, &batch, progress, false).await;
        }
        let metadata = metadata_of(rows, &batch);
        let sent_rows = with_metadata(&batch, &metadata);
        let Plan { events, marks, streams, hidden, rejected, .. } = self.plan(&sent_rows, rows);
        let is_empty = events.is_empty() && marks.is_empty();
        let body = (!is_empty).then(|| import_body(&RowsRequest { events: &events, marks: &marks }));
        let rejected = rejected.into_iter().map(|(stream, line)| (stream.to_owned(), line)).collect();
        let after: Vec<_> = streams.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
        let before = after.into_iter().map(|(name, target)| {
            let before = self.streams.insert(name.clone(), target).expect("all streams were loaded");
            (name, before)
        });
        let before = before.collect();
        self.ahead.send(Request { batch, before, hidden, rejected }, body).await;
        Ok(())
    }

    /// Waits for all answers.
    pub(super) async fn settle(&mut self, rows: &Rows, progress: &Progress) -> anyhow::Result<()> {
        while self.answer(rows, progress).await? {}
        Ok(())
    }

    /// Waits for the answer to the first request that has none. Returns whether there was one.
    async fn answer(&mut self, rows: &Rows, progress: &Progress) -> anyhow::Result<bool> {
        match self.ahead.answer().await {
            None => return Ok(false),
            Some(Answer::Imported(request, Imported { added, repeated, hidden })) => {
                let hidden = request.hidden + hidden;
                self.count(Sent { added, already_there: repeated, hidden, ..Sent::default() });
                for (stream, line) in &request.rejected {
                    self.sent.rejections.add_row(stream, *line);
                }
                progress.inc(request.batch.len() as u64);
            }
            // Those that were carried out are found to be there when they are sent again.
            Some(Answer::Back(requests)) => {
                for (request, _) in requests.iter().rev() {
                    self.streams.extend(request.before.iter().cloned());
                }
                for (request, _) in requests {
                    self.send_batch(rows, &request.batch, progress, true).await?;
                }
            }
        }
        Ok(true)
    }
}
