//! A group: one replica of one store's Raft group.

mod metrics;
mod options;
pub(crate) mod shared;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use exesdb_storage::{Commit, LogId, Reader, Term};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use self::metrics::{Metrics, Role};
pub use self::options::Options;
use self::shared::Shared;
use crate::election::{Driver, Heard, Transfer};
use crate::error::{ChangeError, ProposeError, ReadError, Refused, StartError, TransferError};
use crate::home::ReplicaHome;
use crate::kept::Kept;
use crate::limits::{ELECTION_TICK, HEARTBEAT_MS, LEASE, MEMBERS_MAX, READ_WAIT, VOTERS_MAX};
use crate::log::GroupLog;
use crate::log_store::{Found, LogStore};
use crate::machine::Machine;
use crate::members::{self, GENESIS, Member, Members};
use crate::network::{Link, Network};
use crate::proposer::{Accepted, Proposer};
use crate::read_index::ReadIndex;
use crate::receive::Receiver;
use crate::retention::Retention;
use crate::transport::{Peer, SnapshotBody, Transport};
use crate::types::{Raft, from_raft};
use crate::wire::{Answer, Ask};

/// One replica of one group, running.
///
/// [`stop`](Self::stop) ends it in order. Dropping it ends its tasks soon after.
pub struct Group<H: ReplicaHome> {
    shared: Arc<Shared<H>>,
    raft: Raft,
    proposer: Arc<Proposer<H>>,
    receiver: Receiver<H>,
    retention: Arc<Retention>,
    tasks: Mutex<JoinSet<()>>,
}

impl<H: ReplicaHome> Group<H> {
    /// Starts the replica with this id of the group with this number. What was committed is applied again before it returns,
    /// as far as the log knows it; it waits for no peer. A home without a replica waits for a snapshot of the group.
    ///
    /// A replica id is used once: for one home with one log. Whoever loses either comes back under a new one.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(
        group: u64,
        replica: u64,
        home: H,
        log: Arc<dyn GroupLog>,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Result<Self, StartError> {
        if replica == 0 {
            return Err(StartError::ReplicaZero);
        }
        #[cfg(feature = "faults")]
        let fault = options.fault;
        let Options { execution, on_applied, clock, health, log_bytes_kept, seed, .. } = options;
        let kept = Kept::open(home, on_applied, execution)?;
        #[cfg(feature = "faults")]
        let kept = kept.with_fault(fault, Arc::clone(&clock));
        let kept = Arc::new(kept);
        let retention = Arc::new(Retention::new(log_bytes_kept));
        if log.is_broken() {
            return Err(StartError::LogBroken { group });
        }
        let node_log = Arc::clone(&log);
        let log = LogStore::new(replica, log, kept.persisted(), kept.stopped(), Arc::clone(&retention));
        #[cfg(feature = "faults")]
        let log = log.with_fault(fault);
        let applied = kept.reached().borrow().id;
        if let Some(refused) = loss(applied, &log.found()?) {
            return Err(refused);
        }
        let link = Arc::new(Link::new(group, replica, transport, execution));
        let shared = Arc::new(Shared {
            group,
            replica,
            kept: Arc::clone(&kept),
            link: Arc::clone(&link),
            log: node_log,
            heard: Heard::new(),
            ready: watch::Sender::default(),
            campaigns: Mutex::default(),
            transfer: Mutex::default(),
            health,
            clock,
            #[cfg(feature = "faults")]
            fault,
        });
        let network = Network(link);
        let raft = Raft::new(replica, config(group), network, log.clone(), Machine(kept)).await;
        let raft = raft.map_err(|error| StartError::Engine { reason: error.to_string() })?;
        let proposer = Proposer::new(Arc::clone(&shared), raft.clone());
        let (read_index, answer_reads) = ReadIndex::new(Arc::clone(&shared), raft.clone());
        let mut tasks = JoinSet::new();
        let random = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        tasks.spawn(Driver::new(Arc::clone(&shared), raft.clone(), random).run());
        tasks.spawn(Arc::clone(&proposer).run());
        tasks.spawn(answer_reads);
        tasks.spawn(upkeep::keep(Arc::clone(&shared), raft.clone(), Arc::clone(&retention)));
        tasks.spawn(upkeep::check(Arc::clone(&shared), raft.clone()));
        tasks.spawn(upkeep::watch(Arc::clone(&shared), raft.clone()));
        let receiver = Receiver {
            shared: Arc::clone(&shared),
            raft: raft.clone(),
            log,
            read_index,
            receiving: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared, raft, proposer, receiver, retention, tasks: Mutex::new(tasks) })
    }

    /// Proposes a commit, and waits until a majority has it and this replica has applied it. With a `fence`, it is applied only
    /// under that term. `topics` are what to wake on each replica once it is applied.
    ///
    /// # Errors
    ///
    /// [`ProposeError`]. Only after [`Unknown`](ProposeError::Unknown) may the commit be applied.
    pub async fn propose(
        &self,
        commit: Commit,
        fence: Option<Term>,
        topics: Vec<String>,
    ) -> Result<Accepted, ProposeError> {
        self.proposer.propose(commit, fence, topics).await
    }

    /// As [`propose`](Self::propose), for callers that do not wait. The callback is called exactly once: at once and on the
    /// caller's thread if nothing is proposed, otherwise on any thread. It must not block, and is also called if the group is
    /// stopped or dropped.
    pub fn propose_with(
        &self,
        commit: Commit,
        fence: Option<Term>,
        topics: Vec<String>,
        callback: impl FnOnce(Result<Accepted, ProposeError>) + Send + 'static,
    ) {
        self.proposer.propose_with(commit, fence, topics, callback);
    }

    /// A handle to read with, once this replica has applied everything that was acknowledged anywhere before the call.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn linearizable(&self) -> Result<Reader<H::Engine>, ReadError> {
        #[cfg(feature = "faults")]
        if self.shared.fault == Some(crate::Fault::ReadWithoutIndex) {
            return self.reader().ok_or(ReadError::NoReplica);
        }
        let deadline = Instant::now() + READ_WAIT;
        let mut reason = "there was no time".to_owned();
        let index = loop {
            match timeout_at(deadline, self.read_index()).await {
                Ok(Ok(index)) => break index,
                Ok(Err(error)) => reason = error,
                Err(_) => return Err(ReadError::NoLeader { reason }),
            }
            if timeout_at(deadline, sleep(ELECTION_TICK)).await.is_err() {
                return Err(ReadError::NoLeader { reason });
            }
        };
        let mut reached = self.shared.kept.reached();
        let is_there = reached.wait_for(|reached| reached.id.is_some_and(|id| id.index >= index));
        if timeout_at(deadline, is_there).await.is_err() {
            return Err(ReadError::Behind { wanted: index });
        }
        self.reader().ok_or(ReadError::NoReplica)
    }

    async fn read_index(&self) -> Result<u64, String> {
        let metrics = self.raft.server_metrics().borrow().clone();
        let leader = metrics.current_leader.ok_or("no leader is known")?;
        if leader == self.shared.replica {
            return self.receiver.read_index.get().await.map(|id| id.index);
        }
        let members = Members::of(metrics.membership_config.membership());
        let peer = self.shared.peer(leader, &members).ok_or("the leader is no member")?;
        match self.shared.link.ask(peer, Ask::ReadIndex).await.map_err(|error| error.to_string())? {
            Answer::ReadIndex(Some(id)) => Ok(id.index),
            _ => Err(format!("replica {leader} does not lead any more")),
        }
    }

    /// A handle to read with, once this replica has the data as of a sequence of another replica's head.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn at_least(&self, sequence: u64) -> Result<Reader<H::Engine>, ReadError> {
        let deadline = Instant::now() + READ_WAIT;
        let mut reached = self.shared.kept.reached();
        loop {
            reached.mark_unchanged();
            let reader = self.reader();
            if let Some(reader) = reader.filter(|reader| reader.head().sequence >= sequence) {
                return Ok(reader);
            }
            match timeout_at(deadline, reached.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ReadError::NoReplica),
                Err(_) => return Err(ReadError::Behind { wanted: sequence }),
            }
        }
    }

    /// A handle to read with, as of now: a prefix of what was committed, of any age. `None` before the first snapshot. After
    /// another snapshot has replaced the replica, what was got before is closed.
    #[must_use]
    pub fn reader(&self) -> Option<Reader<H::Engine>> {
        self.shared.kept.reader()
    }

    /// The term in which this replica leads and takes commits; changes when it does.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<Option<Term>> {
        self.shared.ready.subscribe()
    }

    /// Why the group has stopped, once it has: the replica, its log or the engine failed. It is started again after the cause is
    /// removed.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.shared.kept.stopped()
    }

    /// The group as this replica knows it.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.shared, &self.raft)
    }

    /// Takes a message of a peer. Returns the answer to it.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was changed.
    pub async fn receive(&self, from: &Peer, message: &Bytes) -> Result<Bytes, Refused> {
        self.receiver.receive(from, message).await
    }

    /// Takes a snapshot of a peer. Returns the answer to it.
    ///
    /// # Errors
    ///
    /// [`Refused`]; the replica is as it was.
    pub async fn receive_snapshot(
        &self,
        from: &Peer,
        head: &Bytes,
        body: SnapshotBody,
    ) -> Result<Bytes, Refused> {
        self.receiver.receive_snapshot(from, head, body).await
    }

    /// Adds a member that learns. Its id was never used before. Returns once the group has agreed; [`Metrics::followers`] tells
    /// how far the member is.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn add_learner(&self, replica: u64, member: Member) -> Result<(), ChangeError> {
        members::check(replica, &member)?;
        let known = Members::of(self.raft.server_metrics().borrow().membership_config.membership());
        if known.members.contains_key(&replica) {
            return Err(ChangeError::Known { replica });
        }
        members::count("members", known.members.len() + 1, MEMBERS_MAX)?;
        let added = self.raft.add_learner(replica, member, false).await;
        added.map(drop).map_err(|error| ChangeError::Refused { reason: error.to_string() })
    }

    /// Replaces the voters: an odd number of members. Those that do not vote any more are members no more.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]. The change may be half done: asked for again, it goes on.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), ChangeError> {
        members::count("voters", voters.len(), VOTERS_MAX)?;
        if voters.len().is_multiple_of(2) {
            return Err(ChangeError::Even { voters: voters.len() });
        }
        let changed = self.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(|error| ChangeError::Refused { reason: error.to_string() })
    }

    /// Lets the log go of what this replica has applied, also if followers still need it, who get a snapshot then. For a node
    /// whose log is held back by this group. It happens soon after, once the replica is durable.
    pub fn release_log(&self) {
        self.retention.release(self.shared.kept.reached().borrow().id.map_or(0, |id| id.index));
    }

    /// Gives the leadership to another voter: proposes nothing, waits until it has everything, and lets the lease lapse. Appends
    /// wait about a second.
    ///
    /// # Errors
    ///
    /// [`TransferError`]. Without the other's success this replica goes on leading, if no one else was elected.
    pub async fn transfer(&self, to: u64) -> Result<(), TransferError> {
        let vote = self.raft.server_metrics().borrow().vote;
        let members = Members::of(self.raft.server_metrics().borrow().membership_config.membership());
        if !members.is_voter(to) {
            return Err(TransferError::NoVoter { replica: to });
        }
        if self.shared.ready.borrow().is_none() || to == self.shared.replica {
            return Err(TransferError::NotLeader);
        }
        let _end = EndTransfer(&self.shared);
        self.shared.set_transfer(Transfer::Waiting);
        let not_taken = |reason: &str| TransferError::NotTaken { replica: to, reason: reason.to_owned() };
        let has_all = async {
            while !self.has_all(to) {
                sleep(ELECTION_TICK / 5).await;
            }
        };
        timeout(LEASE * 2, has_all).await.map_err(|_| not_taken("it did not get everything in time"))?;
        let others = members.all_voters().into_iter().filter(|voter| *voter != self.shared.replica);
        let told = others.filter_map(|voter| {
            let peer = self.shared.peer(voter, &members)?;
            let answer = self.shared.link.ask(peer, Ask::Successor { vote, successor: to });
            // The others need not know: they would only be in its way.
            Some(async move { matches!(timeout(LEASE / 3, answer).await, Ok(Ok(_))) || voter != to })
        });
        if !futures_util::future::join_all(told).await.into_iter().all(|is_told| is_told) {
            return Err(not_taken("it did not answer"));
        }
        self.shared.set_transfer(Transfer::Silent);
        let mut metrics = self.raft.server_metrics();
        let me = self.shared.replica;
        let is_led = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|leader| leader != me));
        match timeout(LEASE * 3, is_led).await {
            Ok(Ok(led)) if led.current_leader == Some(to) => Ok(()),
            Ok(Ok(_)) => Err(not_taken("another one was elected")),
            Ok(Err(_)) | Err(_) => Err(not_taken("it was not elected in time")),
        }
    }

    /// Whether a follower has every entry that this leader has.
    fn has_all(&self, follower: u64) -> bool {
        let metrics = self.raft.data_metrics().borrow().clone();
        let of = metrics.replication.and_then(|all| all.get(&follower).copied()).flatten();
        of.is_some() && of.as_ref().map(from_raft) == metrics.last_log.as_ref().map(from_raft)
    }

    /// Stops the group, and closes the replica. Proposals on their way are answered as unknown.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the engine did not end in order");
        }
        self.shared.ready.send_replace(None);
        self.shared.kept.stop("it was told to".to_owned());
        self.proposer.close();
        self.shared.kept.close();
    }
}

impl<H: ReplicaHome> Drop for Group<H> {
    fn drop(&mut self) {
        // The engine's tasks own each other, and end only when the engine is shut down.
        self.proposer.close();
        let raft = self.raft.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

/// Why a replica and a log do not belong together any more, if so: one of them lost something.
fn loss(applied: Option<LogId>, found: &Found) -> Option<StartError> {
    let index = applied.map_or(0, |id| id.index);
    if let Some(purged) = found.purged.filter(|purged| purged.index > index) {
        return Some(StartError::BehindLog { applied: index, purged: purged.index });
    }
    let is_lost = found.vote.is_none() && applied.is_some_and(|applied| applied != GENESIS);
    is_lost.then_some(StartError::LogLost { applied: index })
}

/// Ends a transfer when its future ends, also when it is dropped.
struct EndTransfer<'a, H: ReplicaHome>(&'a Shared<H>);

impl<H: ReplicaHome> Drop for EndTransfer<'_, H> {
    fn drop(&mut self) {
        self.0.set_transfer(Transfer::None);
    }
}

/// The engine's configuration: no elections, snapshots and purges of its own.
fn config(group: u64) -> Arc<Config> {
    let lease = u64::try_from(LEASE.as_millis()).expect("a lease is short");
    let config = Config {
        cluster_name: format!("group-{group}"),
        heartbeat_interval: HEARTBEAT_MS,
        // Also how long a candidate waits for a vote.
        election_timeout_min: lease * 2 / 3,
        election_timeout_max: lease,
        enable_elect: false,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    Arc::new(config.validate().expect("the configuration is valid"))
}
