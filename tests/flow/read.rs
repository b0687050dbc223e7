//! Reads of one stream and of the whole store, in pages, in both directions.

use exesdb_tests::Host;
use serde_json::{Value, json};

/// A host with 25 events in `s`, each followed by one in `other`.
fn filled() -> Host {
    let host = Host::start();
    for number in 0..25 {
        for stream in ["s", "other"] {
            host.http.append(stream, "any", &[json!({ "type": "t", "data": number })]).expect(200);
        }
    }
    host
}

fn numbers(page: &Value, field: &str) -> Vec<u64> {
    let events = page["events"].as_array().expect("a page has events");
    events.iter().map(|event| event[field].as_u64().expect("events have numbers")).collect()
}

#[test]
fn a_page_includes_its_start_in_both_directions() {
    let host = filled();
    let forward = |from: u64, to: u64| (from..to).collect::<Vec<u64>>();
    let backward = |from: u64, to: u64| (to..=from).rev().collect::<Vec<u64>>();
    // query, versions of `s`
    let of_stream = [
        ("", forward(0, 25)),
        ("?from=0&count=3", forward(0, 3)),
        ("?from=20&count=3", forward(20, 23)),
        ("?from=24", forward(24, 25)),
        ("?from=25", vec![]),
        ("?from=18446744073709551615", vec![]),
        ("?direction=forward&count=1000", forward(0, 25)),
        ("?direction=backward", backward(24, 0)),
        ("?direction=backward&count=1", vec![24]),
        ("?direction=backward&from=3", backward(3, 0)),
        ("?direction=backward&from=0", vec![0]),
        ("?direction=backward&from=1000&count=2", vec![24, 23]),
    ];
    for (query, expected) in of_stream {
        let page = host.http.get(&format!("/v1/stores/main/streams/s/events{query}")).expect(200).json;
        assert_eq!(numbers(&page, "version"), expected, "{query}");
        assert!(page["events"].as_array().unwrap().iter().all(|event| event["stream"] == "s"), "{query}");
    }
    // query, positions of the store
    let of_store = [
        ("?count=1000", forward(0, 50)),
        ("?from=48", forward(48, 50)),
        ("?from=50", vec![]),
        ("?direction=backward&count=3", vec![49, 48, 47]),
        ("?direction=backward&from=1", vec![1, 0]),
    ];
    for (query, expected) in of_store {
        let page = host.http.get(&format!("/v1/stores/main/events{query}")).expect(200).json;
        assert_eq!(numbers(&page, "position"), expected, "{query}");
    }
    host.http.get("/v1/stores/main/streams/missing/events").expect_problem(404, "stream-not-found");
}

#[test]
fn each_page_names_the_start_of_the_next() {
    let host = filled();
    for (direction, expected) in
        [("forward", (0..25).collect::<Vec<u64>>()), ("backward", (0..25).rev().collect())]
    {
        let mut versions = Vec::new();
        let mut query = format!("?direction={direction}&count=4");
        loop {
            let page = host.http.get(&format!("/v1/stores/main/streams/s/events{query}")).expect(200).json;
            versions.extend(numbers(&page, "version"));
            match page["next"].as_u64() {
                Some(next) if page["end"] == false => {
                    query = format!("?direction={direction}&count=4&from={next}")
                }
                _ => break,
            }
        }
        assert_eq!(versions, expected, "{direction}");
    }
    assert_eq!(host.http.read_all().len(), 50);
}

#[test]
fn a_page_is_limited_in_bytes_and_says_that_more_follows() {
    let host = Host::start();
    let large = "x".repeat(900 << 10);
    for _ in 0..20 {
        host.http.append("s", "any", &[json!({ "type": "t", "data": large })]).expect(200);
    }
    let page = host.http.get("/v1/stores/main/streams/s/events?count=1000").expect(200);
    let events = page.json["events"].as_array().unwrap().len();
    assert!((1..20).contains(&events), "{events} events of 900 KiB on one page");
    assert_eq!(page.json["end"], false);
    assert_eq!(page.json["next"], events);
    assert_eq!(host.http.read("s").len(), 20, "the pages after it have the rest");
}

#[test]
fn an_empty_store_reads_as_empty() {
    let host = Host::start();
    let page = host.http.get("/v1/stores/main/events").expect(200).json;
    assert_eq!((&page["events"], &page["end"]), (&json!([]), &json!(true)));
    let page = host.http.get("/v1/stores/main/events?direction=backward").expect(200).json;
    assert_eq!(page["events"], json!([]));
}
