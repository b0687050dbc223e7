//! Messages of peers: each is a claim, and checked before the engine sees it.

use std::sync::Arc;

use bytes::Bytes;
use openraft::Snapshot;
use openraft::error::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use tokio::sync::Mutex;

use crate::election::grants_pre_vote;
use crate::error::Refused;
use crate::group::shared::Shared;
use crate::home::ReplicaHome;
use crate::log_store::LogStore;
use crate::machine;
use crate::read_index::ReadIndex;
use crate::snapshot::{Received, SnapshotData};
use crate::transport::{Peer, SnapshotBody};
use crate::types::{Raft, Vote, from_raft, term_of, to_raft};
use crate::wire::{Answer, Append, Appended, Ask, Request, WireError};

/// Answers what peers ask.
pub(crate) struct Receiver<H: ReplicaHome> {
    pub(crate) shared: Arc<Shared<H>>,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) read_index: ReadIndex,
    /// Held while a snapshot is received: one at a time.
    pub(crate) receiving: Mutex<()>,
}

impl<H: ReplicaHome> Receiver<H> {
    pub(crate) async fn receive(&self, from: &Peer, message: &Bytes) -> Result<Bytes, Refused> {
        let request = Request::decode(message)?;
        self.check(from, &request)?;
        let answer = match request.ask {
            Ask::Vote { vote, last } => self.vote(VoteRequest::new(vote, last.map(to_raft))).await?,
            Ask::PreVote { last } => {
                let own = self.raft.data_metrics().borrow().last_log.as_ref().map(from_raft);
                let speaks = self.leads() && !self.shared.link.is_muted();
                let is_granted = grants_pre_vote(last, own, self.shared.heard.since(), speaks);
                Answer::PreVote { is_granted }
            }
            Ask::Append(append) => self.append(append).await?,
            Ask::ReadIndex => Answer::ReadIndex(self.read_index.get().await.ok()),
            Ask::Successor { vote, successor } => {
                self.shared.heard.set_successor(term_of(&vote), successor);
                Answer::Successor
            }
            Ask::Snapshot { .. } => {
                return Err(WireError::UnknownKind { what: "a request without a body", found: 4 }.into());
            }
        };
        Ok(answer.encode().into())
    }

    pub(crate) async fn receive_snapshot(
        &self,
        from: &Peer,
        head: &Bytes,
        body: SnapshotBody,
    ) -> Result<Bytes, Refused> {
        let request = Request::decode(head)?;
        self.check(from, &request)?;
        let Ask::Snapshot { vote } = request.ask else {
            return Err(WireError::UnknownKind { what: "the head of a snapshot", found: head[1] }.into());
        };
        let _one = self.receiving.try_lock().map_err(|_| Refused::Busy)?;
        let snapshot = self.restore(body).await?;
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(|fatal| self.stopped(&fatal))?.vote;
        self.shared.heard.note();
        Ok(Answer::Snapshot { vote }.encode().into())
    }

    /// Receives a snapshot beside the replica. The engine stops on an invalid snapshot, so it is checked before.
    async fn restore(&self, body: SnapshotBody) -> Result<Snapshot<crate::types::Types>, Refused> {
        let kept = &self.shared.kept;
        let mut received = Received::new(body, kept.execution()).await;
        let restored = kept.run(move |kept| kept.home().receive(&mut received)).await;
        let refused = |reason: String| Refused::Snapshot { reason };
        let (incoming, state) = restored.map_err(refused)?.map_err(|error| refused(error.to_string()))?;
        let meta = machine::meta(&state).map_err(refused)?;
        Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Incoming(Box::new(incoming))) })
    }

    fn check(&self, from: &Peer, request: &Request) -> Result<(), Refused> {
        let Shared { group, replica, .. } = *self.shared;
        // It answers nothing any more, also not what the engine is not asked for.
        if let Some(reason) = self.shared.kept.stopped().borrow().clone() {
            return Err(Refused::Stopped { reason });
        }
        if request.group != group {
            return Err(Refused::OtherGroup { group, named: request.group });
        }
        if request.to != replica {
            return Err(Refused::OtherReplica { replica, named: request.to });
        }
        if request.from != from.replica || request.from == replica {
            return Err(Refused::OtherSender { sender: from.replica, named: request.from });
        }
        if self.shared.link.is_lost(from.replica) {
            return Err(Refused::LostLog { replica: from.replica });
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        // One that this replica does not know yet may have been added since.
        let Some(member) = metrics.membership_config.membership().get_node(&from.replica) else {
            return Ok(());
        };
        if member.node != from.member.node {
            let (node, found) = (member.node.clone(), from.member.node.clone());
            return Err(Refused::OtherNode { replica: from.replica, node, found });
        }
        if member.incarnation != from.member.incarnation {
            let (incarnation, found) = (member.incarnation, from.member.incarnation);
            return Err(Refused::OtherIncarnation { replica: from.replica, incarnation, found });
        }
        Ok(())
    }

    fn leads(&self) -> bool {
        self.raft.server_metrics().borrow().state == openraft::ServerState::Leader
    }

    async fn vote(&self, request: VoteRequest<u64>) -> Result<Answer, Refused> {
        let candidate: Vote = request.vote;
        let response = self.raft.vote(request).await.map_err(|error| self.failed(&error))?;
        let is_granted = response.vote_granted && response.vote == candidate;
        if is_granted {
            self.shared.heard.note();
        }
        let last = response.last_log_id.as_ref().map(from_raft);
        Ok(Answer::Vote { vote: response.vote, is_granted: response.vote_granted, last })
    }

    async fn append(&self, append: Append) -> Result<Answer, Refused> {
        let Append { vote, previous, committed, entries } = append;
        // A replica without room leaves the quorum. It goes on hearing the leader.
        let last = self.raft.data_metrics().borrow().last_log.as_ref().map_or(0, |id| id.index);
        if entries.last().is_some_and(|entry| entry.id().index > last) {
            let bytes = entries.iter().map(|entry| entry.encoded().len()).sum();
            if let Some(reason) = self.shared.log.refuses(bytes) {
                return Err(Refused::LogFull { reason });
            }
        }
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: previous.map(to_raft),
            entries,
            leader_commit: committed.map(to_raft),
        };
        let response = self.raft.append_entries(request).await.map_err(|error| self.failed(&error))?;
        let mut last = None;
        let appended = match response {
            AppendEntriesResponse::Success => Appended::All,
            AppendEntriesResponse::PartialSuccess(id) => Appended::UpTo(id.as_ref().map(from_raft)),
            AppendEntriesResponse::Conflict => {
                let found =
                    self.log.found().map_err(|failure| Refused::Stopped { reason: failure.reason })?;
                last = found.last;
                // Another leader may have had entries removed meanwhile: that is no loss.
                match found.vote.filter(|found| *found > vote) {
                    Some(higher) => Appended::Higher(higher),
                    None => Appended::Conflict,
                }
            }
            AppendEntriesResponse::HigherVote(vote) => Appended::Higher(vote),
        };
        if !matches!(appended, Appended::Higher(_)) {
            self.shared.heard.note();
        }
        Ok(Answer::Append { appended, last })
    }

    fn failed(&self, error: &RaftError<u64>) -> Refused {
        match error {
            RaftError::Fatal(fatal) => self.stopped(fatal),
            RaftError::APIError(never) => match *never {},
        }
    }

    fn stopped(&self, fatal: &Fatal<u64>) -> Refused {
        Refused::Stopped { reason: self.shared.kept.stop(format!("the engine: {fatal}")) }
    }
}
