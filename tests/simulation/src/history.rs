//! What was recorded of a simulation. The [properties](crate::invariants) are functions over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exesdb_storage::{LogHead, LogId, Term};
use parking_lot::Mutex;

use crate::trace::{Event, Trace};

/// The number of an event: everything happens in one thread, so of two events one was before the other.
pub type Seq = u64;

/// Everything that the properties are checked over.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients wanted to append; the index is the id.
    pub appends: Vec<Append>,
    /// What clients wanted to read.
    pub reads: Vec<Read>,
    /// States in which replicas were seen.
    pub seen: Vec<Seen>,
    /// When replicas were ready to lead.
    pub led: Vec<Led>,
    /// Groups that ended by themselves or did not start: node and reason.
    pub stops: Vec<(usize, String)>,
    /// The entries that were committed, by index. The first one is at index 2, after the genesis.
    pub log: BTreeMap<u64, Committed>,
    /// Where the logs of two nodes differ in what was committed.
    pub conflicts: Vec<String>,
    /// The replicas at the end.
    pub replicas: Vec<Final>,
}

/// One batch that a client wanted to append: one event.
#[derive(Clone, Debug)]
pub struct Append {
    /// What has to hold.
    pub expects: Expects,
    /// Under which leader only it may be applied.
    pub fence: Option<Term>,
    /// The node that was asked.
    pub node: usize,
    /// When it was asked.
    pub asked: Seq,
    /// When it answered what; `None` if it never did.
    pub answer: Option<(Seq, Answer)>,
}

/// What a client expects of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Nothing.
    Nothing,
    /// That a stream has this version, which then grows by one. 0 is that of a stream that does not exist.
    Version {
        /// Number of the stream.
        stream: u8,
        /// The version.
        version: u64,
    },
    /// That the log ends at this position.
    End(u64),
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has an outcome, as part of this entry.
    Decided {
        /// The entry.
        entry: LogId,
        /// The outcome.
        outcome: Outcome,
    },
    /// Nobody knows.
    Unknown,
    /// It was not proposed.
    Refused(String),
}

/// What applying an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is at this position.
    Applied {
        /// The position.
        position: u64,
    },
    /// What it expected did not hold.
    GuardFailed,
    /// It belonged to another leader.
    Fenced,
}

/// What a client wanted to read.
#[derive(Clone, Debug)]
pub struct Read {
    /// What was promised.
    pub level: Level,
    /// The node that was asked.
    pub node: usize,
    /// When it was asked.
    pub asked: Seq,
    /// When it answered, and the state of the replica that was read; `None` if it did not or could not.
    pub answer: Option<(Seq, State)>,
}

/// What a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Everything that was acknowledged before.
    Linearizable,
    /// At least the state after this sequence, with which a client was told this position.
    AtLeast {
        /// The sequence.
        token: u64,
        /// The position.
        position: u64,
    },
    /// Some prefix.
    Local,
}

/// The state of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The last entry that it has applied.
    pub id: LogId,
    /// How many batches of the next entry it has applied: not 0 only after a crash in the middle of one.
    pub batches: u32,
    /// The head of its log.
    pub head: LogHead,
    /// The hash of all outcomes.
    pub link: u64,
    /// The highest time of its entries.
    pub time: u64,
}

/// A state in which a replica was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its node.
    pub node: usize,
    /// The state.
    pub state: State,
}

/// When a replica was ready to lead.
#[derive(Clone, Copy, Debug)]
pub struct Led {
    /// The node.
    pub node: usize,
    /// The replica.
    pub replica: u64,
    /// The term.
    pub term: Term,
    /// Since when.
    pub from: Seq,
    /// Until when it was seen so.
    pub until: Seq,
}

/// An entry that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which one.
    pub id: LogId,
    /// Its time; 0 for one without commits.
    pub time: u64,
    /// Its appends, in order: the id of each, and the fence that its commit has in the entry.
    pub appends: Vec<(usize, Option<Term>)>,
}

/// A replica at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// The node.
    pub node: usize,
    /// Its state.
    pub state: State,
    /// The digest of everything in it.
    pub digest: u128,
    /// The appends that it has, by position.
    pub appends: Vec<usize>,
}

/// Where everything is recorded while it happens.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Recording>>);

/// What was recorded so far.
pub struct Recording {
    /// The simulated time.
    pub now: Duration,
    /// Every event.
    pub trace: Trace,
    /// What is checked afterwards.
    pub history: History,
}

impl Recorder {
    /// Keeps so many of the last events.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        let recording =
            Recording { now: Duration::ZERO, trace: Trace::new(kept), history: History::default() };
        Self(Arc::new(Mutex::new(recording)))
    }

    /// Adds an event.
    pub fn add(&self, event: Event) -> Seq {
        self.with(|recording| recording.add(event))
    }

    /// Reads or changes the record.
    pub fn with<T>(&self, f: impl FnOnce(&mut Recording) -> T) -> T {
        f(&mut self.0.lock())
    }
}

impl Recording {
    /// Adds an event.
    pub fn add(&mut self, event: Event) -> Seq {
        self.trace.add(self.now, event)
    }
}
