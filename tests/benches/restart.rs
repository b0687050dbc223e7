//! Measures how long a store is unavailable after a trap: from the response to the trapping request to the next
//! successful one, compared with the same request without a trap. Run `cargo bench -p exesdb-tests` after `cargo xtask test`,
//! or after `cargo xtask build` and `cargo xtask components`.
//!
//! Both columns are times of an HTTP client on one connection, so they include the gateway and, for appends, an fsync. The
//! cost of a restart is the difference.
#![allow(clippy::print_stdout)] // a benchmark is for the person who runs it

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use exesdb_tests::{Client, Host, probe};
use serde_json::json;

/// The number of stores: enough that no pool exceeds its restart intensity, which is 20 in 10 s.
const STORES: usize = 24;

/// The number of requests in each store that trap. Each is tried once more, so it ends two instances.
const TRAPS: usize = 9;

/// Calls without a trap before each measured one, to warm up both columns.
const WARM_UP: usize = 3;

fn main() {
    let host = Host::with_config(&config());
    println!(
        "from the response to a request that trapped twice to the next call that is served, {} requests each",
        STORES * TRAPS
    );
    println!("{:28} {:>12} {:>12} {:>12} {:>12}", "", "median", "p99", "plain median", "ratio");
    measure(&host, "gateway: trap, then read", gateway_trap, read);
    measure(&host, "streams: trap, then append", streams_trap, append);
}

/// Stores with one writer and one gateway worker each, so that the next call reaches the instance that trapped.
fn config() -> String {
    let mut config = String::new();
    for store in 0..STORES {
        write!(
            config,
            "[[store]]\nname = \"store-{store}\"\nwriters = 1\nreaders = 1\nsnapshot_workers = 1\n\
             gateway_pool_size = 1\n[store.components]\nstreams = {:?}\ngateway = {:?}\n",
            probe("streams-probe"),
            probe("gateway-probe"),
        )
        .expect("a string can be written");
    }
    config
}

fn gateway_trap(client: &Client, _: usize) {
    client.get(&format!("{}/probe/trap", client.path())).expect_problem(500, "internal");
}

fn streams_trap(client: &Client, number: usize) {
    // A new event each time: a request that trapped twice is not tried again.
    let event = json!({ "id": number.to_string(), "type": "t", "data": 1 });
    client.append("probe-trap", "any", &[event]).expect_problem(500, "quarantined");
}

fn read(client: &Client) -> bool {
    client.get(&format!("{}/streams", client.path())).status == 200
}

fn append(client: &Client) -> bool {
    client.append_one("s").status == 200
}

fn measure(host: &Host, name: &str, trap: fn(&Client, usize), call: fn(&Client) -> bool) {
    let (mut after, mut plain) = (Vec::new(), Vec::new());
    for store in 0..STORES {
        let client = host.http.of(&format!("store-{store}"));
        for number in 0..TRAPS {
            for _ in 0..WARM_UP {
                until_served(&client, call);
            }
            plain.push(until_served(&client, call));
            trap(&client, number);
            after.push(until_served(&client, call));
        }
    }
    after.sort_unstable();
    plain.sort_unstable();
    let (median, p99, plain) = (quantile(&after, 50), quantile(&after, 99), quantile(&plain, 50));
    let ratio = median.as_secs_f64() / plain.as_secs_f64();
    println!("{name:28} {median:>12.1?} {p99:>12.1?} {plain:>12.1?} {ratio:>12.2}");
}

/// The time until a call succeeds; refused calls are sent again.
fn until_served(client: &Client, call: fn(&Client) -> bool) -> Duration {
    let start = Instant::now();
    while !call(client) {}
    start.elapsed()
}

/// A percentile of sorted times.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}
