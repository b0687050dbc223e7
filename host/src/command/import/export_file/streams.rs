//! Applies the lines of streams: prepares streams for new events, and sets their retention and deletion.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::continued::{ContinuedStream, info};
use super::event_line::EventLine;
use super::gaps::{LONG_AGO, Missing};
use super::sender::Sender;
use super::stream_line::{Action, Change, Mismatch, continue_stream, decide, kind, rejection};
use crate::client::{ClientError, ExpectedVersion, IMPORT_EVENTS_MAX, ImportRequest};
use crate::command::export::format::{PLACEHOLDER_TYPE, StreamLine, placeholder_id};
use crate::command::import::rejections::is_about_events;

impl Sender<'_> {
    /// Prepares the stream of an event, if it is the first new one of a continued stream.
    pub(super) async fn prepare(&mut self, event: &EventLine) -> Result<(), ClientError> {
        let Some(continued) = self.continued.get_mut(&event.stream) else { return Ok(()) };
        if let Some(there) = &continued.there
            && event.version <= there.last_version
        {
            if event.version == there.last_version {
                continued.at_last = Some(event.created.clone());
            }
            return Ok(());
        }
        let Some(continued) = self.continued.remove(&event.stream) else { return Ok(()) };
        self.flush().await?;
        match self.prepare_stream(&continued, event.version).await {
            Ok(Ok(())) => {}
            Ok(Err(mismatch)) => {
                let detail = rejection(&continued.line, mismatch, self.client.store());
                self.done.rejections.reject_because(&event.stream, event.line, detail);
            }
            Err(error) if is_about_events(&error) => {
                let detail = event.rejection(&error, self.is_part);
                self.done.rejections.reject_because(&event.stream, event.line, detail);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Prepares a stream for its first new event, of version `next`. The inner error says why the event cannot continue it.
    async fn prepare_stream(
        &mut self,
        continued: &ContinuedStream,
        next: u64,
    ) -> Result<Result<(), Mismatch>, ClientError> {
        let ContinuedStream { line, there, at_last } = continued;
        let Some(there) = there else {
            // The stream was deleted before this event, which starts it again. So it is created and deleted first.
            if let Some(last) = next.checked_sub(1).filter(|_| line.life_begins == Some(next)) {
                let created = line.created.as_deref().unwrap_or(&line.updated);
                self.add_placeholder(&line.stream, last, created).await?;
                self.delete(&line.stream, last, false).await?;
            }
            return Ok(Ok(()));
        };
        let preparation = match continue_stream(line, there, at_last.as_deref(), next) {
            Ok(preparation) => preparation,
            Err(mismatch) => return Ok(Err(mismatch)),
        };
        if preparation.delete {
            self.delete(&line.stream, there.last_version, false).await?;
        }
        if let Some(retention) = &preparation.retention {
            // This holds until the line of the stream is applied. If the import is interrupted before, the next one applies it.
            let (client, stream) = (self.client, line.stream.as_str());
            self.retry.run(async || client.set_retention(stream, retention).await).await?;
        }
        Ok(Ok(()))
    }

    /// Applies the line of a stream, or rejects it.
    pub(super) async fn stream(&mut self, line: &StreamLine, number: u64) -> Result<(), ClientError> {
        let (stream, kind) = (line.stream.as_str(), kind(line));
        if self.done.rejections.is_rejected(stream) {
            let there = info(self.client, &mut self.retry, stream).await?;
            if !matches!(decide(line, there.as_ref()), Action::Done | Action::KeepDeleted) {
                self.done.rejections.count(kind);
            }
            return Ok(());
        }
        let detail = match self.apply(line).await {
            Ok(Action::Reject(mismatch)) => rejection(line, mismatch, self.client.store()),
            Ok(Action::KeepDeleted) => return Ok(()),
            Ok(_) => {
                self.done.streams += 1;
                return Ok(());
            }
            Err(error) if is_about_events(&error) => {
                format!("its {} was not applied: {error}", kind.name())
            }
            Err(error) => return Err(error),
        };
        self.done.rejections.reject_because(stream, number, detail);
        self.done.rejections.count(kind);
        Ok(())
    }

    /// Applies a line, if possible. Returns the action for the line.
    ///
    /// The stream is read first and changed afterwards. A version is never used twice, so a deletion that expects the version
    /// that was read deletes what was read, or is refused. Setting a retention expects no version: an event that somebody
    /// appends in between is treated like one that is appended afterwards.
    async fn apply(&mut self, line: &StreamLine) -> Result<Action, ClientError> {
        let stream = line.stream.as_str();
        let there = info(self.client, &mut self.retry, stream).await?;
        let mut action = decide(line, there.as_ref());
        if action == Action::Create {
            self.add_placeholder(stream, line.last_version, &line.updated).await?;
            action = decide(line, info(self.client, &mut self.retry, stream).await?.as_ref());
        } else if let Some(there) = there
            && let Some(missing) = self.gaps.after(line, &there, Timestamp::now())
        {
            self.fill(stream, &missing).await?;
            let line = StreamLine { updated: missing.last_created, ..line.clone() };
            action = decide(&line, info(self.client, &mut self.retry, stream).await?.as_ref());
        }
        if let Action::Change(Change { delete, retention }) = &action {
            if let Some(for_good) = delete {
                self.delete(stream, line.last_version, *for_good).await?;
            }
            if let Some(retention) = retention {
                let client = self.client;
                self.retry.run(async || client.set_retention(stream, retention).await).await?;
            }
        }
        Ok(action)
    }

    /// Deletes a stream that ends at this version.
    async fn delete(&mut self, stream: &str, last: u64, for_good: bool) -> Result<(), ClientError> {
        let (client, expected) = (self.client, ExpectedVersion::Exact(last));
        let deleted = self.retry.run(async || client.delete_stream(stream, expected, for_good).await);
        match deleted.await {
            // Somebody else deleted it, or the response to the first attempt was lost.
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Fills a gap of a stream with events that are too old for any `max_age`, which the line of the stream sets. If the store
    /// refuses them, it refuses the next event too, and the error is reported for that one.
    pub(super) async fn fill(&mut self, stream: &str, missing: &Missing) -> Result<(), ClientError> {
        if self.done.rejections.is_rejected(stream) {
            return Ok(());
        }
        let Missing { versions, last_created } = missing;
        let created = |version: u64| if version + 1 == versions.end { last_created } else { LONG_AGO };
        let versions: Vec<u64> = versions.clone().collect();
        for versions in versions.chunks(IMPORT_EVENTS_MAX) {
            let events: Vec<_> =
                versions.iter().map(|version| placeholder(stream, *version, created(*version))).collect();
            let client = self.client;
            let filled = self.retry.run(async || client.import(&ImportRequest { events: &events }).await);
            match filled.await {
                Err(error) if is_about_events(&error) => return Ok(()),
                filled => drop(filled?),
            }
        }
        Ok(())
    }

    /// Adds an event in place of the hidden ones of a stream, which then continues after it.
    async fn add_placeholder(
        &mut self,
        stream: &str,
        version: u64,
        created: &str,
    ) -> Result<(), ClientError> {
        let (client, events) = (self.client, [placeholder(stream, version, created)]);
        self.retry.run(async || client.import(&ImportRequest { events: &events }).await).await.map(drop)
    }
}

/// An event in place of the hidden events of a stream.
fn placeholder(stream: &str, version: u64, created: &str) -> Box<RawValue> {
    let event = serde_json::json!({
        "stream": stream,
        "version": version,
        "created": created,
        "id": placeholder_id(version),
        "type": PLACEHOLDER_TYPE,
        "data": null,
    });
    RawValue::from_string(event.to_string()).expect("it was just made")
}
