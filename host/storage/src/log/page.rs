//! Reading the log.

use std::ops::Bound;

use super::record::Stored;
use crate::Slice;
use crate::engine::Engine;
use crate::engine_failure::EngineFailure;
use crate::limits;
use crate::read::Direction;

/// What to read of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// The first position; `None` for the beginning, or backward the end.
    pub from: Option<u64>,
    /// Which way to go on from there.
    pub direction: Direction,
    /// Most frames of the page, at least 1; lowered to [`limits::PAGE_ENTRIES_MAX`].
    pub limit: usize,
    /// Most bytes of the page; lowered to [`limits::PAGE_BYTES_MAX`]. The first frame is returned even if it alone is
    /// larger.
    pub max_bytes: usize,
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Packed frames, in the direction of the read: events, removed events and gaps. Together they have every position
    /// from the first to the last.
    pub frames: Vec<u8>,
    /// The position to go on from in the same direction; `None` if the log ends here.
    pub next: Option<u64>,
}

/// Why a page could not be read.
pub(crate) enum LogError {
    Engine(EngineFailure),
    /// A record is damaged or missing.
    Damaged {
        position: u64,
        what: &'static str,
    },
}

/// The keyspace that lists what imports left empty in format 2: first position, and the first position after it.
pub(crate) struct Gaps<E: Engine>(pub(crate) E::Keyspace);

/// The log in a snapshot.
pub(crate) struct Log<'a, E: Engine> {
    pub(crate) snapshot: &'a E::Snapshot,
    /// `None` if no record was ever written.
    pub(crate) records: Option<&'a E::Keyspace>,
    pub(crate) gaps: Option<&'a Gaps<E>>,
    /// The position of the next event.
    pub(crate) end: u64,
    /// See [`Stored::read`].
    pub(crate) is_json: fn(&[u8]) -> bool,
}

impl<E: Engine> Log<'_, E> {
    /// Reads a page.
    pub(crate) fn read(&self, read: &LogRead) -> Result<LogPage, LogError> {
        match read.direction {
            Direction::Forward => self.forward(read.from.unwrap_or(0), Page::new(read)),
            Direction::Backward => match self.end.checked_sub(1) {
                Some(last) => self.backward(read.from.map_or(last, |from| from.min(last)), Page::new(read)),
                None => Ok(LogPage::default()),
            },
        }
    }

    /// Reads the records at these positions, in this order: the first ones, at least one, that fit into `max_bytes`. In a
    /// gap it is the rest of the gap.
    pub(crate) fn get(&self, positions: &[u64], max_bytes: usize) -> Result<Vec<u8>, LogError> {
        let read = LogRead { from: None, direction: Direction::Forward, limit: usize::MAX, max_bytes };
        let mut page = Page::new(&read);
        for position in positions {
            let one = LogRead { from: Some(*position), limit: 1, ..read };
            let found = self.read(&one)?;
            if found.frames.is_empty() {
                return Err(LogError::Damaged { position: *position, what: "the log ends before it" });
            }
            if !page.add_frames(&found.frames) {
                break;
            }
        }
        Ok(page.frames)
    }

    fn forward(&self, from: u64, mut page: Page) -> Result<LogPage, LogError> {
        let mut records = self.records(Bound::Included(from), Bound::Unbounded);
        let mut record = None;
        let mut at = from;
        while at < self.end {
            if record.is_none() {
                record = records.next().transpose()?;
            }
            let (stored, after) = match &record {
                Some((position, value)) if *position == at => self.stored(at, value)?,
                _ => self.gap_from(at, record.as_ref().map_or(self.end, |(position, _)| *position))?,
            };
            if !page.add(at, &stored) {
                return Ok(page.finish(Some(at)));
            }
            if record.as_ref().is_some_and(|(position, _)| *position == at) {
                record = None;
            }
            at = after;
        }
        Ok(page.finish(None))
    }

    fn backward(&self, from: u64, mut page: Page) -> Result<LogPage, LogError> {
        let mut records = self.records(Bound::Unbounded, Bound::Included(from)).rev();
        let mut record: Option<(u64, Slice)> = None;
        let mut at = from;
        loop {
            if record.is_none() {
                record = records.next().transpose()?;
            }
            let (first, stored) = match &record {
                Some((position, value)) => match self.stored(*position, value)? {
                    (Stored::Gap(_), after) if after > at => (*position, Stored::Gap(at - position + 1)),
                    (stored, _) if *position == at => (at, stored),
                    _ => self.gap_to(at, position + 1)?,
                },
                None => self.gap_to(at, 0)?,
            };
            if !page.add(first, &stored) {
                return Ok(page.finish(Some(at)));
            }
            if record.as_ref().is_some_and(|(position, _)| *position == first) {
                record = None;
            }
            let Some(next) = first.checked_sub(1) else { return Ok(page.finish(None)) };
            at = next;
        }
    }

    fn records(
        &self,
        first: Bound<u64>,
        last: Bound<u64>,
    ) -> impl DoubleEndedIterator<Item = Result<(u64, Slice), LogError>> + use<E> {
        self.records.map(|records| entries::<E>(self.snapshot, records, first, last)).into_iter().flatten()
    }

    /// A record, and the first position after it.
    fn stored<'v>(&self, position: u64, value: &'v [u8]) -> Result<(Stored<'v>, u64), LogError> {
        let stored =
            Stored::read(value, self.is_json).map_err(|what| LogError::Damaged { position, what })?;
        let after = position.checked_add(stored.positions()).filter(|after| *after <= self.end);
        let after = after.ok_or(LogError::Damaged { position, what: "the record ends after the log" })?;
        Ok((stored, after))
    }

    /// The gap that a position without a record lies in, from there up to `before`, and the first position after it.
    fn gap_from(&self, at: u64, before: u64) -> Result<(Stored<'static>, u64), LogError> {
        let after = self.end_of_gap(at)?.min(before);
        Ok((Stored::Gap(after - at), after))
    }

    fn end_of_gap(&self, at: u64) -> Result<u64, LogError> {
        let before = self.records(Bound::Unbounded, Bound::Excluded(at)).next_back().transpose()?;
        if let Some((position, value)) = &before {
            let (_, after) = self.stored(*position, value)?;
            if after > at {
                return Ok(after);
            }
        }
        match self.old_gap(at)? {
            Some((_, after)) => Ok(after),
            None => Err(missing(at)),
        }
    }

    /// The part, from `first` on, of the gap of format 2 that ends with a position without a record.
    fn gap_to(&self, at: u64, first: u64) -> Result<(u64, Stored<'static>), LogError> {
        let (begin, _) = self.old_gap(at)?.ok_or_else(|| missing(at))?;
        let begin = begin.max(first);
        Ok((begin, Stored::Gap(at - begin + 1)))
    }

    /// The gap of format 2 around a position: its first position, and the first one after it.
    fn old_gap(&self, at: u64) -> Result<Option<(u64, u64)>, LogError> {
        let Some(Gaps(gaps)) = self.gaps else { return Ok(None) };
        let upto = Bound::Included(at);
        let found = entries::<E>(self.snapshot, gaps, Bound::Unbounded, upto).next_back().transpose()?;
        Ok(found.and_then(|(first, after)| {
            let after = u64::from_be_bytes(<[u8; 8]>::try_from(&*after).ok()?);
            (after > at && after <= self.end).then_some((first, after))
        }))
    }
}

fn missing(position: u64) -> LogError {
    LogError::Damaged { position, what: "its record is missing" }
}

/// The entries of a keyspace whose keys are positions, ascending.
fn entries<E: Engine>(
    snapshot: &E::Snapshot,
    keyspace: &E::Keyspace,
    first: Bound<u64>,
    last: Bound<u64>,
) -> impl DoubleEndedIterator<Item = Result<(u64, Slice), LogError>> + use<E> {
    let [first, last] = [first, last].map(|bound| bound.map(u64::to_be_bytes));
    let range = (first.as_ref().map(|key| &key[..]), last.as_ref().map(|key| &key[..]));
    E::range_in(snapshot, keyspace, range).map(|entry| {
        let (key, value) = entry.map_err(|error| LogError::Engine(error.into()))?;
        let position = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes);
        let position = position
            .map_err(|_| LogError::Damaged { position: 0, what: "a key of the log is no position" })?;
        Ok((position, value))
    })
}

/// A page that is being filled.
struct Page {
    frames: Vec<u8>,
    count: usize,
    limit: usize,
    max_bytes: usize,
}

impl Page {
    fn new(read: &LogRead) -> Self {
        Self {
            frames: Vec::new(),
            count: 0,
            limit: read.limit.min(limits::PAGE_ENTRIES_MAX),
            max_bytes: read.max_bytes.min(limits::PAGE_BYTES_MAX),
        }
    }

    /// Adds a frame, unless the page is full.
    fn add(&mut self, position: u64, stored: &Stored<'_>) -> bool {
        let begin = self.frames.len();
        match stored {
            Stored::Event(envelope) => exesdb_packed::push_envelope(&mut self.frames, position, envelope)
                .expect("a value of the storage is shorter than a frame can be"),
            Stored::Removed(link) => exesdb_packed::push_removed(&mut self.frames, position, *link),
            Stored::Gap(positions) => exesdb_packed::push_gap(&mut self.frames, position, *positions),
        }
        self.keep_if_it_fits(begin)
    }

    fn add_frames(&mut self, frames: &[u8]) -> bool {
        let begin = self.frames.len();
        self.frames.extend_from_slice(frames);
        self.keep_if_it_fits(begin)
    }

    fn keep_if_it_fits(&mut self, begin: usize) -> bool {
        let fits = self.count < self.limit && (self.frames.len() <= self.max_bytes || self.count == 0);
        if fits {
            self.count += 1;
        } else {
            self.frames.truncate(begin);
        }
        fits
    }

    fn finish(self, next: Option<u64>) -> LogPage {
        LogPage { frames: self.frames, next }
    }
}
