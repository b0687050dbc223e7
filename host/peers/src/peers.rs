//! The connections of this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use exesdb_cluster::Transport;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::body::Body;
use crate::control::{self, CallError};
use crate::credentials::Credentials;
use crate::endpoint::{Attached, Endpoint, Endpoints};
use crate::hello::Admission;
use crate::identity::Identity;
use crate::links::Links;
use crate::name::{NameError, check_node_name};
use crate::node::Node;
use crate::relay::{self, RelayError};
use crate::server;
use crate::services::{ControlRequest, ControlResponse, Services};
use crate::status::{self, NodeStatus};
use crate::task::Task;
use crate::transport::GroupTransport;

/// The connections of this node to the others of its cluster. [`stop`](Self::stop) ends them in order; dropping it ends them soon
/// after.
pub struct Peers {
    node: Arc<Node>,
    links: Arc<Links>,
    server: Mutex<Option<Task>>,
}

/// Why the connections were not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The node's name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The certificate is for another node.
    #[error("the certificate is for node {certified}, and this node is {name}")]
    OtherName {
        /// For whom it is.
        certified: String,
        /// The node.
        name: String,
    },
}

impl Peers {
    /// Begins to accept connections. It connects to nobody before [`set_addresses`](Self::set_addresses). This is called in a
    /// runtime of tokio.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start(
        listener: TcpListener,
        identity: Identity,
        credentials: Credentials,
        admission: Arc<dyn Admission>,
        services: Arc<dyn Services>,
    ) -> Result<Self, StartError> {
        check_node_name(&identity.name)?;
        if credentials.node() != identity.name {
            let certified = credentials.node().to_owned();
            return Err(StartError::OtherName { certified, name: identity.name });
        }
        let node = Arc::new(Node {
            identity,
            credentials,
            admission,
            services,
            endpoints: Arc::new(Endpoints::default()),
            sends_snapshot: Semaphore::new(1),
            receives_snapshot: Arc::new(Semaphore::new(1)),
            refused: Mutex::default(),
        });
        let server = Task::spawn(server::run(listener, Arc::clone(&node)));
        let links = Arc::new(Links::new(Arc::clone(&node)));
        Ok(Self { node, links, server: Mutex::new(Some(server)) })
    }

    /// Gives the messages of a group to an endpoint, instead of the one before. Without one they are refused.
    pub fn attach(&self, group: u64, endpoint: Arc<dyn Endpoint>) -> Attached {
        self.node.endpoints.attach(group, endpoint)
    }

    /// What carries the messages of a group.
    #[must_use]
    pub fn transport(&self, group: u64) -> Arc<dyn Transport> {
        let (node, links) = (Arc::clone(&self.node), Arc::clone(&self.links));
        Arc::new(GroupTransport { node, links, group })
    }

    /// Connects to these nodes, by name, and ends the connections to others. This node may be among them. New addresses of a
    /// node count when it is connected to the next time.
    pub fn set_addresses(&self, addresses: BTreeMap<String, Vec<String>>) {
        self.links.set(addresses);
    }

    /// Has another node answer a client's request.
    ///
    /// # Errors
    ///
    /// [`RelayError`]. Only after [`Broken`](RelayError::Broken) may the node have got the request.
    pub async fn relay(&self, node: &str, request: Request<Body>) -> Result<Response<Body>, RelayError> {
        let unknown = || RelayError::Unreachable { reason: no_address(node) };
        relay::send(&self.node, &*self.links.get(node).ok_or_else(unknown)?, request).await
    }

    /// Calls the host of another node.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Only after [`Broken`](CallError::Broken) may the node have got the call.
    pub async fn call(&self, node: &str, request: &ControlRequest) -> Result<ControlResponse, CallError> {
        let unknown = || CallError::Unreachable { reason: no_address(node) };
        control::send(&*self.links.get(node).ok_or_else(unknown)?, request).await
    }

    /// The connections to all nodes that this one knows or refused, by name.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        status::of(&self.node, &self.links)
    }

    /// Ends all connections, and accepts no more.
    pub async fn stop(&self) {
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.stop().await;
        }
        self.links.stop().await;
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Groups may still have their transports.
        drop(self.links.end());
    }
}

fn no_address(node: &str) -> String {
    format!("no address of node {node} is known")
}
