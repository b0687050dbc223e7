//! What is stored of subscriptions: each change with what it leaves, and what it refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::subscriptions::{
    Advance, Halting, NewSubscription, ParkedScope, Parking, PoisonPolicy, Selector, Settings, Strategy,
    Subscribed, Subscription, SubscriptionRequest, SubscriptionState, Update,
};
use exesdb_sdk::types::{Decision, Error, EventFilter, Field, QueryItem};
use exesdb_subscriptions::decide::{ALREADY_EXISTS, EVENTS_MAX, PARKED_MAX, SUPERSEDED, decide};
use exesdb_subscriptions::dispatch::REASON_BYTES_MAX;
use exesdb_subscriptions::layout::{PARKED, PROGRESS, REPLAYED, SUBSCRIPTIONS};
use exesdb_subscriptions::read::{describe, list, list_parked};

type Request = SubscriptionRequest;

fn settings() -> Settings {
    Settings {
        strategy: Strategy::Pinned,
        poison: PoisonPolicy::Halt,
        ack_timeout_ms: 30_000,
        retries_max: 10,
        consumers_max: 5,
        buffer_events: 500,
        checkpoint_events_max: 100,
        checkpoint_ms: 1_000,
        checkpoint_events_min: 10,
        options: vec![Field { name: "x.y".to_owned(), value: "z".to_owned() }],
    }
}

fn new(name: &str) -> NewSubscription {
    let selector = Selector { source: Subscribed::All(None), pattern: Some("{\"type\":\"t\"}".to_owned()) };
    NewSubscription { name: name.to_owned(), selector, start: 7, settings: settings() }
}

/// Decides about one request, and applies it. Returns the count of the result.
fn change(store: &MemoryStore, request: Request) -> Result<u64, Error> {
    let decisions = decide(&store.view(), &[request]);
    match decisions.into_iter().next().unwrap() {
        Decision::Done(result) => result.map(|result| result.count),
        Decision::Later => panic!("the first of a list never waits"),
        Decision::Commit(planned) => {
            store.apply(&planned.batch).unwrap();
            Ok(planned.count)
        }
    }
}

fn code(result: Result<u64, Error>) -> String {
    match result.unwrap_err() {
        Error::Problem(problem) => problem.code,
        Error::Invalid(invalid) => invalid.argument,
        Error::NotFound => "not-found".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn advance(store: &MemoryStore, checkpoint: u64, parked: &[u64], unparked: &[u64]) -> Result<u64, Error> {
    let epoch = described(store, "a").progress.epoch;
    let parked = parked.iter().map(|place| parking(*place)).collect();
    let unparked = unparked.to_vec();
    change(store, Request::Advance(Advance { name: "a".to_owned(), epoch, checkpoint, parked, unparked }))
}

fn parking(place: u64) -> Parking {
    Parking { place, deliveries: 3, reason: format!("because of {place}") }
}

fn described(store: &MemoryStore, name: &str) -> Subscription {
    describe(&store.view(), name).unwrap()
}

fn scope(up_to: Option<u64>) -> ParkedScope {
    ParkedScope { name: "a".to_owned(), from: 0, up_to }
}

fn parked(store: &MemoryStore, replayed: bool) -> Vec<u64> {
    let page = list_parked(&store.view(), "a", 0, 1_000, replayed).unwrap();
    page.events.iter().map(|event| event.place).collect()
}

/// The number of parked events is that of the entries, and each that is replayed is parked.
fn check(store: &MemoryStore) {
    let places = store.entries(PARKED).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(described(store, "a").progress.parked, places.len() as u64);
    assert!(store.entries(REPLAYED).iter().all(|(key, _)| places.contains(key)));
}

#[test]
fn a_subscription_is_as_it_was_created() {
    let store = MemoryStore::new();
    store.set_now(5);
    let filter = EventFilter {
        query: vec![QueryItem { types: vec!["t".to_owned()], tags: vec!["a".to_owned(), "b".to_owned()] }],
        stream_prefixes: vec!["s-".to_owned()],
        stream_pattern: Some("^s".to_owned()),
        type_pattern: None,
        correlation_id: Some("c".to_owned()),
        causation_id: None,
        options: vec![Field { name: "o".to_owned(), value: String::new() }],
    };
    for (name, source) in [
        ("one", Subscribed::OneStream("a stream/ü".to_owned())),
        ("all", Subscribed::All(None)),
        ("some", Subscribed::All(Some(filter))),
    ] {
        let mut new = new(name);
        new.selector.source = source;
        assert_eq!(change(&store, Request::Create(new.clone())), Ok(1));
        let there = described(&store, name);
        assert_eq!((there.selector, there.start, there.settings), (new.selector, 7, new.settings));
        assert_eq!((there.state, there.created, there.updated), (SubscriptionState::Active, 5, 5));
        let progress = there.progress;
        assert_eq!((progress.epoch, progress.checkpoint, progress.parked), (0, 7, 0));
    }
    let names = |after, count| {
        let page = list(&store.view(), "", after, count).unwrap();
        (page.subscriptions.iter().map(|one| one.name.clone()).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(names(None, 2), (vec!["all".to_owned(), "one".to_owned()], true));
    assert_eq!(names(Some("one"), 2), (vec!["some".to_owned()], false));
    assert_eq!(names(Some("on"), 1), (vec!["one".to_owned()], true));
    // The same again changes nothing; another one is refused.
    let before = store.entries(SUBSCRIPTIONS);
    store.set_now(6);
    let mut again = new("all");
    again.start = 99;
    assert_eq!(change(&store, Request::Create(again.clone())), Ok(0));
    assert_eq!(store.entries(SUBSCRIPTIONS), before);
    let of_prefix = list(&store.view(), "o", None, 10).unwrap().subscriptions;
    assert_eq!(of_prefix.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(list(&store.view(), "o", Some("z"), 10).unwrap().subscriptions, []);
    again.settings.retries_max = 1;
    assert_eq!(code(change(&store, Request::Create(again))), ALREADY_EXISTS);
}

#[test]
fn states_and_settings_change() {
    let store = MemoryStore::new();
    change(&store, Request::Create(new("a"))).unwrap();
    let epoch = change(&store, Request::Claim("a".to_owned())).unwrap();
    let halting = |epoch| Request::Halt(Halting { name: "a".to_owned(), epoch, reason: "poison".to_owned() });
    let halted = SubscriptionState::Halted("poison".to_owned());
    for (now, request, state) in [
        (10, Request::Pause("a".to_owned()), SubscriptionState::Paused),
        (11, Request::Resume("a".to_owned()), SubscriptionState::Active),
        (12, halting(epoch), halted.clone()),
        (13, Request::Pause("a".to_owned()), SubscriptionState::Paused),
        (14, Request::Resume("a".to_owned()), SubscriptionState::Active),
    ] {
        store.set_now(now);
        change(&store, request).unwrap();
        let there = described(&store, "a");
        assert_eq!((there.state, there.updated), (state, now));
        assert_eq!(there.progress.checkpoint, 7);
    }
    assert_eq!(code(change(&store, halting(epoch + 1))), SUPERSEDED);
    let mut settings = settings();
    settings.strategy = Strategy::RoundRobin;
    change(&store, Request::Update(Update { name: "a".to_owned(), settings: settings.clone() })).unwrap();
    assert_eq!(described(&store, "a").settings, settings);
}

#[test]
fn what_an_earlier_emitter_stores_is_refused() {
    let store = MemoryStore::new();
    change(&store, Request::Create(new("a"))).unwrap();
    let claim = || change(&store, Request::Claim("a".to_owned())).unwrap();
    assert_eq!((claim(), claim()), (1, 2));
    let advance = |epoch, checkpoint| {
        let (parked, unparked) = (vec![parking(8)], Vec::new());
        change(
            &store,
            Request::Advance(Advance { name: "a".to_owned(), epoch, checkpoint, parked, unparked }),
        )
    };
    assert_eq!(code(advance(1, 9)), SUPERSEDED);
    assert_eq!(code(advance(3, 9)), SUPERSEDED);
    advance(2, 9).unwrap();
    assert_eq!(described(&store, "a").progress.checkpoint, 9);
    // It was decided before the next emitter began, and comes after it.
    let late = decide(
        &store.view(),
        &[Request::Advance(Advance {
            name: "a".to_owned(),
            epoch: 2,
            checkpoint: 20,
            parked: Vec::new(),
            unparked: Vec::new(),
        })],
    );
    claim();
    let [Decision::Commit(planned)] = late.as_slice() else { panic!("{late:?}") };
    store.apply(&planned.batch).unwrap_err();
    assert_eq!(described(&store, "a").progress.checkpoint, 9);
}

#[test]
fn events_are_parked_replayed_and_forgotten() {
    let store = MemoryStore::new();
    store.set_now(3);
    change(&store, Request::Create(new("a"))).unwrap();
    change(&store, Request::Create(new("a2"))).unwrap();
    advance(&store, 10, &[7, 9], &[]).unwrap();
    let page = list_parked(&store.view(), "a", 8, 10, false).unwrap();
    let [event] = page.events.as_slice() else { panic!("{page:?}") };
    assert_eq!((event.place, event.deliveries, event.parked, event.is_replayed), (9, 3, 3, false));
    assert_eq!(event.reason, "because of 9");
    // Parked twice is parked once.
    advance(&store, 12, &[9, 11], &[]).unwrap();
    assert_eq!(parked(&store, false), [7, 9, 11]);
    check(&store);
    assert_eq!(change(&store, Request::Replay(scope(Some(9)))), Ok(2));
    assert_eq!(change(&store, Request::Replay(scope(None))), Ok(1), "the other two are replayed already");
    assert_eq!(change(&store, Request::Replay(scope(None))), Ok(0));
    assert_eq!(parked(&store, true), [7, 9, 11]);
    check(&store);
    // One was acknowledged, one failed again, one is on its way.
    advance(&store, 12, &[9], &[7, 1_234]).unwrap();
    assert_eq!((parked(&store, false), parked(&store, true)), (vec![9, 11], vec![11]));
    check(&store);
    assert_eq!(change(&store, Request::Truncate(scope(Some(10)))), Ok(1));
    assert_eq!(change(&store, Request::Truncate(scope(Some(10)))), Ok(0));
    check(&store);
    assert_eq!(change(&store, Request::Truncate(scope(None))), Ok(1));
    assert_eq!((store.entries(PARKED), store.entries(REPLAYED)), (Vec::new(), Vec::new()));
    check(&store);
}

#[test]
fn only_so_many_events_are_parked_and_all_are_removed_with_their_subscription() {
    let store = MemoryStore::new();
    change(&store, Request::Create(new("a"))).unwrap();
    change(&store, Request::Create(new("a0"))).unwrap();
    let other = Advance {
        name: "a0".to_owned(),
        epoch: 0,
        checkpoint: 8,
        parked: vec![parking(7)],
        unparked: Vec::new(),
    };
    change(&store, Request::Advance(other)).unwrap();
    for thousand in 0..PARKED_MAX / EVENTS_MAX as u64 {
        let places: Vec<u64> = (0..EVENTS_MAX as u64).map(|at| 100 + thousand * 1_000 + at).collect();
        advance(&store, 100 + thousand, &places, &[]).unwrap();
    }
    assert_eq!(code(advance(&store, 500, &[50_000], &[])), "too-large");
    advance(&store, 500, &[50_000], &[100]).unwrap();
    assert_eq!(change(&store, Request::Replay(scope(None))), Ok(EVENTS_MAX as u64));
    assert_eq!(change(&store, Request::Replay(scope(None))), Ok(EVENTS_MAX as u64));
    let replayed = store.entries(REPLAYED).len();
    assert_eq!(replayed, 2 * EVENTS_MAX);
    change(&store, Request::Remove("a".to_owned())).unwrap();
    assert_eq!(describe(&store.view(), "a"), Err(Error::NotFound));
    assert_eq!((store.entries(PARKED).len(), store.entries(REPLAYED).len()), (1, 0));
    assert_eq!((store.entries(SUBSCRIPTIONS).len(), store.entries(PROGRESS).len()), (1, 1));
    // One of the same name begins anew.
    change(&store, Request::Create(new("a"))).unwrap();
    assert_eq!(described(&store, "a").progress.parked, 0);
}

#[test]
fn an_epoch_is_never_used_twice() {
    let store = MemoryStore::new();
    let claim = |name: &str| change(&store, Request::Claim(name.to_owned())).unwrap();
    change(&store, Request::Create(new("a"))).unwrap();
    change(&store, Request::Create(new("b"))).unwrap();
    let first = claim("a");
    change(&store, Request::Remove("a".to_owned())).unwrap();
    change(&store, Request::Create(new("a"))).unwrap();
    let late = Advance {
        name: "a".to_owned(),
        epoch: first,
        checkpoint: 5_000,
        parked: Vec::new(),
        unparked: Vec::new(),
    };
    assert_eq!(code(change(&store, Request::Advance(late.clone()))), SUPERSEDED);
    assert!(claim("b") > first);
    assert!(claim("a") > first + 1);
    assert_eq!(code(change(&store, Request::Advance(late))), SUPERSEDED);
    let claims = [Request::Claim("a".to_owned()), Request::Claim("b".to_owned())];
    let decisions = decide(&store.view(), &claims);
    assert!(matches!(decisions.as_slice(), [Decision::Commit(_), Decision::Later]));
}

/// Each pair is decided on the same state, and applied one after the other.
#[test]
fn a_change_is_refused_if_what_it_was_decided_on_has_changed() {
    let advance = |parked: &[u64], unparked: &[u64]| {
        let parked = parked.iter().map(|place| parking(*place)).collect();
        let unparked = unparked.to_vec();
        Request::Advance(Advance { name: "a".to_owned(), epoch: 0, checkpoint: 10, parked, unparked })
    };
    let all = scope(None);
    for (first, second, may_follow) in [
        (advance(&[11], &[9]), Request::Remove("a".to_owned()), false),
        (advance(&[11], &[9]), Request::Truncate(all.clone()), false),
        (advance(&[11], &[9]), Request::Replay(all.clone()), false),
        (advance(&[11], &[9]), advance(&[9], &[11]), false),
        (advance(&[11], &[9]), Request::Claim("a".to_owned()), false),
        (Request::Truncate(all.clone()), Request::Replay(all.clone()), false),
        (Request::Replay(all.clone()), Request::Remove("a".to_owned()), true),
        (Request::Replay(all.clone()), Request::Truncate(all.clone()), true),
        (Request::Replay(all.clone()), advance(&[9], &[]), true),
        (Request::Pause("a".to_owned()), Request::Remove("a".to_owned()), false),
    ] {
        let store = MemoryStore::new();
        change(&store, Request::Create(new("a"))).unwrap();
        change(&store, advance(&[9], &[])).unwrap();
        let decided = |request: &Request| {
            let decisions = decide(&store.view(), std::slice::from_ref(request));
            let [Decision::Commit(planned)] = decisions.as_slice() else { panic!("{decisions:?}") };
            planned.batch.clone()
        };
        let batches = [decided(&first), decided(&second)];
        store.apply(&batches[0]).unwrap();
        assert_eq!(store.apply(&batches[1]).is_ok(), may_follow, "{first:?} {second:?}");
        if describe(&store.view(), "a").is_ok() {
            check(&store);
        } else {
            assert_eq!((store.entries(PARKED), store.entries(REPLAYED)), (Vec::new(), Vec::new()));
        }
    }
}

#[test]
fn a_list_decides_one_change_of_each_subscription() {
    let store = MemoryStore::new();
    let requests = [
        Request::Create(new("a")),
        Request::Create(new("b")),
        Request::Claim("a".to_owned()),
        Request::Claim("missing".to_owned()),
    ];
    let decisions = decide(&store.view(), &requests);
    assert!(matches!(
        decisions.as_slice(),
        [Decision::Commit(_), Decision::Commit(_), Decision::Later, Decision::Done(Err(Error::NotFound))]
    ));
}

#[test]
fn hostile_requests_are_refused() {
    let store = MemoryStore::new();
    change(&store, Request::Create(new("a"))).unwrap();
    let created = |edit: fn(&mut NewSubscription)| {
        let mut new = new("x");
        edit(&mut new);
        Request::Create(new)
    };
    let advanced = |edit: fn(&mut Advance)| {
        let (parked, unparked) = (Vec::new(), Vec::new());
        let mut advance = Advance { name: "a".to_owned(), epoch: 0, checkpoint: 7, parked, unparked };
        edit(&mut advance);
        Request::Advance(advance)
    };
    let long_filter = |filter: &mut EventFilter| filter.stream_prefixes = vec!["x".repeat(70_000)];
    let mut filtered = new("x");
    let mut filter = EventFilter {
        query: Vec::new(),
        stream_prefixes: Vec::new(),
        stream_pattern: None,
        type_pattern: None,
        correlation_id: None,
        causation_id: None,
        options: Vec::new(),
    };
    long_filter(&mut filter);
    filtered.selector.source = Subscribed::All(Some(filter));
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    let halting = Halting { name: "a".to_owned(), epoch: 0, reason: long };
    let table = [
        (created(|new| new.name.clear()), "name"),
        (created(|new| new.name = "x".repeat(513)), "name"),
        (created(|new| new.name = "a\0b".to_owned()), "name"),
        (created(|new| new.selector.pattern = Some("[]".to_owned())), "selector.pattern"),
        (created(|new| new.selector.source = Subscribed::OneStream(String::new())), "selector.stream"),
        (Request::Create(filtered), "too-large"),
        (created(|new| new.settings.ack_timeout_ms = 99), "settings.ack-timeout-ms"),
        (created(|new| new.settings.retries_max = 1_001), "settings.retries-max"),
        (created(|new| new.settings.consumers_max = 0), "settings.consumers-max"),
        (created(|new| new.settings.buffer_events = 10_001), "settings.buffer-events"),
        (created(|new| new.settings.checkpoint_events_max = 0), "settings.checkpoint-events-max"),
        (created(|new| new.settings.checkpoint_events_min = 10_001), "settings.checkpoint-events-min"),
        (
            created(|new| {
                let (name, value) = ("o".to_owned(), "x".repeat(1 << 16));
                new.settings.options = vec![Field { name, value }];
            }),
            "too-large",
        ),
        (created(|new| new.settings.checkpoint_ms = 0), "settings.checkpoint-ms"),
        (Request::Remove("\n".to_owned()), "name"),
        (Request::Remove("missing".to_owned()), "not-found"),
        (Request::Pause("missing".to_owned()), "not-found"),
        (Request::Claim("missing".to_owned()), "not-found"),
        (Request::Halt(halting), "reason"),
        (advanced(|advance| advance.checkpoint = 6), "advance.checkpoint"),
        (advanced(|advance| advance.parked = (0..1_001).map(parking).collect()), "advance.parked"),
        (advanced(|advance| advance.unparked = (0..1_001).collect()), "advance.unparked"),
        (advanced(|advance| advance.parked = vec![parking(1), parking(1)]), "advance"),
        (advanced(|advance| (advance.parked, advance.unparked) = (vec![parking(1)], vec![1])), "advance"),
        (
            advanced(|advance| {
                advance.parked = vec![Parking { reason: "x".repeat(2_000), ..parking(1) }];
            }),
            "advance.parked",
        ),
    ];
    let before = store.entries(SUBSCRIPTIONS);
    for (request, expected) in table {
        assert_eq!(code(change(&store, request.clone())), expected, "{request:?}");
    }
    assert_eq!(store.entries(SUBSCRIPTIONS), before);
    let view = store.view();
    assert!(matches!(list(&view, "", None, 0), Err(Error::Invalid(_))));
    assert!(matches!(list(&view, "", Some(""), 1), Err(Error::Invalid(_))));
    assert!(matches!(list_parked(&view, "a", 0, 1_001, false), Err(Error::Invalid(_))));
    assert_eq!(list_parked(&view, "missing", 0, 1, false), Err(Error::NotFound));
}

#[test]
fn damaged_entries_are_errors() {
    for keyspace in [SUBSCRIPTIONS, PROGRESS] {
        for bytes in [&b""[..], b"\x01", b"\x09\x09", &[1; 300]] {
            let store = MemoryStore::new();
            change(&store, Request::Create(new("a"))).unwrap();
            store.overwrite(keyspace, b"a", bytes);
            for error in [
                describe(&store.view(), "a").map(drop),
                list(&store.view(), "", None, 10).map(drop),
                change(&store, Request::Claim("a".to_owned())).map(drop),
            ] {
                let Err(Error::Problem(problem)) = error else { panic!("{keyspace} {bytes:?}: {error:?}") };
                assert_eq!(problem.code, "damaged");
            }
        }
    }
}
