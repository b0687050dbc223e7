//! What is wrong, in words, and what to do about it.

use serde::{Deserialize, Serialize};

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Too few voters of a store answer. It takes no writes.
    NoMajority {
        /// The store.
        store: String,
        /// Voters that answer.
        alive: usize,
        /// All voters.
        voters: usize,
    },
    /// The next voter that fails takes the store with it.
    NoRedundancy {
        /// The store.
        store: String,
        /// Voters that answer.
        alive: usize,
        /// All voters.
        voters: usize,
    },
    /// No node says that it leads a store.
    NoLeader {
        /// The store.
        store: String,
    },
    /// A store has fewer voters than were asked for, because there are too few nodes.
    FewVoters {
        /// The store.
        store: String,
        /// Its replicas.
        replicas: usize,
        /// Its voters, an odd number.
        voters: usize,
        /// The number that was asked for.
        wanted: usize,
    },
    /// A member of a group is not in the registry.
    UnknownReplica {
        /// The store.
        store: String,
        /// The replica.
        replica: u64,
    },
    /// A replica has less than it had acknowledged.
    LostLog {
        /// The store.
        store: String,
        /// Its node.
        node: String,
    },
    /// A replica has other data than its leader.
    Diverged {
        /// The store.
        store: String,
        /// Its node.
        node: String,
        /// Index of the entry at which that was found.
        index: u64,
    },
    /// A replica does not go on.
    Stopped {
        /// The store.
        store: String,
        /// Its node.
        node: String,
        /// Why.
        reason: String,
    },
    /// A replica lags.
    Behind {
        /// The store.
        store: String,
        /// Its node.
        node: String,
        /// Entries that it has not applied.
        lag: u64,
    },
    /// A node does not answer.
    Unreachable {
        /// The node.
        node: String,
    },
    /// A node was registered, and does not have the registry yet.
    Joining {
        /// The node.
        node: String,
    },
}

/// A [`Finding`] as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The store or node.
    pub about: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    /// The finding in words.
    #[must_use]
    pub fn show(&self) -> Shown {
        let (about, what, advice) = match self {
            Self::NoMajority { store, alive, voters } => (
                store,
                format!("{alive} of its {voters} voters answer, which is no majority: it takes no writes"),
                "start the nodes that are down; nothing that was acknowledged is lost while most voters can come back".into(),
            ),
            Self::NoRedundancy { store, voters: 1, .. } => (
                store,
                "it has a single voter: if that node fails, the store stands still".into(),
                "let two more nodes join".into(),
            ),
            Self::NoRedundancy { store, alive, voters } => (
                store,
                format!("{alive} of its {voters} voters answer: if one more fails, the store stands still"),
                "start the nodes that are down".into(),
            ),
            Self::NoLeader { store } => (
                store,
                "no node says that it leads it".into(),
                "wait some seconds; if it stays so, look whether its nodes reach each other".into(),
            ),
            Self::FewVoters { store, replicas, voters, wanted } => (
                store,
                format!(
                    "{wanted} voters were asked for, and with {replicas} replicas it has {voters}: an even number of voters \
                     survives no more failures than one less"
                ),
                "let more nodes join, and wait until they have everything".into(),
            ),
            Self::UnknownReplica { store, replica } => (
                store,
                format!("replica {replica} is a member of its group, and not in the registry"),
                "report this: it should not happen".into(),
            ),
            Self::LostLog { store, node } => (
                store,
                format!("its replica on {node} lost entries that it had acknowledged"),
                format!("empty the data directory of {node}, and let it join under a new name"),
            ),
            Self::Diverged { store, node, index } => (
                store,
                format!("its replica on {node} differs from its leader since entry {index} or before"),
                format!(
                    "keep a copy of the store's folder on {node} and report this; then empty its data directory, and let it \
                     join under a new name"
                ),
            ),
            Self::Stopped { store, node, reason } => (
                store,
                format!("its replica on {node} has stopped: {reason}"),
                format!("remove the cause, and run `exesdb restart {store}` on {node}"),
            ),
            Self::Behind { store, node, lag } => (
                store,
                format!("its replica on {node} is {lag} entries behind"),
                format!("wait; if it does not catch up, look at the disk and the network of {node}"),
            ),
            Self::Unreachable { node } => {
                (node, "it does not answer".into(), "start it, or look at its network".into())
            }
            Self::Joining { node } => (
                node,
                "it is registered, and does not have the registry yet".into(),
                format!("start it with `exesdb serve`, and look whether {node} is reached at its addresses"),
            ),
        };
        Shown { about: about.clone(), what, advice }
    }
}
