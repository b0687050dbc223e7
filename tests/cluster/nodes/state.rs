//! What the nodes say about the cluster, and what each of them has.

use std::time::Instant;

use exesdb_tests::Client;
use serde_json::Value;

use super::{Nodes, POLL, RECOVERY, within};

/// Entries that a replica may miss and count as caught up while more is appended.
const LAG_MAX: u64 = 1_000;

/// Events of a page.
const PAGE: usize = 1_000;

impl Nodes {
    /// The state of the cluster, as the first node says that answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let able = (0..self.len()).filter(|node| self.is_running(*node) && !self.is_paused(*node));
        let mut answers = able.map(|node| self.client(node).get("/v1/cluster"));
        answers.find(|answer| answer.status == 200 && !answer.cut_off).map(|answer| answer.json)
    }

    /// The node that leads the store `main`.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        within("a node leads", || {
            let status = self.status()?;
            let name = store_in(&status, "main")?["leader"].as_str()?.to_owned();
            self.nodes.iter().position(|node| node.name == name)
        })
    }

    /// Some node that runs and does not lead the store `main`.
    #[track_caller]
    pub(crate) fn follower(&self) -> usize {
        let leader = self.leader();
        (0..self.len()).find(|node| *node != leader && self.is_running(*node)).expect("there are others")
    }

    /// Waits until every store survives the loss of any one node, and no replica is far behind.
    #[track_caller]
    pub(crate) fn redundant(&self) {
        let mut last = Value::Null;
        let until = Instant::now() + RECOVERY;
        loop {
            if let Some(status) = self.status() {
                if is_redundant(&status, self.len()) {
                    return;
                }
                last = status;
            }
            assert!(Instant::now() < until, "the cluster is not redundant within {RECOVERY:?}: {last:#}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until all nodes have the same number of events. Nobody may append meanwhile.
    #[track_caller]
    pub(crate) fn caught_up(&self) {
        let clients = self.clients();
        within("all nodes have the same", || {
            let ends: Vec<(Value, Value)> = clients
                .iter()
                .map(|client| client.get(&client.path()).json)
                .map(|mut info| (info["next_position"].take(), info["history"].take()))
                .collect();
            let first = ends.first()?;
            (first.0.is_u64() && ends.iter().all(|end| end == first)).then_some(())
        });
    }

    /// Each node's own events from a position on, by the node's name.
    #[track_caller]
    pub(crate) fn events_from(&self, position: u64) -> Vec<(String, Vec<Value>)> {
        let read = |node: usize| (self.nodes[node].name.clone(), local_events(&self.client(node), position));
        (0..self.len()).map(read).collect()
    }
}

/// A store in the state of a cluster.
fn store_in<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["stores"].as_array()?.iter().find(|store| store["name"] == name)
}

/// Whether all nodes are up, all stores are redundant and all replicas are nearly where their leaders are.
fn is_redundant(status: &Value, nodes: usize) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_near = |replica: &Value| {
        replica["votes"] == true && replica["lag"].as_u64().is_some_and(|lag| lag <= LAG_MAX)
    };
    let up = list(&status["nodes"]).iter().filter(|node| node["state"] == "up").count();
    let stores = list(&status["stores"]);
    up == nodes
        && stores.len() > 1
        && stores.iter().all(|store| {
            let replicas = list(&store["replicas"]);
            store["availability"] == "redundant"
                && store["leader"].is_string()
                && replicas.len() == nodes
                && replicas.iter().all(is_near)
        })
}

/// What a node itself has from a position on.
#[track_caller]
pub(crate) fn local_events(client: &Client, mut position: u64) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let path = format!("{}/events?from={position}&count={PAGE}", client.path());
        let mut page = client.get_with(&path, &[("exesdb-read", "local")]).expect(200);
        let Value::Array(found) = page.json["events"].take() else { panic!("a page has events") };
        events.extend(found);
        if page.json["end"] == true {
            return events;
        }
        position = page.json["next"].as_u64().expect("a page that is not the last says what follows");
    }
}
