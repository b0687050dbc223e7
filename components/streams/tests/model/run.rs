//! Makes each call on the store and on the reference model, and compares the results.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_reference::Reference;
use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces};
use exesdb_sdk::streams::{
    AppendRequest, AppendResult, ImportMark, ImportResult, ImportedEvent, Transaction,
};
use exesdb_sdk::types::{Error, InvalidArgument};
use exesdb_streams::append::append;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::delete::delete_stream;
use exesdb_streams::import::{import_events, import_states};
use exesdb_streams::maintenance::scavenge;
use exesdb_streams::retention::set_retention;
use exesdb_streams::transact::transact;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use crate::call::{Call, Wanted, event};

/// Microseconds between two calls.
const SECOND: u64 = 1_000_000;

/// The source of all imported rows.
const SOURCE: &str = "f";

pub(crate) type Checked = Result<(), TestCaseError>;

/// A store and its model.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) store: MemoryKeyspaces,
    pub(crate) reference: Reference,
}

impl Run {
    pub(crate) fn perform(&mut self, call: &Call) -> Checked {
        self.reference.now += SECOND;
        match call {
            // The repetition of a call gets the first results for events that are visible.
            Call::Append(requests) => {
                self.append(requests)?;
                self.append(requests)?;
            }
            Call::Transact(transaction) => {
                self.transact(transaction)?;
                self.transact(transaction)?;
            }
            Call::Delete(stream_id, expected, deletion) => {
                let result = delete_stream(&self.store, stream_id, *expected, *deletion);
                prop_assert_eq!(result, self.reference.delete_stream(stream_id, *expected, *deletion));
            }
            Call::Retain(stream_id, retention) => {
                let result = set_retention(&self.store, self.reference.now, stream_id, retention);
                prop_assert_eq!(result, self.reference.set_retention(stream_id, retention));
            }
            Call::Scavenge => self.scavenge_all()?,
            Call::Import(wanted, more) => self.import(wanted, *more)?,
        }
        let end = self.store.durable_position().expect("the store is in memory");
        prop_assert_eq!(end, self.reference.end());
        Ok(())
    }

    fn append(&mut self, requests: &[AppendRequest]) -> Checked {
        let results = append(&self.store, self.reference.now, CorrelationIndex::Off, requests);
        prop_assert_eq!(results.len(), requests.len());
        let versions = |result: AppendResult| (result.first_version, result.last_version);
        let mut added = Vec::new();
        let mut succeeded = Vec::new();
        for (request, result) in requests.iter().zip(results) {
            let stream_id = &request.stream_id;
            let end = self.reference.end();
            let modelled = self.reference.append(request);
            prop_assert_eq!(result.clone().map(versions), modelled.map(versions));
            let Ok(result) = result else { continue };
            if self.reference.end() > end {
                added.push((stream_id, result));
            }
            succeeded.push((stream_id, result));
        }
        // The store may commit the appends of one call in any order.
        for (stream_id, result) in added {
            self.reference.take_positions(stream_id, &result);
        }
        for (stream_id, result) in succeeded {
            let last = self.reference.event_at(stream_id, result.last_version);
            prop_assert_eq!(last.map(|event| event.position), Some(result.position));
        }
        Ok(())
    }

    fn transact(&mut self, transaction: &Transaction) -> Checked {
        let transactions = std::slice::from_ref(transaction);
        let results = transact(&self.store, self.reference.now, CorrelationIndex::Off, transactions);
        prop_assert_eq!(results, [self.reference.transact(transaction)]);
        Ok(())
    }

    /// Runs all steps of scavenging, which must skip nothing.
    pub(crate) fn scavenge_all(&self) -> Checked {
        let mut cursor = None;
        loop {
            let scavenged = scavenge(&self.store, self.reference.now, cursor.as_ref());
            let scavenged = scavenged.expect("the store is in memory");
            prop_assert!(scavenged.skipped.is_empty(), "{:?}", scavenged.skipped);
            cursor = scavenged.step.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn import(&mut self, wanted: &[Wanted], more: u64) -> Checked {
        let events = self.imported(wanted);
        let marks = self.marks(&events, more);
        if self.import_events(&events, &marks)?.is_some() {
            let again = self.import_events(&events, &marks)?;
            prop_assert_eq!(again.map(|again| again.added), Some(0));
        }
        let streams: Vec<String> = events.into_iter().map(|event| event.stream_id).collect();
        let found = import_states(&self.store, self.reference.now, SOURCE, &streams);
        let states = streams.iter().map(|stream_id| self.reference.import_state(SOURCE, stream_id));
        prop_assert_eq!(found, Ok(states.collect()));
        Ok(())
    }

    /// Compares the results of an import, and returns it unless it is an error.
    fn import_events(
        &mut self,
        events: &[ImportedEvent],
        marks: &[ImportMark],
    ) -> Result<Option<ImportResult>, TestCaseError> {
        let result = import_events(&self.store, self.reference.now, CorrelationIndex::Off, events, marks);
        let result = result.map_err(|error| match error {
            Error::Invalid(invalid) => Error::Invalid(InvalidArgument { message: String::new(), ..invalid }),
            other => other,
        });
        prop_assert_eq!(&result, &self.reference.import_events(events, marks));
        Ok(result.ok())
    }

    /// The events of an import into the store in its current state.
    fn imported(&self, wanted: &[Wanted]) -> Vec<ImportedEvent> {
        let Self { reference, .. } = self;
        let mut end = reference.end();
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        let imported = wanted.iter().map(|(stream_id, distance, id, gap, seconds)| {
            let first = reference.last_version(stream_id).map_or(u64::from(*id) % 3, |last| last + 1);
            let next = next.entry(stream_id).or_insert(first);
            let known = reference.event_with_id(stream_id, &id.to_string()).map(|event| event.version);
            let version = known.unwrap_or(*next).saturating_add_signed(*distance);
            *next += u64::from(known.is_none());
            let position = gap.map(|gap| end + gap);
            end = position.unwrap_or(end) + 1;
            let created = reference.now.saturating_add_signed(*seconds * SECOND as i64);
            ImportedEvent { stream_id: stream_id.clone(), version, position, created, event: event(*id) }
        });
        imported.collect()
    }

    /// A mark for each stream of an import, with this many more rows than before.
    fn marks(&self, events: &[ImportedEvent], more: u64) -> Vec<ImportMark> {
        let streams: BTreeSet<&String> = events.iter().map(|event| &event.stream_id).collect();
        let marks = streams.into_iter().map(|stream_id| ImportMark {
            stream_id: stream_id.clone(),
            source: SOURCE.into(),
            rows: self.reference.import_state(SOURCE, stream_id).rows + more,
            leading_rows: more,
        });
        marks.filter(|mark| mark.rows > 0).collect()
    }
}
