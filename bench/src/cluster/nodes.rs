//! The nodes of the measured cluster: `exesdb cluster local`, which has a process for each node.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::client::AbortOnDropHandle;
use crate::processor::ProcessorTime;

/// The store that is measured.
const STORE: &str = "main";

/// What the line begins with that is printed when all nodes run.
const READY: &str = "Try";

/// How long the cluster may take until then. Each node compiles the components, which takes seconds on a slow machine.
const READY_WITHIN: Duration = Duration::from_secs(600);

/// How long the cluster may take until the store survives the loss of a node, at the start and between rounds.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Before the cluster is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// The first port of a cluster is one of these, below those that systems give to outgoing connections.
const PORT_FIRST: u16 = 20_000;
const PORT_LAST: u16 = 29_900;
const PORT_STEP: usize = 100;

/// Between the ports of two nodes. Each has one for clients, and the next one for other nodes.
const NODE_STEP: u16 = 10;

/// A running cluster. It has to be stopped: its nodes go on if this process ends.
pub(crate) struct BenchCluster {
    child: Child,
    /// Kept open, because nodes that end are reported on it.
    output: Lines<BufReader<ChildStdout>>,
    /// Where the first node serves clients.
    first: SocketAddr,
    /// The processes of the nodes.
    pids: Vec<u32>,
}

/// Which node does what for the measured store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Where the node that leads serves clients.
    pub(crate) leader: SocketAddr,
    /// Where one that does not lead serves clients; none if there is only one node.
    pub(crate) other: Option<SocketAddr>,
    /// The processes of all nodes.
    pids: Vec<u32>,
}

/// What `GET /v1/cluster` says, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Document {
    nodes: Vec<Node>,
    stores: Vec<Store>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    pid: Option<u32>,
    addresses: Addresses,
    leads: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    clients: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Store {
    name: String,
    availability: String,
}

impl BenchCluster {
    /// Makes a cluster in a folder, and waits until its store survives the loss of a node.
    pub(crate) async fn start(exesdb: &Path, folder: &Path, nodes: u16) -> anyhow::Result<Self> {
        let port = first_port(nodes, is_free).context("there are not enough free ports for a cluster")?;
        let mut child = Command::new(exesdb)
            .args(["cluster", "local", &nodes.to_string(), "--port", &port.to_string(), "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a cluster to measure")?;
        let output = child.stdout.take().context("the cluster's output was piped")?;
        let output = BufReader::new(output).lines();
        let first = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut cluster = Self { child, output, first, pids: Vec::new() };
        let ready = tokio::time::timeout(READY_WITHIN, cluster.ready()).await;
        match ready.context("the cluster to measure did not become ready").flatten() {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // That it has ended already is no news.
                drop(cluster.stop().await);
                Err(error)
            }
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        while let Some(line) = self.output.next_line().await? {
            if line.starts_with(READY) {
                self.pids = self.roles().await?.pids;
                return Ok(());
            }
        }
        anyhow::bail!("the cluster to measure ended before it was ready")
    }

    /// Which node leads the store. Waits until one does, all nodes answer, and the store survives the loss of one.
    pub(crate) async fn roles(&self) -> anyhow::Result<Roles> {
        let end = Instant::now() + SETTLED_WITHIN;
        loop {
            let error = match self.document().await.and_then(|document| roles(&document)) {
                Ok(roles) => return Ok(roles),
                Err(error) => error,
            };
            if Instant::now() > end {
                return Err(error.context("the cluster to measure does not settle"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn document(&self) -> anyhow::Result<Document> {
        let socket =
            TcpStream::connect(self.first).await.context("cannot connect to the measured cluster")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::get("/v1/cluster")
            .header(header::HOST, self.first.to_string())
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status == StatusCode::OK,
            "the measured cluster says {status} instead of its state: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).context("the measured cluster says a strange state")
    }

    /// The processor time that each node took so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Vec<ProcessorTime>> {
        let times = self.pids.iter().map(|pid| ProcessorTime::of(*pid));
        times.collect::<anyhow::Result<_>>().context("a node of the measured cluster ended by itself")
    }

    /// Stops it with SIGTERM, as an operator does, and waits until all nodes have ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the measured cluster ended by itself")?;
        let sent = Command::new("kill").arg(pid.to_string()).status().await.context("cannot run kill")?;
        anyhow::ensure!(sent.success(), "cannot stop the measured cluster");
        while self.output.next_line().await?.is_some() {}
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "the measured cluster ended with {status}");
        Ok(())
    }
}

/// The processor time that all nodes took between two times.
pub(crate) fn took(earlier: &[ProcessorTime], now: &[ProcessorTime]) -> Duration {
    earlier.iter().zip(now).map(|(earlier, now)| now.since(earlier)).sum()
}

fn roles(document: &Document) -> anyhow::Result<Roles> {
    let Document { nodes, stores } = document;
    let store = stores.iter().find(|store| store.name == STORE).context("the cluster has no store `main`")?;
    anyhow::ensure!(
        nodes.len() == 1 || store.availability == "redundant",
        "the store `main` is not redundant, but `{}`",
        store.availability
    );
    let leads = |node: &&Node| node.leads.iter().any(|store| store == STORE);
    let leader = nodes.iter().find(leads).context("no node leads the store `main`")?;
    let other = nodes.iter().find(|node| node.name != leader.name);
    let pids = nodes.iter().map(|node| node.pid.with_context(|| format!("{} does not answer", node.name)));
    Ok(Roles {
        leader: clients(leader)?,
        other: other.map(clients).transpose()?,
        pids: pids.collect::<anyhow::Result<_>>()?,
    })
}

/// Where a node serves clients.
fn clients(node: &Node) -> anyhow::Result<SocketAddr> {
    let address =
        node.addresses.clients.first().with_context(|| format!("{} serves no clients", node.name))?;
    address.parse().with_context(|| format!("{} serves clients at a strange address: {address}", node.name))
}

/// The first port of a cluster whose ports are all free.
fn first_port(nodes: u16, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    (PORT_FIRST..=PORT_LAST).step_by(PORT_STEP).find(|first| {
        let mut ports = (0..nodes).map(|node| first + NODE_STEP * node).flat_map(|port| [port, port + 1]);
        ports.all(&is_free)
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Roles, first_port, roles};

    fn state() -> Value {
        json!({
            "cluster": "00ab",
            "nodes": [
                { "name": "node-1", "pid": 17, "state": "up", "leads": ["$cluster"],
                  "addresses": { "peers": ["127.0.0.1:20001"], "clients": ["127.0.0.1:20000"] } },
                { "name": "node-2", "pid": 18, "state": "up", "leads": ["main"],
                  "addresses": { "peers": ["127.0.0.1:20011"], "clients": ["127.0.0.1:20010"] } },
                { "name": "node-3", "pid": 19, "state": "up", "leads": [],
                  "addresses": { "peers": ["127.0.0.1:20021"], "clients": ["127.0.0.1:20020"] } },
            ],
            "stores": [
                { "name": "$cluster", "leader": "node-1", "availability": "redundant", "replicas": [] },
                { "name": "main", "leader": "node-2", "availability": "redundant", "replicas": [] },
            ],
            "findings": [],
        })
    }

    fn roles_of(state: Value) -> anyhow::Result<Roles> {
        roles(&serde_json::from_value(state).expect("a state of a cluster"))
    }

    fn address(port: u16) -> std::net::SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_node_leads_the_store_and_the_first_other_one_relays() {
        let expected =
            Roles { leader: address(20_010), other: Some(address(20_000)), pids: vec![17, 18, 19] };
        assert_eq!(roles_of(state()).expect("roles"), expected);
        let mut alone = state();
        alone["nodes"].as_array_mut().expect("nodes").retain(|node| node["name"] == "node-2");
        alone["stores"][1]["availability"] = "no-redundancy".into();
        let expected = Roles { leader: address(20_010), other: None, pids: vec![18] };
        assert_eq!(roles_of(alone).expect("roles"), expected);
    }

    #[test]
    fn a_cluster_that_has_not_settled_is_not_measured() {
        let table = [
            ("/nodes/1/leads", json!([]), "no node leads"),
            ("/nodes/2/pid", Value::Null, "node-3 does not answer"),
            ("/nodes/1/addresses/clients", json!([]), "node-2 serves no clients"),
            ("/nodes/0/addresses/clients/0", json!("x"), "node-1 serves clients at a strange address: x"),
            ("/stores/1/availability", json!("no-redundancy"), "is not redundant, but `no-redundancy`"),
            ("/stores/1/name", json!("other"), "no store `main`"),
        ];
        for (place, value, expected) in table {
            let mut state = state();
            *state.pointer_mut(place).expect("a value") = value;
            let error = format!("{:#}", roles_of(state).expect_err(place));
            assert!(error.contains(expected), "{place}: {error}");
        }
    }

    #[test]
    fn a_cluster_takes_the_first_ports_that_are_all_free() {
        let table: [(u16, &[u16], u16); 5] = [
            (3, &[], 20_000),
            (3, &[20_002, 20_009, 20_030], 20_000),
            (3, &[20_021], 20_100),
            (3, &[20_000, 20_111], 20_200),
            (1, &[20_010], 20_000),
        ];
        for (nodes, taken, expected) in table {
            let found = first_port(nodes, |port| !taken.contains(&port));
            assert_eq!(found, Some(expected), "{nodes} nodes, {taken:?}");
        }
        assert_eq!(first_port(5, |port| port.is_multiple_of(10)), None);
    }
}
