//! Cross-checks all keyspaces with each other and with the log, which the host checks itself.
//!
//! First the log is walked by position: each event belongs to a stream, and has its entries in `index`, `ids` and `labels`.
//! Then `streams` is walked: each head names the last event, and has its entry in `retained`. Finally the other keyspaces
//! are searched for orphans: entries that belong to nothing.
//!
//! A repair requires what was read: the entry itself and, if an entry is added, the head of its stream. If a writer changed
//! either meanwhile, the step is asked for again.

mod heads;
mod imports;
mod log;
mod orphans;
mod postings;

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::maintenance::{Cursor, Findings, VerifyStep};
use exesdb_sdk::types::{Direction, Error, Position, Range};
use exesdb_sdk::view::{Entry, Page, View};

use super::log::Records;
use crate::layout::number;
use exesdb_sdk::maintenance::cursor;

/// Maximum number of log entries per step.
pub const STEP_EVENTS: u32 = 2_000;
/// Maximum number of entries of any other keyspace per step. For most of them an event is read, too.
pub const STEP_ENTRIES: u32 = 1_000;
/// Maximum bytes of one read of entries.
pub const STEP_BYTES: u32 = 2 << 20;
/// Maximum bytes of the events that a step reads for its entries: two of the largest values, as one entry of `labels`
/// needs.
pub const STEP_EVENT_BYTES: u32 = 5 << 20;
/// Approximate maximum number of labels that one step of the log looks up.
pub const STEP_LABELS: usize = 10_000;

/// Runs one step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn verify(view: &impl View, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let place = from.map_or(Ok(Start::beginning()), |cursor| Start::decode(cursor))?;
    let mut step = Step { view, examined: 0, findings: Findings::new(repair) };
    let next = match place {
        Start::Log(place) => Some(log::walk(&mut step, place)?),
        Start::Keys(walk, start) => {
            let next = match walk {
                Walk::Streams => heads::walk(&mut step, start)?,
                Walk::Index => orphans::walk_index(&mut step, start)?,
                Walk::Ids => orphans::walk_ids(&mut step, start)?,
                Walk::Labels => postings::walk(&mut step, start)?,
                Walk::Retained => orphans::walk_retained(&mut step, start)?,
                Walk::Imports => imports::walk(&mut step, start)?,
            };
            match next {
                Some(start) => Some(Start::Keys(walk, start)),
                None => walk.next().map(|walk| Start::Keys(walk, Vec::new())),
            }
        }
    };
    Ok(step.findings.step(step.examined, next.map(|place| place.encode())))
}

/// The keyspaces that are walked after the log, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Streams,
    Index,
    Ids,
    Labels,
    Retained,
    Imports,
}

impl Walk {
    const ALL: [Self; 6] =
        [Self::Streams, Self::Index, Self::Ids, Self::Labels, Self::Retained, Self::Imports];

    fn next(self) -> Option<Self> {
        let mut remaining = Self::ALL.into_iter().skip_while(|walk| *walk != self);
        remaining.nth(1)
    }

    fn tag(self) -> u8 {
        match self {
            Self::Streams => 2,
            Self::Index => 3,
            Self::Ids => 4,
            Self::Labels => 5,
            Self::Retained => 6,
            Self::Imports => 7,
        }
    }
}

/// The start of a step.
enum Start {
    /// At a position of the log.
    Log(Position),
    /// At a key of a keyspace.
    Keys(Walk, Vec<u8>),
}

impl Start {
    const LOG: u8 = 1;

    fn beginning() -> Self {
        Self::Log(0)
    }

    fn encode(&self) -> Cursor {
        match self {
            Self::Keys(walk, start) => cursor::of_key(walk.tag(), start),
            Self::Log(position) => cursor::of_key(Self::LOG, &position.to_be_bytes()),
        }
    }

    fn decode(cursor: &[u8]) -> Result<Self, Error> {
        let (tag, rest) = cursor::parts(cursor)?;
        if let Some(walk) = Walk::ALL.into_iter().find(|walk| walk.tag() == tag) {
            return Ok(Self::Keys(walk, rest.to_owned()));
        }
        let position = number(rest).filter(|_| tag == Self::LOG);
        position.map(Self::Log).ok_or_else(cursor::unknown)
    }
}

/// The findings of a step so far.
struct Step<'a, V> {
    view: &'a V,
    examined: u64,
    findings: Findings,
}

impl<V: View> Step<'_, V> {
    /// The entries of a keyspace from a key on.
    fn page(&self, keyspace: &str, start: Vec<u8>, entries: u32) -> Result<Page, Error> {
        let range = Range { keyspace: keyspace.to_owned(), start, end: None };
        Ok(self.view.scan(&range, Direction::Forward, entries, STEP_BYTES)?)
    }

    /// What stands at the first of these positions, as much as fits into a step, but at least one.
    fn records(&self, positions: &[Position]) -> Result<Records, Error> {
        Records::read(self.view, positions, STEP_EVENT_BYTES)
    }

    /// Adds a finding about an entry.
    fn entry(
        &mut self,
        keyspace: &str,
        key: &[u8],
        problem: impl Into<String>,
        repair: Option<BatchBuilder>,
    ) {
        self.findings.entry(keyspace, key, problem, repair);
    }

    /// Adds a finding about an orphan.
    fn orphan(&mut self, keyspace: &str, entry: Entry<'_>, problem: impl Into<String>) {
        self.findings.orphan(keyspace, entry, problem);
    }
}
