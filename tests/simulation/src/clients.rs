//! Clients: they append single events, each of which is unique, and read, at every level.

use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::ProposeError;
use exesdb_packed::EventParts;
use exesdb_storage::{Batch, BatchError, Commit, Guard, Memory, Operation, Reader, Stamp, Term};
use fastrand::Rng;

use crate::history::{Answer, Append, Expects, Level, Outcome, Read, Recorder, State};
use crate::home::{ALL, HEADS, OWNER};
use crate::node::{Node, NodeGroup};
use crate::trace::Event;

/// Streams that clients write to: few, so that they meet.
const STREAMS: u8 = 3;
/// Most questions of clients that wait for an answer.
const OPEN_MAX: usize = 64;
/// Most events of one simulation: the checks read them all.
const APPENDS_MAX: usize = 600;

/// The clients of a cluster, and what they know.
pub struct Clients {
    random: Rng,
    pause: Duration,
    next: Duration,
    /// Terms that were ever ready: what a deposed leader may still hold.
    terms: Vec<Term>,
    recorder: Recorder,
}

impl Clients {
    /// Clients that ask for something this often, on average.
    #[must_use]
    pub fn new(seed: u64, pause: Duration, recorder: Recorder) -> Self {
        Self {
            random: Rng::with_seed(seed ^ 0xc11e),
            pause,
            next: Duration::ZERO,
            terms: Vec::new(),
            recorder,
        }
    }

    /// Notes a term in which a replica is ready.
    pub fn note_term(&mut self, term: Term) {
        if !self.terms.contains(&term) {
            self.terms.push(term);
        }
    }

    /// Asks for what is due.
    pub fn step(&mut self, now: Duration, nodes: &[Arc<Node>]) {
        while self.next <= now {
            let pause = u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX);
            self.next = self.next.max(now.saturating_sub(self.pause))
                + Duration::from_micros(self.random.u64(1..pause * 2));
            self.ask(nodes);
        }
    }

    fn ask(&mut self, nodes: &[Arc<Node>]) {
        let running: Vec<_> = nodes.iter().filter(|node| node.group().is_some()).collect();
        if running.is_empty() {
            return;
        }
        let ready = running.iter().find(|node| term_of(node).is_some());
        let any = running[self.random.usize(..running.len())];
        match self.random.u8(..20) {
            0..12 if self.is_busy() => {}
            0..12 => {
                let node = ready.filter(|_| self.random.u8(..5) > 0).unwrap_or(&any);
                self.append(node);
            }
            12..15 => self.read(any, Level::Linearizable),
            15..18 => {
                let level = self.recorder.with(|recording| last_token(&recording.history.reads));
                if let Some((token, position)) = level {
                    self.read(any, Level::AtLeast { token, position });
                }
            }
            _ => self.read(any, Level::Local),
        }
    }

    /// Whether as much is asked for as may be.
    fn is_busy(&self) -> bool {
        self.recorder.with(|recording| {
            let appends = &recording.history.appends;
            let open = appends.iter().filter(|append| append.answer.is_none()).count();
            appends.len() >= APPENDS_MAX || open >= OPEN_MAX
        })
    }

    /// A node's process has ended: whoever waits for it knows nothing.
    pub fn note_end(&self, node: usize) {
        self.recorder.with(|recording| {
            let at = recording.add(Event::Did(format!("node-{node} ends")));
            let appends = recording.history.appends.iter_mut();
            for append in appends.filter(|append| append.node == node && append.answer.is_none()) {
                append.answer = Some((at, Answer::Unknown));
            }
        });
    }

    /// Appends one to three events in one commit, each of which expects something.
    pub fn append(&mut self, node: &Arc<Node>) {
        let fence = self.fence(node);
        let count = if self.random.u8(..4) == 0 { self.random.usize(2..4) } else { 1 };
        let mut wanted = Vec::new();
        let stream = self.random.u8(..STREAMS);
        for at in 0..count {
            wanted.push(self.expects(stream, at as u64));
        }
        self.send(node, wanted, fence);
    }

    fn fence(&mut self, node: &Node) -> Option<Term> {
        match self.random.u8(..10) {
            0..2 => term_of(node),
            2 if !self.terms.is_empty() => Some(self.terms[self.random.usize(..self.terms.len())]),
            _ => None,
        }
    }

    /// What an event expects. A client goes by what it was told, so with others it is often wrong.
    fn expects(&mut self, stream: u8, at: u64) -> Expects {
        match self.random.u8(..10) {
            0..3 => Expects::Nothing,
            3 => Expects::End(self.recorder.with(|recording| known_end(&recording.history.appends)) + at),
            _ => {
                let known = self.recorder.with(|recording| known_version(&recording.history.appends, stream));
                Expects::Version { stream, version: known + at }
            }
        }
    }

    fn send(&mut self, node: &Arc<Node>, wanted: Vec<Expects>, fence: Option<Term>) {
        let ids = self.recorder.with(|recording| {
            let what = format!("to append {} {wanted:?} {fence:?}", recording.history.appends.len());
            let asked = recording.add(Event::Asked { node: node.number, what });
            let first = recording.history.appends.len();
            for expects in &wanted {
                let append = Append { expects: *expects, fence, node: node.number, asked, answer: None };
                recording.history.appends.push(append);
            }
            first..recording.history.appends.len()
        });
        let batches = ids.clone().zip(&wanted).map(|(id, expects)| batch(id, *expects)).collect();
        let commit = Commit { owner: OWNER.into(), batches, ..Commit::default() };
        let (recorder, number) = (self.recorder.clone(), node.number);
        node.work(Box::new(move |group| {
            Box::pin(async move {
                let answers = propose(&group, commit, fence, ids.len()).await;
                drop(group);
                recorder.with(|recording| {
                    let what = format!("append {}: {:?}", ids.start, answers);
                    let at = recording.add(Event::Answered { node: number, what });
                    for (id, answer) in ids.zip(answers) {
                        recording.history.appends[id].answer = Some((at, answer));
                    }
                });
            })
        }));
    }

    /// Reads the state of a replica.
    pub fn read(&mut self, node: &Arc<Node>, level: Level) {
        let (recorder, number) = (self.recorder.clone(), node.number);
        let id = recorder.with(|recording| {
            let asked = recording.add(Event::Asked { node: number, what: format!("to read {level:?}") });
            recording.history.reads.push(Read { level, node: number, asked, answer: None });
            recording.history.reads.len() - 1
        });
        node.work(Box::new(move |group| {
            Box::pin(async move {
                let reader = match level {
                    Level::Linearizable => group.linearizable().await.ok(),
                    Level::AtLeast { token, .. } => group.at_least(token).await.ok(),
                    Level::Local => group.reader(),
                };
                let state = reader.as_ref().map(state_of);
                drop((reader, group));
                recorder.with(|recording| {
                    let what = format!("read {level:?}: {:?}", state.map(|state| state.head));
                    let at = recording.add(Event::Answered { node: number, what });
                    recording.history.reads[id].answer = state.map(|state| (at, state));
                });
            })
        }));
    }
}

async fn propose(group: &NodeGroup, commit: Commit, fence: Option<Term>, count: usize) -> Vec<Answer> {
    let accepted = match group.propose(commit, fence, vec![]).await {
        Ok(accepted) => accepted,
        Err(ProposeError::Unknown { .. }) => return vec![Answer::Unknown; count],
        Err(error) => return vec![Answer::Refused(error.to_string()); count],
    };
    let Some(entry) = accepted.entry else { return vec![Answer::Refused("malformed".into()); count] };
    let outcome = |outcome| match outcome {
        Ok(exesdb_storage::Committed { first_position: position }) => Outcome::Applied { position },
        Err(BatchError::Fenced) => Outcome::Fenced,
        Err(BatchError::GuardFailed { .. }) => Outcome::GuardFailed,
        Err(error) => panic!("a batch of a client is well-formed: {error}"),
    };
    accepted.outcomes.into_iter().map(|found| Answer::Decided { entry, outcome: outcome(found) }).collect()
}

/// The term in which a node is ready.
#[must_use]
pub fn term_of(node: &Node) -> Option<Term> {
    node.group().and_then(|group| *group.ready().borrow())
}

/// The state of the replica that a reader reads.
#[must_use]
pub fn state_of(reader: &Reader<Memory>) -> State {
    let snapshot = reader.snapshot();
    let applied = snapshot.replica().expect("it is a replica").applied;
    State {
        id: applied.id,
        batches: applied.batches,
        head: snapshot.head(),
        link: applied.link,
        time: applied.time,
    }
}

/// The newest sequence that a client was shown, and the newest position that it surely has.
fn last_token(reads: &[Read]) -> Option<(u64, u64)> {
    let states = reads.iter().rev().take(20).filter_map(|read| read.answer);
    let head = states.map(|(_, state)| state.head).max_by_key(|head| head.sequence)?;
    Some((head.sequence, head.next_position.checked_sub(1)?))
}

fn applied(append: &Append) -> Option<u64> {
    match append.answer {
        Some((_, Answer::Decided { outcome: Outcome::Applied { position }, .. })) => Some(position),
        _ => None,
    }
}

fn known_end(appends: &[Append]) -> u64 {
    appends.iter().filter_map(applied).max().map_or(0, |position| position + 1)
}

fn known_version(appends: &[Append], stream: u8) -> u64 {
    let version = |append: &Append| match append.expects {
        Expects::Version { stream: of, version } if of == stream && applied(append).is_some() => {
            Some(version + 1)
        }
        _ => None,
    };
    appends.iter().filter_map(version).max().unwrap_or(0)
}

/// The batch of an append: its event, its id by position, and the new version of its stream.
fn batch(id: usize, expects: Expects) -> Batch {
    let put = |keyspace: &str, key: Vec<u8>, value: Vec<u8>, key_stamps| Operation::Put {
        keyspace: keyspace.into(),
        key,
        value,
        key_stamps,
        value_stamps: vec![],
        chain: None,
    };
    let id = id as u64;
    let mut operations = vec![put(ALL, vec![0; 8], id.to_be_bytes().into(), vec![Stamp { at: 0, event: 0 }])];
    let mut guards = Vec::new();
    match expects {
        Expects::Nothing => {}
        Expects::End(position) => guards.push(Guard::LogEndsAt { position }),
        Expects::Version { stream, version } => {
            let (keyspace, key) = (HEADS.to_owned(), vec![stream]);
            guards.push(match version {
                0 => Guard::Absent { keyspace, key },
                version => Guard::Equals { keyspace, key, value: version.to_be_bytes().into() },
            });
            operations.push(put(HEADS, vec![stream], (version + 1).to_be_bytes().into(), vec![]));
        }
    }
    let name = id.to_string();
    let event = EventParts {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "s",
        id: &name,
        event_type: "t",
        content_type: "text/plain",
        tags: &[] as &[&str],
        data: &[],
        metadata: &[],
    };
    let mut log = Vec::new();
    exesdb_packed::push_event(&mut log, 0, &event).expect("an event is short");
    Batch { guards, operations, log, ..Batch::default() }
}

/// The id of the append that a batch is of.
#[must_use]
pub fn id_of(batch: &Batch) -> Option<usize> {
    batch.operations.iter().find_map(|operation| match operation {
        Operation::Put { keyspace, value, .. } if keyspace == ALL => {
            let id = u64::from_be_bytes(value.as_slice().try_into().ok()?);
            usize::try_from(id).ok()
        }
        _ => None,
    })
}
