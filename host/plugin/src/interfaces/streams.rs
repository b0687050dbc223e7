//! `exesdb:store/streams` for gateways: passes each call to the store's streams component.

use std::sync::Arc;

use futures_util::future::join_all;

use super::before;
use crate::bindings::next::types::{AllSelection, Source, StreamSelection};
use crate::bindings::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, Host, ImportMark, ImportResult,
    ImportState, ImportedEvent, Retention, StreamInfo, StreamPage, Transaction,
};
use crate::bindings::types::{Direction, Error, ExpectedVersion, StreamLife};
use crate::names;
use crate::persistence::StreamsPool;
use crate::state::State;

/// Requests of one `append` or `transact` call: as many as are batched for a component.
const REQUESTS_MAX: usize = 256;

impl State {
    fn streams(&self, name: &str) -> Result<Arc<StreamsPool>, Error> {
        self.context
            .registry
            .get(name)
            .ok_or_else(|| Error::Restarting("the store is being restarted".into()))
    }

    pub(super) fn stream_readers(&self) -> Result<Arc<StreamsPool>, Error> {
        self.streams(&names::readers(&self.context.store))
    }

    fn stream_writers(&self) -> Result<Arc<StreamsPool>, Error> {
        self.streams(&names::writers(&self.context.store))
    }

    /// The writers, unless one call has too many requests.
    fn writers_for(&self, requests: usize) -> Result<Arc<StreamsPool>, Error> {
        if requests > REQUESTS_MAX {
            return Err(Error::TooLarge(format!("one call takes at most {REQUESTS_MAX} requests")));
        }
        self.stream_writers()
    }
}

impl Host for State {
    async fn append(&mut self, requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        let writers = match self.writers_for(requests.len()) {
            Ok(writers) => writers,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let append = |request: AppendRequest| {
            let (writers, caller) = (&writers, self.caller());
            async move {
                let written = writers.write(caller, before::append(&request)?).await;
                before::appended(&request.stream_id, written.map_err(before::of_append)?)
            }
        };
        // `join_all` polls in order, so requests for one stream enter its mailbox in the order of the list.
        join_all(requests.into_iter().map(append).collect::<Vec<_>>()).await
    }

    async fn transact(&mut self, transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        let writers = match self.writers_for(transactions.len()) {
            Ok(writers) => writers,
            Err(error) => return vec![Err(error); transactions.len()],
        };
        let transact = |transaction: Transaction| {
            let checked = self.check_conditions(&transaction);
            let (writers, caller) = (&writers, self.caller());
            async move {
                checked?;
                let stream_ids: Vec<_> =
                    transaction.appends.iter().map(|append| append.stream_id.clone()).collect();
                let written = writers.write(caller, before::transaction(transaction)?).await?;
                before::transacted(&stream_ids, written)
            }
        };
        join_all(transactions.into_iter().map(transact).collect::<Vec<_>>()).await
    }

    async fn import_events(
        &mut self,
        events: Vec<ImportedEvent>,
        marks: Vec<ImportMark>,
    ) -> Result<ImportResult, Error> {
        let (writers, access, caller) = (self.stream_writers()?, self.store_access()?, self.caller());
        let end = || access.reader.next_position();
        before::import(&events, marks, end, |request| writers.import(caller.clone(), request)).await
    }

    async fn get_import_states(
        &mut self,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        Ok(before::each(self.stream_readers()?.import_states(self.caller(), source, stream_ids).await?))
    }

    async fn delete_stream(
        &mut self,
        stream_id: String,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let request = before::deletion(stream_id, expected, deletion);
        self.stream_writers()?.remove(self.caller(), request).await?;
        Ok(())
    }

    async fn set_retention(&mut self, stream_id: String, retention: Retention) -> Result<(), Error> {
        let request = before::retention(stream_id, retention);
        self.stream_writers()?.retain(self.caller(), request).await?;
        Ok(())
    }

    async fn read_stream(
        &mut self,
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let source = Source::OneStream(StreamSelection { stream_id, from });
        let selection = before::selection(source, count, direction)?;
        // Read before the page, so that an event which the page lacks has a position at or after it.
        let durable_position = self.store_access()?.reader.next_position();
        before::page(self.stream_readers()?.read(self.caller(), selection).await?, durable_position)
    }

    async fn read_all(
        &mut self,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.check_from(from, direction)?;
        let source = Source::All(AllSelection { from, until: None });
        let selection = before::selection(source, count, direction)?;
        let durable_position = self.store_access()?.reader.next_position();
        before::page(self.stream_readers()?.read(self.caller(), selection).await?, durable_position)
    }

    async fn read_filtered(
        &mut self,
        filter: EventFilter,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.check_from(from, direction)?;
        let source = Source::All(AllSelection { from, until: None });
        let selection = before::selection(source, count, direction)?;
        let durable_position = self.store_access()?.reader.next_position();
        let (readers, filter) = (self.stream_readers()?, before::filter(filter));
        before::page(readers.read_filtered(self.caller(), filter, selection).await?, durable_position)
    }

    async fn list_streams(
        &mut self,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        Ok(self.stream_readers()?.list_streams(self.caller(), prefix, after, count, deleted).await?.into())
    }

    async fn get_stream_info(&mut self, stream_id: String) -> Result<StreamInfo, Error> {
        Ok(self.stream_readers()?.describe_stream(self.caller(), stream_id).await?.into())
    }

    async fn get_stream_lives(&mut self, stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        let lives = self.stream_readers()?.stream_lives(self.caller(), stream_ids).await?;
        Ok(lives.into_iter().map(|life| life.map(Into::into)).collect())
    }
}
