//! `exesdb-bench`: what this machine's disk and an exesdb store on it can do, in one run.
//!
//! It starts a host on a new data directory and drives it through the gateway, over HTTP on loopback. Around each append
//! workload it measures two references: the floor, which is the least that durability needs (append one event to a file
//! and fdatasync, in a loop), and a bare server under the same load. Machines differ and are noisy, so compare the ratios.

mod append;
mod bare;
mod curve;
mod floor;
mod host;
mod open;
mod read;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;

use append::{Load, Measured};
use bare::BareServer;
use floor::Floor;
use host::BenchHost;

/// The same allocator as that of the host, because the client runs on the same processors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Duration of each measurement of the floor: thousands of fdatasyncs on an SSD.
const FLOOR_TIME: Duration = Duration::from_secs(1);

/// Events that a store has before appends to it are measured. Until its first journal of 64 MiB is full, the engine
/// syncs a file that grows, which takes longer; 200,000 events fill it.
const EVENTS_BEFORE: usize = 200_000;

/// Measures an exesdb host on this machine, next to a minimal server and to the disk itself.
#[derive(Debug, Parser)]
#[command(
    name = "exesdb-bench",
    version,
    after_help = "\
Examples:
  exesdb-bench
  exesdb-bench --events 1000000 --seconds 10
  exesdb-bench --dir /mnt/disk-to-measure --json
  exesdb-bench --curve 1000000                    what an append costs while the store grows"
)]
struct Options {
    /// Where to put the data of the measured host: this disk is measured. The data is removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,

    /// Seconds of load for each append workload, after one second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// Events of the store that is read and opened; a tenth of them are in the one stream that is read.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    events: u64,

    /// Instead of the workloads: measure appends while the store grows to this many streams, and a stream to this many
    /// events.
    #[arg(long, value_name = "MOST", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    curve: Option<u64>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,

    /// The host to measure [default: `exesdb` in the folder of this program].
    #[arg(long, value_name = "FILE")]
    exesdb: Option<PathBuf>,

    /// Run the bare server, with its file in this folder.
    #[arg(long, hide = true, value_name = "DIR")]
    bare_server: Option<PathBuf>,
}

/// The result of an append workload, with those of the bare server and the floor around it.
#[derive(Debug, Serialize)]
struct AppendRow {
    workload: &'static str,
    clients: usize,
    events_per_append: usize,
    appends_per_second: f64,
    events_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    bare_appends_per_second: f64,
    appends_per_bare: f64,
    floor_per_second: f64,
    appends_per_floor: f64,
}

/// Everything that one run measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    appends: Vec<AppendRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reads: Vec<read::Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<open::Opened>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    curve: Vec<curve::Point>,
}

/// Clients and events per append of each workload.
const WORKLOADS: [(&str, Load); 3] = [
    ("one client", Load { clients: 1, events: 1 }),
    ("many clients", Load { clients: 32, events: 1 }),
    ("batches", Load { clients: 8, events: 100 }),
];

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, nobody reads it.
            let _ = writeln!(io::stderr(), "exesdb-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    if let Some(folder) = options.bare_server {
        return bare::serve(&folder);
    }
    let exesdb = match &options.exesdb {
        Some(exesdb) => exesdb.clone(),
        None => host::this_program()?.with_file_name("exesdb"),
    };
    anyhow::ensure!(
        exesdb.is_file(),
        "there is no host at {}; build it with `cargo xtask build`, or name it with --exesdb",
        exesdb.display()
    );
    let folder = options.dir.join(format!("exesdb-bench-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(&exesdb, &folder, &options));
    let removed =
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()));
    let report = measured?;
    removed?;
    let mut output = io::stdout().lock();
    if options.json {
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
    } else {
        print(&mut output, &report)?;
    }
    Ok(output.flush()?)
}

fn print(output: &mut impl Write, report: &Report) -> io::Result<()> {
    if !report.appends.is_empty() {
        writeln!(
            output,
            "workload      clients  events/append   appends/s    events/s   p50 us   p99 us     bare/s  per bare    floor/s  per floor",
        )?;
        for row in &report.appends {
            writeln!(
                output,
                "{:<13} {:>7}  {:>13}  {:>10.0}  {:>10.0}  {:>7}  {:>7}  {:>9.0}  {:>8.2}  {:>9.0}  {:>9.2}",
                row.workload,
                row.clients,
                row.events_per_append,
                row.appends_per_second,
                row.events_per_second,
                row.p50_us,
                row.p99_us,
                row.bare_appends_per_second,
                row.appends_per_bare,
                row.floor_per_second,
                row.appends_per_floor,
            )?;
        }
        writeln!(
            output,
            "bare: the same load on a server that only appends to a file, around each workload"
        )?;
        writeln!(output, "floor: append one event to a file + fdatasync in a loop, on the same disk")?;
    }
    if !report.reads.is_empty() {
        writeln!(output, "{}", read::Row::HEADING)?;
        report.reads.iter().try_for_each(|row| writeln!(output, "{}", row.line()))?;
    }
    if let Some(opened) = &report.opened {
        writeln!(output, "{}", opened.line())?;
    }
    if !report.curve.is_empty() {
        writeln!(output, "{}", curve::Point::HEADING)?;
        report.curve.iter().try_for_each(|point| writeln!(output, "{}", point.line()))?;
    }
    Ok(())
}

async fn measure(exesdb: &Path, folder: &Path, options: &Options) -> anyhow::Result<Report> {
    let time = Duration::from_secs(options.seconds);
    if let Some(most) = options.curve {
        let host = BenchHost::start(exesdb, folder).await?;
        let curve = curve::measure(host.address(), usize::try_from(most)?, time).await?;
        host.stop().await?;
        return Ok(Report { curve, ..Report::default() });
    }
    let appends = measure_appends(exesdb, &folder.join("appended"), time).await?;
    let events = usize::try_from(options.events)?;
    let folder = folder.join("filled");
    let host = BenchHost::start(exesdb, &folder).await?;
    read::fill(host.address(), events).await?;
    let reads = read::measure(host.address(), events).await?;
    let (host, opened) = open::measure(exesdb, host, &folder, events).await?;
    host.stop().await?;
    Ok(Report { appends, reads, opened: Some(opened), curve: Vec::new() })
}

async fn measure_appends(exesdb: &Path, folder: &Path, time: Duration) -> anyhow::Result<Vec<AppendRow>> {
    std::fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let host = BenchHost::start(exesdb, folder).await?;
    read::fill(host.address(), EVENTS_BEFORE).await?;
    let bare = BareServer::start(folder).await?;
    let floor = Floor::new(folder);
    let mut rows = Vec::new();
    for (workload, load) in WORKLOADS {
        let before = floor.measure(FLOOR_TIME).await?;
        let measured = load.run(host.address(), time).await?;
        let compared = bare.run(load, time).await?;
        let after = floor.measure(FLOOR_TIME).await?;
        rows.push(append_row(workload, load, &measured, &compared, f64::midpoint(before, after)));
    }
    host.stop().await?;
    Ok(rows)
}

fn append_row(
    workload: &'static str,
    load: Load,
    measured: &Measured,
    bare: &Measured,
    floor: f64,
) -> AppendRow {
    let (appends, bare) = (measured.appends_per_second(), bare.appends_per_second());
    AppendRow {
        workload,
        clients: load.clients,
        events_per_append: load.events,
        appends_per_second: appends,
        events_per_second: appends * load.events as f64,
        p50_us: measured.percentile_us(50),
        p99_us: measured.percentile_us(99),
        bare_appends_per_second: bare,
        appends_per_bare: appends / bare,
        floor_per_second: floor,
        appends_per_floor: appends / floor,
    }
}
