//! Verification finds every kind of damage, reports it, and repairs what other data determine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::maintenance::Finding;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::subscriptions::{
    Advance, NewSubscription, ParkedScope, Parking, PoisonPolicy, Progress, Selector, Settings, Strategy,
    Subscribed, SubscriptionRequest,
};
use exesdb_sdk::types::{Decision, Error};
use exesdb_subscriptions::decide::decide;
use exesdb_subscriptions::layout::{
    EPOCHS, LAST_EPOCH, PARKED, PROGRESS, REPLAYED, SUBSCRIPTIONS, StoredProgress, decode_progress,
    encode_epoch, encode_parked, encode_progress, parked_key,
};
use exesdb_subscriptions::maintenance::{STEP_ENTRIES, scavenge, verify};

fn change(store: &MemoryStore, request: SubscriptionRequest) -> u64 {
    let decisions = decide(&store.view(), &[request]);
    match decisions.into_iter().next().unwrap() {
        Decision::Commit(planned) => {
            store.apply(&planned.batch).unwrap();
            planned.count
        }
        other => panic!("{other:?}"),
    }
}

fn create(store: &MemoryStore, name: &str) {
    let settings = Settings {
        strategy: Strategy::RoundRobin,
        poison: PoisonPolicy::Park,
        ack_timeout_ms: 30_000,
        retries_max: 10,
        consumers_max: 5,
        buffer_events: 500,
        checkpoint_events_max: 100,
        checkpoint_ms: 1_000,
        checkpoint_events_min: 10,
        options: Vec::new(),
    };
    let selector = Selector { source: Subscribed::All(None), pattern: None };
    let new = NewSubscription { name: name.to_owned(), selector, start: 0, settings };
    change(store, SubscriptionRequest::Create(new));
}

fn park(store: &MemoryStore, name: &str, epoch: u64, places: std::ops::Range<u64>) {
    let end = places.end;
    let parking = |place| Parking { place, deliveries: 1, reason: "why".to_owned() };
    let parked = places.map(parking).collect();
    let unparked = Vec::new();
    let advance = Advance { name: name.to_owned(), epoch, checkpoint: end, parked, unparked };
    change(store, SubscriptionRequest::Advance(advance));
}

/// Two subscriptions; the first one has parked events, two of which are replayed.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    create(&store, "a");
    create(&store, "b");
    let epoch = change(&store, SubscriptionRequest::Claim("a".to_owned()));
    park(&store, "a", epoch, 0..5);
    change(
        &store,
        SubscriptionRequest::Replay(ParkedScope { name: "a".to_owned(), from: 2, up_to: Some(3) }),
    );
    store
}

/// Runs all steps. Returns the number of examined entries and the findings.
fn walk(store: &MemoryStore, repair: bool) -> (u64, Vec<Finding>) {
    let (mut examined, mut findings, mut from) = (0, Vec::new(), None);
    for _ in 0..1_000 {
        let step = verify(&store.view(), from.as_ref(), repair).unwrap();
        for batch in &step.batches {
            store.apply(batch).unwrap();
        }
        examined += step.examined;
        assert_eq!(step.found, step.findings.len() as u64);
        findings.extend(step.findings);
        match step.next {
            Some(next) => {
                assert!(next.len() <= 4_096 && from.as_ref() != Some(&next), "{next:?}");
                from = Some(next);
            }
            None => return (examined, findings),
        }
    }
    panic!("the walk does not end");
}

fn everything(store: &MemoryStore) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    [SUBSCRIPTIONS, PROGRESS, PARKED, REPLAYED, EPOCHS].map(|keyspace| store.entries(keyspace)).into()
}

fn apply(store: &MemoryStore, damage: impl Fn(&mut BatchBuilder)) {
    let mut batch = BatchBuilder::new();
    damage(&mut batch);
    store.apply(&batch.build()).unwrap();
}

/// The progress of a subscription as it is stored.
fn progress(store: &MemoryStore, name: &str) -> StoredProgress {
    let entries = store.entries(PROGRESS);
    let (_, value) = entries.iter().find(|(key, _)| key == name.as_bytes()).unwrap();
    decode_progress(value).unwrap()
}

#[test]
fn a_sound_store_has_no_findings() {
    let store = store();
    // Two definitions, five parked events, two of them replayed.
    assert_eq!(walk(&store, true), (9, Vec::new()));
    let more = u64::from(STEP_ENTRIES) + 7;
    let many = MemoryStore::new();
    for number in 0..more {
        create(&many, &format!("s-{number}"));
    }
    assert_eq!(walk(&many, false), (more, Vec::new()));
}

#[test]
fn more_parked_events_than_a_step_takes_are_counted() {
    let store = store();
    let epoch = progress(&store, "a").progress.epoch;
    for hundred in 1..45 {
        park(&store, "a", epoch, hundred * 100..hundred * 100 + 100);
    }
    assert_eq!(walk(&store, false), (2 + 4_405 + 2, Vec::new()));
}

type Damage = fn(&mut BatchBuilder, &MemoryStore);

#[test]
fn damage_is_found_and_repaired_where_other_data_determine_it() {
    // damage, keyspace, words, whether it is repaired
    let table: [(Damage, &str, &str, bool); 11] = [
        (
            |batch, store| {
                let StoredProgress { progress, revision } = progress(store, "a");
                let progress = Progress { parked: 7, ..progress };
                batch.put(PROGRESS, b"a", &encode_progress(&StoredProgress { progress, revision }));
            },
            PROGRESS,
            "it has 7 parked events, and 5 are there",
            true,
        ),
        (|batch, _| batch.delete(PROGRESS, b"b"), PROGRESS, "it is missing", false),
        (|batch, _| batch.put(PROGRESS, b"b", b"x"), PROGRESS, "it cannot be read", false),
        (|batch, _| batch.put(SUBSCRIPTIONS, b"b", b"x"), SUBSCRIPTIONS, "cannot be read", false),
        (
            |batch, _| batch.put(PARKED, &parked_key("a", 1), b"x"),
            PARKED,
            "the parked event cannot be read",
            false,
        ),
        (|batch, _| batch.put(REPLAYED, &parked_key("a", 99), b""), REPLAYED, "is not parked", true),
        (|batch, _| batch.put(EPOCHS, LAST_EPOCH, &encode_epoch(0)), EPOCHS, "would be used twice", true),
        (|batch, _| batch.put(EPOCHS, LAST_EPOCH, b"x"), EPOCHS, "it cannot be read", true),
        (
            |batch, store| batch.put(PROGRESS, b"gone", &encode_progress(&progress(store, "a"))),
            PROGRESS,
            "there is no such subscription",
            true,
        ),
        (
            |batch, _| batch.put(PARKED, &parked_key("gone", 3), &encode_parked(1, "why", 0)),
            PARKED,
            "there is no such subscription",
            true,
        ),
        (|batch, _| batch.put(REPLAYED, b"short", b""), REPLAYED, "there is no such subscription", true),
    ];
    for (damage, keyspace, words, is_repaired) in table {
        let store = store();
        let whole = everything(&store);
        apply(&store, |batch| damage(batch, &store));
        let damaged = everything(&store);
        let (_, findings) = walk(&store, false);
        assert_eq!(findings.len(), 1, "{words}: {findings:?}");
        assert!(findings[0].problem.contains(words), "{:?}", findings[0]);
        assert!(findings[0].place.starts_with(&format!("keyspace `{keyspace}`")), "{:?}", findings[0]);
        assert!(!findings[0].is_repaired);
        assert_eq!(everything(&store), damaged, "nothing was to be repaired");
        let (_, findings) = walk(&store, true);
        assert_eq!(findings[0].is_repaired, is_repaired, "{words}");
        let left = walk(&store, true).1;
        assert_eq!(left.is_empty(), is_repaired, "{words}: {left:?}");
        if is_repaired && keyspace != PROGRESS {
            assert_eq!(everything(&store), whole, "{words}");
        }
    }
}

#[test]
fn cursors_that_were_not_given_are_refused() {
    let store = store();
    let view = store.view();
    for cursor in [vec![], vec![0], vec![9, 1], vec![1; 5_000]] {
        assert!(matches!(verify(&view, Some(&cursor), false), Err(Error::Invalid(_))), "{cursor:?}");
        assert!(matches!(scavenge(Some(&cursor)), Err(Error::Invalid(_))));
    }
    assert_eq!(scavenge(None).unwrap().next, None);
}
