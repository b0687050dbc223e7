//! Bulk reads.

use exesdb_api_document::{Frame, take_frame};
use exesdb_sdk::types::problem;
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

const ALL: &str = "/v1/stores/main/events";
const STREAM: &str = "/v1/stores/main/streams/s/events";

fn lines(target: &str) -> Request {
    Request::get(target).header("accept", "application/x-ndjson")
}

fn packed(target: &str) -> Request {
    Request::get(target).header("accept", "application/vnd.exesdb.packed")
}

/// The positions in a response of lines, and its end.
fn read_lines(response: &TestResponse) -> (Vec<u64>, Value) {
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/x-ndjson")));
    let text = response.text().strip_suffix('\n').expect("the last line is complete");
    let mut lines: Vec<Value> =
        text.split('\n').map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let end = lines.pop().expect("there is an end");
    assert_eq!(end.as_object().map(serde_json::Map::len), Some(1));
    let positions = lines.iter().map(|event| event["position"].as_u64().expect("an event")).collect();
    (positions, end["page"].clone())
}

/// The positions in a response of packed events, and the fields of its end.
fn read_packed(response: &TestResponse) -> (Vec<u64>, Value) {
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/vnd.exesdb.packed"))
    );
    let mut rest = response.body.as_slice();
    let mut positions = Vec::new();
    loop {
        match take_frame(&mut rest).expect("these are frames").expect("the last frame is an end") {
            Frame::Event { position, .. } => positions.push(position),
            Frame::End { next, end, durable_position } => {
                assert!(rest.is_empty(), "nothing follows the end");
                return (positions, json!({"next": next, "end": end, "durable_position": durable_position}));
            }
        }
    }
}

#[test]
fn a_response_ends_with_its_place() {
    let mut store = TestStore::with(&["s", "t", "s"]);
    let expected = (vec![0, 2], json!({"next": 2, "end": true, "durable_position": 3}));
    let response = lines(STREAM).send(&mut store);
    assert_eq!(read_lines(&response), expected);
    let response = packed(STREAM).send(&mut store);
    assert_eq!(read_packed(&response), expected);
    let line = lines(ALL).send(&mut store).text().split('\n').nth(1).map(str::to_owned);
    assert_eq!(
        line.as_deref(),
        Some(
            "{\"stream\":\"t\",\"version\":0,\"position\":1,\"id\":\"id-1\",\"type\":\"added\",\"data\":1,\
             \"metadata\":null,\"tags\":[\"of:t\"],\"created\":\"1970-01-01T00:00:00.000001Z\"}"
        )
    );
    let missing = lines("/v1/stores/main/streams/u/events").send(&mut store);
    assert_eq!((missing.status, missing.problem().as_str()), (404, "stream-not-found"));
    let empty = read_lines(&lines(ALL).send(&mut TestStore::default()));
    let nothing = (vec![], json!({"next": 0, "end": true, "durable_position": 0}));
    assert_eq!(empty, nothing);
    assert_eq!(read_packed(&packed(ALL).send(&mut TestStore::default())), nothing);
}

#[test]
fn pages_are_read_until_the_count_or_the_end() {
    let streams: Vec<&str> = (0..100).map(|index| if index % 2 == 0 { "s" } else { "t" }).collect();
    for (target, expected, next, end, reads) in [
        (ALL.to_owned(), (0..100).collect::<Vec<u64>>(), json!(100), true, 15),
        (format!("{ALL}?from=90"), (90..100).collect(), json!(100), true, 2),
        (format!("{ALL}?count=20"), (0..20).collect(), json!(20), false, 3),
        (format!("{ALL}?count=14"), (0..14).collect(), json!(14), false, 2),
        (format!("{ALL}?count=100000"), (0..100).collect(), json!(100), true, 15),
        (format!("{ALL}?from=5&direction=backward"), (0..6).rev().collect(), json!(null), true, 1),
        (format!("{ALL}?direction=backward&count=8"), (92..100).rev().collect(), json!(91), false, 2),
        (
            format!("{STREAM}?count=9&from=2"),
            (2..11).map(|version| version * 2).collect(),
            json!(11),
            false,
            2,
        ),
        (
            format!("{STREAM}?direction=backward"),
            (0..50).rev().map(|at| at * 2).collect(),
            json!(null),
            true,
            8,
        ),
        (format!("{ALL}?tag=of:t&count=3"), vec![1, 3, 5], json!(7), false, 1),
        (format!("{ALL}?stream_prefix=u"), vec![], json!(100), true, 15),
    ] {
        let mut store = TestStore { page_events: Some(7), scan_events: Some(7), ..TestStore::with(&streams) };
        let whole = (expected, json!({"next": next, "end": end, "durable_position": 100}));
        let response = lines(&target).send(&mut store);
        assert_eq!(
            (read_lines(&response), response.is_whole, store.reads),
            (whole.clone(), true, reads),
            "{target}"
        );
        assert_eq!(read_packed(&packed(&target).send(&mut store)), whole, "{target}");
    }
}

/// A writer that is as fast as the reader does not prolong the read.
#[test]
fn a_read_excludes_events_appended_after_it_began() {
    for (target, expected) in [(ALL, (0..30).collect::<Vec<u64>>()), (STREAM, (0..30).collect())] {
        let mut store =
            TestStore { page_events: Some(10), busy_writer: Some("s"), ..TestStore::with(&["s"; 30]) };
        let (positions, end) = read_lines(&lines(target).send(&mut store));
        assert_eq!((positions, &end["end"], &end["next"]), (expected, &json!(false), &json!(30)), "{target}");
    }
}

#[test]
fn a_failing_store_ends_the_response_early() {
    let failing = |read| TestStore {
        page_events: Some(2),
        failure: Some(problem("restarting", "soon")),
        failing_read: Some(read),
        ..TestStore::with(&["s"; 6])
    };
    let response = lines(ALL).send(&mut failing(1));
    assert_eq!((response.status, response.problem().as_str()), (503, "restarting"));
    for read in [2, 3] {
        let mut store = failing(read);
        let response = lines(ALL).send(&mut store);
        let next = (read as u64 - 1) * 2;
        let page = json!({"next": next, "end": false, "durable_position": 6});
        assert_eq!(read_lines(&response), ((0..next).collect(), page.clone()));
        assert_eq!(store.failures_logged.len(), 1);
        let mut store = failing(read);
        assert_eq!(read_packed(&packed(ALL).send(&mut store)), ((0..next).collect(), page));
    }
}

#[test]
fn a_read_ends_when_the_client_leaves() {
    let mut store = TestStore::with(&["s"; 2_000]);
    store.tamper = Some(Box::new(|event| event.data = format!("\"{}\"", "x".repeat(2_000)).into_bytes()));
    store.page_events = Some(100);
    let response = lines(ALL).leaving_after(2).send(&mut store);
    assert!(!response.is_whole);
    assert!(store.reads < 10, "{}", store.reads);
    assert!(store.failures_logged.is_empty());
}

#[test]
fn head_reads_one_page_and_writes_no_body() {
    for accept in ["application/x-ndjson", "application/vnd.exesdb.packed"] {
        let mut store = TestStore { page_events: Some(1), ..TestStore::with(&["s"; 5]) };
        let response = Request::new("HEAD", ALL).header("accept", accept).send(&mut store);
        assert_eq!((response.status, response.header("content-type")), (200, Some(accept)));
        assert!(!response.has_body());
        assert_eq!(store.reads, 1);
    }
}
