//! `exesdb:store/streams` for gateways: passes each call to the store's streams component.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::access::StoreAccess;
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
        let append = |request| writers.append(self.caller(), request);
        // `join_all` polls in order, so requests for one stream enter its mailbox in the order of the list.
        join_all(requests.into_iter().map(append).collect::<Vec<_>>()).await
    }

    async fn transact(&mut self, transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        let writers = match self.writers_for(transactions.len()) {
            Ok(writers) => writers,
            Err(error) => return vec![Err(error); transactions.len()],
        };
        let transact = |transaction| {
            let checked = self.check_conditions(&transaction);
            let (writers, caller) = (&writers, self.caller());
            async move {
                checked?;
                writers.transact(caller, transaction).await
            }
        };
        join_all(transactions.into_iter().map(transact).collect::<Vec<_>>()).await
    }

    async fn import_events(
        &mut self,
        events: Vec<ImportedEvent>,
        marks: Vec<ImportMark>,
    ) -> Result<ImportResult, Error> {
        let imported = self.stream_writers()?.import_events(self.caller(), events, marks).await?;
        let (registry, store) = (&self.context.registry, &self.context.store);
        let bus = registry.get::<exesdb_pubsub::Bus>(&names::pubsub(store));
        // The events are of many streams: all waiters are woken and read what is durable.
        if let (Some(bus), Some(store)) = (bus, registry.get::<StoreAccess>(&names::store(store))) {
            bus.resync(store.reader.next_position());
        }
        Ok(imported)
    }

    async fn get_import_states(
        &mut self,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        self.stream_readers()?.import_states(self.caller(), source, stream_ids).await
    }

    async fn delete_stream(
        &mut self,
        stream_id: String,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let writers = self.stream_writers()?;
        writers.delete_stream(self.caller(), stream_id.clone(), expected, deletion).await?;
        // Wakes the stream's followers, who then see that it was deleted.
        let (registry, store) = (&self.context.registry, &self.context.store);
        if deletion == Deletion::Tombstone
            && let Some(bus) = registry.get::<exesdb_pubsub::Bus>(&names::pubsub(store))
        {
            bus.touch(&stream_id);
        }
        Ok(())
    }

    async fn set_retention(&mut self, stream_id: String, retention: Retention) -> Result<(), Error> {
        self.stream_writers()?.set_retention(self.caller(), stream_id, retention).await
    }

    async fn read_stream(
        &mut self,
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.stream_readers()?.read_stream(self.caller(), stream_id, from, count, direction).await
    }

    async fn read_all(
        &mut self,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.check_from(from, direction)?;
        self.stream_readers()?.read_all(self.caller(), from, count, direction).await
    }

    async fn read_filtered(
        &mut self,
        filter: EventFilter,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.check_from(from, direction)?;
        self.stream_readers()?.read_filtered(self.caller(), filter, from, count, direction).await
    }

    async fn list_streams(
        &mut self,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        self.stream_readers()?.list_streams(self.caller(), prefix, after, count, deleted).await
    }

    async fn get_stream_info(&mut self, stream_id: String) -> Result<StreamInfo, Error> {
        self.stream_readers()?.stream_info(self.caller(), stream_id).await
    }

    async fn get_stream_lives(&mut self, stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        self.stream_readers()?.stream_lives(self.caller(), stream_ids).await
    }
}
