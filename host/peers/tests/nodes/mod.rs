//! Nodes of a cluster on loopback, with real sockets and certificates.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod proxy;
pub mod raw;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exesdb_peers::{
    Admission, Authority, Body, CertificateRequest, ControlRequest, ControlResponse, Credentials, Identity,
    Invitations, JoinRefusal, JoinRequest, JoinResponse, NodeStatus, Peers, Registered, Remote, Secret,
    Services,
};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

pub const CLUSTER: u128 = 7 << 100;
/// How long a test waits for what should happen.
pub const WAIT: Duration = Duration::from_secs(60);

/// A cluster's authority, and what all its nodes know.
pub struct Cluster {
    pub folder: TempDir,
    pub authority: Arc<Authority>,
    pub registry: Arc<Registry>,
    pub invitations: Arc<Mutex<Invitations>>,
}

#[derive(Default)]
pub struct Registry {
    pub nodes: Mutex<BTreeMap<String, Registered>>,
}

impl Admission for Registry {
    fn registered(&self, name: &str) -> Option<Registered> {
        self.nodes.lock().get(name).cloned()
    }

    fn feature_level(&self) -> u32 {
        1
    }
}

/// A node that runs.
pub struct Node {
    pub identity: Identity,
    pub address: String,
    pub peers: Peers,
}

pub fn name(number: u64) -> String {
    format!("node-{number}")
}

pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

impl Cluster {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::create(folder.path()).unwrap());
        Self { folder, authority, registry: Arc::default(), invitations: Arc::default() }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate and its key for a node. Returns their files.
    pub fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        let request = CertificateRequest::new().unwrap();
        fs::write(file("pem"), self.authority.sign(name, request.pem()).unwrap()).unwrap();
        fs::write(file("key"), request.key_pem()).unwrap();
        (file("pem"), file("key"))
    }

    pub fn identity(number: u64) -> Identity {
        Identity { cluster: CLUSTER, node: number, name: name(number), incarnation: 1_000 + number }
    }

    pub fn register(&self, number: u64) {
        let Identity { node, name, incarnation, .. } = Self::identity(number);
        let registered = Registered { node, incarnation, is_removed: false };
        self.registry.nodes.lock().insert(name, registered);
    }

    pub fn change(&self, number: u64, change: impl FnOnce(&mut Registered)) {
        change(self.registry.nodes.lock().get_mut(&name(number)).unwrap());
    }

    /// Registers and starts a node.
    pub async fn start(&self, number: u64) -> Node {
        self.register(number);
        self.start_as(Self::identity(number), Arc::clone(&self.registry)).await
    }

    pub async fn start_as(&self, identity: Identity, registry: Arc<Registry>) -> Node {
        let (certificate, key) = self.certificate(&identity.name);
        let credentials = Credentials::load(&self.ca(), &certificate, &key, &identity.name).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let services = Arc::new(TestServices::of(self));
        let peers = Peers::start(listener, identity.clone(), credentials, registry, services).unwrap();
        Node { identity, address, peers }
    }
}

impl Node {
    /// Connects to these nodes.
    pub fn connect(&self, others: &[(&str, &str)]) {
        let addresses =
            others.iter().map(|(name, address)| ((*name).to_owned(), vec![(*address).to_owned()]));
        self.peers.set_addresses(addresses.collect());
    }

    pub fn status(&self, name: &str) -> Option<NodeStatus> {
        self.peers.status().into_iter().find(|status| status.name == name)
    }

    pub async fn connected(&self, name: &str) {
        let is_connected = || self.status(name).is_some_and(|status| status.connected_to.is_some());
        wait_for("a connection", is_connected).await;
    }

    /// Waits until the status of a node has this in its error or refusal.
    pub async fn says(&self, name: &str, text: &str) {
        let found = || {
            let status = self.status(name).unwrap_or_default();
            [status.error, status.refused].into_iter().flatten().any(|said| said.contains(text))
        };
        let waiting = wait_for(text, found);
        if timeout(WAIT / 2, waiting).await.is_err() {
            panic!("{text:?} is not in {:#?}", self.status(name));
        }
    }
}

/// Answers relayed requests with their own bodies, and calls with their own contents.
pub struct TestServices {
    authority: Arc<Authority>,
    invitations: Arc<Mutex<Invitations>>,
}

impl TestServices {
    pub fn of(cluster: &Cluster) -> Self {
        let authority = Arc::clone(&cluster.authority);
        Self { authority, invitations: Arc::clone(&cluster.invitations) }
    }
}

impl Services for TestServices {
    fn relay(&self, from: Remote, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let (parts, body) = request.into_parts();
        let mut response = Response::builder().status(StatusCode::CREATED);
        for (name, value) in &parts.headers {
            response = response.header(format!("x-{name}"), value);
        }
        let head = format!("{} {}", parts.method, parts.uri);
        let response = response.header("x-head", head).header("x-from", from.name).body(body).unwrap();
        Box::pin(async move { response })
    }

    fn control(&self, from: Remote, request: ControlRequest) -> BoxFuture<'static, ControlResponse> {
        let response = match request.what.as_str() {
            "echo" => ControlResponse::Done(json!([from.name, request.content])),
            what => ControlResponse::Refused(format!("no {what}")),
        };
        Box::pin(async move { response })
    }

    fn join(
        &self,
        secret: Secret,
        request: JoinRequest,
    ) -> BoxFuture<'static, Result<JoinResponse, JoinRefusal>> {
        let join = || {
            let mut invitations = self.invitations.lock();
            invitations.redeem(&secret, &request.name, request.incarnation, now_us())?;
            let signed = self.authority.sign(&request.name, &request.certificate_request);
            let certificate = signed.map_err(|error| JoinRefusal::Malformed { reason: error.to_string() })?;
            let authority = self.authority.certificate_pem();
            Ok(JoinResponse { certificate, authority, content: json!({ "node": 4 }) })
        };
        let joined = join();
        Box::pin(async move { joined })
    }
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("waited for {what} in vain"));
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(WAIT, future).await.expect("it ends in time")
}
