//! How a node becomes one of a cluster: what it asks for, what the leader decides, and what it writes down.
//!
//! The transport of the request, the token that admits it, and certificates are for others. Each side may repeat its part: the
//! same name with the same log gets the same answer, and the log is made before anything is asked.

use std::path::{Path, PathBuf};

use exesdb_cluster::{Group, ReplicaHome};
use exesdb_log::Log;
use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, Incarnation};
use crate::identity::folder::kept_in;
use crate::identity::{DataFolder, Identity, Kept, Place, StartError};
use crate::limits::PEM_BYTES_MAX;
use crate::names::Addresses;
use crate::registry::{self, Change, ChangeError, NewNode, NodeState, Refused, Registry};
use crate::{CLUSTER_NAME, FEATURE_LEVEL};

/// What a node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The cluster that it asks to join.
    pub cluster: ClusterId,
    /// The features that it has.
    pub feature_level: u32,
    /// Who it wants to be.
    pub node: NewNode,
    /// Its certificate signing request, in PEM.
    pub csr: String,
}

/// What a node is told that may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// The features that it uses.
    pub feature_level: u32,
    /// The node's id.
    pub node: u64,
    /// The node's name.
    pub name: String,
    /// The replicas that it is to have.
    pub replicas: Vec<NewReplica>,
    /// All nodes, this one among them.
    pub nodes: Vec<KnownNode>,
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The authority that it trusts, in PEM.
    pub ca: String,
}

/// A replica that a node is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReplica {
    /// Number of its group.
    pub group: u64,
    /// Name of its store, or `$cluster`.
    pub store: String,
    /// Its id.
    pub replica: u64,
}

/// A node that another one should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNode {
    /// Its id.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// What whoever has the authority's key made of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The authority, in PEM.
    pub ca: String,
}

/// Why a node does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The request is for another cluster.
    #[error("the request is for cluster {asked}, and this is cluster {cluster}; use a token of this one")]
    OtherCluster {
        /// The cluster of the request.
        asked: ClusterId,
        /// The one that was asked.
        cluster: ClusterId,
    },
    /// The node is too old.
    #[error("the node has feature level {found}, and the cluster uses {used}; install a newer version")]
    FeatureLevel {
        /// The node's level.
        found: u32,
        /// The cluster's.
        used: u32,
    },
    /// Something in PEM is too long.
    #[error("{what} has {bytes} bytes, over the limit of {PEM_BYTES_MAX}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// The certificate was not signed.
    #[error("the certificate of {name} was not signed: {reason}")]
    NotSigned {
        /// The node.
        name: String,
        /// Why.
        reason: String,
    },
    /// The registry was not changed.
    #[error(transparent)]
    Change(Box<ChangeError>),
    /// The data directory cannot be used.
    #[error(transparent)]
    Folder(#[from] StartError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] exesdb_log::OpenError),
    /// The data directory has something already.
    #[error(
        "{} has stores ({}); a node that joins begins empty: choose another data directory, or move them away", path.display(),
        stores.join(", ")
    )]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
        /// What it has.
        stores: Vec<String>,
    },
    /// The node belongs to another cluster, or has another name there.
    #[error("{} belongs to node {name} of cluster {cluster} already", path.display())]
    Member {
        /// The data directory.
        path: PathBuf,
        /// The node's name.
        name: String,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// The answer is not one to the request.
    #[error("the answer of the cluster is not possible: {0}")]
    Answer(String),
}

impl From<ChangeError> for JoinError {
    fn from(error: ChangeError) -> Self {
        Self::Change(Box::new(error))
    }
}

impl From<Refused> for JoinError {
    fn from(refused: Refused) -> Self {
        ChangeError::from(refused).into()
    }
}

/// Decides about a request: the change of the registry that it takes, if any.
///
/// # Errors
///
/// [`JoinError`].
pub fn decide(registry: &Registry, request: &JoinRequest) -> Result<Option<Change>, JoinError> {
    let JoinRequest { cluster: asked, feature_level, node, csr } = request;
    if *asked != registry.cluster() {
        return Err(JoinError::OtherCluster { asked: *asked, cluster: registry.cluster() });
    }
    let used = registry.feature_level();
    if *feature_level < used {
        return Err(JoinError::FeatureLevel { found: *feature_level, used });
    }
    check_pem("the certificate signing request", csr)?;
    Ok(registry.register_node(node)?)
}

/// The answer to a node that is registered.
///
/// # Errors
///
/// [`JoinError`]: it is not, or not any more.
pub fn answer(registry: &Registry, name: &str, signed: Signed) -> Result<JoinAnswer, JoinError> {
    let member = registry.node_named(name).filter(|(_, node)| node.state != NodeState::Removed);
    let (node, _) = member.ok_or_else(|| Refused::Removed { name: name.to_owned() })?;
    let replicas = registry.groups_on(node).into_iter();
    let nodes = registry.members();
    Ok(JoinAnswer {
        cluster: registry.cluster(),
        feature_level: registry.feature_level(),
        node,
        name: name.to_owned(),
        replicas: replicas
            .map(|(group, store, replica)| NewReplica { group, store: store.to_owned(), replica })
            .collect(),
        nodes: nodes
            .map(|(node, known)| KnownNode {
                node,
                name: known.name.clone(),
                addresses: known.addresses.clone(),
            })
            .collect(),
        certificate: signed.certificate,
        ca: signed.ca,
    })
}

/// Lets a node join, on the node that leads `$cluster`. Whoever calls it has checked the token. `sign` is called before
/// anything is registered.
///
/// # Errors
///
/// [`JoinError`]. The node may be registered all the same, and asks again.
pub async fn admit<H: ReplicaHome>(
    group: &Group<H>,
    request: &JoinRequest,
    sign: impl FnOnce(&JoinRequest) -> Result<Signed, String>,
) -> Result<JoinAnswer, JoinError> {
    decide(&registry::read(group).await?, request)?;
    let name = &request.node.name;
    let signed = sign(request).map_err(|reason| JoinError::NotSigned { name: name.clone(), reason })?;
    let registry = registry::change(group, |registry| registry.register_node(&request.node)).await?;
    answer(&registry, name, signed)
}

/// The data directory of a node that wants to join: locked, empty but for its log.
pub struct Joining {
    folder: DataFolder,
    incarnation: Incarnation,
}

/// How far a node is with joining.
pub enum Begun {
    /// It may ask.
    Joining(Joining),
    /// It has joined before.
    Before(Identity),
}

impl Joining {
    /// Looks at a data directory, and makes the log. The log is what a node is known by, so it stays if joining fails, and
    /// the node can ask again.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn begin(
        path: &Path,
        cluster: ClusterId,
        name: &str,
        log: exesdb_log::Options,
    ) -> Result<Begun, JoinError> {
        let folder = DataFolder::lock(path)?;
        if let Some(identity) = folder.identity()? {
            if identity.cluster == cluster && identity.name == name {
                return Ok(Begun::Before(identity));
            }
            let Identity { name, cluster, .. } = identity;
            return Err(JoinError::Member { path: path.to_owned(), name, cluster });
        }
        if folder.is_founding() {
            return Err(StartError::Founding { path: path.to_owned() }.into());
        }
        let mut stores: Vec<_> = folder.stores()?.into_iter().map(|(name, _)| name).collect();
        if kept_in(&folder.cluster_replica())? != Kept::Nothing {
            stores.push(CLUSTER_NAME.to_owned());
        }
        if !stores.is_empty() {
            return Err(JoinError::NotEmpty { path: path.to_owned(), stores });
        }
        let (log, _) = Log::open(&folder.log(), log)?;
        let incarnation = Incarnation(log.incarnation());
        Ok(Begun::Joining(Self { folder, incarnation }))
    }

    /// What to ask for.
    #[must_use]
    pub fn request(
        &self,
        cluster: ClusterId,
        name: String,
        addresses: Addresses,
        zone: Option<String>,
        csr: String,
    ) -> JoinRequest {
        let node = NewNode { name, addresses, zone, incarnation: self.incarnation };
        JoinRequest { cluster, feature_level: FEATURE_LEVEL, node, csr }
    }

    /// Checks the answer to a request, and writes down who the node is now. What else of the answer must last, such as the
    /// certificate, is written before: after this the node counts as joined.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn accept(self, request: &JoinRequest, answer: &JoinAnswer) -> Result<Identity, JoinError> {
        check_answer(request, answer)?;
        let place = |new: &NewReplica| Place {
            group: new.group,
            store: new.store.clone(),
            replica: new.replica,
            is_admitted: false,
        };
        let replicas = answer.replicas.iter().map(place).collect();
        let JoinAnswer { cluster, node, name, .. } = answer;
        let identity = Identity::new(*cluster, *node, name.clone(), self.incarnation, replicas);
        identity.check().map_err(JoinError::Answer)?;
        self.folder.write_identity(&identity)?;
        Ok(identity)
    }
}

/// Checks that an answer is one to the request.
///
/// # Errors
///
/// [`JoinError`].
fn check_answer(request: &JoinRequest, answer: &JoinAnswer) -> Result<(), JoinError> {
    let JoinRequest { cluster, node: NewNode { name, .. }, .. } = request;
    if answer.cluster != *cluster {
        return Err(JoinError::OtherCluster { asked: *cluster, cluster: answer.cluster });
    }
    if answer.feature_level > FEATURE_LEVEL {
        return Err(JoinError::FeatureLevel { found: FEATURE_LEVEL, used: answer.feature_level });
    }
    if answer.name != *name {
        return Err(JoinError::Answer(format!("it is for node {:?}, and this is node {name}", answer.name)));
    }
    check_pem("the certificate", &answer.certificate)?;
    check_pem("the certificate of the authority", &answer.ca)?;
    for KnownNode { name, addresses, .. } in &answer.nodes {
        let valid = crate::names::node(name).and_then(|()| addresses.check());
        valid.map_err(|invalid| JoinError::Answer(invalid.to_string()))?;
    }
    Ok(())
}

fn check_pem(what: &'static str, pem: &str) -> Result<(), JoinError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(JoinError::TooLong { what, bytes: pem.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        Begun, JoinAnswer, JoinError, JoinRequest, Joining, KnownNode, NewReplica, Signed, answer, decide,
    };
    use crate::id::{ClusterId, Incarnation};
    use crate::names::Addresses;
    use crate::registry::{NewNode, NewStore, Registry};

    const CLUSTER: ClusterId = ClusterId(7);

    fn node(name: &str, incarnation: u64) -> NewNode {
        let addresses = Addresses { peers: vec![format!("{name}:2114")], clients: vec![] };
        NewNode { name: name.into(), addresses, zone: None, incarnation: Incarnation(incarnation) }
    }

    fn registry() -> Registry {
        let store = NewStore { name: "x".into(), config: String::new(), voters: 3 };
        Registry::found(CLUSTER, &node("a", 1), &[store]).expect("it is possible").after
    }

    fn request(name: &str, incarnation: u64) -> JoinRequest {
        JoinRequest { cluster: CLUSTER, feature_level: 1, node: node(name, incarnation), csr: String::new() }
    }

    #[test]
    fn the_same_request_gets_the_same_answer() {
        let after = decide(&registry(), &request("b", 2)).expect("it may").expect("it is new").after;
        let first = answer(&after, "b", Signed::default()).expect("it is registered");
        assert!(decide(&after, &request("b", 2)).expect("it may").is_none());
        assert_eq!(answer(&after, "b", Signed::default()).expect("it is registered"), first);
        let replicas: Vec<_> =
            first.replicas.iter().map(|new| (new.group, &*new.store, new.replica)).collect();
        assert_eq!((first.node, replicas), (2, vec![(1, "$cluster", 3), (2, "x", 4)]));
        assert_eq!(first.nodes.iter().map(|node| &*node.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn requests_for_another_cluster_of_old_nodes_and_without_bounds_are_refused() {
        let other = JoinRequest { cluster: ClusterId(8), ..request("b", 2) };
        assert!(matches!(decide(&registry(), &other), Err(JoinError::OtherCluster { .. })));
        let old = JoinRequest { feature_level: 0, ..request("b", 2) };
        assert!(matches!(decide(&registry(), &old), Err(JoinError::FeatureLevel { found: 0, used: 1 })));
        let long = JoinRequest { csr: "x".repeat(64 * 1024 + 1), ..request("b", 2) };
        assert!(matches!(decide(&registry(), &long), Err(JoinError::TooLong { .. })));
        for wiped in [request("a", 9), request("b", 1)] {
            assert!(matches!(decide(&registry(), &wiped), Err(JoinError::Change(_))));
        }
        assert!(answer(&registry(), "b", Signed::default()).is_err(), "nobody registered it");
    }

    #[test]
    fn an_answer_that_is_not_one_to_the_request_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let begin = || match Joining::begin(dir.path(), CLUSTER, "b", exesdb_log::Options::default()) {
            Ok(Begun::Joining(joining)) => joining,
            _ => panic!("nothing was joined"),
        };
        let joining = begin();
        let incarnation = joining.incarnation;
        let addresses = node("b", 2).addresses;
        let asked = joining.request(CLUSTER, "b".into(), addresses.clone(), None, String::new());
        drop(joining);
        let after = decide(&registry(), &asked).expect("it may").expect("it is new").after;
        let good = answer(&after, "b", Signed::default()).expect("it is registered");
        let replica = |group, store: &str, replica| NewReplica { group, store: store.into(), replica };
        let hostile = [
            JoinAnswer { cluster: ClusterId(8), ..good.clone() },
            JoinAnswer { feature_level: 2, ..good.clone() },
            JoinAnswer { name: "c".into(), ..good.clone() },
            JoinAnswer { node: 0, ..good.clone() },
            JoinAnswer { replicas: vec![], ..good.clone() },
            JoinAnswer { replicas: vec![replica(1, "$cluster", 3), replica(2, "../x", 4)], ..good.clone() },
            JoinAnswer { replicas: vec![replica(1, "$cluster", 3), replica(2, "x", 3)], ..good.clone() },
            JoinAnswer { replicas: vec![replica(1, "x", 3)], ..good.clone() },
            JoinAnswer { certificate: "x".repeat(64 * 1024 + 1), ..good.clone() },
            JoinAnswer {
                nodes: vec![KnownNode { node: 1, name: "a".into(), addresses: Addresses::default() }],
                ..good.clone()
            },
        ];
        for answer in hostile {
            let joining = begin();
            assert_eq!(joining.incarnation, incarnation, "the log stays");
            assert!(joining.accept(&asked, &answer).is_err(), "{answer:?}");
        }
        let identity = begin().accept(&asked, &good).expect("it is the answer");
        assert_eq!((identity.node, identity.place(2).map(|place| place.replica)), (2, Some(4)));
        let again = Joining::begin(dir.path(), CLUSTER, "b", exesdb_log::Options::default());
        assert!(matches!(again, Ok(Begun::Before(known)) if known == identity));
        let other = Joining::begin(dir.path(), CLUSTER, "c", exesdb_log::Options::default());
        assert!(matches!(other, Err(JoinError::Member { .. })));
    }
}
