//! Makes each call on the store and on the reference model, and compares the results.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_reference::{ImportResult, ImportedEvent, Reference, Transaction};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Error, ImportMark, InvalidArgument};
use exesdb_streams::correlation::CorrelationIndex;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use crate::call::{Call, Wanted, event};
use crate::driver::{
    delete_stream, end, import_events, import_states, scavenge, set_retention, write_in_order,
};

/// Microseconds between two calls.
const SECOND: u64 = 1_000_000;

/// The source of all imported rows.
const SOURCE: &str = "f";

pub(crate) type Checked = Result<(), TestCaseError>;

/// A store and its model.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) store: MemoryStore,
    pub(crate) reference: Reference,
}

impl Run {
    pub(crate) fn perform(&mut self, call: &Call) -> Checked {
        self.reference.now += SECOND;
        match call {
            // The repetition of a call gets the first results for events that are visible.
            Call::Write(transactions) => {
                self.write(transactions)?;
                self.write(transactions)?;
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
            Call::Import(wanted, at_positions, more) => self.import(wanted, *at_positions, *more)?,
        }
        prop_assert_eq!(end(&self.store), self.reference.end());
        Ok(())
    }

    /// Writes a list of transactions, and compares the results with those of the model, which applies them in the order in
    /// which they took effect.
    fn write(&mut self, transactions: &[Transaction]) -> Checked {
        let requests: Vec<_> = transactions.iter().map(Transaction::write_request).collect();
        let (now, index) = (self.reference.now, CorrelationIndex::Off);
        let (results, order) = write_in_order(&self.store, now, index, &requests);
        for at in &order {
            prop_assert_eq!(&results[*at], &self.reference.transact(&transactions[*at]), "request {}", at);
        }
        // Requests for one stream take effect in the order of the list.
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for at in &order {
            for append in &transactions[*at].appends {
                let before = last.insert(&append.stream_id, *at);
                prop_assert!(before.is_none_or(|before| before < *at), "{:?}", order);
            }
        }
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

    fn import(&mut self, wanted: &[Wanted], at_positions: bool, more: u64) -> Checked {
        let events = self.imported(wanted, at_positions);
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
    fn imported(&self, wanted: &[Wanted], at_positions: bool) -> Vec<ImportedEvent> {
        let Self { reference, .. } = self;
        let mut end = reference.end();
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        let imported = wanted.iter().map(|(stream_id, distance, id, gap, seconds)| {
            let first = reference.last_version(stream_id).map_or(u64::from(*id) % 3, |last| last + 1);
            let next = next.entry(stream_id).or_insert(first);
            let known = reference.event_with_id(stream_id, &id.to_string()).map(|event| event.version);
            let version = known.unwrap_or(*next).saturating_add_signed(*distance);
            *next += u64::from(known.is_none());
            let position = at_positions.then_some(end + gap);
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
