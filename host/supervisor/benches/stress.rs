//! Measures restarts under stress and compares them with real OTP if `erl` is installed:
//! `cargo bench -p exesdb-supervisor --bench stress`.
//!
//! - `flat`: 10,000 workers under one one_for_one supervisor. All are killed, and started again: restarts per
//!   second. Then one at a time: the time from the kill to the successor's start.
//! - `deep`: 50 one_for_all supervisors, one below the other, and a worker at the end. The second one is killed,
//!   so that 49 supervisors and the worker come up again: restarts per second.
//!
//! The same work is done by `stress.escript` with OTP's supervisor, and with the cheapest child that OTP's
//! rules allow (`proc_lib:start_link`, an acknowledged start). What OTP would log is not logged.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exesdb_supervisor::{ChildSpec, Options, Reason, Root, Start, Strategy, SupervisorSpec};
use tokio::sync::Notify;

/// As in the host. OTP has its own allocator, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHILDREN: u64 = 10_000;
const DEPTH: u64 = 50;
/// How often everything is killed.
const ROUNDS: u64 = 10;
/// Kills of one worker, for the time that each takes.
const SINGLES: u64 = 10_000;
/// More than will happen, so that no supervisor gives up.
const UNLIMITED: u32 = 1_000_000_000;
/// Short, because OTP 25 goes through all restarts of the period at each restart.
const PERIOD: Duration = Duration::from_secs(1);

/// Counts starts, and wakes the task that waits for a number of them.
#[derive(Default)]
struct Starts {
    count: AtomicU64,
    goal: AtomicU64,
    reached: Notify,
}

impl Starts {
    fn started(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.goal.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// Runs `act` and waits for `more` starts.
    async fn after<Fut: Future<Output = ()>>(&self, more: u64, act: impl FnOnce() -> Fut) {
        let goal = self.count.load(Ordering::SeqCst) + more;
        self.goal.store(goal, Ordering::SeqCst);
        act().await;
        while self.count.load(Ordering::SeqCst) < goal {
            self.reached.notified().await;
        }
    }
}

fn worker(id: String, starts: &Arc<Starts>) -> ChildSpec {
    let starts = Arc::clone(starts);
    ChildSpec::worker(id, move |context| {
        starts.started();
        let shutdown = context.shutdown();
        async move {
            Ok(Start::running(async move {
                shutdown.requested().await;
                Reason::Shutdown
            }))
        }
    })
}

async fn flat(results: &mut BTreeMap<&'static str, f64>) {
    let starts = Arc::new(Starts::default());
    let spec = SupervisorSpec::new("root", Strategy::OneForOne)
        .intensity(UNLIMITED, PERIOD)
        .children((0..CHILDREN).map(|i| worker(format!("c{i}"), &starts)));
    let root = Root::start(spec, Options::default()).await.unwrap();
    let handle = root.handle();
    let paths: Vec<String> = (0..CHILDREN).map(|i| format!("root/c{i}")).collect();
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        starts
            .after(CHILDREN, || async {
                for path in &paths {
                    handle.exit(path, Reason::Killed).await.unwrap();
                }
            })
            .await;
        took += begin.elapsed();
        tokio::time::sleep(PERIOD * 2).await; // the next round begins with an empty count
    }
    results.insert("flat_restarts_per_s", (CHILDREN * ROUNDS) as f64 / took.as_secs_f64());
    let mut times: Vec<Duration> = Vec::new();
    for i in 0..SINGLES {
        let path = &paths[(i * 7919 % CHILDREN) as usize];
        let begin = Instant::now();
        starts
            .after(1, || async {
                handle.exit(path, Reason::Killed).await.unwrap();
            })
            .await;
        times.push(begin.elapsed());
    }
    times.sort();
    results.insert("flat_exit_to_restarted_us_p50", times[times.len() / 2].as_secs_f64() * 1e6);
    results.insert("flat_exit_to_restarted_us_p99", times[times.len() * 99 / 100].as_secs_f64() * 1e6);
    root.stop().await;
}

async fn deep(results: &mut BTreeMap<&'static str, f64>) {
    let starts = Arc::new(Starts::default());
    let mut child = worker("w".to_owned(), &starts);
    for level in (0..DEPTH).rev() {
        child = ChildSpec::supervisor(
            SupervisorSpec::new(format!("s{level}"), Strategy::OneForAll)
                .intensity(UNLIMITED, PERIOD)
                .child(child),
        );
    }
    let spec = SupervisorSpec::new("root", Strategy::OneForOne).intensity(UNLIMITED, PERIOD).child(child);
    let root = Root::start(spec, Options::default()).await.unwrap();
    let handle = root.handle();
    let rounds = ROUNDS * 100;
    let begin = Instant::now();
    for _ in 0..rounds {
        starts
            .after(1, || async {
                // The worker's start is counted before the chain above it is up; the root answers when it is.
                handle.which_children("root").await.unwrap();
                handle.exit("root/s0", Reason::Killed).await.unwrap();
            })
            .await;
    }
    results.insert("deep_restarts_per_s", ((DEPTH + 1) * rounds) as f64 / begin.elapsed().as_secs_f64());
    root.stop().await;
}

/// The same on OTP: a line `NAME VALUE` for each result.
fn otp() -> Option<BTreeMap<String, f64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/stress.escript");
    let numbers = [CHILDREN, DEPTH, ROUNDS, SINGLES].map(|number| number.to_string());
    let output = Command::new("escript").arg(script).args(numbers).output().ok()?;
    assert!(output.status.success(), "stress.escript: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let results = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Some(results.collect())
}

fn main() {
    // `cargo test --benches` runs benchmarks too; there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // `-- deep` and `-- flat` run one half, without OTP: for a profiler.
    let only = std::env::args().find(|argument| argument == "deep" || argument == "flat");
    let runs = |half: &str| only.as_deref().is_none_or(|only| only == half);
    let mut results = BTreeMap::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        if runs("flat") {
            flat(&mut results).await;
        }
        if runs("deep") {
            deep(&mut results).await;
        }
    });
    let otp = if only.is_none() { otp() } else { None };
    if otp.is_none() {
        println!("no comparison with OTP (escript is not installed, or half a run)");
    }
    println!("{:<32} {:>14} {:>14} {:>8}", "", "here", "OTP", "ratio");
    for (name, here) in results {
        match otp.as_ref().and_then(|otp| otp.get(name)) {
            None => println!("{name:<32} {here:>14.1}"),
            Some(there) => {
                // Above 1 is better than OTP, for times as for rates.
                let ratio = if name.contains("_us_") { there / here } else { here / there };
                println!("{name:<32} {here:>14.1} {there:>14.1} {ratio:>8.2}");
            }
        }
    }
}
