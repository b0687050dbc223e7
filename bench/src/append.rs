//! The append workloads: in each round the host, the bare server and the disk take turns.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::bare::BareServer;
use crate::body::Form;
use crate::client::Client;
use crate::floor::Floor;
use crate::host::BenchHost;
use crate::load::{Appender, Clients, Measured};
use crate::pipeline::PipelineClient;
use crate::rounds::Rounds;
use crate::spread::Spread;

/// Duration of each measurement of the floor: hundreds of fdatasyncs on an SSD.
pub(crate) const FLOOR_TIME: Duration = Duration::from_millis(300);

/// A workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    pub(crate) events: usize,
    /// How the host is sent the events; the bare server knows frames only.
    pub(crate) sent: Sent,
}

/// How the host is sent the events of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent {
    /// A request for each append, one after the other on each connection.
    Requests(Form),
    /// One request for all appends of a connection, with [`IN_FLIGHT`] of them without an answer. The bare server has clients
    /// that wait for each answer.
    Pipeline,
}

pub(crate) const WORKLOADS: [Workload; 5] = [
    Workload { name: "A: 1 client, 1 event", clients: 1, events: 1, sent: Sent::Requests(Form::Json) },
    Workload { name: "B: 32 clients, 1 event", clients: 32, events: 1, sent: Sent::Requests(Form::Json) },
    Workload { name: "C: 8 clients, 100, JSON", clients: 8, events: 100, sent: Sent::Requests(Form::Json) },
    Workload {
        name: "C: 8 clients, 100, binary",
        clients: 8,
        events: 100,
        sent: Sent::Requests(Form::Binary),
    },
    Workload { name: "C': 8 clients, pipeline", clients: 8, events: 1, sent: Sent::Pipeline },
];

/// What one of the servers did.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) appends_per_second: Spread,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Of all threads of the server, in microseconds for each append.
    pub(crate) processor_us: Spread,
}

impl Server {
    /// `None` without turns.
    pub(crate) fn of(turns: Vec<Turn>) -> Option<Self> {
        let appends_per_second = Spread::of(turns.iter().map(Turn::rate))?;
        let processor_us = Spread::of(turns.iter().map(|turn| turn.processor_us))?;
        let all = Measured::of_rounds(turns.into_iter().map(|turn| turn.measured));
        let (p50_us, p99_us) = (all.percentile_us(50), all.percentile_us(99));
        Some(Self { appends_per_second, p50_us, p99_us, processor_us })
    }
}

/// The result of a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    workload: &'static str,
    clients: usize,
    events_per_append: usize,
    exesdb: Server,
    bare: Server,
    /// Durable appends of one event in a loop, without any server.
    floor_per_second: Spread,
    /// Appends of exesdb for each of the bare server, round by round.
    appends_of_bare: Spread,
    /// Processor time of exesdb for each append, in that of the bare server, round by round.
    processor_of_bare: Spread,
    /// Appends of exesdb for each of the floor, round by round.
    appends_of_floor: Spread,
}

impl Row {
    pub(crate) const HEADING: &str = concat!(
        "                           appends/s                          us to the answer   us of the server's processors\n",
        "appends                     exesdb    bare  ratio (range)         p50      p99    exesdb   bare  ratio   floor/s",
    );

    pub(crate) fn line(&self) -> String {
        format!(
            "{:<25}  {:>7.0} {:>7.0}  {:<17}  {:>6}  {:>7}  {:>8.0} {:>6.0} {:>6.1}  {:>8.0}",
            self.workload,
            self.exesdb.appends_per_second.median,
            self.bare.appends_per_second.median,
            self.appends_of_bare.text(),
            self.exesdb.p50_us,
            self.exesdb.p99_us,
            self.exesdb.processor_us.median,
            self.bare.processor_us.median,
            self.processor_of_bare.median,
            self.floor_per_second.median,
        )
    }
}

/// The turns of one round.
struct Round {
    exesdb: Turn,
    bare: Turn,
    floor_per_second: f64,
}

/// What a server did in a round.
pub(crate) struct Turn {
    measured: Measured,
    processor_us: f64,
}

impl Turn {
    /// With the processor time that all appends of the turn took together.
    pub(crate) fn new(measured: Measured, processor: Duration) -> Self {
        let processor_us = measured.processor_us(processor);
        Self { measured, processor_us }
    }

    /// Appends per second.
    pub(crate) fn rate(&self) -> f64 {
        self.measured.appends_per_second()
    }
}

/// Measures the workloads whose name begins with `only` on a running host, next to a bare server and the disk.
pub(crate) async fn measure(
    host: &BenchHost,
    bare: &BareServer,
    floor: &Floor,
    rounds: Rounds,
    only: &str,
) -> anyhow::Result<Vec<Row>> {
    let workloads = WORKLOADS.iter().filter(|workload| workload.name.starts_with(only)).copied();
    let mut rows = Vec::new();
    for workload in workloads {
        let Workload { clients, events, sent, .. } = workload;
        let against = Against { bare, floor, rounds };
        let measured = match sent {
            Sent::Requests(form) => {
                let ours = Client::connect_all(host.address(), form, clients).await?;
                measure_rounds(host, Clients::new(ours, events), against).await?
            }
            Sent::Pipeline => {
                let ours = PipelineClient::connect_all(host.address(), clients).await?;
                measure_rounds(host, Clients::new(ours, events), against).await?
            }
        };
        rows.push(row(workload, measured).context("no round was measured")?);
    }
    let names = WORKLOADS.map(|workload| workload.name).join("`, `");
    anyhow::ensure!(!rows.is_empty(), "no workload begins with {only:?}; there are `{names}`");
    Ok(rows)
}

/// What the host is compared with.
#[derive(Clone, Copy)]
struct Against<'a> {
    bare: &'a BareServer,
    floor: &'a Floor,
    rounds: Rounds,
}

async fn measure_rounds<A: Appender>(
    host: &BenchHost,
    mut ours: Clients<A>,
    against: Against<'_>,
) -> anyhow::Result<Vec<Round>> {
    let Against { bare, floor, rounds } = against;
    let mut theirs = Clients::new(bare.connect_all(ours.len()).await?, ours.events());
    let mut measured = Vec::new();
    for _ in 0..rounds.count {
        let (ours_before, theirs_before) = (host.processor_time()?, bare.processor_time()?);
        let ours = ours.run(rounds.time).await?;
        let theirs = theirs.run(rounds.time).await?;
        let floor_per_second = floor.measure(FLOOR_TIME).await?;
        // At the end of the round, so that what the appends left to do in the background counts, too.
        let ours_took = host.processor_time()?.since(&ours_before);
        let theirs_took = bare.processor_time()?.since(&theirs_before);
        measured.push(Round {
            exesdb: Turn::new(ours, ours_took),
            bare: Turn::new(theirs, theirs_took),
            floor_per_second,
        });
    }
    Ok(measured)
}

fn row(workload: Workload, rounds: Vec<Round>) -> Option<Row> {
    let ratios = |pair: fn(&Round) -> (f64, f64)| Spread::of_ratios(rounds.iter().map(pair));
    let appends_of_bare = ratios(|round| (round.exesdb.rate(), round.bare.rate()))?;
    let processor_of_bare = ratios(|round| (round.exesdb.processor_us, round.bare.processor_us))?;
    let appends_of_floor = ratios(|round| (round.exesdb.rate(), round.floor_per_second))?;
    let floor_per_second = Spread::of(rounds.iter().map(|round| round.floor_per_second))?;
    let (exesdb, bare) = rounds.into_iter().map(|round| (round.exesdb, round.bare)).unzip();
    Some(Row {
        workload: workload.name,
        clients: workload.clients,
        events_per_append: workload.events,
        exesdb: Server::of(exesdb)?,
        bare: Server::of(bare)?,
        floor_per_second,
        appends_of_bare,
        processor_of_bare,
        appends_of_floor,
    })
}
