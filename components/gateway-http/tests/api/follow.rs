//! Event streams.

use std::collections::VecDeque;

use exesdb_sdk::steps::double::Wake;
use exesdb_sdk::types::{Deletion, problem};
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::store::{Step, TestStore};

const STREAM: &str = "/v1/stores/main/streams/s/events";
const ALL: &str = "/v1/stores/main/events";

/// The positions in the ids of the sent messages, each compared with the message's event.
fn sent(response: &TestResponse) -> Vec<u64> {
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(response.header("cache-control"), Some("no-cache"));
    let messages = response.text().strip_suffix("\n\n").expect("the last message is complete").split("\n\n");
    let mut positions = Vec::new();
    let is_event = |message: &&str| message.starts_with("id:") && message.contains("\ndata:");
    for message in messages.filter(is_event) {
        let lines: Vec<&str> = message.lines().collect();
        let [id, data] = lines.as_slice() else { panic!("a message has two lines: {message}") };
        let id =
            id.strip_prefix("id: ").and_then(|id| id.strip_suffix("@00000000000000aa")).expect("its history");
        let position = id.parse::<u64>().expect("a position");
        let data = data.strip_prefix("data: ").expect("data");
        let event: Value = serde_json::from_str(data).expect("an event");
        assert_eq!(event["position"], json!(position));
        positions.push(position);
    }
    positions
}

#[test]
fn stored_events_are_followed_by_live_ones() {
    let mut store = TestStore::with(&["s", "t", "s"]);
    store.steps = VecDeque::from([
        Step::Append("s"),
        Step::Wake(Wake::Timeout),
        Step::Append("t"),
        Step::Wake(Wake::Events),
        Step::Append("s"),
    ]);
    let response = Request::follow(STREAM).send(&mut store);
    assert_eq!(sent(&response), [0, 2, 3, 5]);
    assert!(response.text().starts_with("retry: 1000\n\nid: 0@00000000000000aa\n"), "{}", response.text());
    assert_eq!(response.text().matches(": keepalive\n\n").count(), 1);
    let next: Vec<u64> = store.waits.iter().map(|(_, next)| *next).collect();
    assert_eq!(next, [2, 3, 3, 3, 3, 4]);
    assert!(store.waits.iter().all(|(stream, _)| stream.as_deref() == Some("s")));
}

#[test]
fn a_follower_starts_where_it_asks() {
    for (target, last_event_id, expected) in [
        (STREAM.to_owned(), "", vec![0, 2, 4, 6]),
        (format!("{STREAM}?from=2"), "", vec![4, 6]),
        (format!("{STREAM}?from=end"), "", vec![6]),
        (STREAM.to_owned(), "0", vec![2, 4, 6]),
        (STREAM.to_owned(), "1", vec![2, 4, 6]),
        (STREAM.to_owned(), "3", vec![4, 6]),
        (STREAM.to_owned(), "4", vec![6]),
        (STREAM.to_owned(), "5", vec![6]),
        (format!("{STREAM}?from=0"), "4", vec![6]),
        (format!("{STREAM}?from=end"), "2", vec![4, 6]),
        (ALL.to_owned(), "", vec![0, 1, 2, 3, 4, 5, 6]),
        (format!("{ALL}?from=5"), "", vec![5, 6]),
        (format!("{ALL}?from=end"), "", vec![6]),
        (ALL.to_owned(), "3", vec![4, 5, 6]),
    ] {
        let mut store = TestStore::with(&["s", "t", "s", "t", "s", "t"]);
        store.steps = VecDeque::from([Step::Append("s")]);
        let response = Request::follow(&target).header("last-event-id", last_event_id).send(&mut store);
        assert_eq!(sent(&response), expected, "{target} after {last_event_id:?}");
    }
}

/// Resuming from any position must not read a long stream from its start.
#[test]
fn resuming_takes_few_reads() {
    for position in [0, 1, 2, 255, 256, 257, 510, 511] {
        let streams: Vec<&str> = (0..512).map(|index| if index % 2 == 0 { "s" } else { "t" }).collect();
        let mut store = TestStore::with(&streams);
        store.page_events = Some(256);
        let response = Request::follow(STREAM).header("last-event-id", position.to_string()).send(&mut store);
        let expected: Vec<u64> = (0..512).step_by(2).filter(|at| *at > position).collect();
        assert_eq!(sent(&response), expected, "after {position}");
        assert!(store.reads <= 14, "{} reads after {position}", store.reads);
    }
}

#[test]
fn long_streams_are_sent_in_pages() {
    let mut store = TestStore::with(&["s"; 300]);
    store.page_events = Some(7);
    assert_eq!(sent(&Request::follow(STREAM).send(&mut store)), (0..300).collect::<Vec<u64>>());
    assert_eq!(store.waits.len(), 1);
}

#[test]
fn a_follower_that_asks_is_told_when_it_has_caught_up() {
    const EVENT: &str = "\ndata: {\"stream\":";
    for target in [STREAM, ALL] {
        let mut store = TestStore::with(&["s"; 30]);
        store.page_events = Some(7);
        store.steps = VecDeque::from([Step::Append("s")]);
        let response = Request::follow(&format!("{target}?caught_up=true")).send(&mut store);
        let (before, after) =
            response.text().split_once("event: caught-up\ndata: {}\n\n").expect("it has caught up");
        assert_eq!((before.matches(EVENT).count(), after.matches(EVENT).count()), (30, 1));
        let mut store = TestStore::with(&["s"; 3]);
        let response = Request::follow(target).send(&mut store);
        assert!(!response.text().contains("event: caught-up"), "nobody asked: {}", response.text());
        for refused in [
            Request::follow(&format!("{target}?caught_up=maybe")),
            Request::get(&format!("{target}?caught_up=true")),
            Request::get(&format!("{target}?caught_up=false")).header("accept", "application/x-ndjson"),
        ] {
            let response = refused.send(&mut store);
            assert_eq!((response.status, response.problem().as_str()), (400, "invalid-argument"));
        }
    }
}

#[test]
fn a_stream_without_events_can_be_followed() {
    for query in ["", "?from=end"] {
        let mut store = TestStore::with(&["t"]);
        store.steps = VecDeque::from([
            Step::Wake(Wake::Timeout),
            Step::Append("t"),
            Step::Wake(Wake::Events),
            Step::Append("s"),
            Step::Append("s"),
        ]);
        let response = Request::follow(&format!("{STREAM}{query}")).send(&mut store);
        assert_eq!(sent(&response), [2, 3]);
        let next: Vec<u64> = store.waits.iter().map(|(_, next)| *next).collect();
        assert_eq!(next, [0, 0, 0, 0, 1, 2]);
    }
}

#[test]
fn a_failure_before_the_first_byte_is_a_problem() {
    for (failure, status, kind) in [
        (problem("restarting", "soon"), 503, "restarting"),
        (problem("denied", "read"), 403, "denied"),
        (problem("overloaded", "too many"), 503, "overloaded"),
    ] {
        for target in
            [STREAM.to_owned(), format!("{STREAM}?from=end"), format!("{STREAM}?from=0"), ALL.to_owned()]
        {
            let mut store = TestStore { failure: Some(failure.clone()), ..TestStore::with(&[]) };
            let response = Request::follow(&target).send(&mut store);
            assert_eq!((response.status, response.problem().as_str()), (status, kind));
            assert!(store.waits.is_empty());
        }
    }
}

#[test]
fn a_later_failure_ends_the_stream_with_a_message() {
    for (step, kind, status, detail, logged) in [
        (Step::Fail(problem("restarting", "a\nb")), "restarting", 503, "a\nb; try again", 1),
        (Step::Wake(Wake::Slow), "overloaded", 503, "as fast as they came", 0),
        (Step::Wake(Wake::Stopping), "restarting", 503, "is stopping", 0),
        (Step::Tombstone("s"), "stream-deleted", 410, "has a tombstone", 0),
    ] {
        let mut store = TestStore::with(&["s"]);
        store.steps = VecDeque::from([step]);
        let response = Request::follow(STREAM).send(&mut store);
        assert_eq!(sent(&response), [0]);
        let last = response.text().strip_suffix("\n\n").and_then(|text| text.rsplit("\n\n").next());
        let reason = last.and_then(|last| last.strip_prefix("event: end\ndata: ")).expect("a last message");
        let reason: Value = serde_json::from_str(reason).expect("a problem");
        assert_eq!(reason["type"], format!("urn:exesdb:problem:{kind}"));
        assert_eq!(reason["status"], status);
        assert!(reason["detail"].as_str().is_some_and(|text| text.contains(detail)), "{reason}");
        assert_eq!(store.failures_logged.len(), logged);
    }
}

#[test]
fn a_lost_client_is_detected_at_the_next_write() {
    for writes in 0..5 {
        let mut store = TestStore::with(&["s"]);
        store.steps = (0..10).map(|_| Step::Wake(Wake::Timeout)).collect();
        let response = Request::follow(STREAM).leaving_after(writes).send(&mut store);
        assert_eq!(response.status, 200);
        // Before the first wait, the opening, the event and the resume position are written.
        assert_eq!(store.waits.len(), writes.saturating_sub(2));
        assert!(store.failures_logged.is_empty());
    }
}

/// A host may wake a follower early and often. Keepalives must be sent nevertheless, and not too often.
#[test]
fn keepalives_are_sent_despite_wake_ups_without_events() {
    let mut store = TestStore::with(&["s"]);
    store.steps = (0..50).map(|_| Step::Hint(1_000)).chain([Step::Append("s"), Step::Hint(14_999)]).collect();
    let response = Request::follow(STREAM).send(&mut store);
    assert_eq!(sent(&response), [0, 1]);
    assert_eq!(response.text().matches(": keepalive").count(), 3);
}

#[test]
fn a_filter_skips_other_events() {
    let mut store = TestStore::with(&["s", "t", "t", "t", "s", "t"]);
    store.scan_events = Some(2);
    store.steps = VecDeque::from([Step::Append("t"), Step::Append("s"), Step::Append("t")]);
    let response = Request::follow(&format!("{ALL}?stream_prefix=s")).send(&mut store);
    assert_eq!(sent(&response), [0, 4, 7]);
    // Skipped events are not read again.
    let next: Vec<u64> = store.waits.iter().map(|(_, next)| *next).collect();
    assert_eq!(next, [6, 7, 8, 9]);
    assert!(store.waits.iter().all(|(stream, _)| stream.is_none()));
    assert_eq!(store.reads, 3 + 3);
    for (last_event_id, query, expected) in
        [("0", "", vec![4]), ("4", "", vec![]), ("", "&from=end", vec![]), ("", "&from=1", vec![4])]
    {
        let mut store = TestStore::with(&["s", "t", "t", "t", "s", "t"]);
        let target = format!("{ALL}?tag=of:s{query}");
        let response = Request::follow(&target).header("last-event-id", last_event_id).send(&mut store);
        assert_eq!(sent(&response), expected, "{target} after {last_event_id:?}");
    }
}

/// The positions in progress messages.
fn progress(response: &TestResponse) -> Vec<u64> {
    let messages = response.text().split("\n\n").filter(|message| !message.contains('\n'));
    let id = |message: &str| message.strip_prefix("id: ")?.strip_suffix("@00000000000000aa")?.parse().ok();
    messages.filter_map(id).collect()
}

/// Otherwise a follower of `from=end` would miss events that are appended between a broken connection and the next one.
#[test]
fn the_resume_position_is_sent_at_once() {
    for (target, last_event_id, expected) in [
        (format!("{STREAM}?from=end"), "", vec![5]),
        (format!("{STREAM}?from=1"), "", vec![5]),
        (STREAM.to_owned(), "4", vec![5]),
        (format!("{ALL}?from=end"), "", vec![5]),
        (format!("{ALL}?stream_prefix=x"), "", vec![5]),
        (format!("{ALL}?stream_prefix=x&from=3"), "", vec![5]),
        ("/v1/stores/main/streams/x/events".to_owned(), "", vec![5]),
    ] {
        let mut store = TestStore::with(&["s", "t", "s", "t", "s", "s"]);
        let response = Request::follow(&target).header("last-event-id", last_event_id).send(&mut store);
        assert_eq!(progress(&response), expected, "{target} after {last_event_id:?}");
    }
}

#[test]
fn a_filtered_follower_gets_progress_messages() {
    let mut store = TestStore::with(&["s"]);
    // Every half second an event is appended that does not match.
    store.steps = (0..20).flat_map(|_| [Step::Append("t"), Step::Hint(500)]).collect();
    let response = Request::follow(&format!("{ALL}?stream_prefix=s")).send(&mut store);
    assert_eq!(sent(&response), [0]);
    let progress = progress(&response);
    assert!((4..=6).contains(&progress.len()), "each 2 s of 10: {progress:?}");
    assert!(progress.is_sorted() && progress.last().is_some_and(|last| *last >= 16), "{progress:?}");
    // The same holds while it catches up at one event per second.
    let mut store = TestStore::with(&["t"; 20]);
    (store.scan_events, store.read_ms) = (Some(1), 1_000);
    let response = Request::follow(&format!("{ALL}?stream_prefix=s")).send(&mut store);
    let progress = self::progress(&response);
    assert!((9..=12).contains(&progress.len()) && progress.is_sorted(), "{progress:?}");
}

#[test]
fn a_tombstone_is_detected_without_a_wake_up() {
    let mut store = TestStore::with(&["s"]);
    store.delete("s", Deletion::Soft);
    store.steps =
        VecDeque::from([Step::Wake(Wake::Timeout), Step::Tombstone("s"), Step::Wake(Wake::Timeout)]);
    let response = Request::follow(STREAM).send(&mut store);
    assert!(response.text().contains("event: end\ndata: {\"type\":\"urn:exesdb:problem:stream-deleted\""));
}
