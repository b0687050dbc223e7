//! The appends on a cluster on this machine, next to a single node and the bare server.
//!
//! The nodes share the processors and the disk, which they would not on machines of their own. So this says what an append costs
//! all nodes together, and not how many appends a cluster of machines takes.

mod nodes;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use self::nodes::{BenchCluster, Roles, took};
use crate::EVENTS_BEFORE;
use crate::append::{FLOOR_TIME, Sent, Server, Turn, WORKLOADS};
use crate::bare::{self, BareServer};
use crate::body::Form;
use crate::client::Client;
use crate::floor::Floor;
use crate::host::BenchHost;
use crate::load::{Clients, Measured};
use crate::read;
use crate::rounds::Rounds;
use crate::spread::Spread;

/// The workload that is measured on a node that does not lead, too.
const RELAYED: &str = "B:";

/// Rounds of a workload that may be repeated, because another node began to lead meanwhile. With more, the machine is too busy.
const REPEATED_MAX: usize = 10;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Clustered {
    nodes: u16,
    rows: Vec<Row>,
    /// Rounds that were measured once more, because another node began to lead meanwhile.
    repeated_rounds: usize,
}

/// The result of a workload.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    clients: usize,
    events_per_append: usize,
    bare: Compared,
    single: Compared,
    /// The cluster; the clients use the node that leads.
    leader: Compared,
    /// The cluster; the clients use a node that does not lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Compared>,
    /// Durable appends of one event in a loop, without any server.
    floor_per_second: Spread,
}

/// What a server did, and what that is of the others. The processor time of a cluster is that of all nodes.
#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    server: Server,
    appends_of: Ratios,
}

/// Appends for each of the named server, round by round.
#[derive(Debug, Default, Serialize)]
struct Ratios {
    #[serde(skip_serializing_if = "Option::is_none")]
    bare: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    single: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<Spread>,
}

impl Clustered {
    pub(crate) fn lines(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(Row::lines).collect();
        format!(
            "{}\n{}\n\n\
             A cluster of {} nodes on this machine, whose clients use the node that leads, or one that relays to it.\n\
             Medians of rounds in which the servers take turns, all running all the time. The ratios are of the same round.\n\
             Processor time of the cluster is that of all nodes. Rounds repeated because another node began to lead: {}.\n\
             {}",
            Row::HEADING,
            rows.join("\n"),
            self.nodes,
            self.repeated_rounds,
            bare::DESCRIPTION
        )
    }
}

impl Row {
    const HEADING: &str = concat!(
        "                                                 ratio of appends (range)                                  us to the answer   us of all\n",
        "appends                    server     appends/s  of bare            of a single node   of the leader         p50      p99  processors   floor/s",
    );

    fn lines(&self) -> String {
        let floor = format!("{:.0}", self.floor_per_second.median);
        let lines = [
            Some((self.workload, "bare", &self.bare, floor.as_str())),
            Some(("", "single", &self.single, "")),
            Some(("", "leader", &self.leader, "")),
            self.other.as_ref().map(|other| ("", "other", other, "")),
        ];
        let lines = lines.into_iter().flatten().map(|(workload, server, compared, floor)| {
            let line = format!("{workload:<25}  {server:<9}  {}  {floor:>8}", compared.line());
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Compared {
    fn of(turns: Vec<Turn>, appends_of: Ratios) -> Option<Self> {
        Some(Self { server: Server::of(turns)?, appends_of })
    }

    fn line(&self) -> String {
        let text = |ratio: &Option<Spread>| ratio.as_ref().map_or_else(String::new, Spread::text);
        let Ratios { bare, single, leader } = &self.appends_of;
        format!(
            "{:>9.0}  {:<17}  {:<17}  {:<17}  {:>6}  {:>7}  {:>10.0}",
            self.server.appends_per_second.median,
            text(bare),
            text(single),
            text(leader),
            self.server.p50_us,
            self.server.p99_us,
            self.server.processor_us.median,
        )
    }
}

/// A workload of requests.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    clients: usize,
    events: usize,
    form: Form,
    /// Whether a node that does not lead takes it, too.
    is_relayed: bool,
}

/// The servers that take turns.
#[derive(Clone, Copy)]
struct Servers<'a> {
    bare: &'a BareServer,
    single: &'a BenchHost,
    cluster: &'a BenchCluster,
    floor: &'a Floor,
}

/// The turns of one round.
struct Round {
    bare: Turn,
    single: Turn,
    leader: Turn,
    other: Option<Turn>,
    floor_per_second: f64,
}

/// The turns of all rounds, in their order. There are none on a node that does not lead, if that was not measured.
#[derive(Default)]
struct Turns {
    bare: Vec<Turn>,
    single: Vec<Turn>,
    leader: Vec<Turn>,
    other: Vec<Turn>,
    floor_per_second: Vec<f64>,
}

impl Turns {
    fn add(&mut self, round: Round) {
        self.bare.push(round.bare);
        self.single.push(round.single);
        self.leader.push(round.leader);
        self.other.extend(round.other);
        self.floor_per_second.push(round.floor_per_second);
    }
}

/// Starts a cluster, a single node and a bare server in a folder, and measures the workloads whose name begins with `only` on them.
pub(crate) async fn measure(
    exesdb: &Path,
    folder: &Path,
    nodes: u16,
    rounds: Rounds,
    only: &str,
) -> anyhow::Result<Clustered> {
    let loads = loads(only)?;
    let single = BenchHost::start(exesdb, folder).await?;
    read::fill(single.address(), EVENTS_BEFORE).await?;
    let (bare, floor) = (BareServer::start(folder).await?, Floor::new(folder));
    let cluster = BenchCluster::start(exesdb, &folder.join("cluster"), nodes).await?;
    let servers = Servers { bare: &bare, single: &single, cluster: &cluster, floor: &floor };
    let measured = measure_loads(servers, &loads, rounds).await;
    // After a failure, too: nodes do not end with the process that started them if that is killed.
    let stopped = cluster.stop().await;
    let (rows, repeated_rounds) = measured?;
    stopped?;
    single.stop().await?;
    Ok(Clustered { nodes, rows, repeated_rounds })
}

/// The workloads of requests whose name begins with `only`. The pipeline is not measured on a cluster.
fn loads(only: &str) -> anyhow::Result<Vec<Load>> {
    let all = WORKLOADS.iter().filter_map(|workload| match workload.sent {
        Sent::Requests(form) => Some(Load {
            name: workload.name,
            clients: workload.clients,
            events: workload.events,
            form,
            is_relayed: workload.name.starts_with(RELAYED),
        }),
        Sent::Pipeline => None,
    });
    let loads: Vec<Load> = all.clone().filter(|load| load.name.starts_with(only)).collect();
    let names: Vec<&str> = all.map(|load| load.name).collect();
    anyhow::ensure!(
        !loads.is_empty(),
        "no workload of a cluster begins with {only:?}; there are `{}`",
        names.join("`, `")
    );
    Ok(loads)
}

/// Returns a row for each workload, and how many rounds were repeated.
async fn measure_loads(
    servers: Servers<'_>,
    loads: &[Load],
    rounds: Rounds,
) -> anyhow::Result<(Vec<Row>, usize)> {
    read::fill(servers.cluster.roles().await?.leader, EVENTS_BEFORE).await?;
    let (mut rows, mut all_repeated) = (Vec::new(), 0);
    for load in loads {
        let (turns, repeated) = measure_rounds(servers, *load, rounds).await?;
        rows.push(row(*load, turns).context("no round was measured")?);
        all_repeated += repeated;
    }
    Ok((rows, all_repeated))
}

async fn measure_rounds(servers: Servers<'_>, load: Load, rounds: Rounds) -> anyhow::Result<(Turns, usize)> {
    let (mut turns, mut repeated) = (Turns::default(), 0);
    while turns.leader.len() < rounds.count {
        let roles = servers.cluster.roles().await?;
        let round = measure_round(servers, &roles, load, rounds.time).await?;
        if servers.cluster.roles().await? == roles {
            turns.add(round);
        } else {
            repeated += 1;
            anyhow::ensure!(
                repeated <= REPEATED_MAX,
                "another node began to lead in {repeated} rounds; run this on a machine with less other work"
            );
        }
    }
    Ok((turns, repeated))
}

/// Has each server take its turn. Processor time is that from the beginning of a server's turn to that of its next one, or to
/// the end of the round, so that what the appends left to do in the background counts, too.
async fn measure_round(
    servers: Servers<'_>,
    roles: &Roles,
    load: Load,
    time: Duration,
) -> anyhow::Result<Round> {
    let Servers { bare, single, cluster, floor } = servers;
    let leader_before = cluster.processor_time()?;
    let leader = run(roles.leader, load, time).await?;
    let single_before = single.processor_time()?;
    let of_single = run(single.address(), load, time).await?;
    let other_before = cluster.processor_time()?;
    let other = match roles.other.filter(|_| load.is_relayed) {
        Some(other) => Some(run(other, load, time).await?),
        None => None,
    };
    // Kept until the end: the server has a thread for each of them, whose processor time is lost when it ends.
    let mut to_bare = Clients::new(bare.connect_all(load.clients).await?, load.events);
    let bare_before = bare.processor_time()?;
    let of_bare = to_bare.run(time).await?;
    let floor_per_second = floor.measure(FLOOR_TIME).await?;
    let end = cluster.processor_time()?;
    let leader_end = if other.is_some() { &other_before } else { &end };
    Ok(Round {
        bare: Turn::new(of_bare, bare.processor_time()?.since(&bare_before)),
        single: Turn::new(of_single, single.processor_time()?.since(&single_before)),
        leader: Turn::new(leader, took(&leader_before, leader_end)),
        other: other.map(|other| Turn::new(other, took(&other_before, &end))),
        floor_per_second,
    })
}

/// Appends with new connections: those of an earlier round may have been idle for longer than a host lets them be, or lead to a
/// node that does not lead any more.
async fn run(address: SocketAddr, load: Load, time: Duration) -> anyhow::Result<Measured> {
    let clients = Client::connect_all(address, load.form, load.clients).await?;
    Clients::new(clients, load.events).run(time).await
}

fn row(load: Load, turns: Turns) -> Option<Row> {
    let Turns { bare, single, leader, other, floor_per_second } = turns;
    let of = |turns: &[Turn], others: &[Turn]| {
        Spread::of_ratios(turns.iter().map(Turn::rate).zip(others.iter().map(Turn::rate)))
    };
    let single_of = Ratios { bare: of(&single, &bare), ..Ratios::default() };
    let leader_of = Ratios { bare: of(&leader, &bare), single: of(&leader, &single), leader: None };
    let other_of =
        Ratios { bare: of(&other, &bare), single: of(&other, &single), leader: of(&other, &leader) };
    Some(Row {
        workload: load.name,
        clients: load.clients,
        events_per_append: load.events,
        bare: Compared::of(bare, Ratios::default())?,
        single: Compared::of(single, single_of)?,
        leader: Compared::of(leader, leader_of)?,
        other: Compared::of(other, other_of),
        floor_per_second: Spread::of(floor_per_second)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clustered, Round, Row, Turns, loads, row};
    use crate::append::Turn;
    use crate::load::Measured;
    use crate::spread::Spread;

    #[test]
    fn the_appends_that_are_requests_are_measured_and_one_of_them_is_relayed() {
        let all = loads("").expect("workloads");
        let found: Vec<_> =
            all.iter().map(|load| (&load.name[..2], load.clients, load.events, load.is_relayed)).collect();
        assert_eq!(
            found,
            [("A:", 1, 1, false), ("B:", 32, 1, true), ("C:", 8, 100, false), ("C:", 8, 100, false)]
        );
        assert_eq!(loads("C: 8 clients, 100, b").expect("a workload").len(), 1);
        for only in ["C'", "D", "b"] {
            let error = loads(only).expect_err("no workload").to_string();
            assert!(error.contains("there are `A: 1 client, 1 event`, `B:"), "{only}: {error}");
        }
    }

    /// A second with this many appends, each of which took 2 ms, and 10 us of processor time.
    fn turn(appends: u32) -> Turn {
        let latencies = vec![Duration::from_millis(2); appends as usize];
        let measured = Measured::new(latencies, appends as usize, Duration::from_secs(1));
        Turn::new(measured, Duration::from_micros(10) * appends)
    }

    fn measured(rounds: &[[u32; 4]], has_other: bool) -> Option<Row> {
        let mut turns = Turns::default();
        for [bare, single, leader, other] in rounds.iter().copied() {
            turns.add(Round {
                bare: turn(bare),
                single: turn(single),
                leader: turn(leader),
                other: has_other.then(|| turn(other)),
                floor_per_second: 7.0,
            });
        }
        row(loads("B").expect("a workload")[0], turns)
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let row = measured(&[[100, 50, 25, 10], [40, 40, 10, 10], [80, 20, 20, 4]], true).expect("rounds");
        let spread = |median, least, most| Some(Spread { median, least, most });
        assert_eq!(row.single.appends_of.bare, spread(0.5, 0.25, 1.0));
        assert_eq!(row.leader.appends_of.bare, spread(0.25, 0.25, 0.25));
        assert_eq!(row.leader.appends_of.single, spread(0.5, 0.25, 1.0));
        let other = row.other.expect("it was measured");
        assert_eq!(other.appends_of.bare, spread(0.1, 0.05, 0.25));
        assert_eq!(other.appends_of.single, spread(0.2, 0.2, 0.25));
        assert_eq!(other.appends_of.leader, spread(0.4, 0.2, 1.0));
        assert!((row.leader.server.processor_us.median - 10.0).abs() < 1e-9);
        assert!((row.leader.server.appends_per_second.median - 20.0).abs() < 1e-9);
        assert!(measured(&[], true).is_none());
    }

    #[test]
    fn each_server_has_a_line_and_the_workload_is_named_once() {
        let lines = |has_other| measured(&[[100, 50, 25, 20]], has_other).expect("a round").lines();
        let expected = [
            "B: 32 clients, 1 event     bare             100                                                             2000     2000          10         7",
            "                           single            50  0.50 (0.50-0.50)                                           2000     2000          10",
            "                           leader            25  0.25 (0.25-0.25)   0.50 (0.50-0.50)                        2000     2000          10",
            "                           other             20  0.20 (0.20-0.20)   0.40 (0.40-0.40)   0.80 (0.80-0.80)     2000     2000          10",
        ];
        assert_eq!(lines(true).lines().collect::<Vec<_>>(), expected);
        assert_eq!(lines(false).lines().collect::<Vec<_>>(), expected[..3]);
        // What is in a column ends where its heading does.
        let heading = Row::HEADING.lines().last().expect("a line");
        for name in ["appends/s", "p50", "p99", "processors", "floor/s"] {
            let end = heading.find(name).expect("a column") + name.len();
            let text = &expected[0][..end];
            assert!(text.ends_with(|last: char| last.is_ascii_digit()), "{name}: {text}");
        }
    }

    #[test]
    fn the_document_has_what_was_measured_and_no_other_column() {
        let rows = measured(&[[100, 50, 25, 20]], false).into_iter().collect();
        let clustered = Clustered { nodes: 3, rows, repeated_rounds: 1 };
        let document = serde_json::to_value(&clustered).expect("JSON");
        let row = &document["rows"][0];
        assert_eq!((&document["nodes"], &document["repeated_rounds"]), (&3.into(), &1.into()));
        assert_eq!(row["leader"]["appends_of"]["single"]["median"], 0.5);
        assert_eq!(row["leader"]["appends_per_second"]["median"], 25.0);
        assert!(row.get("other").is_none() && row["bare"]["appends_of"] == serde_json::json!({}), "{row}");
        assert!(clustered.lines().contains("A cluster of 3 nodes"));
    }
}
