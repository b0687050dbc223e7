//! How the components of a store of the cluster read and commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use exesdb_cluster::{ProposeError, ReadError};
use exesdb_node::registry::RegistryView;
use exesdb_packed::{Envelope, Frames, Record};
use exesdb_plugin::{Backend, CommitFailure, LeaderAddress, OnApplied, OnDurable, OnReply, Tenure};
use exesdb_storage::{BatchError, Commit, CommitError, Health, Reader};
use exesdb_supervisor::Registry;

use super::names;
use super::replication::Replication;

/// Streams of one commit that are named to all replicas. With more of them, as in an import, everybody who waits is woken.
const STREAMS_MAX: usize = 100;

/// The role of the component that keeps streams.
const STREAMS_OWNER: &str = "streams";

/// The topic that wakes everybody. No stream has an empty id.
pub(super) const EVERYBODY: &str = "";

/// A replica of a group, as its components see it.
pub(super) struct GroupBackend {
    replication: Arc<Replication>,
    failures: Failures,
    /// The newest reader that there was: after the group has stopped, reads fail by it.
    reader: ArcSwap<Reader>,
    runtime: tokio::runtime::Handle,
}

impl GroupBackend {
    /// None if the group has no replica. Called within a runtime.
    pub(super) fn new(replication: Arc<Replication>, registry: Registry) -> Option<Self> {
        let reader = ArcSwap::from_pointee(replication.group.reader()?);
        let failures = Failures { replication: Arc::clone(&replication), registry };
        Some(Self { replication, failures, reader, runtime: tokio::runtime::Handle::current() })
    }
}

/// What failures of a group mean to those who commit.
#[derive(Clone)]
struct Failures {
    replication: Arc<Replication>,
    registry: Registry,
}

impl Failures {
    /// That another node leads, or none.
    fn not_leader(&self, leader: Option<u64>) -> CommitFailure {
        // A leader that is not ready yet is none.
        let leader = leader.filter(|leader| *leader != self.replication.place.replica);
        let members = self.replication.metrics().members.members;
        match leader.and_then(|leader| members.get(&leader)) {
            Some(member) => CommitFailure::NotLeader {
                leader: client_address(&self.registry, &member.node).as_deref().and_then(split),
            },
            None => CommitFailure::NoLeader,
        }
    }

    fn of(&self, error: ProposeError) -> CommitFailure {
        match error {
            ProposeError::NotLeader { leader } => self.not_leader(leader),
            ProposeError::Overloaded { limit } => CommitError::Overloaded { limit }.into(),
            ProposeError::ReadOnly => CommitError::ReadOnly {
                reason: "the disk of the node that leads is nearly full; free space there".to_owned(),
            }
            .into(),
            ProposeError::Invalid(reason) => CommitError::Invalid(reason).into(),
            ProposeError::Stopped { .. } => CommitError::Closed.into(),
            ProposeError::Unknown { reason } => CommitFailure::Unknown { reason },
        }
    }
}

impl Backend for GroupBackend {
    fn reader(&self) -> Reader {
        if let Some(reader) = self.replication.group.reader() {
            self.reader.store(Arc::new(reader.clone()));
            return reader;
        }
        (**self.reader.load()).clone()
    }

    fn leads(&self) -> Result<Tenure, CommitFailure> {
        let ready = *self.replication.group.ready().borrow();
        ready.map(Tenure).ok_or_else(|| self.failures.not_leader(self.replication.metrics().leader))
    }

    fn commit(
        &self,
        Tenure(term): Tenure,
        commit: Commit,
        applied: OnApplied,
        reply: OnReply,
    ) -> Result<(), CommitFailure> {
        let topics = streams(&commit);
        let group = Arc::clone(&self.replication.group);
        let failures = self.failures.clone();
        self.runtime.spawn(async move {
            match group.propose(commit, Some(term), topics).await {
                Ok(accepted) => {
                    let is_fenced =
                        |outcome: &Result<_, BatchError>| matches!(outcome, Err(BatchError::Fenced));
                    if accepted.outcomes.iter().any(is_fenced) {
                        // All of it: it was proposed by a later leader, and applied by none.
                        return reply(Err(failures.not_leader(group.metrics().leader)));
                    }
                    applied(&accepted.outcomes);
                    reply(Ok(accepted.outcomes));
                }
                Err(error) => reply(Err(failures.of(error))),
            }
        });
        Ok(())
    }

    fn when_durable(&self, Tenure(term): Tenure, reply: OnDurable) -> Result<(), CommitFailure> {
        let group = Arc::clone(&self.replication.group);
        self.runtime.spawn(async move {
            // What is applied is durable on a majority; that nobody else has led since is what has to be asked.
            let confirmed = group.linearizable().await;
            let still = *group.ready().borrow() == Some(term);
            reply(match confirmed {
                Ok(_) if still => Ok(()),
                Ok(_) | Err(ReadError::NoLeader { .. } | ReadError::Behind { .. }) => {
                    Err(CommitFailure::NoLeader)
                }
                Err(ReadError::NoReplica) => Err(CommitError::Closed.into()),
            });
        });
        Ok(())
    }

    fn health(&self) -> Health {
        match self.replication.group.stopped().borrow().clone() {
            Some(reason) => Health::Poisoned { reason },
            None => Health::Ok,
        }
    }

    fn writing_for(&self) -> Option<Duration> {
        let logs = self.failures.registry.get::<super::raft_log::NodeLogs>(names::LOG)?;
        logs.log.writing_since().map(|since| since.elapsed())
    }
}

/// Where a node serves clients.
pub(super) fn client_address(registry: &Registry, node: &str) -> Option<String> {
    let known = registry.get::<RegistryView>(names::REGISTRY)?.registry()?;
    known.node_named(node)?.1.addresses.clients.first().cloned()
}

fn split(address: &str) -> Option<LeaderAddress> {
    let (host, port) = address.rsplit_once(':')?;
    Some(LeaderAddress { host: host.to_owned(), port: port.parse().ok()? })
}

/// The streams to which a commit appends, for those who wait for events on any replica. A change of streams that appends nothing, such
/// as a deletion, concerns everybody.
fn streams(commit: &Commit) -> Vec<String> {
    let is_of_streams = commit.owner == STREAMS_OWNER;
    if is_of_streams && commit.batches.iter().all(|batch| batch.log.is_empty()) {
        return vec![EVERYBODY.to_owned()];
    }
    let mut streams = BTreeSet::new();
    for batch in &commit.batches {
        for frame in Frames::new(&batch.log).map_while(Result::ok) {
            let Record::Event(envelope) = frame.record else { continue };
            let Ok(event) = Envelope::read(envelope) else { continue };
            if !streams.contains(event.stream_id) {
                if streams.len() == STREAMS_MAX {
                    return vec![EVERYBODY.to_owned()];
                }
                streams.insert(event.stream_id.to_owned());
            }
        }
    }
    streams.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{EventParts, push_event};
    use exesdb_storage::{Batch, Commit};

    use super::{EVERYBODY, STREAMS_MAX, split, streams};

    fn batch(streams: &[String]) -> Batch {
        let mut log = Vec::new();
        for (version, stream) in streams.iter().enumerate() {
            let event = EventParts::<'_, String> {
                flags: 0,
                version: version as u64,
                created: 1,
                stream_id: stream,
                id: "i",
                event_type: "t",
                content_type: "c",
                tags: &[],
                data: b"",
                metadata: b"",
            };
            push_event(&mut log, 0, &event).expect("it is short");
        }
        Batch { log, ..Batch::default() }
    }

    fn topics(owner: &str, batches: &[&[&str]]) -> Vec<String> {
        let names = |streams: &&[&str]| streams.iter().map(|stream| (*stream).to_owned()).collect::<Vec<_>>();
        let batches = batches.iter().map(|streams| batch(&names(streams))).collect();
        streams(&Commit { owner: owner.to_owned(), batches, ..Commit::default() })
    }

    #[test]
    fn a_commit_wakes_those_who_wait_for_its_streams() {
        assert_eq!(topics("streams", &[&["a", "b", "a"], &["c", "a"]]), ["a", "b", "c"]);
        assert_eq!(topics("streams", &[&["a"], &[]]), ["a"]);
        assert_eq!(topics("streams", &[&[]]), [EVERYBODY], "a deletion");
        assert_eq!(topics("subscriptions", &[&[]]), Vec::<String>::new(), "a checkpoint");
        let many: Vec<String> = (0..=STREAMS_MAX).map(|number| number.to_string()).collect();
        let commit = Commit { owner: "streams".into(), batches: vec![batch(&many)], ..Commit::default() };
        assert_eq!(streams(&commit), [EVERYBODY]);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let address = |text: &str| split(text).map(|address| (address.host, address.port));
        assert_eq!(address("a.example:2113"), Some(("a.example".into(), 2113)));
        assert_eq!(address("[::1]:2113"), Some(("[::1]".into(), 2113)));
        for wrong in ["", "a", "a:", "a:65536", "a:x"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
