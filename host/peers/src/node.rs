//! What all connections of this node share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::clock::now_us;
use crate::credentials::Credentials;
use crate::endpoint::Endpoints;
use crate::hello::{Admission, Hello, Kind, Own, Refusal, check_registered};
use crate::identity::{Identity, Remote};
use crate::limits::REFUSALS_KEPT;
use crate::services::Services;

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) endpoints: Arc<Endpoints>,
    /// One snapshot is sent at a time.
    pub(crate) sends_snapshot: Semaphore,
    /// One snapshot is received at a time.
    pub(crate) receives_snapshot: Arc<Semaphore>,
    /// Nodes that this one refused, by the names that they gave, and when.
    pub(crate) refused: Mutex<BTreeMap<String, (Refusal, u64)>>,
}

impl Node {
    pub(crate) fn hello(&self, to: u64, kind: Kind) -> Hello {
        let own = Own::new(&self.identity);
        let Identity { cluster, node, name, incarnation } = self.identity.clone();
        Hello {
            cluster,
            from: Remote { node, name, incarnation },
            to,
            kind,
            protocols: own.protocols,
            feature_level: self.admission.feature_level(),
            clock: now_us(),
        }
    }

    /// Whether a node that said this is spoken with.
    pub(crate) fn check(&self, hello: &Hello, is_certified: bool) -> Result<(), Refusal> {
        Own::new(&self.identity).check_hello(hello, is_certified)?;
        self.check_again(&hello.from)
    }

    /// Whether it still is.
    pub(crate) fn check_again(&self, remote: &Remote) -> Result<(), Refusal> {
        check_registered(remote, self.admission.registered(&remote.name))
    }

    /// Remembers that a node was refused, for the status.
    pub(crate) fn note_refused(&self, name: &str, refusal: &Refusal) {
        tracing::warn!(peer = name, %refusal, "a node was refused");
        let mut refused = self.refused.lock();
        if refused.len() < REFUSALS_KEPT || refused.contains_key(name) {
            refused.insert(name.to_owned(), (refusal.clone(), now_us()));
        }
    }

    pub(crate) fn note_accepted(&self, name: &str) {
        self.refused.lock().remove(name);
    }
}
