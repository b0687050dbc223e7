//! Transactions.

use exesdb_reference::{AppendRequest, AppendResult, Transaction};
use exesdb_sdk::events::EventData;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{
    AppendCondition, ConditionFailure, Deletion, Error, ExpectedVersion, QueryItem, Retention, StreamCheck,
    VersionConflict, code,
};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{IDS, LABELS, LabelKind, STREAMS, id_key, label_digest, label_key};
use exesdb_streams::read::SCAN_BUDGET_EVENTS;

use crate::driver::{self, Rival, TRIES_MAX, Target, delete_stream, end, set_retention};
use crate::{NOW, any, append, at, event, ids, message, request, tagged, taken};

fn transact(target: &impl Target, transactions: &[Transaction]) -> Vec<Result<Vec<AppendResult>, Error>> {
    driver::transact(target, NOW, CorrelationIndex::Off, transactions)
}

fn transaction(appends: &[AppendRequest]) -> Transaction {
    Transaction { appends: appends.to_vec(), checks: Vec::new(), conditions: Vec::new() }
}

fn checked(appends: &[AppendRequest], checks: &[(&str, ExpectedVersion)]) -> Transaction {
    let check = |(id, expected): &(&str, _)| StreamCheck { stream_id: (*id).into(), expected: *expected };
    Transaction { checks: checks.iter().map(check).collect(), ..transaction(appends) }
}

fn item(types: &[&str], tags: &[&str]) -> QueryItem {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    QueryItem { types: texts(types), tags: texts(tags) }
}

fn none_of(query: &[QueryItem], after: Option<u64>) -> AppendCondition {
    AppendCondition { query: query.to_vec(), after }
}

fn under(appends: &[AppendRequest], conditions: &[AppendCondition]) -> Transaction {
    Transaction { conditions: conditions.to_vec(), ..transaction(appends) }
}

fn of(stream_id: &str, events: &[EventData]) -> AppendRequest {
    AppendRequest { events: events.to_vec(), ..any(stream_id, &[]) }
}

fn failed(condition: u32, position: u64) -> Result<Vec<AppendResult>, Error> {
    Err(Error::ConditionFailed(ConditionFailure { condition, position }))
}

fn wrong(
    stream_id: &str,
    expected: ExpectedVersion,
    last_version: Option<u64>,
) -> Result<Vec<AppendResult>, Error> {
    let stream_id = stream_id.into();
    Err(Error::WrongExpectedVersion(VersionConflict { stream_id, expected, last_version, is_deleted: false }))
}

/// The result of a transaction.
fn all(results: &[Result<AppendResult, Error>]) -> Result<Vec<AppendResult>, Error> {
    results.iter().cloned().collect()
}

#[test]
fn a_transaction_appends_to_all_streams_or_none() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("b", &["0"])]);
    let both = transaction(&[
        request("a", ExpectedVersion::NoStream, &["1", "2"]),
        request("b", ExpectedVersion::Exact(0), &["1"]),
        any("c", &["1", "2"]),
    ]);
    assert_eq!(
        transact(&store, std::slice::from_ref(&both)),
        [all(&[at(0, 1, 2), at(1, 1, 3), at(0, 1, 5)])]
    );
    assert_eq!(
        (ids(&store, "a"), ids(&store, "b")),
        (vec!["1".into(), "2".into()], vec!["0".into(), "1".into()])
    );

    let before = end(&store);
    let refused = transaction(&[any("a", &["3"]), request("b", ExpectedVersion::Exact(0), &["4"])]);
    assert_eq!(transact(&store, &[refused]), [wrong("b", ExpectedVersion::Exact(0), Some(1))]);
    let refused = checked(
        &[any("a", &["3"])],
        &[("b", ExpectedVersion::Exact(1)), ("x", ExpectedVersion::StreamExists)],
    );
    assert_eq!(transact(&store, &[refused]), [wrong("x", ExpectedVersion::StreamExists, None)]);
    assert_eq!(end(&store), before);
    // Streams that a transaction began continue like others.
    assert_eq!(append(&store, 1, &[any("c", &["3"]), any("a", &["3"])]), [at(2, 2, 6), at(2, 2, 7)]);
}

#[test]
fn a_repeated_transaction_gets_the_first_result() {
    let store = MemoryStore::new();
    let first = Transaction {
        conditions: vec![none_of(&[item(&[], &[])], None)],
        ..checked(
            &[request("a", ExpectedVersion::NoStream, &["1", "2"]), any("b", &["1"])],
            &[("c", ExpectedVersion::NoStream)],
        )
    };
    let results = transact(&store, std::slice::from_ref(&first));
    assert_eq!(results, [all(&[at(0, 1, 1), at(0, 0, 2)])]);
    append(&store, 1, &[any("c", &["1"]), any("a", &["3"])]);
    assert_eq!(transact(&store, &[first.clone(), first.clone()]), [results[0].clone(), results[0].clone()]);
    let partly = |appends: &[AppendRequest]| transact(&store, &[transaction(appends)]).remove(0);
    assert_eq!(partly(&[any("a", &["1", "2"]), any("b", &["2"])]), Err(taken("a", "1", 2)));
    assert_eq!(partly(&[any("a", &["9"]), any("b", &["1"])]), Err(taken("b", "1", 0)));
    assert_eq!(partly(&[any("a", &["1", "3"])]), Err(taken("a", "1", 2)));
    assert_eq!(end(&store), 5);
}

#[test]
fn transactions_of_one_list_are_independent() {
    let store = MemoryStore::new();
    let results = transact(
        &store,
        &[
            transaction(&[any("a", &["1"]), any("b", &["1"])]),
            transaction(&[]),
            transaction(&[any("b", &["2"]), any("c", &["1"])]),
            checked(&[any("d", &["1"])], &[("a", ExpectedVersion::NoStream)]),
            transaction(&[any("a", &["1"]), any("b", &["1"])]),
            transaction(&[request("a", ExpectedVersion::Exact(7), &["9"])]),
        ],
    );
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(matches!(&results[1], Err(Error::Invalid(invalid)) if invalid.argument == "appends"));
    assert_eq!(results[3], wrong("a", ExpectedVersion::NoStream, Some(0)), "the first one began it");
    assert_eq!(results[4], results[0]);
    assert_eq!(results[5], wrong("a", ExpectedVersion::Exact(7), Some(0)));
    assert_eq!((ids(&store, "b"), end(&store)), (vec!["1".into(), "2".into()], 4));
}

#[test]
fn conditions_forbid_matching_events() {
    let store = MemoryStore::new();
    append(
        &store,
        1,
        &[
            of("a", &[tagged("0", "opened", &["x"]), tagged("1", "closed", &["x", "y"])]),
            of("b", &[tagged("2", "opened", &["y"]), tagged("3", "moved", &[])]),
        ],
    );
    let table: [(&[QueryItem], Option<u64>, Option<u64>); 16] = [
        (&[item(&["opened"], &[])], None, Some(0)),
        (&[item(&["opened"], &[])], Some(0), Some(2)),
        (&[item(&["opened"], &[])], Some(2), None),
        (&[item(&["none"], &[])], None, None),
        (&[item(&["none", "moved"], &[])], None, Some(3)),
        (&[item(&[], &["x"])], Some(0), Some(1)),
        (&[item(&[], &["x", "y"])], None, Some(1)),
        (&[item(&[], &["y", "x"])], Some(1), None),
        (&[item(&["closed"], &["y"])], None, Some(1)),
        (&[item(&["closed"], &["y"])], Some(1), None),
        (&[item(&["moved"], &["y"])], None, None),
        (&[item(&["moved"], &["y"]), item(&["closed"], &["x"])], None, Some(1)),
        (&[item(&[], &[])], Some(2), Some(3)),
        (&[item(&[], &[])], Some(3), None),
        (&[item(&[], &[])], Some(u64::MAX), None),
        // A type is not a tag.
        (&[item(&["x"], &[]), item(&[], &["opened"])], None, None),
    ];
    for (row, (query, after, position)) in table.into_iter().enumerate() {
        let conditions = [none_of(&[item(&["never"], &[])], None), none_of(query, after)];
        let mut appended = event(&row.to_string());
        appended.event_type = "other".into();
        let end = end(&store);
        let result = transact(&store, &[under(&[of("log", &[appended])], &conditions)]).remove(0);
        match position {
            Some(position) => assert_eq!(result, failed(1, position), "row {row}"),
            None => assert!(result.is_ok(), "row {row}: {result:?}"),
        }
        // So that later conditions on all events find the same events.
        if position.is_none() {
            store.lose_event(end);
        }
    }
}

#[test]
fn conditions_ignore_hidden_events() {
    let store = MemoryStore::new();
    append(
        &store,
        NOW,
        &[of("a", &[tagged("1", "t", &["g"])]), of("b", &[tagged("1", "t", &["g"]), event("2")])],
    );
    let forbidden = |id: &str| under(&[any("log", &[id])], &[none_of(&[item(&["t"], &["g"])], None)]);
    assert_eq!(transact(&store, &[forbidden("1")]), [failed(0, 0)]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(transact(&store, &[forbidden("1")]), [failed(0, 1)]);
    let retention = Retention { max_count: Some(1), max_age_seconds: None, truncate_before: None };
    set_retention(&store, NOW, "b", &retention).unwrap();
    assert_eq!(transact(&store, &[forbidden("1")]), [all(&[at(0, 0, 3)])]);
}

/// Two labels with the same digest, constructed by hand.
#[test]
fn a_colliding_digest_violates_no_condition() {
    let store = MemoryStore::new();
    append(&store, 1, &[of("a", &[tagged("1", "t", &["g"])])]);
    let other = label_key(label_digest(LabelKind::Tag, "h"), 0);
    store.overwrite(LABELS, &other, &0_u64.to_be_bytes());
    let free = under(&[any("b", &["1"])], &[none_of(&[item(&[], &["h"])], None)]);
    assert_eq!(transact(&store, &[free]), [all(&[at(0, 0, 1)])]);
    // An event whose id has the digest of another id is not a repetition.
    store.overwrite(IDS, &id_key(1, "x"), &0_u64.to_be_bytes());
    assert_eq!(transact(&store, &[transaction(&[any("b", &["x"])])]), [Err(taken("b", "x", 0))]);
}

#[test]
fn of_conflicting_transactions_only_one_is_applied() {
    let store = MemoryStore::new();
    let claim = |stream_id: &str| {
        under(
            &[of(stream_id, &[tagged("1", "claimed", &["seat:7"])])],
            &[none_of(&[item(&[], &["seat:7"])], None)],
        )
    };
    let results = transact(&store, &[claim("a"), claim("b"), claim("c")]);
    assert_eq!(results, [all(&[at(0, 0, 0)]), failed(0, 0), failed(0, 0)]);
    assert_eq!(end(&store), 1);
}

/// Two rivals whose conditions forbid each other's events, for each way of guarding a condition.
#[test]
fn of_conflicting_writers_only_one_succeeds() {
    let queries = [
        item(&[], &["g"]),
        item(&["t"], &["g"]),
        item(&["s", "t"], &[]),
        item(&["t"], &["g", "h"]),
        item(&[], &[]),
    ];
    for query in queries {
        let store = MemoryStore::new();
        append(&store, 1, &[any("a", &["0"])]);
        let claim = |stream_id: &str| {
            under(
                &[of(stream_id, &[tagged("1", "t", &["h", "g"])])],
                &[none_of(std::slice::from_ref(&query), Some(0))],
            )
        };
        let rival = Rival::new(&store, 1, |store| {
            assert!(transact(store, &[claim("rival")])[0].is_ok());
        });
        assert_eq!(transact(&rival, &[claim("mine")]), [failed(0, 1)], "{query:?}");
        assert_eq!(end(&store), 2);
        // An event that the condition does not forbid only takes another round.
        let other = Rival::new(&store, 1, |store| {
            append(store, 1, &[of("other", &[tagged("1", "u", &["g"])])]);
        });
        let result =
            transact(&other, &[under(&[any("mine", &["2"])], &[none_of(&[item(&["t"], &["g"])], Some(1))])]);
        assert_eq!(result, [all(&[at(0, 0, 3)])]);
    }
}

#[test]
fn a_checked_stream_must_not_advance() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("c", &["0"])]);
    let rival = |times| {
        let mut round = 0;
        Rival::new(&store, times, move |store| {
            round += 1;
            append(store, 1, &[any("c", &[&format!("r{times}-{round}")])]);
        })
    };
    let exact = checked(&[any("a", &["1"])], &[("c", ExpectedVersion::Exact(0))]);
    assert_eq!(transact(&rival(1), &[exact]), [wrong("c", ExpectedVersion::Exact(0), Some(1))]);
    let exists = checked(&[any("a", &["1"])], &[("c", ExpectedVersion::StreamExists)]);
    assert_eq!(transact(&rival(2), &[exists]), [all(&[at(0, 0, 4)])]);
    let exists = checked(&[any("a", &["2"])], &[("c", ExpectedVersion::Any)]);
    let results = transact(&rival(u32::MAX), &[exists]);
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!((ids(&store, "a").len(), ids(&store, "c").len()), (2, 4 + TRIES_MAX as usize));
}

#[test]
fn a_condition_scans_a_bounded_number_of_events() {
    let store = MemoryStore::new();
    let batch = usize::try_from(SCAN_BUDGET_EVENTS / 20).unwrap();
    for round in 0..21 {
        let events: Vec<_> = (0..batch)
            .map(|at| tagged(&format!("{round}-{at}"), "t", &[if at % 2 == 0 { "g" } else { "h" }]))
            .collect();
        assert!(append(&store, 1, &[of("a", &events)])[0].is_ok());
    }
    let rare = |after| under(&[any("b", &["1"])], &[none_of(&[item(&[], &["g", "h"])], after)]);
    let results = transact(&store, &[rare(None)]);
    assert!(message(code::TOO_LARGE, &results[0]).contains("`after`"));
    assert!(transact(&store, &[rare(Some(1_000))])[0].is_ok());
}

#[test]
fn deleted_streams_count_as_empty_in_transactions() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("soft", &["1"]), any("dead", &["1"])]);
    delete_stream(&store, "soft", ExpectedVersion::Any, Deletion::Soft).unwrap();
    delete_stream(&store, "dead", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    let refused = transaction(&[any("a", &["1"]), any("dead", &["2"])]);
    assert_eq!(transact(&store, &[refused]), [Err(Error::StreamDeleted("dead".into()))]);
    let checks = [("dead", ExpectedVersion::NoStream)];
    let taken = checked(&[request("soft", ExpectedVersion::NoStream, &["2"])], &checks);
    assert_eq!(transact(&store, &[taken]), [all(&[at(1, 1, 2)])]);
    assert_eq!(ids(&store, "soft"), ["2"]);
}

#[test]
fn damage_affects_only_transactions_that_read_it() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"]), any("bad", &["1"]), any("ids", &["1"])]);
    store.overwrite(STREAMS, b"bad", b"\x07");
    store.overwrite(IDS, &id_key(2, "1"), b"xx");
    let list = [
        transaction(&[any("a", &["1"])]),
        transaction(&[any("a", &["2"])]),
        transaction(&[any("bad", &["2"]), any("x", &["1"])]),
        transaction(&[any("ids", &["1"]), any("y", &["1"])]),
    ];
    let results = transact(&store, &list);
    assert_eq!(results[0], all(&[at(0, 0, 0)]));
    assert_eq!(results[1], all(&[at(1, 1, 3)]));
    assert!(message(code::DAMAGED, &results[2]).contains("key `bad`"));
    assert!(message(code::DAMAGED, &results[3]).contains("not a version"));
}
