//! The trace of a simulation: a hash of every event, and the last of them to read.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use exesdb_storage::{LogId, Term};

/// Something that happened.
#[derive(Clone, Debug, Hash)]
pub enum Event {
    /// A node gave a message to the network, which may lose it.
    Sent {
        /// The sender.
        from: usize,
        /// The name of the node that it is for.
        to: String,
        /// What it is.
        kind: &'static str,
        /// Its length.
        bytes: usize,
        /// A hash of it.
        hash: u64,
        /// How many copies the network gets.
        copies: u8,
    },
    /// A node got a message.
    Got {
        /// The node.
        node: usize,
        /// What it is.
        kind: &'static str,
        /// Its length.
        bytes: usize,
        /// A hash of it.
        hash: u64,
    },
    /// A replica was seen with this state.
    Seen {
        /// The node.
        node: usize,
        /// The last entry that it has applied.
        id: LogId,
        /// Its sequence.
        sequence: u64,
        /// The hash of the outcomes up to there.
        link: u64,
    },
    /// A replica became ready to lead, or ceased to be.
    Ready {
        /// The node.
        node: usize,
        /// In which term.
        term: Option<Term>,
    },
    /// A client asked a node.
    Asked {
        /// The node.
        node: usize,
        /// Its question.
        what: String,
    },
    /// A client was answered.
    Answered {
        /// The node.
        node: usize,
        /// The answer.
        what: String,
    },
    /// Something that the plan or the operator did.
    Did(String),
}

/// A running hash, and the last events.
pub struct Trace {
    hash: DefaultHasher,
    count: u64,
    kept: usize,
    tail: VecDeque<(u64, Duration, Event)>,
}

/// A hash of bytes.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(bytes);
    hash.finish()
}

impl Trace {
    /// Keeps so many of the last events.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        Self { hash: DefaultHasher::new(), count: 0, kept, tail: VecDeque::new() }
    }

    /// Adds an event. Returns its number: events are in the order in which they happened.
    pub fn add(&mut self, at: Duration, event: Event) -> u64 {
        self.count += 1;
        (at, &event).hash(&mut self.hash);
        if self.tail.len() == self.kept {
            self.tail.pop_front();
        }
        self.tail.push_back((self.count, at, event));
        self.count
    }

    /// Number of events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The last events, a line each.
    #[must_use]
    pub fn tail(&self) -> String {
        let line = |(number, at, event): &(u64, Duration, Event)| {
            let text = match event {
                Event::Sent { from, to, kind, bytes, copies, .. } => {
                    format!("node-{from} sends {kind} to {to} ({bytes} bytes, {copies} copies)")
                }
                Event::Got { node, kind, bytes, .. } => format!("node-{node} gets {kind} ({bytes} bytes)"),
                Event::Seen { node, id, sequence, .. } => {
                    let LogId { term, leader, index } = id;
                    format!("node-{node} has applied {term}-{leader}-{index}, sequence {sequence}")
                }
                Event::Ready { node, term: Some(Term { term, replica }) } => {
                    format!("node-{node} is ready in term {term}-{replica}")
                }
                Event::Ready { node, term: None } => format!("node-{node} is not ready any more"),
                Event::Asked { node, what } => format!("node-{node} is asked {what}"),
                Event::Answered { node, what } => format!("node-{node} answers {what}"),
                Event::Did(what) => format!("== {what}"),
            };
            format!("{number:>8} {:>10.3} {text}\n", at.as_secs_f64())
        };
        self.tail.iter().map(line).collect()
    }
}
