//! A consumer of a durable subscription whose client reads nothing of what is delivered to it.

use exesdb_test_support::skip;
use exesdb_tests::{Consumer, Host, allocated_bytes, eventually};
use serde_json::{Value, json};

/// Events of a whole window, the largest that there is, and their data: 195 MiB in all. Only 4 MiB of events may wait for one
/// consumer, and a page or two are on the way to it. Beside them the host has at most 32 MiB of the store's blocks in its cache.
const WINDOW: u32 = 10_000;
const DATA_BYTES: usize = 20 << 10;

/// What the host may allocate while the window fills, which it does by reading alone. Half of the events, so that neither the
/// cache nor what an allocator keeps for later is mistaken for them.
const GROWTH_BYTES_MAX: u64 = WINDOW as u64 * DATA_BYTES as u64 / 2;

/// Events of one append.
const BATCH: u64 = 100;

/// Appends so many events, each of which must be accepted.
fn append(host: &Host, count: u64) {
    let events = vec![json!({ "type": "t", "data": "x".repeat(DATA_BYTES) }); BATCH as usize];
    for _ in 0..count / BATCH {
        host.http.append("s", "any", &events).expect(200);
    }
}

/// Takes and acknowledges so many events, a batch at a time. Returns their positions.
fn take(consumer: &mut Consumer, count: u64) -> Vec<u64> {
    let mut positions = Vec::new();
    for _ in 0..count / BATCH {
        let events = consumer.take(BATCH as usize);
        consumer.acknowledge(&events);
        positions.extend(events.iter().map(|event| event["position"].as_u64().expect("a number")));
    }
    positions
}

/// Appends events while a consumer takes them, all of them in their order.
fn append_and_take(host: &Host, consumer: &mut Consumer, begin: u64, count: u64) {
    let taken = std::thread::scope(|scope| {
        let taking = scope.spawn(|| take(consumer, count));
        append(host, count);
        taking.join().expect("the other consumer gets everything")
    });
    assert_eq!(taken, (begin..begin + count).collect::<Vec<_>>());
}

#[test]
fn a_consumer_that_reads_nothing_costs_little_memory_and_hinders_nobody() {
    let window = u64::from(WINDOW);
    let host = Host::start();
    let settings = json!({ "ack_timeout_ms": 3_600_000 });
    for name in ["other", "stalled"] {
        host.http.put(&host.http.subscription(name), &json!({ "settings": settings })).expect(201);
    }
    let mut other = host.http.consume("other", 200);
    append_and_take(&host, &mut other, 0, window);

    let before = allocated_bytes(&host);
    let stalled = host.http.consume_unread("stalled", WINDOW);
    eventually("its window is full", || {
        let emitter = host.http.described("stalled")["emitter"].take();
        (emitter["in_flight"] == WINDOW).then_some(())
    });
    let after = allocated_bytes(&host);
    append_and_take(&host, &mut other, window, 10 * BATCH);
    match before.zip(after) {
        Some((before, after)) => {
            let grown = after.saturating_sub(before);
            assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes for {WINDOW} events of {DATA_BYTES}");
        }
        None => skip("the memory of a consumer that reads nothing", "the system does not say how much it is"),
    }

    // What it had goes to others, from the first event on, although the host kept few of them.
    drop(stalled);
    eventually("it is gone", || {
        let emitter = host.http.described("stalled")["emitter"].take();
        (emitter["consumers"] == json!([])).then_some(())
    });
    let mut next = host.http.consume("stalled", 100);
    let events: Vec<Value> = next.take(BATCH as usize);
    for (position, event) in (0_u64..).zip(&events) {
        assert_eq!((&event["position"], &event["delivery"]["earlier"]), (&json!(position), &json!(1)));
        assert_eq!(event["data"].as_str().map(str::len), Some(DATA_BYTES));
    }
    next.acknowledge(&events);
    next.settle(&json!({ "leave": true }));
}
