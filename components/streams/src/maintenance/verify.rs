//! Compares all keyspaces with each other.
//!
//! First the log is walked by position: no position is missing, every event can be read and has the right link of the
//! store's hash chain, belongs to a stream, and is found by `index`, `ids` and `labels`. Then `streams` is walked: each
//! head names the last event, and has its entry in `retained`. At last the other keyspaces are walked for entries that
//! belong to nothing.
//!
//! What is put right requires what was read: the entry itself and, where an entry is added, the head of its stream.
//! If a writer was there in between, it is left, and the next walk tells whether anything is still wrong.

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

/// Entries of the log that one step looks at.
pub const STEP_EVENTS: u32 = 2_000;
/// Entries of any other keyspace that one step looks at: for most of them an event is read as well.
pub const STEP_ENTRIES: u32 = 1_000;
/// Bytes of entries that one step reads at a time.
pub const STEP_BYTES: u32 = 2 << 20;
/// Bytes of events that belong to the entries of a step: two of the largest values that the host takes fit, as many as
/// one entry of `labels` asks for.
pub const STEP_EVENT_BYTES: u32 = 5 << 20;
/// Labels that one step of the log looks up, give or take those of one event.
pub const STEP_LABELS: usize = 10_000;

/// Findings that one step names; the contract's bound.
pub const FINDINGS_MAX: usize = 100;

/// Batches that one commit puts right; the host takes 10,000.
const COMMIT_BATCHES: usize = 5_000;

/// One step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not give; those of the storage.
pub fn verify(store: &impl Keyspaces, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let place = from.map_or(Ok(Place::beginning()), |cursor| Place::decode(cursor))?;
    let mut step = Step { store, repair, examined: 0, findings: Vec::new(), found: 0, repairs: Vec::new() };
    let next = match place {
        Place::Log(place) => Some(log::walk(&mut step, place)?),
        Place::Keys(walk, start) => {
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
                Some(start) => Some(Place::Keys(walk, start)),
                None => walk.next().map(|walk| Place::Keys(walk, Vec::new())),
            }
        }
    };
    step.put_right()?;
    Ok(VerifyStep {
        next: next.map(|place| place.encode()),
        examined: step.examined,
        findings: step.findings,
        found: step.found,
    })
}

/// The keyspaces that are walked behind the log, in this order.
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
        let mut behind = Self::ALL.into_iter().skip_while(|walk| *walk != self);
        behind.nth(1)
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

/// Where a step of the log begins.
#[derive(Clone, Debug)]
struct LogPlace {
    /// The first key that it looks at.
    start: Vec<u8>,
    /// The position that has to come next.
    expected: Position,
    /// The link of the event before; none if that one cannot be read.
    link: Option<ChainHash>,
}

/// Where a step begins.
enum Place {
    Log(LogPlace),
    Keys(Walk, Vec<u8>),
}

impl Place {
    const LOG: u8 = 1;

    fn beginning() -> Self {
        Self::Log(LogPlace { start: Vec::new(), expected: 0, link: Some(0) })
    }

    fn encode(&self) -> Cursor {
        match self {
            Self::Keys(walk, start) => cursor::of_key(walk.tag(), start),
            Self::Log(LogPlace { start, expected, link }) => {
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
            Some(LogPlace { start: start.to_owned(), expected: u64::from_be_bytes(*expected), link })
        });
        parts.filter(|_| tag == Self::LOG).map(Self::Log).ok_or_else(cursor::unknown)
    }
}

/// What a step has found so far.
struct Step<'a, S> {
    store: &'a S,
    repair: bool,
    examined: u64,
    findings: Vec<Finding>,
    found: u64,
    /// What would put right which finding, if that one is named.
    repairs: Vec<(Option<usize>, Batch)>,
}

impl<S: Keyspaces> Step<'_, S> {
    /// The entries of a keyspace from a key on.
    fn page(&self, keyspace: &str, start: Vec<u8>, entries: u32) -> Result<Page, Error> {
        let range = Range { keyspace: keyspace.to_owned(), start, end: None };
        Ok(self.store.scan(&range, Direction::Forward, entries, STEP_BYTES)?)
    }

    /// The first of the events at these positions, as many as a step holds, one at least if any is asked for.
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

    /// Something in a keyspace is wrong.
    fn entry(
        &mut self,
        keyspace: &str,
        key: &[u8],
        problem: impl Into<String>,
        repair: Option<BatchBuilder>,
    ) {
        self.add(format!("keyspace `{keyspace}`, key `{}`", key.escape_ascii()), problem, repair);
    }

    /// An entry that belongs to nothing: it is removed if it is still what was read.
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

    fn put_right(&mut self) -> Result<(), Error> {
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

/// What is at a position.
enum At {
    /// An event, or the link of one that was removed.
    Envelope(Envelope),
    /// What cannot be read: the walk of the log names it.
    Malformed,
    /// Nothing: the walk of the log names it.
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
