//! The connections to one node. One task keeps that for messages; the other two are made when they are needed.

mod line;
mod live;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::{Member, SendError};
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use self::line::Line;
pub(crate) use self::live::Live;
use crate::body::Body;
use crate::clock::now_us;
use crate::dial::{DialError, Dialed, dial};
use crate::hello::Kind;
use crate::limits::{
    GROUP_BYTES_MAX, GROUP_FRAMES_MAX, PEER_BYTES_MAX, PEER_FRAMES_MAX, RECONNECT_MAX, REFUSED_PAUSE,
    RELAYS_MAX, SKEW_MAX,
};
use crate::meter::{Meter, Permit, Used};
use crate::node::Node;
use crate::pace::Backoff;

/// What this node has to one other node.
pub(crate) struct Link {
    node: Arc<Node>,
    pub(crate) name: String,
    addresses: watch::Sender<Vec<String>>,
    live: Mutex<Option<Arc<Live>>>,
    state: Mutex<State>,
    all: Arc<Meter>,
    groups: Mutex<HashMap<u64, Arc<Meter>>>,
    bulk: Line,
    client: Line,
    pub(crate) relays: Arc<Semaphore>,
}

/// What is known about the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The address of the connection, and since when it has been there.
    pub(crate) connected: Option<(String, u64)>,
    /// Why the last attempt or connection failed, and when.
    pub(crate) error: Option<(String, u64)>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) skew: Option<i64>,
}

impl Link {
    pub(crate) fn new(node: Arc<Node>, name: String, addresses: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            node,
            name,
            addresses: watch::Sender::new(addresses),
            live: Mutex::default(),
            state: Mutex::default(),
            all: Meter::new(PEER_FRAMES_MAX, PEER_BYTES_MAX),
            groups: Mutex::default(),
            bulk: Line::new(Kind::Bulk),
            client: Line::new(Kind::Client),
            relays: Arc::new(Semaphore::new(RELAYS_MAX)),
        })
    }

    pub(crate) fn set_addresses(&self, addresses: Vec<String>) {
        self.addresses.send_if_modified(|before| {
            let is_new = *before != addresses;
            *before = addresses;
            is_new
        });
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.borrow().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub(crate) fn used(&self) -> Used {
        self.all.used()
    }

    /// Keeps a connection, without end.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        let mut addresses = self.addresses.subscribe();
        loop {
            let known = addresses.borrow_and_update().clone();
            let error = match dial(&self.node, &self.name, &known, Kind::Raft).await {
                Ok(dialed) => {
                    let since = Instant::now();
                    let error = self.keep(dialed).await;
                    // One that ends at once is no success.
                    if since.elapsed() >= RECONNECT_MAX {
                        backoff.succeeded();
                    }
                    tracing::info!(peer = self.name, error, "a connection to a node ended");
                    self.note_error(error);
                    None
                }
                Err(error) => {
                    self.note_error(error.to_string());
                    Some(error)
                }
            };
            let pause = match error {
                Some(error) if error.is_refusal() => REFUSED_PAUSE,
                _ => backoff.next(fastrand::f64()),
            };
            // Another address is tried at once.
            tokio::select! {
                () = sleep(pause) => {}
                _ = addresses.changed() => {}
            }
        }
    }

    /// Keeps a connection until it ends. Returns why it did.
    async fn keep(&self, dialed: Dialed) -> String {
        self.note_clock(dialed.round_trip, dialed.skew);
        let (live, running) = match live::start(&self.name, dialed).await {
            Ok(started) => started,
            Err(error) => return error,
        };
        tracing::info!(peer = self.name, address = live.address, "a connection to a node was made");
        self.state.lock().connected = Some((live.address.clone(), now_us()));
        *self.live.lock() = Some(Arc::clone(&live));
        let _ended = Ended { link: self, live: Arc::clone(&live) };
        let still = || self.node.check_again(&live.remote);
        running.run(&live, still, |round_trip, skew| self.note_clock(round_trip, skew)).await
    }

    fn note_error(&self, error: String) {
        let mut state = self.state.lock();
        if state.error.as_ref().is_none_or(|(before, _)| *before != error) {
            tracing::warn!(peer = self.name, error, "no connection to a node");
        }
        state.error = Some((error, now_us()));
    }

    fn note_clock(&self, round_trip: Duration, skew: i64) {
        let mut state = self.state.lock();
        if is_skewed(skew) && !state.skew.is_some_and(is_skewed) {
            tracing::warn!(peer = self.name, skew_us = skew, "the clock of a node differs from this one's");
        }
        state.round_trip = Some(round_trip);
        state.skew = Some(skew);
    }

    /// The connection for messages, if it is there and goes to this log.
    pub(crate) fn live_to(&self, member: &Member) -> Result<Arc<Live>, SendError> {
        let live = self.live.lock().clone().ok_or_else(|| self.unreachable())?;
        if live.remote.incarnation != member.incarnation {
            let (found, wanted) = (live.remote.incarnation, member.incarnation);
            let name = &self.name;
            let reason = format!("node {name} has log {found:016x}, and the member is of log {wanted:016x}");
            return Err(SendError::Refused { reason });
        }
        Ok(live)
    }

    fn unreachable(&self) -> SendError {
        let error = self.state.lock().error.clone();
        let reason = error.map_or_else(|| "it is being connected to".to_owned(), |(error, _)| error);
        SendError::Unreachable { reason }
    }

    /// Counts a message of a group on its way to the node.
    pub(crate) fn admit(&self, group: u64, message: &Bytes) -> Option<(Permit, Permit)> {
        let meter = {
            let mut groups = self.groups.lock();
            let new = || Meter::new(GROUP_FRAMES_MAX, GROUP_BYTES_MAX);
            Arc::clone(groups.entry(group).or_insert_with(new))
        };
        Some((meter.admit(message.len())?, self.all.admit(message.len())?))
    }

    /// The connection for snapshots.
    pub(crate) async fn bulk(&self) -> Result<SendRequest<Body>, String> {
        self.line(&self.bulk).await
    }

    /// The connection for relays and calls.
    pub(crate) async fn client(&self) -> Result<SendRequest<Body>, String> {
        self.line(&self.client).await
    }

    /// One of the other connections. None is tried while that for messages is not there: who waits is told at once.
    async fn line(&self, line: &Line) -> Result<SendRequest<Body>, String> {
        let live = self.live.lock().clone().ok_or_else(|| self.unreachable().to_string())?;
        let requests = line.get(&self.node, &self.name, &live).await;
        requests.map_err(|error: DialError| error.to_string())
    }
}

pub(crate) fn is_skewed(skew: i64) -> bool {
    u128::from(skew.unsigned_abs()) > SKEW_MAX.as_micros()
}

/// Ends a connection for all who wait for answers, also when its task is aborted.
struct Ended<'a> {
    link: &'a Link,
    live: Arc<Live>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.link.live.lock() = None;
        self.link.state.lock().connected = None;
        self.live.close();
    }
}
