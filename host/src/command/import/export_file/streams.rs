//! Streams as the lines of an export say: deleted, and how long they are kept.

use std::collections::HashMap;
use std::io::BufRead;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::event_line::EventLine;
use super::holes::{LONG_AGO, Missing};
use super::stream_line::{Change, Elsewhere, Verdict, go_on, judge, kind, refusal};
use super::{Sender, is_about_events, patiently};
use crate::client::{
    Client, ClientError, ExpectedVersion, IMPORT_EVENTS_MAX, ImportRequest, Retry, StreamInfo, StreamState,
};
use crate::command::export::format::{
    Counts, ExportReader, Line, PLACEHOLDER_TYPE, StreamLine, placeholder_id,
};
use crate::command::progress;

/// A stream to which the export has events to add, as it was before the import.
#[derive(Debug)]
pub(super) struct Awaited {
    line: StreamLine,
    /// None if it was not here.
    there: Option<StreamInfo>,
    /// When the export's event was appended that has the stream's last version, if there is one.
    at_last: Option<String>,
}

/// The streams of an export to which something has to be done before events are added to them: those with a line of their
/// own that are here and do not reach as far, and those that begin anew after a deletion. Of an import into a new store that
/// is few.
pub(super) async fn look(
    client: &Client,
    input: impl BufRead,
    counts: &Counts,
    retry: &mut Retry,
) -> anyhow::Result<HashMap<String, Awaited>> {
    let mut awaited = HashMap::new();
    if counts.streams == 0 {
        return Ok(awaited);
    }
    let progress = progress::bar(counts.streams, "streams");
    let (_, mut reader) = ExportReader::begin(input)?;
    while let Some(line) = reader.next_line()? {
        let Line::Stream(line) = line else { continue };
        progress.inc(1);
        // Of the others no event can be read, so there is none to add.
        if line.state != StreamState::Live {
            continue;
        }
        let there = info(client, retry, &line.stream).await?;
        let is_awaited = match &there {
            Some(there) => there.last_version < line.last_version,
            None => line.life_begins.is_some(),
        };
        if is_awaited {
            awaited.insert(line.stream.clone(), Awaited { line, there, at_last: None });
        }
    }
    progress.finish_and_clear();
    Ok(awaited)
}

async fn info(client: &Client, retry: &mut Retry, stream: &str) -> Result<Option<StreamInfo>, ClientError> {
    match patiently(retry, async || client.stream_info(stream).await).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Sender<'_> {
    /// Does what has to be done before an event is sent.
    pub(super) async fn prepare(&mut self, event: &EventLine) -> Result<(), ClientError> {
        let Some(awaited) = self.awaited.get_mut(&event.stream) else { return Ok(()) };
        if let Some(there) = &awaited.there
            && event.version <= there.last_version
        {
            if event.version == there.last_version {
                awaited.at_last = Some(event.created.clone());
            }
            return Ok(());
        }
        let Some(awaited) = self.awaited.remove(&event.stream) else { return Ok(()) };
        self.flush().await?;
        match self.begin(&awaited, event.version).await {
            Ok(Ok(())) => {}
            Ok(Err(elsewhere)) => {
                let detail = refusal(&awaited.line, elsewhere, self.client.store());
                self.done.troubles.refuse_because(&event.stream, event.line, detail);
            }
            Err(error) if is_about_events(&error) => {
                let detail = event.refusal(&error, self.is_part);
                self.done.troubles.refuse_because(&event.stream, event.line, detail);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes a stream ready for an event of version `next`, which is new to it.
    async fn begin(&mut self, awaited: &Awaited, next: u64) -> Result<Result<(), Elsewhere>, ClientError> {
        let Awaited { line, there, at_last } = awaited;
        let Some(there) = there else {
            // The stream was deleted before its events: so it is made, and they begin it again.
            if let Some(last) = next.checked_sub(1).filter(|_| line.life_begins == Some(next)) {
                let created = line.created.as_deref().unwrap_or(&line.updated);
                self.place_hidden(&line.stream, last, created).await?;
                self.delete(&line.stream, last, false).await?;
            }
            return Ok(Ok(()));
        };
        let preparation = match go_on(line, there, at_last.as_deref(), next) {
            Ok(preparation) => preparation,
            Err(elsewhere) => return Ok(Err(elsewhere)),
        };
        if preparation.delete {
            self.delete(&line.stream, there.last_version, false).await?;
        }
        if let Some(retention) = &preparation.retention {
            // Until the stream's line is read. If the import is stopped before, more is kept than is to be, and the next
            // one puts that right.
            let (client, stream) = (self.client, line.stream.as_str());
            patiently(&mut self.retry, async || client.set_retention(stream, retention).await).await?;
        }
        Ok(Ok(()))
    }

    /// Says how long a stream is kept and whether it was deleted, as in the store that it comes from.
    pub(super) async fn stream(&mut self, line: &StreamLine, number: u64) -> Result<(), ClientError> {
        let (stream, kind) = (line.stream.as_str(), kind(line));
        if self.done.troubles.is_refused(stream) {
            let there = info(self.client, &mut self.retry, stream).await?;
            if !matches!(judge(line, there.as_ref()), Verdict::Done | Verdict::StaysDeleted) {
                self.done.troubles.count(kind);
            }
            return Ok(());
        }
        let detail = match self.apply(line).await {
            Ok(Verdict::Refuse(elsewhere)) => refusal(line, elsewhere, self.client.store()),
            Ok(Verdict::StaysDeleted) => return Ok(()),
            Ok(_) => {
                self.done.streams += 1;
                return Ok(());
            }
            Err(error) if is_about_events(&error) => {
                format!("its {} was not applied: {error}", kind.name())
            }
            Err(error) => return Err(error),
        };
        self.done.troubles.refuse_because(stream, number, detail);
        self.done.troubles.count(kind);
        Ok(())
    }

    /// Applies a line, if it can be applied.
    ///
    /// The stream is looked at first and changed then. A version is never given away twice, so a deletion that expects the
    /// version that was seen deletes what was seen, or is refused. Setting a retention expects nothing: an event that
    /// somebody appends in between is treated as one that is appended right after.
    async fn apply(&mut self, line: &StreamLine) -> Result<Verdict, ClientError> {
        let stream = line.stream.as_str();
        let there = info(self.client, &mut self.retry, stream).await?;
        let mut verdict = judge(line, there.as_ref());
        if verdict == Verdict::Place {
            self.place_hidden(stream, line.last_version, &line.updated).await?;
            verdict = judge(line, info(self.client, &mut self.retry, stream).await?.as_ref());
        } else if let Some(there) = there
            && let Some(missing) = self.holes.after(line, &there, Timestamp::now())
        {
            self.fill(stream, &missing).await?;
            let line = StreamLine { updated: missing.last_created, ..line.clone() };
            verdict = judge(&line, info(self.client, &mut self.retry, stream).await?.as_ref());
        }
        if let Verdict::Change(Change { delete, retention }) = &verdict {
            if let Some(for_good) = delete {
                self.delete(stream, line.last_version, *for_good).await?;
            }
            if let Some(retention) = retention {
                let client = self.client;
                patiently(&mut self.retry, async || client.set_retention(stream, retention).await).await?;
            }
        }
        Ok(verdict)
    }

    /// Deletes a stream that ends at this version.
    async fn delete(&mut self, stream: &str, last: u64, for_good: bool) -> Result<(), ClientError> {
        let (client, expected) = (self.client, ExpectedVersion::Exact(last));
        let deleted =
            patiently(&mut self.retry, async || client.delete_stream(stream, expected, for_good).await);
        match deleted.await {
            // Somebody else was faster, or the answer to the first attempt was lost.
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Puts events in place of those of a stream that the export lacks: too old for any `max_age`, which the stream's line
    /// sets. If the store refuses them, it refuses the event after them too, and the error is reported for that one.
    pub(super) async fn fill(&mut self, stream: &str, missing: &Missing) -> Result<(), ClientError> {
        if self.done.troubles.is_refused(stream) {
            return Ok(());
        }
        let Missing { versions, last_created } = missing;
        let created = |version: u64| if version + 1 == versions.end { last_created } else { LONG_AGO };
        let versions: Vec<u64> = versions.clone().collect();
        for versions in versions.chunks(IMPORT_EVENTS_MAX) {
            let events: Vec<_> =
                versions.iter().map(|version| placeholder(stream, *version, created(*version))).collect();
            let client = self.client;
            let filled =
                patiently(&mut self.retry, async || client.import(&ImportRequest { events: &events }).await);
            match filled.await {
                Err(error) if is_about_events(&error) => return Ok(()),
                filled => drop(filled?),
            }
        }
        Ok(())
    }

    /// Puts an event in place of those that a stream had and that are gone: it goes on counting after it.
    async fn place_hidden(&mut self, stream: &str, version: u64, created: &str) -> Result<(), ClientError> {
        let (client, events) = (self.client, [placeholder(stream, version, created)]);
        patiently(&mut self.retry, async || client.import(&ImportRequest { events: &events }).await)
            .await
            .map(drop)
    }
}

/// An event in place of those that a stream had and that are gone.
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
