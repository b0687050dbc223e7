//! `exesdb-bench`: what this machine's disk and an exesdb store on it can do, in one run.
//!
//! It starts a host on a new data directory and drives it through the gateway, over HTTP on loopback. Everything that is
//! compared runs at the same time and takes turns in short rounds: the host, a bare server under the same load, and the
//! floor, which is the least that durability needs (append one event to a file and fdatasync, in a loop); for reads, a bare
//! scan of a copy of the store. Machines differ and are noisy, so compare the ratios.

mod append;
mod bare;
mod body;
mod client;
mod cluster;
mod curve;
mod floor;
mod follow;
mod host;
mod load;
mod open;
mod paced;
mod pipeline;
mod processor;
mod read;
mod rounds;
mod scan;
mod spread;
mod subscribe;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::Serialize;

use bare::BareServer;
use floor::Floor;
use host::BenchHost;
use rounds::Rounds;
use scan::BareScan;

/// The same allocator as that of the host, because the client runs on the same processors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that a store has before appends to it are measured. Until its first journal of 64 MiB is full, the engine
/// syncs a file that grows, which takes longer; 200,000 events fill it.
const EVENTS_BEFORE: usize = 200_000;

/// Longest turn. 5 s: the host closes connections that are idle for 10.
const TURN_MS_MAX: u64 = 5_000;

const EXAMPLES: &str = "\
Examples:
  exesdb-bench
  exesdb-bench --events 1000000 --rounds 15
  exesdb-bench --dir /mnt/disk-to-measure --json
  exesdb-bench --curve 1000000                    what an append costs while the store grows
  exesdb-bench --followers 5000 --rate 20         what followers cost
  exesdb-bench --delivery --rate 1000             how soon an event is delivered
  exesdb-bench --catch-up 1000000                 how fast a durable subscription catches up
  exesdb-bench --subscriptions 100 --rate 2000    what durable subscriptions cost
  exesdb-bench --cluster 3                        what an append to a cluster of three nodes costs
  exesdb-bench --cluster 3 --only B               the same, with 32 clients only";

/// Measures an exesdb host on this machine, next to a minimal server and to the disk itself.
#[derive(Debug, Parser)]
#[command(name = "exesdb-bench", version, after_help = format!("{EXAMPLES}\n\n{}", bare::DESCRIPTION))]
struct Options {
    /// Where to put the data of the measured host: this disk is measured. The data is removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,

    /// Rounds of each workload, in each of which everything that is compared has one turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,

    /// Milliseconds of load of each turn. Connections are idle in the turns of the others.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=TURN_MS_MAX))]
    turn_ms: u64,

    /// Events of the store that is read and opened; a tenth of them are in the one stream that is read.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    events: u64,

    /// Instead of the workloads: measure appends while the store grows to this many streams, and a stream to this many
    /// events.
    #[arg(long, value_name = "MOST", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    curve: Option<u64>,

    /// Measure only the appends whose name begins with this, such as `B`, and no reads.
    #[arg(long, value_name = "NAME", conflicts_with = "curve")]
    only: Option<String>,

    /// Instead of the workloads: measure this many followers of the whole store, next to the same appends without them.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=8_000))]
    followers: Option<u64>,

    /// With --followers: they follow the one stream that is appended to, and what is measured is how soon they get an event as well.
    #[arg(long, requires = "followers")]
    of_stream: bool,

    /// Instead of the workloads: measure how soon a durable subscription delivers what is appended, next to the bare server.
    #[arg(long, conflicts_with_all = ["curve", "only", "followers"])]
    delivery: bool,

    /// Instead of the workloads: measure how fast a durable subscription catches up with this many events.
    #[arg(long, value_name = "EVENTS", conflicts_with_all = ["curve", "only", "followers", "delivery"],
          value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    catch_up: Option<u64>,

    /// Instead of the workloads: measure this many durable subscriptions with different selectors, next to the same appends
    /// without them.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["curve", "only", "followers", "delivery", "catch_up"],
          value_parser = clap::value_parser!(u64).range(1..=100))]
    subscriptions: Option<u64>,

    /// Instead of the workloads: measure the appends on a cluster of this many nodes on this machine, next to a single node and the
    /// bare server.
    #[arg(long, value_name = "NODES", conflicts_with_all = ["curve", "followers", "delivery", "catch_up", "subscriptions"],
          value_parser = PossibleValuesParser::new(["1", "3", "5"]).try_map(|nodes| nodes.parse::<u16>()))]
    cluster: Option<u16>,

    /// With --followers, --delivery and --subscriptions: appends per second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,

    /// The host to measure [default: `exesdb` in the folder of this program].
    #[arg(long, value_name = "FILE")]
    exesdb: Option<PathBuf>,

    /// Run the bare server, with its file in this folder.
    #[arg(long, hide = true, value_name = "DIR")]
    bare_server: Option<PathBuf>,

    /// Run the bare scan, on the store in this folder.
    #[arg(long, hide = true, value_name = "DIR")]
    bare_scan: Option<PathBuf>,
}

/// Everything that one run measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    appends: Vec<append::Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<read::Reads>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<open::Opened>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    curve: Vec<curve::Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    followed: Option<follow::Followed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<subscribe::Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caught_up: Option<subscribe::CaughtUp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<subscribe::Many>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<cluster::Clustered>,
}

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
    if let Some(folder) = options.bare_scan {
        return scan::serve(&folder);
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
        writeln!(output, "{}", append::Row::HEADING)?;
        report.appends.iter().try_for_each(|row| writeln!(output, "{}", row.line()))?;
        writeln!(
            output,
            "\nMedians of rounds in which exesdb and a bare server take turns, both running all the time."
        )?;
        writeln!(
            output,
            "The ratios are of the same round. Floor: append one event to a file and fdatasync, in a loop."
        )?;
        writeln!(output, "{}\n", bare::DESCRIPTION)?;
    }
    if let Some(reads) = &report.reads {
        writeln!(output, "{}", read::Row::HEADING)?;
        reads.rows.iter().try_for_each(|row| writeln!(output, "{}", row.line()))?;
        writeln!(
            output,
            "\nBare scan: {:.0} events/s; a process that reads all events from a copy of the store, in order and page\n\
             by page, and neither decodes nor sends them.\n",
            reads.scanned_per_second.median
        )?;
    }
    if let Some(opened) = &report.opened {
        writeln!(output, "{}", opened.line())?;
    }
    if !report.curve.is_empty() {
        writeln!(output, "{}", curve::Point::HEADING)?;
        report.curve.iter().try_for_each(|point| writeln!(output, "{}", point.line()))?;
    }
    if let Some(followed) = &report.followed {
        writeln!(output, "{}", followed.lines())?;
    }
    if let Some(delivery) = &report.delivery {
        writeln!(output, "{}", delivery.lines())?;
    }
    if let Some(caught_up) = &report.caught_up {
        writeln!(output, "{}", caught_up.line())?;
    }
    if let Some(subscriptions) = &report.subscriptions {
        writeln!(output, "{}", subscriptions.lines())?;
    }
    if let Some(cluster) = &report.cluster {
        writeln!(output, "{}", cluster.lines())?;
    }
    Ok(())
}

async fn measure(exesdb: &Path, folder: &Path, options: &Options) -> anyhow::Result<Report> {
    let rounds = Rounds { count: options.rounds.into(), time: Duration::from_millis(options.turn_ms) };
    if let Some(most) = options.curve {
        let host = BenchHost::start(exesdb, folder).await?;
        let curve = curve::measure(host.address(), usize::try_from(most)?, rounds.time).await?;
        host.stop().await?;
        return Ok(Report { curve, ..Report::default() });
    }
    if let Some(followers) = options.followers {
        let of = if options.of_stream { follow::Followers::OfStream } else { follow::Followers::OfStore };
        let host = BenchHost::start(exesdb, folder).await?;
        let followed = follow::measure(&host, of, usize::try_from(followers)?, options.rate, rounds).await?;
        host.stop().await?;
        return Ok(Report { followed: Some(followed), ..Report::default() });
    }
    if let Some(report) = measure_subscriptions(exesdb, folder, options, rounds).await? {
        return Ok(report);
    }
    let only = options.only.as_deref();
    if let Some(nodes) = options.cluster {
        let cluster = cluster::measure(exesdb, folder, nodes, rounds, only.unwrap_or_default()).await?;
        return Ok(Report { cluster: Some(cluster), ..Report::default() });
    }
    let appends = measure_appends(exesdb, &folder.join("appended"), rounds, only.unwrap_or_default()).await?;
    if only.is_some() {
        return Ok(Report { appends, ..Report::default() });
    }
    let events = usize::try_from(options.events)?;
    let folder = folder.join("filled");
    let host = BenchHost::start(exesdb, &folder).await?;
    read::fill(host.address(), events).await?;
    let store = host.store_folder();
    host.stop().await?;
    let copy = folder.join("copy");
    scan::copy(&store, &copy)?;
    let host = BenchHost::start(exesdb, &folder).await?;
    let mut scan = BareScan::start(&copy, events).await?;
    let reads = read::measure(&host, &mut scan, events, rounds.count).await?;
    drop(scan);
    let (host, opened) = open::measure(exesdb, host, &folder, events).await?;
    host.stop().await?;
    Ok(Report { appends, reads: Some(reads), opened: Some(opened), ..Report::default() })
}

/// Measures durable subscriptions; none if nobody asked for that.
async fn measure_subscriptions(
    exesdb: &Path,
    folder: &Path,
    options: &Options,
    rounds: Rounds,
) -> anyhow::Result<Option<Report>> {
    if !options.delivery && options.catch_up.is_none() && options.subscriptions.is_none() {
        return Ok(None);
    }
    let host = BenchHost::start(exesdb, folder).await?;
    let mut report = Report::default();
    if let Some(events) = options.catch_up {
        read::fill(host.address(), usize::try_from(events)?).await?;
        report.caught_up = Some(subscribe::measure_catch_up(&host, events, rounds.count).await?);
    } else {
        read::fill(host.address(), EVENTS_BEFORE).await?;
    }
    if options.delivery {
        let bare = BareServer::start(folder).await?;
        report.delivery = Some(subscribe::measure_delivery(&host, &bare, options.rate, rounds).await?);
    }
    if let Some(count) = options.subscriptions {
        let count = usize::try_from(count)?;
        report.subscriptions = Some(subscribe::measure_many(&host, count, options.rate, rounds).await?);
    }
    host.stop().await?;
    Ok(Some(report))
}

async fn measure_appends(
    exesdb: &Path,
    folder: &Path,
    rounds: Rounds,
    only: &str,
) -> anyhow::Result<Vec<append::Row>> {
    std::fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let host = BenchHost::start(exesdb, folder).await?;
    read::fill(host.address(), EVENTS_BEFORE).await?;
    let bare = BareServer::start(folder).await?;
    let rows = append::measure(&host, &bare, &Floor::new(folder), rounds, only).await?;
    host.stop().await?;
    Ok(rows)
}
