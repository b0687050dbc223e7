//! What the parts of one group share.

use std::sync::Arc;

use exesdb_storage::Term;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::election::{Campaigns, Heard, Standing, Transfer};
use crate::health::Health;
use crate::home::ReplicaHome;
use crate::kept::Kept;
use crate::log::GroupLog;
use crate::members::Members;
use crate::network::Link;
use crate::transport::Peer;

/// State of one group's replica that more than one part reads.
pub(crate) struct Shared<H: ReplicaHome> {
    pub(crate) group: u64,
    pub(crate) replica: u64,
    pub(crate) kept: Arc<Kept<H>>,
    pub(crate) link: Arc<Link>,
    pub(crate) log: Arc<dyn GroupLog>,
    pub(crate) heard: Heard,
    /// The term in which this replica leads and is ready.
    pub(crate) ready: watch::Sender<Option<Term>>,
    pub(crate) campaigns: Mutex<Campaigns>,
    pub(crate) transfer: Mutex<Transfer>,
    pub(crate) health: Arc<dyn Fn() -> Health + Send + Sync>,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    #[cfg(feature = "faults")]
    pub(crate) fault: Option<crate::Fault>,
}

impl<H: ReplicaHome> Shared<H> {
    pub(crate) fn health(&self) -> Health {
        (self.health)()
    }

    pub(crate) fn transfer(&self) -> Transfer {
        *self.transfer.lock()
    }

    /// Notes how far giving up the leadership is. Takes effect at once.
    pub(crate) fn set_transfer(&self, transfer: Transfer) {
        *self.transfer.lock() = transfer;
        if transfer != Transfer::None {
            self.ready.send_replace(None);
        }
        self.link.mute(transfer == Transfer::Silent);
    }

    /// Notes what was decided, as leader of `term` if this replica leads.
    pub(crate) fn note_standing(&self, term: Term, standing: Standing) {
        let (is_ready, is_muted) = match standing {
            Standing::Leads { is_ready, is_muted } => (is_ready, is_muted),
            Standing::Waits(_) | Standing::AsksPreVote => (false, false),
        };
        self.link.mute(is_muted);
        let ready = is_ready.then_some(term);
        self.ready.send_if_modified(|before| {
            let is_other = *before != ready;
            *before = ready;
            is_other
        });
    }

    /// A member to send to.
    pub(crate) fn peer(&self, replica: u64, members: &Members) -> Option<Peer> {
        Some(Peer { replica, member: members.members.get(&replica)?.clone() })
    }
}
