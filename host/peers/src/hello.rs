//! Hello: what each side of a connection says first, and whether it is accepted.

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Remote, hex};
use crate::name::check_node_name;

/// Protocols that this software speaks: the lowest and the highest.
pub const PROTOCOLS: (u32, u32) = (1, 1);

/// The highest feature level that this software knows.
pub const FEATURE_LEVEL: u32 = 1;

/// What a connection is for. Each has its own, so that none delays another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Messages of groups.
    Raft,
    /// Snapshots.
    Bulk,
    /// Requests of clients, and calls.
    Client,
}

/// What both sides say first. More fields may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    #[serde(with = "hex")]
    pub(crate) cluster: u128,
    pub(crate) from: Remote,
    /// Id of the node that it is for.
    pub(crate) to: u64,
    pub(crate) kind: Kind,
    pub(crate) protocols: (u32, u32),
    /// The level that the cluster has, as the node knows it.
    pub(crate) feature_level: u32,
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub(crate) clock: u64,
}

/// A node as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub node: u64,
    /// Random number that its log was made with.
    pub incarnation: u64,
    /// It was removed, and may not come back.
    pub is_removed: bool,
}

/// What the registry knows. It is asked for each connection, and again every two seconds: it must not block.
pub trait Admission: Send + Sync + 'static {
    /// The node with this name.
    fn registered(&self, name: &str) -> Option<Registered>;

    /// The feature level of the cluster.
    fn feature_level(&self) -> u32;
}

/// Why a node does not speak with another one. The other side gets the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "kebab-case")]
pub enum Refusal {
    /// The connection shows no certificate.
    #[error("no certificate was shown: without one a node may only join")]
    NoCertificate,
    /// Something else came before the hello.
    #[error("a connection begins with a hello")]
    NoHello,
    /// The request is not understood.
    #[error("the request is malformed: {reason:?}")]
    Malformed {
        /// Why.
        reason: String,
    },
    /// Such a request is not for this connection.
    #[error("there is nothing at {path:?} on this kind of connection")]
    NotThere {
        /// The path.
        path: String,
    },
    /// The versions are too far from each other.
    #[error(
        "protocols {theirs:?} of the other node and {ours:?} of this one have none in common: upgrade the older one"
    )]
    Protocols {
        /// Lowest and highest of the node that refuses.
        ours: (u32, u32),
        /// Lowest and highest of the other one.
        theirs: (u32, u32),
    },
    /// The node is of another cluster.
    #[error(
        "the other node is of cluster {theirs:032x}, this one of {ours:032x}: correct the addresses of peers"
    )]
    OtherCluster {
        /// That of the node that refuses.
        #[serde(with = "hex")]
        ours: u128,
        /// That of the other one.
        #[serde(with = "hex")]
        theirs: u128,
    },
    /// The node wanted to reach another one.
    #[error("this is node {ours}, not node {wanted}: correct the addresses of peers")]
    OtherNode {
        /// Id of the node that refuses.
        ours: u64,
        /// Id of the node that was wanted.
        wanted: u64,
    },
    /// The certificate is for another name.
    #[error(
        "the certificate is not for {name:?}, as which the node introduces itself: use the node's own certificate"
    )]
    OtherName {
        /// The name in the hello.
        name: String,
    },
    /// The registry does not know the node.
    #[error("no node {name:?} is registered: have it join the cluster")]
    UnknownNode {
        /// Its name.
        name: String,
    },
    /// The registry has another node under the name.
    #[error("node {name:?} is registered with id {registered}, and says {found}: have it join again")]
    OtherId {
        /// Its name.
        name: String,
        /// The id in the registry.
        registered: u64,
        /// The id that it has.
        found: u64,
    },
    /// The node was removed.
    #[error(
        "node {name:?} was removed from the cluster: stop it; it may join under another name with an empty folder"
    )]
    RemovedNode {
        /// Its name.
        name: String,
    },
    /// The node's log is not the registered one.
    #[error(
        "the log of node {name:?} is not the one that is registered ({found:016x}, not {registered:016x}): it lost what it had promised; replace the node"
    )]
    OtherIncarnation {
        /// Its name.
        name: String,
        /// The registered log.
        registered: u64,
        /// The log that it has.
        found: u64,
    },
    /// The cluster uses what this software does not know.
    #[error("the cluster has feature level {found}, and this software knows up to {known}: upgrade it")]
    FeatureLevel {
        /// The level of the other node.
        found: u32,
        /// The highest that the node that refuses knows.
        known: u32,
    },
}

/// What a node is and speaks.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) protocols: (u32, u32),
    /// The highest level that it knows.
    pub(crate) feature_level: u32,
}

impl<'a> Own<'a> {
    pub(crate) fn new(identity: &'a Identity) -> Self {
        Self { identity, protocols: PROTOCOLS, feature_level: FEATURE_LEVEL }
    }

    /// What is checked once: it cannot change while the connection lasts.
    pub(crate) fn check_hello(&self, hello: &Hello, is_certified: bool) -> Result<(), Refusal> {
        let (ours, theirs) = (self.protocols, hello.protocols);
        if ours.0.max(theirs.0) > ours.1.min(theirs.1) {
            return Err(Refusal::Protocols { ours, theirs });
        }
        let Identity { cluster, node, .. } = *self.identity;
        if hello.cluster != cluster {
            return Err(Refusal::OtherCluster { ours: cluster, theirs: hello.cluster });
        }
        if hello.to != node {
            return Err(Refusal::OtherNode { ours: node, wanted: hello.to });
        }
        if !is_certified || check_node_name(&hello.from.name).is_err() {
            let name = hello.from.name.chars().take(64).collect();
            return Err(Refusal::OtherName { name });
        }
        if hello.feature_level > self.feature_level {
            return Err(Refusal::FeatureLevel { found: hello.feature_level, known: self.feature_level });
        }
        Ok(())
    }
}

/// What is checked again while the connection lasts: the registry may change.
pub(crate) fn check_registered(remote: &Remote, registered: Option<Registered>) -> Result<(), Refusal> {
    let name = || remote.name.clone();
    let registered = registered.ok_or_else(|| Refusal::UnknownNode { name: name() })?;
    if registered.is_removed {
        return Err(Refusal::RemovedNode { name: name() });
    }
    if registered.node != remote.node {
        return Err(Refusal::OtherId { name: name(), registered: registered.node, found: remote.node });
    }
    if registered.incarnation != remote.incarnation {
        let (registered, found) = (registered.incarnation, remote.incarnation);
        return Err(Refusal::OtherIncarnation { name: name(), registered, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Hello, Identity, Kind, Own, Refusal, Registered, Remote, check_registered};

    fn me() -> Identity {
        Identity { cluster: 7, node: 1, name: "a".into(), incarnation: 11 }
    }

    fn remote() -> Remote {
        Remote { node: 2, name: "b".into(), incarnation: 22 }
    }

    fn hello() -> Hello {
        let from = remote();
        Hello { cluster: 7, from, to: 1, kind: Kind::Raft, protocols: (2, 3), feature_level: 4, clock: 0 }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let identity = me();
        let own = Own { identity: &identity, protocols: (3, 5), feature_level: 4 };
        let check = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            own.check_hello(&hello, hello.from.name == "b").err()
        };
        assert_eq!(check(|_| {}), None);
        assert_eq!(check(|hello| hello.protocols = (5, 9)), None);
        let protocols = |theirs| Some(Refusal::Protocols { ours: (3, 5), theirs });
        assert_eq!(check(|hello| hello.protocols = (1, 2)), protocols((1, 2)));
        assert_eq!(check(|hello| hello.protocols = (6, 7)), protocols((6, 7)));
        assert_eq!(check(|hello| hello.protocols = (4, 3)), protocols((4, 3)), "not a range");
        let cluster = Some(Refusal::OtherCluster { ours: 7, theirs: 8 });
        assert_eq!(check(|hello| hello.cluster = 8), cluster);
        assert_eq!(check(|hello| hello.to = 2), Some(Refusal::OtherNode { ours: 1, wanted: 2 }));
        let name = Some(Refusal::OtherName { name: "c".into() });
        assert_eq!(check(|hello| hello.from.name = "c".into()), name);
        let level = Some(Refusal::FeatureLevel { found: 5, known: 4 });
        assert_eq!(check(|hello| hello.feature_level = 5), level);
        assert_eq!(check(|hello| hello.feature_level = 0), None);
    }

    #[test]
    fn who_is_not_registered_as_it_is_is_refused_by_name() {
        let registered = Registered { node: 2, incarnation: 22, is_removed: false };
        let (name, known) = ("b".to_owned(), || Some(registered.clone()));
        assert_eq!(check_registered(&remote(), known()), Ok(()));
        let unknown = Refusal::UnknownNode { name: name.clone() };
        assert_eq!(check_registered(&remote(), None), Err(unknown));
        let removed = Registered { is_removed: true, ..registered.clone() };
        let refusal = Refusal::RemovedNode { name: name.clone() };
        assert_eq!(check_registered(&remote(), Some(removed)), Err(refusal));
        let refusal = Refusal::OtherId { name: name.clone(), registered: 2, found: 3 };
        assert_eq!(check_registered(&Remote { node: 3, ..remote() }, known()), Err(refusal));
        let refusal = Refusal::OtherIncarnation { name, registered: 22, found: 23 };
        assert_eq!(check_registered(&Remote { incarnation: 23, ..remote() }, known()), Err(refusal));
    }

    #[test]
    fn hellos_and_refusals_are_read_back_from_json() {
        let text = serde_json::to_string(&hello()).expect("a hello is JSON");
        assert_eq!(serde_json::from_str::<Hello>(&text).expect("it is read back"), hello());
        let with_more = text.replacen('{', r#"{"later":1,"#, 1);
        assert_eq!(serde_json::from_str::<Hello>(&with_more).expect("more is ignored"), hello());
        let refusals = [
            Refusal::NoCertificate,
            Refusal::OtherCluster { ours: u128::MAX, theirs: 1 },
            Refusal::OtherIncarnation { name: "b".into(), registered: u64::MAX, found: 1 },
        ];
        for refusal in refusals {
            let text = serde_json::to_string(&refusal).expect("a refusal is JSON");
            assert_eq!(serde_json::from_str::<Refusal>(&text).expect("it is read back"), refusal);
        }
        for hostile in
            ["", "{}", "[]", r#"{"cluster":"x"}"#, r#"{"cluster":"fffffffffffffffffffffffffffffffff"}"#]
        {
            assert!(serde_json::from_str::<Hello>(hostile).is_err(), "{hostile}");
        }
    }
}
