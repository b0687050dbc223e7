//! `exesdb:storage/keyspaces`: a component's own keyspaces in the store.

use std::sync::Arc;
use std::time::Instant;

use exesdb_storage as storage;

use crate::access::StoreAccess;
use crate::bindings::keyspaces::{
    Batch, BatchError, Committed, Direction, EndOfLog, Entry, Error, Guard, Host, Location, Operation, Page,
    Put, Range, Stamp,
};
use crate::names;
use crate::state::State;
use crate::trace::new_id;

/// Bytes of keys and values that one read may return, as the interface says.
const PAGE_BYTES_MAX: u32 = 8 << 20;

/// Keys of one `get-many`: two for each of an append's thousand events.
const KEYS_MAX: usize = 2_000;

impl State {
    fn storage(&self) -> Result<Arc<StoreAccess>, Error> {
        self.context
            .registry
            .get(&names::store(&self.context.store))
            .ok_or_else(|| Error::Unavailable("the store is being restarted".into()))
    }

    /// The snapshot that this call reads from: one for all its reads, until it commits.
    fn snapshot(&mut self) -> Result<&storage::Snapshot, Error> {
        if self.snapshot.is_none() {
            self.snapshot = Some(self.storage()?.reader.snapshot());
        }
        Ok(self.snapshot.as_ref().expect("it was just put there"))
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&storage::Snapshot, &str) -> Result<T, storage::ReadError>,
    ) -> Result<T, Error> {
        let owner = self.context.role;
        let mut reads = std::mem::take(&mut self.reads);
        let snapshot = self.snapshot()?;
        let found = reads.read(|| read(snapshot, owner));
        self.reads = reads;
        found.map_err(|error| self.read_error(error))
    }

    fn read_error(&self, error: storage::ReadError) -> Error {
        match error {
            storage::ReadError::Invalid(reason) => Error::Invalid(reason),
            storage::ReadError::Engine { owner, keyspace, failure } if failure.is_damage => {
                Error::Damaged(self.damaged(&format!("{owner}.{keyspace}"), &failure))
            }
            storage::ReadError::Closed => Error::Unavailable(error.to_string()),
            storage::ReadError::Engine { .. } => Error::Other(error.to_string()),
        }
    }

    fn batch_error(&self, error: storage::BatchError) -> BatchError {
        match error {
            storage::BatchError::GuardFailed { index } => BatchError::GuardFailed(index),
            storage::BatchError::Invalid(reason) => BatchError::Invalid(reason),
            storage::BatchError::GuardUnreadable { failure, .. } if failure.is_damage => {
                BatchError::Other(self.damaged(&format!("a guard of {}", self.context.role), &failure))
            }
            error @ storage::BatchError::TooLarge { .. } => BatchError::TooLarge(error.to_string()),
            error => BatchError::Other(error.to_string()),
        }
    }

    /// Logs that data is damaged, with the engine's message, and returns the error for clients.
    fn damaged(&self, place: &str, failure: &storage::EngineFailure) -> String {
        let (context, incident) = (&self.context, new_id());
        if let Some(dropped) = context.damage_rate.lock().admit(Instant::now()) {
            tracing::error!(
                incident,
                store = context.store,
                component = context.role,
                place,
                reason = failure.reason,
                engine = failure.said,
                dropped,
                "the store's data is damaged: stop the host, copy the store's folder, and run `exesdb doctor`"
            );
        }
        damaged_for_client(&incident)
    }
}

impl Host for State {
    fn get(&mut self, location: Location) -> Result<Option<Vec<u8>>, Error> {
        let value = self.read(|snapshot, owner| snapshot.get(owner, &location.keyspace, &location.key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn get_many(
        &mut self,
        keyspace: String,
        keys: Vec<Vec<u8>>,
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if keys.len() > KEYS_MAX {
            return Err(Error::Invalid(format!(
                "{} keys, over the limit of {KEYS_MAX}; ask in parts",
                keys.len()
            )));
        }
        let max_bytes = max_bytes.min(PAGE_BYTES_MAX) as usize;
        let values = self.read(|snapshot, owner| snapshot.get_many(owner, &keyspace, &keys, max_bytes))?;
        Ok(values.into_iter().map(|value| value.map(|value| value.to_vec())).collect())
    }

    fn scan(
        &mut self,
        range: Range,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<Page, Error> {
        let scan = storage::Scan {
            keyspace: range.keyspace,
            start: range.start,
            end: range.end,
            direction: match direction {
                Direction::Forward => storage::Direction::Forward,
                Direction::Backward => storage::Direction::Backward,
            },
            limit: limit as usize,
            max_bytes: max_bytes.min(PAGE_BYTES_MAX) as usize,
        };
        let page = self.read(|snapshot, owner| snapshot.scan(owner, &scan))?;
        let entry = |(key, value): (storage::Slice, storage::Slice)| Entry {
            key: key.to_vec(),
            value: value.to_vec(),
        };
        Ok(Page { entries: page.entries.into_iter().map(entry).collect(), more: page.more })
    }

    async fn commit(&mut self, batches: Vec<Batch>) -> Result<Vec<Result<Committed, BatchError>>, Error> {
        if !self.context.may_take_positions()
            && let Some(index) = batches.iter().position(|batch| batch.events > 0)
        {
            return Err(Error::Denied(format!(
                "batch {index} takes positions, which only the store's streams component may"
            )));
        }
        let commit = storage::Commit {
            owner: self.context.role.into(),
            batches: batches.into_iter().map(batch).collect(),
            makes_room: self.frees_space,
            ..storage::Commit::default()
        };
        let (sender, outcome) = tokio::sync::oneshot::channel();
        // The caller may be gone, as after a kill; the commit stands anyway.
        let reply = move |outcome| drop(sender.send(outcome));
        let writer = &self.storage()?.writer;
        writer.commit(commit, reply).map_err(commit_error)?;
        // From here on the batches may be applied, whatever ends this call.
        self.committed = true;
        self.snapshot = None;
        let outcome = outcome
            .await
            .map_err(|_| Error::Unavailable("the store ended before it answered the commit".into()))?
            .map_err(commit_error)?;
        Ok(outcome
            .into_iter()
            .map(|result| result.map(committed).map_err(|error| self.batch_error(error)))
            .collect())
    }

    fn durable_position(&mut self) -> Result<u64, Error> {
        Ok(self.snapshot()?.next_position())
    }

    fn log_end(&mut self) -> Result<EndOfLog, Error> {
        let head = self.snapshot()?.head();
        Ok(EndOfLog { next_position: head.next_position, chain: head.chain })
    }
}

fn batch(batch: Batch) -> storage::Batch {
    storage::Batch {
        guards: batch.guards.into_iter().map(guard).collect(),
        operations: batch.operations.into_iter().map(operation).collect(),
        events: batch.events,
        ..storage::Batch::default()
    }
}

fn guard(guard: Guard) -> storage::Guard {
    match guard {
        Guard::Absent(Location { keyspace, key }) => storage::Guard::Absent { keyspace, key },
        Guard::Equals(expected) => {
            storage::Guard::Equals { keyspace: expected.keyspace, key: expected.key, value: expected.value }
        }
        Guard::Empty(Range { keyspace, start, end }) => storage::Guard::RangeEmpty { keyspace, start, end },
    }
}

fn operation(operation: Operation) -> storage::Operation {
    let stamp = |stamp: Stamp| storage::Stamp { at: stamp.at, event: stamp.event };
    let stamps = |stamps: Vec<Stamp>| stamps.into_iter().map(stamp).collect();
    match operation {
        Operation::Put(Put { keyspace, key, value, key_stamps, value_stamps, chain }) => {
            storage::Operation::Put {
                keyspace,
                key,
                value,
                key_stamps: stamps(key_stamps),
                value_stamps: stamps(value_stamps),
                chain: chain.map(stamp),
            }
        }
        Operation::Delete(Location { keyspace, key }) => storage::Operation::Delete { keyspace, key },
    }
}

fn committed(committed: storage::Committed) -> Committed {
    Committed { first_position: committed.first_position }
}

fn commit_error(error: storage::CommitError) -> Error {
    match error {
        storage::CommitError::Overloaded { .. } => Error::Overloaded,
        storage::CommitError::Invalid(reason) => Error::Invalid(reason),
        storage::CommitError::ReadOnly { reason } => Error::ReadOnly(reason),
        error => Error::Unavailable(error.to_string()),
    }
}

/// The error for a client that reads damaged data. It has no details of the disk: those are in the operator's log.
fn damaged_for_client(incident: &str) -> String {
    format!(
        "the store's data is damaged, so that what was asked for cannot be read (incident {incident} in the host's log); \
         the operator has to run `exesdb doctor`, which says what is damaged and what can be done"
    )
}
