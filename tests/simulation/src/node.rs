//! A simulated node: what outlives its process, and its process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use exesdb_cluster::home::MemoryHome;
use exesdb_cluster::{Execution, Group, Health, Member, Options, Peer};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::disk::{self, Disk};
use crate::faults::Fault;
use crate::history::Recorder;
use crate::home::Home;
use crate::network::{self, Frame, Kind, Loss, Wire, split_snapshot};

/// The number of the one group.
pub const GROUP: u64 = 7;
/// When the simulation begins, in microseconds since 1970: any time will do, and the clocks of nodes go back from it.
const EPOCH_US: u64 = 1_700_000_000_000_000;
/// Largest datagram: the snapshot of everything that a simulation appends.
const DATAGRAM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often a clock that is too fast goes on.
const FAST_TICK: Duration = Duration::from_millis(50);

/// A group on a node.
pub type NodeGroup = Group<Home>;

/// Something to be done on a node, while it runs.
pub type Work = Box<dyn FnOnce(Arc<NodeGroup>) -> futures_util::future::BoxFuture<'static, ()> + Send>;

/// A node.
pub struct Node {
    /// Its number, from 0.
    pub number: usize,
    /// What of it outlives its process.
    pub state: Mutex<State>,
    /// Its process, if it runs.
    pub process: Mutex<Process>,
    /// Microseconds that its clock is ahead.
    pub skew_us: AtomicI64,
    /// Milliseconds that its clock jumps ahead each 50 ms.
    pub fast_ms: AtomicU64,
    /// What it says about itself.
    pub health: Mutex<Health>,
    setup: Setup,
}

/// What of a node outlives its process.
#[derive(Clone)]
pub struct State {
    /// Its replica's id.
    pub replica: u64,
    /// Where it is.
    pub member: Member,
    /// Its store.
    pub home: Home,
    /// Its log.
    pub disk: Arc<Disk>,
}

/// What of a node ends with its process.
#[derive(Default)]
pub struct Process {
    /// Its group, once it has started.
    pub group: Option<Arc<NodeGroup>>,
    work: Option<mpsc::UnboundedSender<Work>>,
    /// How many there were before.
    starts: u64,
}

/// What is the same for all nodes.
#[derive(Clone)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// Where nodes are.
    pub addresses: Arc<BTreeMap<String, SocketAddr>>,
    /// How unreliable the network is.
    pub loss: Loss,
    /// Bytes of the log that are kept for followers that are behind.
    pub log_bytes_kept: u64,
    /// How long a sync takes.
    pub sync: Duration,
    /// What is wrong.
    pub fault: Option<Fault>,
    /// Where everything is recorded.
    pub recorder: Recorder,
}

/// The name of a node.
#[must_use]
pub fn name(number: usize) -> String {
    format!("node-{number}")
}

impl Node {
    /// A node whose disks have a replica or none.
    #[must_use]
    pub fn new(number: usize, replica: u64, memory: MemoryHome, setup: Setup) -> Self {
        let member = Member { node: name(number), incarnation: 1_000 + replica };
        let home = Home { memory, fault: setup.fault };
        let disk = Arc::new(Disk::new(setup.sync, setup.fault));
        Self {
            number,
            state: Mutex::new(State { replica, member, home, disk }),
            process: Mutex::default(),
            skew_us: AtomicI64::new(0),
            fast_ms: AtomicU64::new(0),
            health: Mutex::default(),
            setup,
        }
    }

    /// Its disks are lost, and it is to come back as this replica.
    pub fn wipe(&self, replica: u64) {
        let mut state = self.state.lock();
        state.replica = replica;
        state.member.incarnation = 1_000 + replica;
        state.home = Home { memory: MemoryHome::new(), fault: self.setup.fault };
        state.disk = Arc::new(Disk::new(self.setup.sync, self.setup.fault));
    }

    /// Has something done on the node. Returns whether it runs.
    pub fn work(&self, work: Work) -> bool {
        self.process.lock().work.as_ref().is_some_and(|sender| sender.send(work).is_ok())
    }

    /// Its group, if it runs.
    pub fn group(&self) -> Option<Arc<NodeGroup>> {
        self.process.lock().group.clone()
    }

    /// The process has ended. Nothing of it may be held any more.
    pub fn ended(&self) {
        let mut process = self.process.lock();
        process.group = None;
        process.work = None;
    }

    /// Its clock, in microseconds since 1970.
    fn clock(&self) -> u64 {
        let now = self.setup.recorder.with(|recording| recording.now);
        let now = EPOCH_US + u64::try_from(now.as_micros()).expect("a simulation is short");
        now.saturating_add_signed(self.skew_us.load(Ordering::Relaxed))
    }

    fn options(self: &Arc<Self>, starts: u64) -> Options {
        let (clock, health) = (Arc::clone(self), Arc::clone(self));
        Options {
            execution: Execution::Inline,
            on_applied: None,
            clock: Arc::new(move || clock.clock()),
            health: Arc::new(move || *health.health.lock()),
            log_bytes_kept: self.setup.log_bytes_kept,
            seed: Some(self.seed(starts)),
            fault: self.setup.fault.and_then(Fault::cluster),
        }
    }

    fn seed(&self, starts: u64) -> u64 {
        self.setup.seed.wrapping_mul(1_000_003) ^ (self.number as u64 * 7_919) ^ (starts << 20)
    }

    fn stopped(&self, reason: String) {
        let number = self.number;
        self.setup.recorder.with(|recording| recording.history.stops.push((number, reason)));
    }

    /// Runs the process until it is ended from outside.
    pub async fn run(self: Arc<Self>) {
        let State { replica, member, home, disk } = self.state.lock().clone();
        let (starts, mut work) = {
            let mut process = self.process.lock();
            process.starts += 1;
            let (tx, rx) = mpsc::unbounded_channel();
            process.work = Some(tx);
            (process.starts, rx)
        };
        let Setup { addresses, loss, recorder, .. } = self.setup.clone();
        let me = Peer { replica, member };
        let wire = Wire::bind(self.number, me, addresses, loss, !self.seed(starts), recorder).await;
        let log = Arc::new(disk::Handle(disk));
        let transport = Arc::new(network::Handle(Arc::clone(&wire)));
        let started = Group::start(GROUP, replica, home, log, transport, self.options(starts)).await;
        let group = match started {
            Ok(group) => Arc::new(group),
            Err(error) => return self.stopped(format!("it did not start: {error}")),
        };
        self.process.lock().group = Some(Arc::clone(&group));
        let mut stopped = group.stopped();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let fast = self.hurry();
        tokio::pin!(fast);
        loop {
            tokio::select! {
                biased;
                Ok(reason) = stopped.wait_for(Option::is_some) => {
                    let reason = reason.clone().unwrap_or_default();
                    self.stopped(reason);
                    return std::future::pending().await;
                }
                Some(work) = work.recv() => drop(tokio::spawn(work(Arc::clone(&group)))),
                request = wire.request(&mut buffer) => {
                    drop(tokio::spawn(answer(Arc::clone(&wire), Arc::clone(&group), request)));
                }
                () = &mut fast => {}
            }
        }
    }

    /// Lets the clock that timers run by go too fast.
    async fn hurry(&self) {
        loop {
            tokio::time::sleep(FAST_TICK).await;
            let fast = self.fast_ms.load(Ordering::Relaxed);
            if fast > 0 {
                tokio::time::advance(Duration::from_millis(fast)).await;
            }
        }
    }
}

async fn answer(wire: Arc<Wire>, group: Arc<NodeGroup>, request: Frame) {
    let answer = match request.kind {
        Kind::Request => group.receive(&request.from, &request.content).await,
        Kind::Snapshot => {
            let (head, body) = split_snapshot(&request.content);
            let (tx, rx) = mpsc::channel(1);
            tx.try_send(body).expect("there is room for one");
            drop(tx);
            group.receive_snapshot(&request.from, &head, rx).await
        }
        Kind::Answer => return,
    };
    wire.answer(&request, answer.map_err(|refused| refused.to_string()));
}
