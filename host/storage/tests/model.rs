//! Random batches, guards and reopenings, compared with a map in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;

use exesdb_storage::{Batch, BatchError, Direction, Guard, Operation, STAMP_BYTES, Scan, Stamp};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use scratch::{OWNER, Scratch};

const KEYSPACES: [&str; 2] = ["a", "b"];

/// A model of the store: a map from keyspace and key to value.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    next_position: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Batch>),
    Reopen,
}

impl Model {
    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Absent { keyspace, key } => !self.entries.contains_key(&(keyspace.clone(), key.clone())),
            Guard::Equals { keyspace, key, value } => {
                self.entries.get(&(keyspace.clone(), key.clone())) == Some(value)
            }
            Guard::RangeEmpty { keyspace, start, end } => !self
                .entries
                .keys()
                .any(|(of, key)| of == keyspace && key >= start && end.as_ref().is_none_or(|end| key < end)),
            Guard::LogEndsAt { position } => *position == self.next_position,
        }
    }

    fn apply(&mut self, batch: &Batch) -> Result<u64, BatchError> {
        for (index, guard) in (0..).zip(&batch.guards) {
            if !self.holds(guard) {
                return Err(BatchError::GuardFailed { index });
            }
        }
        let first = self.next_position;
        for operation in &batch.operations {
            match operation.clone() {
                Operation::Put { keyspace, mut key, mut value, key_stamps, value_stamps, .. } => {
                    fill(&mut key, &key_stamps, first);
                    fill(&mut value, &value_stamps, first);
                    self.entries.insert((keyspace, key), value);
                }
                Operation::Delete { keyspace, key } => {
                    self.entries.remove(&(keyspace, key));
                }
            }
        }
        self.next_position += u64::from(batch.events);
        Ok(first)
    }
}

fn fill(bytes: &mut [u8], stamps: &[Stamp], first: u64) {
    for stamp in stamps {
        for (index, byte) in (first + u64::from(stamp.event)).to_be_bytes().into_iter().enumerate() {
            bytes[stamp.at as usize + index] = byte;
        }
    }
}

fn keyspace() -> impl Strategy<Value = String> {
    prop_oneof![Just(KEYSPACES[0].to_owned()), Just(KEYSPACES[1].to_owned())]
}

/// Keys from a set so small that they collide, some of them prefixes of others.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(0..3u8, 1..3)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(0..2u8, 0..2)
}

fn guard() -> impl Strategy<Value = Guard> {
    prop_oneof![
        (keyspace(), key()).prop_map(|(keyspace, key)| Guard::Absent { keyspace, key }),
        (keyspace(), key(), value()).prop_map(|(keyspace, key, value)| Guard::Equals {
            keyspace,
            key,
            value
        }),
        (keyspace(), vec(0..3u8, 0..3), proptest::option::of(vec(0..3u8, 0..3)))
            .prop_map(|(keyspace, start, end)| Guard::RangeEmpty { keyspace, start, end }),
        (0..8u64).prop_map(|position| Guard::LogEndsAt { position }),
    ]
}

fn operation(events: u32) -> impl Strategy<Value = Operation> {
    let put = (keyspace(), key(), value(), 0..events.max(1), any::<bool>(), any::<bool>()).prop_map(
        move |(keyspace, mut key, mut value, event, in_key, in_value)| {
            let stamped_place = |bytes: &mut Vec<u8>, wanted: bool| {
                if !wanted || events == 0 {
                    return vec![];
                }
                let at = u32::try_from(bytes.len()).unwrap();
                bytes.extend([0xff; STAMP_BYTES]);
                vec![Stamp { at, event }]
            };
            let key_stamps = stamped_place(&mut key, in_key);
            let value_stamps = stamped_place(&mut value, in_value);
            Operation::Put { keyspace, key, value, key_stamps, value_stamps, chain: None }
        },
    );
    let delete = (keyspace(), key()).prop_map(|(keyspace, key)| Operation::Delete { keyspace, key });
    prop_oneof![3 => put, 1 => delete]
}

fn batch() -> impl Strategy<Value = Batch> {
    (vec(guard(), 0..3), 0..4u32).prop_flat_map(|(guards, events)| {
        vec(operation(events), 0..5).prop_map(move |operations| Batch {
            guards: guards.clone(),
            operations,
            events,
            ..Batch::default()
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => vec(batch(), 0..4).prop_map(Step::Commit), 1 => Just(Step::Reopen)]
}

fn compare(store: &Scratch, model: &Model, limit: usize) -> Result<(), TestCaseError> {
    let snapshot = store.store().snapshot();
    prop_assert_eq!(snapshot.next_position(), model.next_position);
    for name in KEYSPACES {
        let expected: Vec<_> = model
            .entries
            .iter()
            .filter(|((of, _), _)| of == name)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        prop_assert_eq!(&scratch::all(&snapshot, name), &expected);
        let scan = Scan {
            keyspace: name.into(),
            start: vec![1],
            end: Some(vec![2, 1]),
            direction: Direction::Backward,
            limit,
            max_bytes: usize::MAX,
        };
        let page = snapshot.scan(OWNER, &scan).unwrap();
        let range: Vec<_> = expected
            .iter()
            .rev()
            .filter(|(key, _)| *key >= vec![1] && *key < vec![2, 1])
            .map(|(key, _)| key.clone())
            .collect();
        let found: Vec<_> = page.entries.iter().map(|(key, _)| key.to_vec()).collect();
        prop_assert_eq!(page.more, range.len() > limit);
        prop_assert_eq!(&found[..], &range[..range.len().min(limit)]);
        for (key, value) in &expected {
            let found = snapshot.get(OWNER, name, key).unwrap();
            prop_assert_eq!(found.as_deref(), Some(value.as_slice()));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_behaves_like_a_map(steps in vec(step(), 1..30), limit in 1..6usize) {
        let mut store = Scratch::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Reopen => store.reopen(),
                Step::Commit(batches) => {
                    let expected: Vec<_> = batches.iter().map(|batch| model.apply(batch)).collect();
                    let found: Vec<_> = store
                        .commit(batches)
                        .into_iter()
                        .map(|outcome| outcome.map(|committed| committed.first_position))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
            compare(&store, &model, limit)?;
        }
    }
}
