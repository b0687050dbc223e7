//! Questions to the store about streams: how many rows they have received, and which of their events are rows of the file.

use std::time::Duration;

use super::rows::Rows;
use super::versions::{Visible, VisibleRow};
use crate::client::{
    Client, ClientError, Direction, Event, Filter, ImportState, PAGE_COUNT_MAX, ReadFrom, Retry,
};

/// Asks the store about streams.
pub(super) struct Lookup<'a> {
    pub(super) client: &'a Client,
    pub(super) rows: &'a Rows,
    /// How long to wait for a host that is away.
    pub(super) patience: Duration,
}

impl Lookup<'_> {
    /// Returns what the store knows of streams. If the host has responded before, an unreachable one is waited for.
    pub(super) async fn states(
        &self,
        streams: &[&str],
        has_responded: bool,
    ) -> Result<Vec<ImportState>, ClientError> {
        let mut retry = Retry::new(self.patience);
        loop {
            match self.client.import_states(self.rows.source(), streams).await {
                Ok(states) => return Ok(states),
                // The address is probably wrong.
                Err(error @ ClientError::Unreachable { .. }) if !has_responded => return Err(error),
                Err(error) => retry.wait_after(error).await?,
            }
        }
    }

    /// Reads the first visible event of a stream that is a row of the file.
    pub(super) async fn first(&self, name: &str, from: Option<u64>) -> anyhow::Result<Option<VisibleRow>> {
        // It is most often the first visible event.
        let mut pages = Pages { lookup: self, name, from, count: 1 };
        while let Some(events) = pages.next().await? {
            for event in events {
                if let Some(row) = self.row(event)? {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// Reads all visible events of a stream from a version on.
    pub(super) async fn visible(&self, name: &str, from: Option<u64>) -> anyhow::Result<Visible> {
        let mut visible = Visible::default();
        let mut pages = Pages { lookup: self, name, from, count: PAGE_COUNT_MAX };
        while let Some(events) = pages.next().await? {
            for event in events {
                visible.push(self.row(event)?);
            }
        }
        Ok(visible)
    }

    fn row(&self, event: Event) -> anyhow::Result<Option<VisibleRow>> {
        let key = self.rows.find(&event)?;
        Ok(key.map(|key| VisibleRow { key, id: event.id, version: event.version }))
    }
}

/// The visible events of a stream, in pages that grow.
struct Pages<'a> {
    lookup: &'a Lookup<'a>,
    name: &'a str,
    from: Option<u64>,
    count: u64,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Event>>, ClientError> {
        let Some(from) = self.from else { return Ok(None) };
        let mut retry = Retry::new(self.lookup.patience);
        let page = loop {
            let (client, all) = (self.lookup.client, Filter::default());
            match client
                .read(Some(self.name), &all, Some(ReadFrom::of(from)), self.count, Direction::Forward)
                .await
            {
                Ok(page) => break page,
                // The stream was deleted meanwhile.
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
