//! Lists of requests: what may build on earlier requests of its list, and what has to wait.

use exesdb_reference::{AppendRequest, Transaction};
use exesdb_sdk::memory::{ApplyError, MemoryStore};
use exesdb_sdk::types::{
    AppendCondition, Decision, Deletion, DeletionRequest, ExpectedVersion, Guard, QueryItem, Retention,
    RetentionRequest, StreamCheck, WriteRequest,
};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::write::decide;
use exesdb_streams::{delete, retention};

use crate::driver::{apply, transact};
use crate::{KEEP_ALL, any, append, at, ids, request, tagged};

/// The decisions in short: whether a request is done, committed or later.
fn shape(decisions: &[Decision]) -> String {
    let letter = |decision: &Decision| match decision {
        Decision::Done(Ok(_)) => 'd',
        Decision::Done(Err(_)) => 'x',
        Decision::Commit(_) => 'c',
        Decision::Later => 'l',
    };
    decisions.iter().map(letter).collect()
}

fn list(store: &MemoryStore, requests: &[WriteRequest]) -> Vec<Decision> {
    store.set_now(1);
    decide(&store.view(), CorrelationIndex::Off, requests)
}

fn appends(requests: &[AppendRequest]) -> Vec<WriteRequest> {
    requests.iter().map(AppendRequest::write_request).collect()
}

/// A store whose streams `a` and `b` have the event `0`.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["0"]), any("b", &["0"])]);
    store
}

/// A plain append under a condition on these types, or on any event.
fn unless(append: AppendRequest, types: &[&str]) -> WriteRequest {
    let types = types.iter().map(|event_type| (*event_type).to_owned()).collect();
    let query = vec![QueryItem { types, tags: Vec::new() }];
    let conditions = vec![AppendCondition { query, after: Some(1) }];
    Transaction { appends: vec![append], checks: Vec::new(), conditions }.write_request()
}

#[test]
fn what_a_list_leads_to_is_built_on_if_guards_can_say_so() {
    let exact = |version, ids: &[&str]| request("a", ExpectedVersion::Exact(version), ids);
    let table: [(&str, Vec<AppendRequest>, &str); 8] = [
        ("appends to one stream", vec![any("a", &["1"]), any("a", &["2"]), exact(2, &["3"])], "ccc"),
        ("a stream that the list begins", vec![any("n", &["1"]), any("n", &["2"]), any("a", &["1"])], "clc"),
        ("a conflict with an earlier append", vec![any("a", &["1"]), exact(0, &["2"])], "cl"),
        ("a conflict without one", vec![exact(7, &["1"]), any("a", &["2"])], "xc"),
        ("a repetition of what is in the store", vec![any("a", &["0"]), any("a", &["1"])], "dc"),
        ("one after an append to its stream", vec![any("a", &["1"]), any("a", &["0"])], "cl"),
        (
            "a repetition of what is in the list",
            vec![any("a", &["1"]), any("a", &["1"]), any("a", &["2"])],
            "cll",
        ),
        ("an id that is in another stream of the list", vec![any("a", &["1"]), any("b", &["1"])], "cc"),
    ];
    for (case, requests, expected) in table {
        assert_eq!(shape(&list(&store(), &appends(&requests))), expected, "{case}");
    }
}

#[test]
fn transactions_wait_for_the_streams_that_they_check() {
    let of = |append: AppendRequest, checked: &str, expected| {
        let checks = vec![StreamCheck { stream_id: checked.into(), expected }];
        Transaction { appends: vec![append], checks, conditions: Vec::new() }.write_request()
    };
    let first = any("a", &["1"]).write_request();
    let holds = of(any("b", &["1"]), "a", ExpectedVersion::Exact(1));
    let fails = of(any("b", &["1"]), "a", ExpectedVersion::Exact(0));
    let after = any("b", &["2"]).write_request();
    assert_eq!(shape(&list(&store(), &[first.clone(), holds])), "cc");
    assert_eq!(shape(&list(&store(), &[first, fails.clone(), after.clone()])), "cll");
    assert_eq!(shape(&list(&store(), &[fails, after])), "cc");
}

#[test]
fn conditions_wait_for_events_of_the_list_that_may_match() {
    let of_type =
        |event_type: &str| AppendRequest { events: vec![tagged("1", event_type, &[])], ..any("a", &[]) };
    let other = any("b", &["1"]);
    let after = |event_type: &str, condition: WriteRequest| {
        shape(&list(&store(), &[of_type(event_type).write_request(), condition]))
    };
    assert_eq!(after("t", unless(other.clone(), &["u"])), "cc");
    assert_eq!(after("u", unless(other.clone(), &["t", "u"])), "cl");
    assert_eq!(after("t", unless(other.clone(), &[])), "cl", "any event");
    assert_eq!(shape(&list(&store(), &[unless(other, &[])])), "c", "alone");
}

#[test]
fn a_condition_on_any_event_guards_the_end_of_the_log() {
    let store = store();
    let decisions = list(&store, &[unless(any("b", &["1"]), &[])]);
    let [Decision::Commit(planned)] = &decisions[..] else { panic!("{decisions:?}") };
    assert!(planned.batch.guards.contains(&Guard::LogEndsAt(2)), "{:?}", planned.batch.guards);
    append(&store, 1, &[any("c", &["1"])]);
    assert!(matches!(apply(&store, planned.clone()), Err(ApplyError::GuardFailed(_))));
}

/// Batches of one list, of which somebody else overtakes the first: none of those that build on it is applied.
#[test]
fn a_foreign_batch_fails_all_that_builds_on_what_it_overtakes() {
    type Foreign<'a> = (&'a str, &'a dyn Fn(&MemoryStore));
    let foreign: [Foreign<'_>; 3] = [
        ("an append with the same head", &|store| drop(append(store, 1, &[any("a", &["r"])]))),
        ("an append with the ids", &|store| drop(append(store, 1, &[any("a", &["2"])]))),
        ("a deletion", &|store| {
            crate::driver::delete_stream(store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
        }),
    ];
    for (case, act) in foreign {
        let store = store();
        let requests = appends(&[any("a", &["1"]), any("a", &["2"]), any("b", &["1"]), any("a", &["3"])]);
        let decisions = list(&store, &requests);
        assert_eq!(shape(&decisions), "cccc", "{case}");
        act(&store);
        let applied: Vec<bool> = decisions
            .into_iter()
            .map(|decision| match decision {
                Decision::Commit(planned) => apply(&store, planned).is_ok(),
                Decision::Done(_) | Decision::Later => false,
            })
            .collect();
        assert_eq!(applied, [false, false, true, false], "{case}");
    }
}

#[test]
fn several_requests_for_one_stream_are_settled_in_order() {
    let store = store();
    let exact = |version, ids: &[&str]| request("a", ExpectedVersion::Exact(version), ids);
    let requests = [
        any("a", &["1"]),
        any("a", &["1"]),
        exact(1, &["2"]),
        exact(1, &["3"]),
        any("n", &["1"]),
        any("n", &["2"]),
    ];
    let results = append(&store, 1, &requests);
    assert_eq!(results[..3], [at(1, 1, 2), at(1, 1, 2), at(2, 2, 4)]);
    assert!(results[3].is_err());
    assert_eq!(results[4..], [at(0, 0, 3), at(1, 1, 5)]);
    assert_eq!(
        (ids(&store, "a"), ids(&store, "n")),
        (vec!["0".into(), "1".into(), "2".into()], vec!["1".into(), "2".into()])
    );
}

#[test]
fn two_transactions_of_a_list_do_not_both_pass_one_condition() {
    let store = store();
    let of = |id: &str| Transaction {
        appends: vec![AppendRequest { events: vec![tagged(id, "t", &["seat"])], ..any("a", &[]) }],
        checks: Vec::new(),
        conditions: vec![AppendCondition {
            query: vec![QueryItem { types: Vec::new(), tags: vec!["seat".into()] }],
            after: None,
        }],
    };
    let results = transact(&store, 1, CorrelationIndex::Off, &[of("1"), of("2")]);
    assert!(results[0].is_ok() && results[1].is_err(), "{results:?}");
}

#[test]
fn changes_of_one_head_take_turns() {
    let store = store();
    let retain = |stream_id: &str, max_count| RetentionRequest {
        stream_id: stream_id.into(),
        retention: Retention { max_count, ..KEEP_ALL },
        options: Vec::new(),
    };
    let requests = [retain("a", Some(3)), retain("b", None), retain("a", Some(4)), retain("c", None)];
    assert_eq!(shape(&retention::decide(&store.view(), &requests)), "cdlx");
    let delete = |stream_id: &str| DeletionRequest {
        stream_id: stream_id.into(),
        expected: ExpectedVersion::Any,
        deletion: Deletion::Soft,
        options: Vec::new(),
    };
    let requests = [delete("a"), delete("a"), delete("c"), delete("b"), delete("")];
    assert_eq!(shape(&delete::decide(&store.view(), &requests)), "clxcx");
}
