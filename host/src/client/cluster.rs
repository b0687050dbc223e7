//! The cluster that the host is a node of: its state, and who leads a store.

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ClientError;
use super::http::Client;
use super::url::escaped;

/// The state of a cluster, as far as the node that was asked knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's id.
    pub cluster: String,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its stores, and first the one that has the list of nodes and stores.
    pub stores: Vec<StoreStatus>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its process; none if it does not answer.
    pub pid: Option<u32>,
    /// `up`, `unreachable`, `joining` or `removed`.
    pub state: String,
    /// Where it is reached.
    pub addresses: NodeAddresses,
    /// The stores that it leads.
    pub leads: Vec<String>,
}

/// Where a node is reached: hosts and ports.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeAddresses {
    /// By other nodes.
    pub peers: Vec<String>,
    /// By clients.
    pub clients: Vec<String>,
}

/// A store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// The node that leads it.
    pub leader: Option<String>,
    /// What it survives.
    pub availability: Availability,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
}

/// What a store survives, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// The loss of any one node.
    Redundant,
    /// Not the loss of one more node.
    NoRedundancy,
    /// It takes no writes: too few nodes answer.
    NoMajority,
}

/// A replica of a store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplicaStatus {
    /// Its node.
    pub node: String,
    /// `leader`, `follower`, `learner`, `candidate`, `stopped` or `unknown`.
    pub role: String,
    /// Whether it counts for a majority.
    pub votes: bool,
    /// Entries that it misses; none if nobody knows.
    pub lag: Option<u64>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    /// The store or node.
    pub about: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Which node leads a store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LeaderTransferred {
    /// The store.
    pub store: String,
    /// The node.
    pub leader: String,
}

impl Client {
    /// The state of the cluster, as the node wrote it: a [`ClusterStatus`].
    pub async fn cluster(&self) -> Result<Box<RawValue>, ClientError> {
        self.json(Method::GET, &self.cluster_url(), None::<&()>).await
    }

    /// Reads a state of the cluster.
    pub fn cluster_status(&self, document: &RawValue) -> Result<ClusterStatus, ClientError> {
        serde_json::from_str(document.get())
            .map_err(|error| ClientError::Unreadable { url: self.cluster_url(), detail: error.to_string() })
    }

    /// Has a node lead the client's store: that of this name, or one of the cluster's choice.
    pub async fn transfer_leader(&self, to: Option<&str>) -> Result<LeaderTransferred, ClientError> {
        let url = format!("{}/stores/{}/transfer-leader", self.cluster_url(), escaped(self.store()));
        self.json(Method::POST, &url, Some(&serde_json::json!({ "to": to }))).await
    }

    fn cluster_url(&self) -> String {
        format!("{}/v1/cluster", self.url())
    }
}

#[cfg(test)]
mod tests {
    use crate::client::canned::{Canned, json};

    #[tokio::test]
    async fn a_leader_is_moved_by_a_request_that_names_store_and_node() {
        let gateway = Canned::start(vec![json("200 OK", r#"{"store":"main","leader":"b"}"#)]).await;
        assert_eq!(gateway.client.transfer_leader(Some("b")).await.unwrap().leader, "b");
        let request = gateway.requests.await.unwrap().remove(0);
        assert!(request.starts_with("POST /v1/cluster/stores/main/transfer-leader HTTP"), "{request}");
        assert!(request.ends_with(r#"{"to":"b"}"#), "{request}");
    }

    #[tokio::test]
    async fn a_state_that_is_none_is_unreadable() {
        let gateway = Canned::start(vec![json("200 OK", r#"{"nodes":[]}"#)]).await;
        let document = gateway.client.cluster().await.unwrap();
        assert!(gateway.client.cluster_status(&document).is_err());
    }
}
