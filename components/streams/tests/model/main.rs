//! Random sequences of writes, with repetitions and wrong expectations. Results and reads must agree with the reference
//! model of a store.

mod call;
#[path = "../driver/mod.rs"]
mod driver;
mod invariants;
mod run;

use exesdb_sdk::events::RecordedEvent;
use exesdb_sdk::types::{Direction, Error, EventFilter, QueryItem};
use exesdb_streams::correlation::CorrelationIndex;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;
use proptest::{prop_assert_eq, proptest};

use call::{STREAMS_USED, call};
use driver::{EventPage, list_streams, read_all, read_filtered, read_stream, stream_info, stream_lives};
use run::{Checked, Run};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn results_and_reads_agree_with_the_reference(calls in vec(call(), 1..16), count in 1..5_u32) {
        let mut run = Run::default();
        for call in &calls {
            run.perform(call)?;
        }
        for direction in [Direction::Forward, Direction::Backward] {
            compare_events(&run, count, direction)?;
        }
        compare_streams(&run)?;
        invariants::check(&run.store)?;

        // Scavenging removes no visible events, and verification has no findings before and after.
        invariants::verify_all(&run.store)?;
        run.scavenge_all()?;
        compare_events(&run, count, Direction::Forward)?;
        invariants::verify_all(&run.store)?;
    }
}

/// Compares reads of events, in pages of `count`.
fn compare_events(Run { store, reference }: &Run, count: u32, direction: Direction) -> Checked {
    let now = reference.now;
    let found = all(|from| read_all(store, now, from, count, direction));
    prop_assert_eq!(found, reference.read_filtered(&[], "", None, direction));

    let labels: [(&[&str], &[&str]); 5] =
        [(&["t"], &[]), (&["u"], &[]), (&[], &["g"]), (&[], &["h"]), (&["t"], &["i"])];
    for (types, tags) in labels {
        let filter = by_label(types, tags);
        let found = all(|from| {
            let index = CorrelationIndex::Off;
            read_filtered(store, now, index, filter.clone(), from, count, direction)
        });
        prop_assert_eq!(found, reference.read_filtered(&filter.query, "", None, direction));
    }

    for stream_id in STREAMS_USED {
        match reference.read_stream(stream_id, None, direction) {
            Ok(events) => {
                let found = all(|from| read_stream(store, now, stream_id, from, count, direction));
                prop_assert_eq!(found, events);
            }
            Err(error) => {
                prop_assert_eq!(read_stream(store, now, stream_id, None, 1, direction), Err(error));
            }
        }
    }
    Ok(())
}

/// Compares what the store says about its streams.
fn compare_streams(Run { store, reference }: &Run) -> Checked {
    for stream_id in STREAMS_USED {
        let found = stream_info(store, reference.now, stream_id);
        prop_assert_eq!(found, reference.stream_info(stream_id));
        let found = stream_lives(store, &[stream_id.to_owned()]);
        prop_assert_eq!(found, Ok(vec![reference.stream_life(stream_id)]));
    }
    for deleted in [false, true] {
        let found = list_streams(store, "", None, 1_000, deleted).expect("the store is in memory");
        prop_assert_eq!(found.streams, reference.list_streams(deleted));
    }
    Ok(())
}

/// All events of a sequence of pages.
fn all(read: impl Fn(Option<u64>) -> Result<EventPage, Error>) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut from = None;
    loop {
        let page = read(from).expect("the store is in memory");
        events.extend(page.events);
        if page.end {
            return events;
        }
        from = page.next;
    }
}

fn by_label(types: &[&str], tags: &[&str]) -> EventFilter {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    EventFilter {
        query: vec![QueryItem { types: texts(types), tags: texts(tags) }],
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
        options: Vec::new(),
    }
}
