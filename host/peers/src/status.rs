//! What is known about the connections, for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::link::{State, is_skewed};
use crate::links::Links;
use crate::meter::Used;
use crate::node::Node;

/// The connection to one node. Times are in microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The addresses that are tried. None for a node that is refused and unknown.
    pub addresses: Vec<String>,
    /// The address that this node is connected to.
    pub connected_to: Option<String>,
    /// Since when.
    pub connected_since: Option<u64>,
    /// Why the last attempt or connection failed, with what the other side said.
    pub error: Option<String>,
    /// When.
    pub error_at: Option<u64>,
    /// Why this node refused the other one, when it last connected.
    pub refused: Option<String>,
    /// When.
    pub refused_at: Option<u64>,
    /// From a ping to its answer.
    pub round_trip: Option<Duration>,
    /// The other clock less this one's, in microseconds.
    pub clock_skew: Option<i64>,
    /// The clocks differ by more than two seconds.
    pub is_skewed: bool,
    /// Messages that are on their way or wait for their answers.
    pub in_flight: usize,
    /// Bytes of these.
    pub in_flight_bytes: usize,
}

pub(crate) fn of(node: &Node, links: &Links) -> Vec<NodeStatus> {
    let mut all: BTreeMap<String, NodeStatus> = BTreeMap::new();
    for link in links.all() {
        let State { connected, error, round_trip, skew } = link.state();
        let Used { frames, bytes } = link.used();
        let (connected_to, connected_since) = connected.unzip();
        let (error, error_at) = error.unzip();
        let status = NodeStatus {
            name: link.name.clone(),
            addresses: link.addresses(),
            connected_to,
            connected_since,
            error,
            error_at,
            round_trip,
            clock_skew: skew,
            is_skewed: skew.is_some_and(is_skewed),
            in_flight: frames,
            in_flight_bytes: bytes,
            ..NodeStatus::default()
        };
        all.insert(link.name.clone(), status);
    }
    for (name, (refusal, at)) in &*node.refused.lock() {
        let status = all.entry(name.clone()).or_default();
        status.name.clone_from(name);
        status.refused = Some(refusal.to_string());
        status.refused_at = Some(*at);
    }
    all.into_values().collect()
}
