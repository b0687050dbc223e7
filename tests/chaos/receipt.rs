//! A large log is imported while five consumers of one durable subscription work: it is processed whole.
//!
//! The log of the measurements is not part of the repository: the test reads `../shared/data/receipt.csv`, and is reported as
//! skipped where that file does not exist.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exesdb_test_support::skip;
use exesdb_tests::{Client, Host, NO_EVENTS, eventually, root};
use serde_json::{Value, json};

use crate::consumer::{Received, Stream, path};

const NAME: &str = "receipts";

/// Rows of the log.
const ROWS: u64 = 8_577;

const WINDOW: &str = "200";

/// How often each position was given to a consumer that acknowledged it.
type Processed = Mutex<BTreeMap<u64, u32>>;

fn process(processed: &Processed, events: &[Value]) -> Vec<u64> {
    let positions = events.iter().map(|event| event["position"].as_u64().expect("it has a position"));
    let positions: Vec<u64> = positions.collect();
    let mut processed = processed.lock().expect("nobody panics");
    positions.iter().for_each(|position| *processed.entry(*position).or_default() += 1);
    positions
}

fn acknowledge(http: &Client, consumer: u64, positions: &[u64]) {
    let words = json!({ "consumer": consumer, "ack": positions });
    let settled = http.post(&format!("{}/settlements", path(http, NAME)), &words).expect(200).json;
    assert_eq!(settled["acknowledged"], positions.len(), "{settled}");
}

fn batches(http: &Client, processed: &Processed, ending: &AtomicBool) {
    let mut consumer = None;
    while !ending.load(Ordering::Relaxed) {
        let number = consumer.map(|number| format!("&consumer={number}")).unwrap_or_default();
        let path = format!("{}/events?wait_ms=500&window={WINDOW}{number}", path(http, NAME));
        let batch = http.get(&path).expect(200).json;
        let id = *consumer.insert(batch["consumer"].as_u64().expect("it has a number"));
        let positions = process(processed, batch["events"].as_array().expect("it is a list"));
        acknowledge(http, id, &positions);
    }
}

fn stream(http: &Client, processed: &Processed, ending: &AtomicBool) {
    let path = format!("{}/events?window={WINDOW}", path(http, NAME));
    let mut stream = Stream::begin(http, &path, None).expect("the host serves");
    let mut consumer = None;
    while !ending.load(Ordering::Relaxed) {
        let Received::Messages(messages) = stream.read() else { panic!("the response has ended") };
        let mut events = Vec::new();
        for message in messages {
            let value: Value = serde_json::from_str(&message.data.unwrap_or_default()).expect("it is JSON");
            match message.event {
                Some(_) => consumer = value["consumer"].as_u64(),
                None => events.push(value),
            }
        }
        if let Some(consumer) = consumer.filter(|_| !events.is_empty()) {
            acknowledge(http, consumer, &process(processed, &events));
        }
    }
}

fn command(host: &Host, processed: &Processed, ending: &AtomicBool) {
    let arguments = ["consume", NAME, "--json", "--window", WINDOW];
    let mut child = host.command().args(arguments).stdout(Stdio::piped()).spawn().expect("it can be run");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            for line in lines {
                let event = serde_json::from_str(&line.expect("it is text")).expect("a line is JSON");
                process(processed, &[event]);
            }
        });
        while !ending.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        reading.join().expect("it does not panic");
    });
}

#[test]
fn the_receipt_log_is_processed_whole_while_it_is_imported() {
    let log = root().join("../shared/data/receipt.csv");
    if !log.is_file() {
        skip("consumers during the import of the large log", "`../shared/data/receipt.csv` does not exist");
        return;
    }
    let host = Host::start();
    let http = &host.http;
    http.put(&path(http, NAME), &json!({})).expect(201);
    let (processed, ending) = (Processed::default(), AtomicBool::new(false));
    let info = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| batches(http, &processed, &ending));
            scope.spawn(|| stream(http, &processed, &ending));
        }
        scope.spawn(|| command(&host, &processed, &ending));
        let log = log.to_string_lossy();
        let by =
            ["--stream-by", "case:concept:name", "--type-by", "concept:name", "--time-by", "time:timestamp"];
        let imported = host.json(&[&["import", &log, "--json"][..], &by].concat());
        assert_eq!((&imported[0]["added"], &imported[0]["refused"]), (&json!(ROWS), &json!(0)));
        let info = eventually("the log is processed", || {
            let info = http.get(&path(http, NAME)).json;
            (info["checkpoint"] == ROWS).then_some(info)
        });
        ending.store(true, Ordering::Relaxed);
        info
    });
    assert_eq!(info["lag"], json!({ "events": 0, "ms": 0 }));
    assert_eq!(info["emitter"]["acknowledged"], ROWS, "nothing was acknowledged twice: {info:#}");
    assert_eq!((&info["parked"], &info["emitter"]["in_flight"]), (&json!(0), &json!(0)));
    let processed = processed.into_inner().expect("nobody panics");
    assert!(processed.keys().copied().eq(0..ROWS), "{} of {ROWS} events were processed", processed.len());
    assert_eq!(host.traps(), NO_EVENTS);
}
