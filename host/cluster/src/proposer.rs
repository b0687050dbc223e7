//! Proposing: what waits becomes one entry, a few entries are on their way at a time, and each commit gets one answer.
//!
//! The engine runs each proposal by itself, with an fsync of its own, so an entry has everything that waited.

mod gather;
mod reply;

use std::sync::Arc;

use exesdb_storage::{CheckedCommit, Commit, CommitError, EntryCommit, LogId, Outcomes, Refused, Term};
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use self::gather::Queue;
use self::reply::Reply;
use crate::entry::{Proposal, Ticket};
use crate::error::ProposeError;
use crate::group::shared::Shared;
use crate::home::ReplicaHome;
use crate::limits::{COMMIT_ENCODED_BYTES_MAX, IN_FLIGHT_MAX, PROPOSAL_WAIT};
use crate::types::{Raft, Response, Types};

/// A commit that the group has accepted and this replica has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The outcome of each batch, in order.
    pub outcomes: Outcomes,
    /// The entry that it became part of; `None` if every batch was refused before there was anything to propose.
    pub entry: Option<LogId>,
}

/// Takes commits for one group.
pub(crate) struct Proposer<H: ReplicaHome> {
    shared: Arc<Shared<H>>,
    raft: Raft,
    /// `None` once the group has stopped.
    queue: Mutex<Option<Queue<Waiting>>>,
    arrived: Notify,
    /// The highest time that was proposed.
    time: Mutex<u64>,
}

/// A commit that can be proposed.
struct Checked {
    commit: EntryCommit,
    encoded: Vec<u8>,
    time: u64,
    refused: Refused,
}

/// A commit that waits to be proposed.
struct Waiting {
    commit: EntryCommit,
    /// The commit as bytes, made by its caller's thread.
    encoded: Vec<u8>,
    time: u64,
    reply: Reply,
}

impl<H: ReplicaHome> Proposer<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>, raft: Raft) -> Arc<Self> {
        Arc::new(Self {
            shared,
            raft,
            queue: Mutex::new(Some(Queue::default())),
            arrived: Notify::new(),
            time: Mutex::default(),
        })
    }

    /// Takes a commit, and waits for its outcomes.
    pub(crate) async fn propose(
        &self,
        commit: Commit,
        fence: Option<Term>,
        topics: Vec<String>,
    ) -> Result<Accepted, ProposeError> {
        let (reply, outcome) = oneshot::channel();
        self.propose_with(commit, fence, topics, move |result| drop(reply.send(result)));
        outcome.await.expect("the callback is called")
    }

    /// Takes a commit. The callback is called once, here and now if nothing is proposed.
    pub(crate) fn propose_with(
        &self,
        commit: Commit,
        fence: Option<Term>,
        topics: Vec<String>,
        callback: impl FnOnce(Result<Accepted, ProposeError>) + Send + 'static,
    ) {
        match self.check(commit, fence, topics) {
            Ok(Checked { commit, refused, .. }) if commit.batches.is_empty() => {
                callback(Ok(Accepted { outcomes: refused.merge(Outcomes::new()), entry: None }));
            }
            Ok(checked) => self.queue_up(checked, callback),
            Err(error) => callback(Err(error)),
        }
    }

    /// Checks what can be checked before a commit is proposed, on its caller's thread.
    fn check(
        &self,
        commit: Commit,
        fence: Option<Term>,
        topics: Vec<String>,
    ) -> Result<Checked, ProposeError> {
        self.check_ready()?;
        let time = commit.time;
        let mut checked = CheckedCommit::new(commit).map_err(|error| match error {
            CommitError::Invalid(reason) => ProposeError::Invalid(reason),
            error => ProposeError::Invalid(error.to_string()),
        })?;
        if self.shared.health().is_disk_full && !checked.makes_room() {
            return Err(ProposeError::ReadOnly);
        }
        if let Some((snapshot, _)) = self.shared.kept.snapshot() {
            checked.refuse_too_many_keyspaces(&snapshot);
        }
        #[cfg(feature = "faults")]
        let fence = fence.filter(|_| self.shared.fault != Some(crate::Fault::FencesIgnored));
        let (commit, refused) = checked.propose(fence, topics);
        #[cfg(feature = "faults")]
        let commit = self.with_guards_by_leader(commit);
        let encoded = commit.encode();
        let bytes = encoded.len();
        if bytes > COMMIT_ENCODED_BYTES_MAX {
            let reason = format!("{bytes} bytes as an entry, over the limit of {COMMIT_ENCODED_BYTES_MAX}");
            return Err(ProposeError::Invalid(reason));
        }
        if let Some(limit) = self.shared.log.refuses(bytes) {
            return Err(ProposeError::Overloaded { limit });
        }
        Ok(Checked { commit, encoded, time, refused })
    }

    fn queue_up(
        &self,
        checked: Checked,
        callback: impl FnOnce(Result<Accepted, ProposeError>) + Send + 'static,
    ) {
        let Checked { commit, encoded, time, refused } = checked;
        let bytes = encoded.len();
        let mut queue = self.queue.lock();
        let limit = match &*queue {
            None => Err(stopped()),
            Some(queue) => queue.check(bytes).map_err(|limit| ProposeError::Overloaded { limit }),
        };
        if let (Ok(()), Some(queue)) = (&limit, &mut *queue) {
            let reply = Reply::new(move |result| {
                let accepted =
                    |(outcomes, entry)| Accepted { outcomes: refused.merge(outcomes), entry: Some(entry) };
                callback(result.map(accepted));
            });
            queue.push(Waiting { commit, encoded, time, reply }, bytes);
            self.arrived.notify_one();
            return;
        }
        drop(queue);
        callback(Err(limit.expect_err("the queue has no room")));
    }

    /// Takes nothing more, and answers what waits.
    pub(crate) fn close(&self) {
        let waiting = self.queue.lock().take();
        drop(waiting);
    }

    #[cfg(feature = "faults")]
    fn with_guards_by_leader(&self, mut commit: EntryCommit) -> EntryCommit {
        if self.shared.fault == Some(crate::Fault::GuardsByLeader)
            && let Some((snapshot, _)) = self.shared.kept.snapshot()
        {
            crate::fault::drop_guards_that_hold(&mut commit, &snapshot);
        }
        commit
    }

    fn check_ready(&self) -> Result<(), ProposeError> {
        if let Some(reason) = self.shared.kept.stopped().borrow().clone() {
            return Err(ProposeError::Stopped { reason });
        }
        if let Some(failure) = self.shared.log.failed() {
            return Err(ProposeError::Stopped { reason: failure.to_string() });
        }
        let is_ready = self.shared.ready.borrow().is_some();
        let leader = self.raft.server_metrics().borrow().current_leader;
        if is_ready { Ok(()) } else { Err(ProposeError::NotLeader { leader }) }
    }

    /// Proposes what waits, until the task is ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        loop {
            let permit = Arc::clone(&in_flight).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            // What arrives while as many entries as may be are on their way is in the next one.
            let waiting = loop {
                let waiting = self.queue.lock().as_mut().map(Queue::take).unwrap_or_default();
                if !waiting.is_empty() {
                    break waiting;
                }
                self.arrived.notified().await;
            };
            match self.check_ready() {
                Ok(()) => self.propose_entry(waiting, permit).await,
                Err(error) => answer_all(waiting, &error),
            }
        }
    }

    async fn propose_entry(&self, waiting: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let ticket = Ticket::default();
        let decided_at = waiting.iter().map(|waiting| waiting.time).max().unwrap_or(0);
        let (mut commits, mut encoded, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in waiting {
            commits.push(waiting.commit);
            encoded.push(waiting.encoded);
            replies.push(waiting.reply.proposed());
        }
        let proposal = Proposal::commits(self.time(decided_at), commits, &encoded, ticket.clone());
        let written = self.raft.client_write_ff(proposal).await;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                let reason = self.shared.kept.stop(format!("the engine: {error}"));
                let error = ProposeError::Stopped { reason };
                replies.into_iter().for_each(|reply| reply.send(Err(error.clone())));
                return;
            }
        };
        #[cfg(feature = "faults")]
        let fault = self.shared.fault;
        tokio::spawn(async move {
            let outcome = match timeout(PROPOSAL_WAIT, written).await {
                Ok(Ok(result)) => settle(result, &ticket, replies.len()),
                // The engine drops a proposal when it ends.
                Ok(Err(_)) => Err(unknown("the engine ended")),
                // One that a snapshot has superseded is never answered.
                Err(_) => Err(unknown("it was not committed in time")),
            };
            #[cfg(feature = "faults")]
            let outcome = match outcome {
                Err(ProposeError::Unknown { .. }) if fault == Some(crate::Fault::UnknownAsRefused) => {
                    Err(ProposeError::NotLeader { leader: None })
                }
                outcome => outcome,
            };
            drop(permit);
            match outcome {
                Ok((outcomes, entry)) => {
                    for (reply, outcomes) in replies.into_iter().zip(outcomes) {
                        reply.send(Ok((outcomes, entry)));
                    }
                }
                Err(error) => replies.into_iter().for_each(|reply| reply.send(Err(error.clone()))),
            }
        });
    }

    /// The time of the next entry: the clock, but never below that of an entry before.
    fn time(&self, decided_at: u64) -> u64 {
        let applied = self.shared.kept.reached().borrow().time;
        let mut last = self.time.lock();
        let clock = (self.shared.clock)().min(exesdb_storage::limits::COMMIT_TIME_MAX);
        *last = clock.max(decided_at).max(applied).max(*last);
        *last
    }
}

/// What the engine's answer to a proposal means.
fn settle(
    result: ClientWriteResult<Types>,
    ticket: &Ticket,
    commits: usize,
) -> Result<(Vec<Outcomes>, LogId), ProposeError> {
    match (result, ticket.entry()) {
        (Ok(written), Some(entry)) => match written.data {
            Response(Some(outcomes)) if outcomes.len() == commits => Ok((outcomes, entry)),
            Response(_) => Err(unknown("its outcomes are not known here")),
        },
        // The engine never took it.
        (Err(ClientWriteError::ForwardToLeader(forward)), None) => {
            Err(ProposeError::NotLeader { leader: forward.leader_id })
        }
        (Err(error), _) => Err(unknown(&format!("another leader replaced it here ({error})"))),
        (Ok(_), None) => Err(unknown("the engine answered for another entry")),
    }
}

fn answer_all(waiting: Vec<Waiting>, error: &ProposeError) {
    for Waiting { reply, .. } in waiting {
        reply.send(Err(error.clone()));
    }
}

fn stopped() -> ProposeError {
    ProposeError::Stopped { reason: "it was told to".to_owned() }
}

fn unknown(reason: &str) -> ProposeError {
    ProposeError::Unknown { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use exesdb_storage::LogId;
    use openraft::RaftLogId as _;
    use openraft::entry::FromAppData;
    use openraft::error::{ClientWriteError, ForwardToLeader};
    use openraft::raft::{ClientWriteResponse, ClientWriteResult};

    use super::settle;
    use crate::entry::{LogEntry, Proposal, Ticket};
    use crate::error::ProposeError;
    use crate::types::{Response, Types, to_raft};

    const ID: LogId = LogId { term: 1, leader: 2, index: 3 };

    fn forward() -> ClientWriteResult<Types> {
        Err(ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id: Some(7), leader_node: None }))
    }

    fn written(response: Response) -> ClientWriteResult<Types> {
        Ok(ClientWriteResponse { log_id: to_raft(ID), data: response, membership: None })
    }

    #[test]
    fn only_a_proposal_that_became_no_entry_is_undone() {
        let proposed = Ticket::default();
        let proposal = Proposal::commits(0, vec![], &[], proposed.clone());
        LogEntry::from_app_data(proposal).set_log_id(&to_raft(ID));
        let never = Ticket::default();
        assert_eq!(settle(forward(), &never, 1), Err(ProposeError::NotLeader { leader: Some(7) }));
        let unknown = |result| matches!(result, Err(ProposeError::Unknown { .. }));
        assert!(unknown(settle(forward(), &proposed, 1)), "another leader replaced it");
        assert!(unknown(settle(written(Response(None)), &proposed, 1)), "nobody knows its outcomes");
        assert!(unknown(settle(written(Response(Some(vec![]))), &proposed, 1)), "they are another's");
        let outcomes = vec![vec![]];
        assert_eq!(settle(written(Response(Some(outcomes.clone()))), &proposed, 1), Ok((outcomes, ID)));
    }
}
