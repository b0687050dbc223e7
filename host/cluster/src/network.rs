//! The engine's network, on a [`Transport`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exesdb_storage::{LogId, Term};
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::entry::LogEntry;
use crate::kept::Execution;
use crate::limits::{HEARTBEAT_MS, SNAPSHOT_STALL};
use crate::members::Member;
use crate::snapshot::{self, SnapshotData};
use crate::transport::{Peer, SendError, Transport};
use crate::types::{Types, Vote, from_raft, term_of, to_raft};
use crate::wire::{Answer, Append, Appended, Ask, Request, WireError};

type Result<T, E = RPCError<u64, Member, RaftError<u64>>> = std::result::Result<T, E>;

/// What is sent for one group, and what its followers acknowledged.
pub(crate) struct Link {
    group: u64,
    me: u64,
    transport: Arc<dyn Transport>,
    /// Nothing is sent.
    is_muted: AtomicBool,
    acks: Mutex<Acks>,
    /// Replicas that lost entries that they had acknowledged: never heard again.
    lost: Mutex<BTreeMap<u64, LinkError>>,
    execution: Execution,
}

/// What followers acknowledged to this replica as leader of a term.
#[derive(Default)]
struct Acks {
    term: Term,
    of: BTreeMap<u64, Ack>,
}

#[derive(Clone, Copy)]
struct Ack {
    /// When what was acknowledged last was sent.
    sent_at: Instant,
    /// The last entry that the follower said to have.
    counted: Option<LogId>,
}

/// Why there is no answer to a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the group is silent here")]
    Muted,
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the answer is malformed: {0}")]
    Answer(#[from] WireError),
    #[error(
        "replica {replica} had acknowledged entry {counted} and has entries up to {last} now: it lost its log"
    )]
    Lost { replica: u64, counted: u64, last: u64 },
}

impl Link {
    pub(crate) fn new(group: u64, me: u64, transport: Arc<dyn Transport>, execution: Execution) -> Self {
        Self {
            group,
            me,
            transport,
            is_muted: AtomicBool::new(false),
            acks: Mutex::default(),
            lost: Mutex::default(),
            execution,
        }
    }

    pub(crate) fn mute(&self, is_muted: bool) {
        self.is_muted.store(is_muted, Ordering::Release);
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.is_muted.load(Ordering::Acquire)
    }

    /// The replicas that were found to have lost their log.
    pub(crate) fn lost(&self) -> BTreeSet<u64> {
        self.lost.lock().keys().copied().collect()
    }

    pub(crate) fn is_lost(&self, replica: u64) -> bool {
        self.lost.lock().contains_key(&replica)
    }

    /// Whether anything may be sent to a replica. One that lost its log is asked for nothing, not even for its vote.
    fn check_open(&self, replica: u64) -> std::result::Result<(), LinkError> {
        if self.is_muted() {
            return Err(LinkError::Muted);
        }
        self.lost.lock().get(&replica).cloned().map_or(Ok(()), Err)
    }

    /// Asks a replica.
    pub(crate) fn ask(
        &self,
        to: Peer,
        ask: Ask,
    ) -> impl Future<Output = std::result::Result<Answer, LinkError>> + Send + 'static {
        let request = Request { group: self.group, from: self.me, to: to.replica, ask };
        let is_open = self.check_open(to.replica);
        let sending = is_open.map(|()| self.transport.send(to, Bytes::from(request.encode())));
        async move {
            let answer = sending?.await?;
            Ok(Answer::decode(&answer)?)
        }
    }

    /// Since the last message was sent that a follower has acknowledged to this leader.
    pub(crate) fn since_ack(&self, follower: u64, term: Term) -> Option<Duration> {
        let acks = self.acks.lock();
        let ack = acks.of.get(&follower).filter(|_| acks.term == term && !self.is_lost(follower))?;
        Some(ack.sent_at.elapsed())
    }

    /// Notes an answer of a follower.
    fn note(&self, follower: u64, term: Term, sent_at: Instant, counted: Option<LogId>) {
        let mut acks = self.acks.lock();
        if acks.term != term {
            *acks = Acks { term, of: BTreeMap::new() };
        }
        let ack = acks.of.entry(follower).or_insert(Ack { sent_at, counted: None });
        ack.sent_at = ack.sent_at.max(sent_at);
        if counted.map(|id| id.index) > ack.counted.map(|id| id.index) {
            ack.counted = counted;
        }
    }

    /// The last entry that a follower has acknowledged to this leader.
    fn counted(&self, follower: u64, term: Term) -> Option<LogId> {
        let acks = self.acks.lock();
        acks.of.get(&follower).filter(|_| acks.term == term).and_then(|ack| ack.counted)
    }

    /// Refuses for good a follower that has less than it had acknowledged when it was asked: the engine would go on to count on
    /// what is gone. What it acknowledges meanwhile proves nothing, because answers overtake each other.
    fn check_log(
        &self,
        follower: u64,
        counted: Option<LogId>,
        last: Option<LogId>,
    ) -> std::result::Result<(), LinkError> {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        if index(last) < index(counted) {
            let (counted, last) = (index(counted), index(last));
            tracing::error!(group = self.group, follower, counted, last, "a replica lost its log");
            let lost = LinkError::Lost { replica: follower, counted, last };
            self.lost.lock().insert(follower, lost.clone());
            return Err(lost);
        }
        Ok(())
    }
}

/// Makes clients for the engine.
pub(crate) struct Network(pub(crate) Arc<Link>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Member) -> Client {
        Client { link: Arc::clone(&self.0), to: Peer { replica: target, member: node.clone() } }
    }
}

/// Sends the engine's messages to one replica.
pub(crate) struct Client {
    link: Arc<Link>,
    to: Peer,
}

impl Client {
    async fn append(&self, append: Append) -> std::result::Result<AppendEntriesResponse<u64>, LinkError> {
        let term = term_of(&append.vote);
        let sent = append.entries.last().map(LogEntry::id).or(append.previous);
        let sent_at = Instant::now();
        let follower = self.to.replica;
        let counted_before = self.link.counted(follower, term);
        let answer = self.link.ask(self.to.clone(), Ask::Append(append)).await?;
        let Answer::Append { appended, last } = answer else { return Err(unexpected(&answer)) };
        let (response, counted) = match appended {
            Appended::All => (AppendEntriesResponse::Success, sent),
            Appended::UpTo(id) => {
                let id = id.filter(|id| sent.is_some_and(|sent| id.index <= sent.index));
                (AppendEntriesResponse::PartialSuccess(id.map(to_raft)), id)
            }
            Appended::Conflict => {
                self.link.check_log(follower, counted_before, last)?;
                (AppendEntriesResponse::Conflict, None)
            }
            Appended::Higher(vote) => return Ok(AppendEntriesResponse::HigherVote(vote)),
        };
        self.link.note(follower, term, sent_at, counted);
        Ok(response)
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<Types>,
    ) -> std::result::Result<SnapshotResponse<u64>, LinkError> {
        let SnapshotData::Outgoing(dump) = *snapshot.snapshot else {
            let reason = "a snapshot that was received was to be sent".to_owned();
            return Err(SendError::Unreachable { reason }.into());
        };
        self.link.check_open(self.to.replica)?;
        let Link { group, me, execution, .. } = *self.link;
        let request = Request { group, from: me, to: self.to.replica, ask: Ask::Snapshot { vote } };
        let (body, progress) = snapshot::send(dump, execution);
        let head = Bytes::from(request.encode());
        let answer = tokio::select! {
            answer = self.link.transport.send_snapshot(self.to.clone(), head, body) => answer?,
            () = stalled(progress) => {
                let reason = "it takes nothing of a snapshot".to_owned();
                return Err(SendError::Unreachable { reason }.into());
            }
        };
        match Answer::decode(&answer)? {
            Answer::Snapshot { vote } => Ok(SnapshotResponse::new(vote)),
            answer => Err(unexpected(&answer)),
        }
    }
}

/// Waits until a transfer makes no progress any more. The engine would wait for it without end.
async fn stalled(mut progress: watch::Receiver<()>) {
    while let Ok(changed) = timeout(SNAPSHOT_STALL, progress.changed()).await {
        if changed.is_err() {
            // Everything is sent, and is being installed.
            return sleep(SNAPSHOT_STALL).await;
        }
    }
}

fn unexpected(answer: &Answer) -> LinkError {
    WireError::UnknownKind { what: "an answer", found: answer.kind() }.into()
}

impl RaftNetwork<Types> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>> {
        let append = Append {
            vote: rpc.vote,
            previous: rpc.prev_log_id.as_ref().map(from_raft),
            committed: rpc.leader_commit.as_ref().map(from_raft),
            entries: rpc.entries,
        };
        // The engine sends again at once after any other error, and pauses after this one.
        self.append(append).await.map_err(|error| Unreachable::new(&error).into())
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>> {
        let last = rpc.last_log_id.as_ref().map(from_raft);
        let answer = self.link.ask(self.to.clone(), Ask::Vote { vote: rpc.vote, last }).await;
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        match answer {
            Answer::Vote { vote, is_granted, last } => {
                Ok(VoteResponse::new(vote, last.map(to_raft), is_granted))
            }
            answer => Err(Unreachable::new(&unexpected(&answer)).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> std::result::Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent.map_err(|error| Unreachable::new(&error).into()),
        }
    }

    /// As a heartbeat: a follower that is back is heard within its lease.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(HEARTBEAT_MS)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use exesdb_storage::{LogId, Term};
    use futures_util::future::BoxFuture;
    use tokio::time::Instant;

    use super::{Link, LinkError};
    use crate::kept::Execution;
    use crate::transport::{Peer, SendError, SnapshotBody, Transport};
    use crate::wire::Ask;

    struct Nowhere;

    impl Transport for Nowhere {
        fn send(&self, _: Peer, _: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
            Box::pin(async { Err(SendError::Unreachable { reason: "nowhere".into() }) })
        }

        fn send_snapshot(
            &self,
            to: Peer,
            head: Bytes,
            _: SnapshotBody,
        ) -> BoxFuture<'static, Result<Bytes, SendError>> {
            self.send(to, head)
        }
    }

    #[tokio::test]
    async fn a_follower_that_has_less_than_it_acknowledged_is_refused_for_good() {
        let link = Link::new(1, 1, Arc::new(Nowhere), Execution::Inline);
        let term = Term { term: 3, replica: 1 };
        let id = |index| Some(LogId { term: 3, leader: 1, index });
        link.note(2, term, Instant::now(), id(7));
        link.note(2, term, Instant::now(), id(5));
        assert_eq!(link.counted(2, term), id(7));
        assert_eq!(link.check_log(2, id(7), id(7)), Ok(()));
        assert_eq!(link.check_log(3, link.counted(3, term), None), Ok(()), "nobody counted on it");
        assert!(link.since_ack(2, term).is_some());
        let next = Term { term: 4, replica: 1 };
        assert_eq!((link.since_ack(2, next), link.counted(2, next)), (None, None));
        let lost = LinkError::Lost { replica: 2, counted: 7, last: 6 };
        assert_eq!(link.check_log(2, id(7), id(6)), Err(lost.clone()));
        assert!(link.is_lost(2) && !link.is_lost(3));
        assert_eq!(link.since_ack(2, term), None, "it does not count as heard");
        let to = |replica| Peer { replica, member: crate::members::Member::default() };
        assert_eq!(link.ask(to(2), Ask::ReadIndex).await, Err(lost));
        assert!(matches!(link.ask(to(3), Ask::ReadIndex).await, Err(LinkError::Send(_))));
    }
}
