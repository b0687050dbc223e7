//! What an entry costs three replicas in one process, in processor time. A measurement, which asserts nothing about time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::sync::Arc;

use nodes::{Nodes, append};

/// Clients, bytes of each value, and appends of all clients.
const LOADS: [(usize, usize, usize); 4] =
    [(1, 4_096, 4_000), (64, 1_024, 40_000), (64, 4_096, 40_000), (4, 262_144, 800)];

/// Nanoseconds that this thread has run, according to Linux.
fn processor_time() -> u64 {
    let found = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    found.split(' ').next().unwrap().parse().unwrap()
}

/// The clock is paused and all replicas work on this thread.
#[tokio::test(start_paused = true)]
#[ignore = "a measurement"]
async fn what_an_append_costs_three_replicas() {
    for (clients, bytes, appends) in LOADS {
        let nodes = Nodes::three().await;
        let leader = nodes.ready().await;
        let before = nodes.metrics(leader).last_log.unwrap().index;
        let start = processor_time();
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let (group, value) = (nodes.group(leader), "x".repeat(bytes));
                let appends = appends / clients;
                tokio::spawn(async move {
                    for _ in 0..appends {
                        Arc::clone(&group).propose(append(&value), None, vec![]).await.unwrap();
                    }
                })
            })
            .collect();
        let count = clients.len();
        for client in clients {
            client.await.unwrap();
        }
        nodes.assert_equal().await;
        let took = (processor_time() - start) as f64 / 1e3;
        let entries = nodes.metrics(leader).last_log.unwrap().index - before;
        println!(
            "{count} clients, {bytes} bytes: {:.1} us an append, {:.1} us an entry, {:.0} entries in a second of the processor",
            took / appends as f64,
            took / entries as f64,
            entries as f64 * 1e6 / took,
        );
    }
}
