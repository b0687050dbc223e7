//! Verifying the log: every position, every record, and the chain through all of them.
//!
//! A step reads a bounded number of records, so the store can close between two steps. Nothing that it meets ends the
//! verification: what cannot be read is a finding, and the verification goes on after it.

use std::fmt;
use std::ops::Bound;

use exesdb_packed::Envelope;
use fjall::Keyspace;

use super::page::{Gaps, Log};
use super::record::{LINK_AT, Stored, link_of};
use crate::engine::{Engine, Fjall};
use crate::engine_failure::EngineFailure;
use crate::head::chain;
use crate::read::{Chunk, Direction, ReadError, Snapshot, read_chunk};

/// Most findings that a step lists; the others are only counted. 100: more than anybody reads.
const FINDINGS_MAX: usize = 100;

/// What one step of a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogVerification {
    /// Where the next step begins; `None` if this was the last.
    pub next: Option<LogCursor>,
    /// Number of records that the step looked at.
    pub examined: u64,
    /// What is wrong, in the order in which it was found; at most the first 100 findings.
    pub findings: Vec<LogFinding>,
    /// Number of findings, including those that are not listed.
    pub found: u64,
}

/// Something that is wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFinding {
    /// Where.
    pub place: LogPlace,
    /// What.
    pub what: String,
}

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPlace {
    /// Positions.
    Positions {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An entry that is no record.
    Entry {
        /// Owner and name of the keyspace, with a dot between them.
        keyspace: String,
        /// Its key.
        key: Vec<u8>,
    },
}

impl fmt::Display for LogPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions { first, last } if first == last => write!(out, "position {first}"),
            Self::Positions { first, last } => write!(out, "positions {first} to {last}"),
            Self::Entry { keyspace, key } => write!(out, "{keyspace} at key \"{}\"", key.escape_ascii()),
        }
    }
}

/// Where a step of a verification begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCursor(Walk);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Walk {
    Records(Place),
    /// The list of gaps of format 2, after this key.
    OldGaps(Option<Vec<u8>>),
}

/// Where the walk through the records is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The last key that was read.
    after: Option<Vec<u8>>,
    /// The position that comes next.
    expected: u64,
    /// The link of the record before; `None` if that cannot be read, so that the next link cannot be checked.
    link: Option<u64>,
}

impl Snapshot {
    /// Takes one step of verifying the log: about `limit` records and 1 MiB, from the beginning or from where the step
    /// before ended. It finds:
    ///
    /// - positions below the end at which there is neither a record nor a gap, and records where there should be none;
    /// - records that cannot be read: blocks that are damaged, and events, marks and gaps that are malformed;
    /// - links of the chain that do not follow from the record and the link before it, and a last one that is not the
    ///   head's. The link of a removed event can only be checked by the next one.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a limit of 0, or a closed store. What is wrong with the data is in the findings.
    pub fn verify_log(&self, from: Option<&LogCursor>, limit: usize) -> Result<LogVerification, ReadError> {
        if limit == 0 {
            return Err(ReadError::Invalid("the limit of a verification is 0; it must be at least 1".into()));
        }
        let beginning = || Walk::Records(Place { after: None, expected: 0, link: Some(0) });
        let walk = from.map_or_else(beginning, |LogCursor(walk)| walk.clone());
        self.with_log(|log| {
            let mut step = Step { log, left: limit, verified: LogVerification::default() };
            let next = match walk {
                Walk::Records(place) => step.records(place, self.head().chain),
                Walk::OldGaps(after) => step.old_gaps(after.as_deref()),
            };
            Ok(LogVerification { next: next.map(LogCursor), ..step.verified })
        })
    }
}

struct Step<'a> {
    log: &'a Log<'a, Fjall>,
    /// Number of records and gaps that may still be looked at.
    left: usize,
    verified: LogVerification,
}

impl Step<'_> {
    /// Verifies the next records. Returns where to go on.
    fn records(&mut self, mut place: Place, head: u64) -> Option<Walk> {
        let chunk = self.chunk(self.log.records, place.after.as_deref());
        for (key, value) in &chunk.entries {
            if let Some(position) = self.position(key) {
                if !self.fill(&mut place.expected, position) {
                    return Some(Walk::Records(place));
                }
                self.record(position, key, value, &mut place);
            }
            self.examined();
            place.after = Some(key.to_vec());
        }
        if let Some(failure) = chunk.failure {
            place = self.skip(&place, &failure);
            if place.expected < self.log.end {
                return Some(Walk::Records(place));
            }
        } else if chunk.more {
            return Some(Walk::Records(place));
        }
        if !self.fill(&mut place.expected, self.log.end) {
            return Some(Walk::Records(place));
        }
        if place.link.is_some_and(|link| link != head) {
            let what = "the hash chain of the store does not end with this record: the last records are not those that \
                        were written";
            self.add(at(self.log.end.saturating_sub(1)), what);
        }
        self.log.gaps.map(|_| Walk::OldGaps(None))
    }

    fn chunk(&self, keyspace: Option<&Keyspace>, after: Option<&[u8]>) -> Chunk {
        let read = |keyspace| {
            read_chunk::<Fjall>(self.log.snapshot, keyspace, after, None, Direction::Forward, self.left)
        };
        keyspace.map(read).unwrap_or_default()
    }

    /// The position that a key is, if it is one of the log.
    fn position(&mut self, key: &[u8]) -> Option<u64> {
        let Some(position) = number(key) else {
            let keyspace = self.log.records.map_or_else(String::new, |records| records.name().to_string());
            let place = LogPlace::Entry { keyspace, key: key.to_vec() };
            self.add(place, "the key is no position; nothing reads this entry");
            return None;
        };
        let end = self.log.end;
        if position < end {
            return Some(position);
        }
        let what =
            format!("the record is after the end of the log, which is position {end}; no commit wrote it");
        self.add(at(position), what);
        None
    }

    /// Checks the positions without records before `next`: gaps of format 2 cover all of them. Returns whether it came
    /// to `next`.
    fn fill(&mut self, expected: &mut u64, next: u64) -> bool {
        while *expected < next {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            let missing = LogPlace::Positions { first: *expected, last: next - 1 };
            *expected = match self.old_gap(*expected, next) {
                Ok(Some(after)) => after,
                Ok(None) => {
                    let what =
                        "no record is here, and no gap: events are lost; restore the store from a backup";
                    self.add(missing, what);
                    next
                }
                Err(failure) => {
                    let what = format!("no record is here, and the list of gaps cannot be read: {failure}");
                    self.add(missing, what);
                    next
                }
            };
        }
        true
    }

    /// The first position after the gap of format 2 that begins here, if it ends before the next record.
    fn old_gap(&self, first: u64, next: u64) -> Result<Option<u64>, EngineFailure> {
        let Some(Gaps(gaps)) = self.log.gaps else { return Ok(None) };
        let after = EngineFailure::catch(|| Fjall::get_in(self.log.snapshot, gaps, &first.to_be_bytes()))?;
        Ok(after.and_then(|after| number(&after)).filter(|after| first < *after && *after <= next))
    }

    /// Verifies a record, which becomes the last one.
    fn record(&mut self, position: u64, key: &[u8], value: &[u8], place: &mut Place) {
        if position < place.expected {
            self.add(at(position), "a record is here, and a gap before it says that there is none");
        }
        let before = place.link.take();
        let mut after = position + 1;
        match Stored::read(value, |_| false) {
            Ok(stored) => {
                place.link = link_of(value);
                let follows = |before| Some(chain(before, key, value, LINK_AT)) == place.link;
                if !matches!(stored, Stored::Removed(_)) && !before.is_none_or(follows) {
                    let what = "its link of the hash chain is not that of its content after the record before: one of both \
                                is not what was written; restore the store from a backup";
                    self.add(at(position), format!("{}{what}", name(&stored)));
                }
                match position.checked_add(stored.positions()).filter(|after| *after <= self.log.end) {
                    Some(end) => after = end,
                    None => {
                        self.add(at(position), "the gap ends after the log");
                        after = self.log.end;
                    }
                }
            }
            Err(what) => {
                let what = format!("the record cannot be read: {what}; restore the store from a backup");
                self.add(at(position), what);
            }
        }
        place.expected = place.expected.max(after);
    }

    /// Goes on at the next record that can be read, or the end of the log.
    fn skip(&mut self, place: &Place, failure: &EngineFailure) -> Place {
        let first = place.expected;
        if first >= self.log.end {
            let what = format!("what follows the end of the log cannot be read: {failure}");
            self.add(at(first), what);
            return place.clone();
        }
        let next = self.next_readable(first);
        let unreadable = LogPlace::Positions { first, last: next - 1 };
        self.add(
            unreadable,
            format!("what is here cannot be read: {failure}; restore the store from a backup"),
        );
        // A key between both positions: to read on after the last unreadable one would read its block again.
        let after = [&(next - 1).to_be_bytes()[..], &[u8::MAX]].concat();
        Place { after: Some(after), expected: next, link: None }
    }

    /// The position of the first record after an unreadable one that can be read, or the end of the log. A damaged
    /// block is short compared with the log, so its end is searched for in steps that double, and then halve.
    fn next_readable(&self, unreadable: u64) -> u64 {
        let end = self.log.end;
        let (mut fails, mut works, mut step) = (unreadable, end, 1_u64);
        while let Some(next) = fails.checked_add(step).filter(|next| *next < end) {
            if self.first_from(next).is_ok() {
                works = next;
                break;
            }
            (fails, step) = (next, step.saturating_mul(2));
        }
        while works - fails > 1 {
            let middle = fails + (works - fails) / 2;
            if self.first_from(middle).is_ok() { works = middle } else { fails = middle }
        }
        match self.first_from(works) {
            Ok(Some(key)) => number(&key).map_or(works, |position| position.clamp(works, end)),
            Ok(None) => end,
            Err(_) => works,
        }
    }

    /// The key of the first record from a position on.
    fn first_from(&self, position: u64) -> Result<Option<Vec<u8>>, EngineFailure> {
        self.first_in(position, u64::MAX)
    }

    /// The key of the first record from `first` on that is below `before`.
    fn first_in(&self, first: u64, before: u64) -> Result<Option<Vec<u8>>, EngineFailure> {
        let Some(records) = self.log.records else { return Ok(None) };
        let (first, before) = (first.to_be_bytes(), before.to_be_bytes());
        EngineFailure::catch::<_, fjall::Error>(|| {
            let range = (Bound::Included(&first[..]), Bound::Excluded(&before[..]));
            let entry = Fjall::range_in(self.log.snapshot, records, range).next().transpose()?;
            Ok(entry.map(|(key, _)| key.to_vec()))
        })
    }

    /// Verifies the next entries of the list of gaps of format 2. Returns where to go on.
    fn old_gaps(&mut self, after: Option<&[u8]>) -> Option<Walk> {
        let Gaps(gaps) = self.log.gaps?;
        let chunk = self.chunk(Some(gaps), after);
        let place = |key: &[u8]| LogPlace::Entry { keyspace: gaps.name().to_string(), key: key.to_vec() };
        for (key, value) in &chunk.entries {
            self.examined();
            match number(key).zip(number(value)) {
                Some((first, after)) if first < after && after <= self.log.end => {
                    // What cannot be read was found in the records.
                    if let Ok(Some(found)) = self.first_in(first, after) {
                        let among = if *found == **key {
                            "from its first position on"
                        } else {
                            "among its positions"
                        };
                        self.add(
                            place(key),
                            format!("there are records {among}, which it says were left empty"),
                        );
                    }
                }
                Some((first, after)) if first < after => self.add(place(key), "the gap ends after the log"),
                _ => self.add(place(key), "it is no range of positions"),
            }
        }
        let last = chunk.entries.last().map(|(key, _)| key.to_vec()).or_else(|| after.map(<[u8]>::to_vec));
        if let Some(failure) = chunk.failure {
            let what = format!("the gaps that follow cannot be read: {failure}");
            self.add(place(&last.unwrap_or_default()), what);
            return None;
        }
        chunk.more.then_some(Walk::OldGaps(last))
    }

    fn examined(&mut self) {
        self.verified.examined += 1;
        self.left = self.left.saturating_sub(1);
    }

    fn add(&mut self, place: LogPlace, what: impl Into<String>) {
        self.verified.found += 1;
        if self.verified.findings.len() < FINDINGS_MAX {
            self.verified.findings.push(LogFinding { place, what: what.into() });
        }
    }
}

fn at(position: u64) -> LogPlace {
    LogPlace::Positions { first: position, last: position }
}

/// The name of a record's event, to begin a sentence with.
fn name(stored: &Stored<'_>) -> String {
    let Stored::Event(envelope) = stored else { return String::new() };
    let named = |event: Envelope<'_>| format!("version {} of stream `{}`: ", event.version, event.stream_id);
    Envelope::read(envelope).map(named).unwrap_or_default()
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().map(u64::from_be_bytes).ok()
}
