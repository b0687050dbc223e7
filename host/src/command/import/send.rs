//! Sending a plan: lanes side by side, each batch until the store has it.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;

use super::plan::{Batch, Plan};
use crate::client::{
    AppendRequest, Appended, Client, ClientError, Direction, Event, ExpectedVersion, Filter, NewEvent,
    PAGE_COUNT_MAX, Place, Retry,
};
use crate::command::progress;

/// How often a batch is compared with its stream: it changes only when another import of the same rows runs.
const RECONCILIATIONS_MAX: u32 = 10;
/// The kind of problem that tells that some, but not all, of an append's events are in the stream.
const ID_CONFLICT: &str = "event-id-conflict";

/// What the store made of the events that were sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Events that were not there before.
    pub(super) added: u64,
    /// Events that an earlier import had added.
    pub(super) already_there: u64,
}

/// Sends everything. `rows` is the number of events, for the progress bar.
pub(super) async fn send(client: &Client, plan: Plan, rows: u64, patience: Duration) -> anyhow::Result<Sent> {
    let start = start_position(client, patience).await?;
    let progress = progress::bar(rows, "rows");
    let sent = Cell::new(Sent::default());
    let lanes = plan.lanes.into_iter().map(|lane| {
        let mut sender = Sender { client, start, retry: Retry::new(patience) };
        let (sent, progress) = (&sent, &progress);
        async move {
            for batch in lane {
                let outcome = sender
                    .send(&batch)
                    .await
                    .with_context(|| format!("stream {:?}, rows from line {}", batch.stream, batch.line))?;
                let so_far = sent.get();
                sent.set(Sent {
                    added: so_far.added + outcome.added,
                    already_there: so_far.already_there + outcome.already_there,
                });
                progress.inc(batch.events.len() as u64);
            }
            anyhow::Ok(())
        }
    });
    let result = try_join_all(lanes).await;
    progress.finish_and_clear();
    let sent = sent.get();
    result.with_context(|| {
        let done = sent.added + sent.already_there;
        format!("stopped after {done} of {rows} rows (the same command goes on from there)")
    })?;
    Ok(sent)
}

/// How many positions the store had before: an answer below is of an event that was there already.
async fn start_position(client: &Client, patience: Duration) -> Result<u64, ClientError> {
    let mut retry = Retry::new(patience);
    loop {
        match client.end_position().await {
            // Nothing has ever answered there: the address is probably wrong.
            Err(error @ ClientError::Unreachable { .. }) => return Err(error),
            Err(error) => retry.wait_after(error).await?,
            position => return position,
        }
    }
}

/// One lane's way to the store.
struct Sender<'a> {
    client: &'a Client,
    start: u64,
    retry: Retry,
}

impl Sender<'_> {
    async fn send(&mut self, batch: &Batch) -> Result<Sent, ClientError> {
        match self.append(&batch.stream, &batch.events).await {
            Ok(appended) => Ok(self.count(&appended, batch.events.len())),
            Err(error) if error.problem_kind() == ID_CONFLICT => self.reconcile(batch).await,
            Err(error) => Err(error),
        }
    }

    /// Appends, again and again while the host is away. The ids make that safe.
    async fn append(&mut self, stream: &str, events: &[NewEvent]) -> Result<Appended, ClientError> {
        let request = AppendRequest { expected_version: ExpectedVersion::Any, events };
        loop {
            match self.client.append(stream, &request).await {
                Ok(appended) => {
                    self.retry.succeeded();
                    return Ok(appended);
                }
                Err(error) => self.retry.wait_after(error).await?,
            }
        }
    }

    /// Some events are there, but not as one append of just these: the file has grown, or was imported with other
    /// batches. Adds those that are missing.
    async fn reconcile(&mut self, batch: &Batch) -> Result<Sent, ClientError> {
        let mut rounds = 1;
        loop {
            let known = self.ids_in(&batch.stream).await?;
            let missing: Vec<NewEvent> =
                batch.events.iter().filter(|event| !known.contains(&event.id)).cloned().collect();
            let already_there = (batch.events.len() - missing.len()) as u64;
            if missing.is_empty() {
                return Ok(Sent { added: 0, already_there });
            }
            match self.append(&batch.stream, &missing).await {
                Ok(appended) => {
                    let sent = self.count(&appended, missing.len());
                    return Ok(Sent { already_there: sent.already_there + already_there, ..sent });
                }
                Err(error) if error.problem_kind() == ID_CONFLICT && rounds < RECONCILIATIONS_MAX => {
                    rounds += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ids_in(&mut self, stream: &str) -> Result<HashSet<String>, ClientError> {
        let mut ids = HashSet::new();
        let (mut from, all) = (Some(0), Filter::default());
        loop {
            let read =
                self.client.read(Some(stream), &all, from.map(Place::of), PAGE_COUNT_MAX, Direction::Forward);
            let page = match read.await {
                Ok(page) => page,
                Err(error) => {
                    self.retry.wait_after(error).await?;
                    continue;
                }
            };
            self.retry.succeeded();
            for event in &page.events {
                ids.insert(Event::parse(event)?.id);
            }
            if page.end || page.events.is_empty() || page.next.is_none() {
                return Ok(ids);
            }
            from = page.next;
        }
    }

    fn count(&self, appended: &Appended, events: usize) -> Sent {
        let events = events as u64;
        if appended.position < self.start {
            Sent { added: 0, already_there: events }
        } else {
            Sent { added: events, already_there: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Sent, send};
    use crate::client::canned::{Canned, json};
    use crate::command::import::plan::plan;
    use crate::command::import::row::{Columns, Row};
    use serde_json::value::RawValue;

    /// Two rows of one stream, in one batch, sent to a store of ten events.
    async fn import(answers: &[(&str, &str)]) -> (anyhow::Result<Sent>, Vec<String>) {
        let columns = Columns { stream: "s", event_type: "t", time: None };
        let row = |line: u64| {
            let data = RawValue::from_string(line.to_string()).unwrap();
            Row::new(line, columns, "stream", "type", None, data).unwrap()
        };
        let before = r#"{"stream":"x","version":0,"position":9,"id":"i","type":"t","data":1,"created":"c"}"#;
        let before = json("200 OK", &format!(r#"{{"events":[{before}],"next":null,"end":true}}"#));
        let answers = answers.iter().map(|(status, body)| json(status, body));
        let gateway = Canned::start(std::iter::once(before).chain(answers).collect()).await;
        let plan = plan(vec![row(2), row(3)], "f", 100, 1);
        let sent = send(&gateway.client, plan, 2, Duration::from_secs(30)).await;
        (sent, gateway.requests.await.unwrap())
    }

    const ADDED: &str = r#"{"first_version":0,"last_version":1,"position":11}"#;
    const OLD: &str = r#"{"first_version":0,"last_version":1,"position":9}"#;
    const CONFLICT: &str = r#"{"type":"urn:exesdb:problem:event-id-conflict","title":"conflict"}"#;

    fn sent(added: u64, already_there: u64) -> Sent {
        Sent { added, already_there }
    }

    #[tokio::test]
    async fn an_answer_from_before_the_import_adds_nothing() {
        assert_eq!(import(&[("200 OK", ADDED)]).await.0.unwrap(), sent(2, 0));
        assert_eq!(import(&[("200 OK", OLD)]).await.0.unwrap(), sent(0, 2));
    }

    #[tokio::test]
    async fn a_host_that_is_away_is_sent_the_same_again() {
        let away = ("503 Service Unavailable", "{}");
        let (outcome, requests) =
            import(&[away, ("500 Internal Server Error", "{}"), ("200 OK", ADDED)]).await;
        assert_eq!(outcome.unwrap(), sent(2, 0));
        let body = |request: &String| request.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!((body(&requests[1]), body(&requests[2])), (body(&requests[2]), body(&requests[3])));
    }

    #[tokio::test]
    async fn of_a_batch_that_is_there_in_part_the_rest_is_added() {
        // The id that the first row has in every version: see `plan`.
        let (_, requests) = import(&[("200 OK", ADDED)]).await;
        let (_, body) = requests[1].split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let first = body["events"][0]["id"].as_str().unwrap();
        let known = format!(
            r#"{{"stream":"stream","version":0,"position":3,"id":"{first}","type":"t","created":"c"}}"#
        );
        let page = format!(r#"{{"events":[{known}],"next":1,"end":true}}"#);
        let (outcome, requests) =
            import(&[("409 Conflict", CONFLICT), ("200 OK", &page), ("200 OK", ADDED)]).await;
        assert_eq!(outcome.unwrap(), sent(1, 1));
        assert!(requests[1].contains(first) && !requests[3].contains(first), "{requests:?}");
    }

    #[tokio::test]
    async fn a_refusal_names_the_row_and_is_not_repeated() {
        let (outcome, requests) = import(&[("413 Content Too Large", r#"{"title":"limit"}"#)]).await;
        let error = format!("{:#}", outcome.unwrap_err());
        assert!(error.contains("after 0 of 2 rows") && error.contains("line 2: limit (413)"), "{error}");
        assert_eq!(requests.len(), 2);
    }
}
