//! Cross-checks all keyspaces.
//!
//! First the log is walked by position: no position is missing; every event can be read, has the right link of the store's
//! hash chain, belongs to a stream, and has its entries in `index`, `ids` and `labels`. Then `streams` is walked: each head
//! names the last event, and has its entry in `retained`. Finally the other keyspaces are searched for orphans: entries
//! that belong to nothing.
//!
//! A repair requires what was read: the entry itself and, if an entry is added, the head of its stream. If a writer changed
//! either meanwhile, the repair is dropped, and the next run shows whether anything is still wrong.

mod heads;
mod imports;
mod log;
mod orphans;
mod postings;

use exesdb_sdk::keyspaces::{
    Batch, BatchBuilder, ChainHash, Direction, Entry, GET_MANY_KEYS_MAX, Keyspaces, Page, Range,
};
use exesdb_sdk::maintenance::{Cursor, Finding, VerifyStep};
use exesdb_sdk::types::{Error, Position};

use super::cursor;
use crate::layout::{EVENTS, Envelope};

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

/// Maximum number of findings that one step names, as the interface says.
pub const FINDINGS_MAX: usize = 100;

/// Maximum number of repairs per commit; the host accepts 10,000 batches.
const COMMIT_BATCHES: usize = 5_000;

/// Runs one step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn verify(store: &impl Keyspaces, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let place = from.map_or(Ok(Start::beginning()), |cursor| Start::decode(cursor))?;
    let mut step = Step { store, repair, examined: 0, findings: Vec::new(), found: 0, repairs: Vec::new() };
    let next = match place {
        Start::Log(place) => Some(log::walk(&mut step, place)?),
        Start::Keys(walk, start) => {
            let next = match walk {
                Walk::Streams => heads::walk(&mut step, start)?,
                Walk::Index => orphans::walk_index(&mut step, start)?,
                Walk::Ids => orphans::walk_ids(&mut step, start)?,
                Walk::Labels => postings::walk(&mut step, start)?,
                Walk::Retained => orphans::walk_retained(&mut step, start)?,
                Walk::Gaps => orphans::walk_gaps(&mut step, start)?,
                Walk::Imports => imports::walk(&mut step, start)?,
            };
            match next {
                Some(start) => Some(Start::Keys(walk, start)),
                None => walk.next().map(|walk| Start::Keys(walk, Vec::new())),
            }
        }
    };
    step.commit_repairs()?;
    Ok(VerifyStep {
        next: next.map(|place| place.encode()),
        examined: step.examined,
        findings: step.findings,
        found: step.found,
    })
}

/// The keyspaces that are walked after the log, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Streams,
    Index,
    Ids,
    Labels,
    Retained,
    Gaps,
    Imports,
}

impl Walk {
    const ALL: [Self; 7] =
        [Self::Streams, Self::Index, Self::Ids, Self::Labels, Self::Retained, Self::Gaps, Self::Imports];

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
            Self::Gaps => 7,
            Self::Imports => 8,
        }
    }
}

/// The start of a step of the log.
#[derive(Clone, Debug)]
struct LogStart {
    /// The first key to read.
    start: Vec<u8>,
    /// The position that must come next.
    expected: Position,
    /// The link of the preceding event; none if it cannot be read.
    link: Option<ChainHash>,
}

/// The start of a step.
enum Start {
    Log(LogStart),
    Keys(Walk, Vec<u8>),
}

impl Start {
    const LOG: u8 = 1;

    fn beginning() -> Self {
        Self::Log(LogStart { start: Vec::new(), expected: 0, link: Some(0) })
    }

    fn encode(&self) -> Cursor {
        match self {
            Self::Keys(walk, start) => cursor::of_key(walk.tag(), start),
            Self::Log(LogStart { start, expected, link }) => {
                let mut cursor = vec![Self::LOG, u8::from(link.is_some())];
                cursor.extend_from_slice(&link.unwrap_or_default().to_be_bytes());
                cursor.extend_from_slice(&expected.to_be_bytes());
                cursor.extend_from_slice(start);
                cursor
            }
        }
    }

    fn decode(cursor: &[u8]) -> Result<Self, Error> {
        let (tag, rest) = cursor::parts(cursor)?;
        if let Some(walk) = Walk::ALL.into_iter().find(|walk| walk.tag() == tag) {
            return Ok(Self::Keys(walk, rest.to_owned()));
        }
        let parts = rest.split_first().and_then(|(flag, rest)| {
            let (link, rest) = rest.split_first_chunk::<8>()?;
            let (expected, start) = rest.split_first_chunk::<8>()?;
            let link = match flag {
                0 => None,
                1 => Some(u64::from_be_bytes(*link)),
                _ => return None,
            };
            Some(LogStart { start: start.to_owned(), expected: u64::from_be_bytes(*expected), link })
        });
        parts.filter(|_| tag == Self::LOG).map(Self::Log).ok_or_else(cursor::unknown)
    }
}

/// The findings of a step so far.
struct Step<'a, S> {
    store: &'a S,
    repair: bool,
    examined: u64,
    findings: Vec<Finding>,
    found: u64,
    /// The repairs, each with the index of its finding if that one is named.
    repairs: Vec<(Option<usize>, Batch)>,
}

impl<S: Keyspaces> Step<'_, S> {
    /// The entries of a keyspace from a key on.
    fn page(&self, keyspace: &str, start: Vec<u8>, entries: u32) -> Result<Page, Error> {
        let range = Range { keyspace: keyspace.to_owned(), start, end: None };
        Ok(self.store.scan(&range, Direction::Forward, entries, STEP_BYTES)?)
    }

    /// The events at the first of these positions, as many as fit into a step, but at least one.
    fn events(&self, positions: &[Position]) -> Result<Vec<At>, Error> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let positions = &positions[..positions.len().min(GET_MANY_KEYS_MAX)];
        let keys: Vec<Vec<u8>> = positions.iter().map(|position| position.to_be_bytes().to_vec()).collect();
        let values = self.store.get_many(EVENTS, &keys, STEP_EVENT_BYTES)?;
        if values.is_empty() {
            return Err(Error::Other("the storage gave none of the values that were asked for".into()));
        }
        Ok(positions
            .iter()
            .zip(values)
            .map(|(position, value)| At::of(*position, value.as_deref()))
            .collect())
    }

    /// Adds a finding about an entry.
    fn entry(
        &mut self,
        keyspace: &str,
        key: &[u8],
        problem: impl Into<String>,
        repair: Option<BatchBuilder>,
    ) {
        self.add(format!("keyspace `{keyspace}`, key `{}`", key.escape_ascii()), problem, repair);
    }

    /// Adds a finding about an orphan. Its repair removes the entry if it is still as it was read.
    fn orphan(&mut self, keyspace: &str, entry: &Entry, problem: impl Into<String>) {
        let mut batch = BatchBuilder::new();
        batch.require(keyspace, &entry.key, Some(&entry.value));
        batch.delete(keyspace, &entry.key);
        self.entry(keyspace, &entry.key, problem, Some(batch));
    }

    fn add(&mut self, place: String, problem: impl Into<String>, repair: Option<BatchBuilder>) {
        self.found += 1;
        let named = (self.findings.len() < FINDINGS_MAX).then_some(self.findings.len());
        if named.is_some() {
            self.findings.push(Finding { place, problem: problem.into(), repaired: false });
        }
        if self.repair {
            self.repairs.extend(repair.map(|batch| (named, batch.build())));
        }
    }

    fn commit_repairs(&mut self) -> Result<(), Error> {
        let (named, batches): (Vec<_>, Vec<_>) = std::mem::take(&mut self.repairs).into_iter().unzip();
        let mut named = named.into_iter();
        for part in batches.chunks(COMMIT_BATCHES) {
            let outcome = self.store.commit(part)?;
            if outcome.len() != part.len() {
                return Err(Error::Other("the storage did not give one result for each batch".into()));
            }
            for (outcome, named) in outcome.into_iter().zip(named.by_ref()) {
                if let (Some(finding), Ok(_)) = (named, outcome) {
                    self.findings[finding].repaired = true;
                }
            }
        }
        Ok(())
    }
}

/// The content of a position.
enum At {
    /// An event, or the link of a removed one.
    Envelope(Envelope),
    /// An unreadable value, which the walk of the log reports.
    Malformed,
    /// Nothing, which the walk of the log reports.
    Missing,
}

impl At {
    fn of(position: Position, value: Option<&[u8]>) -> Self {
        match value.map(|value| Envelope::decode(position, value)) {
            None => Self::Missing,
            Some(Err(_)) => Self::Malformed,
            Some(Ok(envelope)) => Self::Envelope(envelope),
        }
    }
}
