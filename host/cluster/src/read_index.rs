//! Read indexes: up to which entry a replica has to be to read everything that was acknowledged before.
//!
//! A leader asks a majority whether it still leads. Those who ask meanwhile share the next round.

use std::sync::Arc;

use exesdb_storage::LogId;
use tokio::sync::{mpsc, oneshot};

use crate::group::shared::Shared;
use crate::home::ReplicaHome;
use crate::types::{Raft, from_raft};

/// Reads that may wait for one round. Each is a few words; one that does not fit is refused.
const WAITING_MAX: usize = 4096;

type Reply = oneshot::Sender<Result<LogId, String>>;

/// Asks the engine of a leader.
#[derive(Clone)]
pub(crate) struct ReadIndex(mpsc::Sender<Reply>);

impl ReadIndex {
    /// A handle, and the task that answers it.
    pub(crate) fn new<H: ReplicaHome>(
        shared: Arc<Shared<H>>,
        raft: Raft,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        (Self(tx), run(shared, raft, rx))
    }

    /// The index, if this replica leads.
    pub(crate) async fn get(&self) -> Result<LogId, String> {
        let (reply, index) = oneshot::channel();
        self.0.try_send(reply).map_err(|_| format!("{WAITING_MAX} reads wait already"))?;
        index.await.map_err(|_| "the group was stopped".to_owned())?
    }
}

/// What is applied here, if nobody is to be asked whether that is all.
fn unconfirmed<H: ReplicaHome>(_shared: &Shared<H>) -> Option<LogId> {
    #[cfg(feature = "faults")]
    if _shared.fault == Some(crate::Fault::ReadWithoutMajority) {
        return _shared.kept.reached().borrow().id;
    }
    None
}

async fn run<H: ReplicaHome>(shared: Arc<Shared<H>>, raft: Raft, mut asked: mpsc::Receiver<Reply>) {
    let mut replies = Vec::new();
    while asked.recv_many(&mut replies, WAITING_MAX).await > 0 {
        let index = if shared.ready.borrow().is_none() {
            Err("this replica does not lead, or is not ready".to_owned())
        } else if let Some(id) = unconfirmed(&shared) {
            Ok(id)
        } else {
            match raft.get_read_log_id().await {
                Ok((Some(id), _)) => Ok(from_raft(&id)),
                Ok((None, _)) => Err("nothing is committed yet".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        for reply in replies.drain(..) {
            drop(reply.send(index.clone()));
        }
    }
}
