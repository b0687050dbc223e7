//! `exesdb bench`: what this machine's disk and this store can do, in one run.
//!
//! It starts a host of its own on a new data directory, drives it through the gateway over HTTP on loopback, and
//! measures before and after every workload what the disk does with the least that durability needs: append one
//! event to a file and fdatasync, in a loop. Machines differ and are noisy; the ratio of the two is what to compare.

mod floor;
mod host;
mod load;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::output::Output;
use floor::Floor;
use host::BenchHost;
use load::{Load, Measured};

/// Seconds of each measurement of the floor: thousands of fdatasyncs on an SSD.
const FLOOR_TIME: Duration = Duration::from_secs(1);

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb bench
  exesdb bench --dir /mnt/disk-to-measure --seconds 10 --json")]
pub struct BenchOptions {
    /// Where the data of the measured host goes: its disk is what is measured. Removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,

    /// Seconds of load for each workload, after one second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,

    /// One JSON document.
    #[arg(long)]
    pub json: bool,
}

/// A workload's result beside the floor around it.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    clients: usize,
    events_per_append: usize,
    appends_per_second: f64,
    events_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    floor_per_second: f64,
    appends_per_floor: f64,
}

/// Clients and events per append of each workload.
const WORKLOADS: [(&str, Load); 3] = [
    ("one client", Load { clients: 1, events: 1 }),
    ("many clients", Load { clients: 32, events: 1 }),
    ("batches", Load { clients: 8, events: 100 }),
];

/// Runs the workloads and prints them.
pub async fn run(options: BenchOptions) -> anyhow::Result<()> {
    let folder = options.dir.join(format!("exesdb-bench-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let measured = measure(&folder, Duration::from_secs(options.seconds)).await;
    let removed =
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()));
    let rows = measured?;
    removed?;
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&rows)?)?;
        return output.flush();
    }
    print(&mut output, &rows)?;
    output.flush()
}

fn print(output: &mut Output, rows: &[Row]) -> anyhow::Result<()> {
    output.line(
        "workload      clients  events/append   appends/s    events/s   p50 us   p99 us    floor/s  appends per floor",
    )?;
    for row in rows {
        output.line(format_args!(
            "{:<13} {:>7}  {:>13}  {:>10.0}  {:>10.0}  {:>7}  {:>7}  {:>9.0}  {:>17.2}",
            row.workload,
            row.clients,
            row.events_per_append,
            row.appends_per_second,
            row.events_per_second,
            row.p50_us,
            row.p99_us,
            row.floor_per_second,
            row.appends_per_floor,
        ))?;
    }
    output.line(
        "floor: append one event to a file + fdatasync in a loop, on the same disk, around each workload",
    )
}

async fn measure(folder: &std::path::Path, time: Duration) -> anyhow::Result<Vec<Row>> {
    let host = BenchHost::start(folder).await?;
    let floor = Floor::new(folder);
    let mut rows = Vec::new();
    for (workload, load) in WORKLOADS {
        let before = floor.measure(FLOOR_TIME).await?;
        let measured = load.run(host.address(), time).await?;
        let after = floor.measure(FLOOR_TIME).await?;
        rows.push(row(workload, load, &measured, f64::midpoint(before, after)));
    }
    host.stop().await?;
    Ok(rows)
}

fn row(workload: &'static str, load: Load, measured: &Measured, floor: f64) -> Row {
    let appends = measured.appends_per_second();
    Row {
        workload,
        clients: load.clients,
        events_per_append: load.events,
        appends_per_second: appends,
        events_per_second: appends * load.events as f64,
        p50_us: measured.percentile_us(50),
        p99_us: measured.percentile_us(99),
        floor_per_second: floor,
        appends_per_floor: appends / floor,
    }
}
