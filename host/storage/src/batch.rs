//! A batch: guards that must hold, operations and records of the log that are applied together, and the positions that
//! they take.
//!
//! Everything here is pure. A batch is checked against the [limits] on the caller's thread before it is
//! queued, because everybody waits for the committer.

use exesdb_packed::{Envelope, Frames, Record};

use crate::engine_failure::EngineFailure;
use crate::limits;
use crate::name;
use crate::packed_puts::PackedPuts;
use crate::stamp::{STAMP_BYTES, Stamp};

/// Operations that are applied all or not at all. They are applied if every guard holds when the batch's turn comes in
/// the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Conditions, checked in order against everything committed before this batch.
    pub guards: Vec<Guard>,
    /// The writes, in order: of two operations on one key the later counts.
    pub operations: Vec<Operation>,
    /// Writes in the form in which components give them, applied after the operations: each keyspace's puts in order, then
    /// its deletes.
    pub changes: Vec<Changes>,
    /// Number of positions that this batch takes without a record in the log. Event `i` gets position
    /// `first_position + i`. Only in stores whose [log](crate::LogRead) has not begun.
    pub events: u32,
    /// What is appended to the log: packed frames of events and gaps. Their positions are ignored; the first gets
    /// `first_position`, and each following one the position after the one before it.
    pub log: Vec<u8>,
    /// Positions before this batch whose events are removed from the log. Their links stay. Nothing happens to those that
    /// were removed before, and to gaps.
    pub removes: Vec<u64>,
}

/// A condition on the state that a batch is applied to. A keyspace that does not exist is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key has no value.
    Absent {
        /// Keyspace of the batch's owner.
        keyspace: String,
        /// The key.
        key: Vec<u8>,
    },
    /// The key has exactly this value.
    Equals {
        /// Keyspace of the batch's owner.
        keyspace: String,
        /// The key.
        key: Vec<u8>,
        /// The value it must have.
        value: Vec<u8>,
    },
    /// No key lies in `start..end`.
    RangeEmpty {
        /// Keyspace of the batch's owner.
        keyspace: String,
        /// First key of the range; empty for the beginning of the keyspace.
        start: Vec<u8>,
        /// First key after the range; `None` for the end of the keyspace.
        end: Option<Vec<u8>>,
    },
    /// The next position of the store is this one.
    LogEndsAt {
        /// The position.
        position: u64,
    },
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key to a value. The keyspace is created if it does not exist.
    Put {
        /// Keyspace of the batch's owner.
        keyspace: String,
        /// The key, with eight bytes to be overwritten for each key stamp.
        key: Vec<u8>,
        /// The value, with eight bytes to be overwritten for each value stamp.
        value: Vec<u8>,
        /// Positions to write into the key.
        key_stamps: Vec<Stamp>,
        /// Positions to write into the value.
        value_stamps: Vec<Stamp>,
        /// Where in the value the store's [hash chain](crate::chain) goes, and the event that is chained. The chained puts
        /// of a batch must be in the order of their events, at most one for each event, and no stamp of the value may
        /// overlap the chain. The chain covers the key and the value as they are stored and, through the chain before
        /// it, every entry that was chained earlier.
        chain: Option<Stamp>,
    },
    /// Removes a key if it exists.
    Delete {
        /// Keyspace of the batch's owner.
        keyspace: String,
        /// The key.
        key: Vec<u8>,
    },
}

/// Writes to one keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keyspace of the batch's owner. It is created if it does not exist.
    pub keyspace: String,
    /// Packed puts; see [`push_put`](crate::push_put).
    pub puts: Vec<u8>,
    /// Keys to remove, if they exist.
    pub deletes: Vec<Vec<u8>>,
}

/// The outcome of a batch that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Position of the batch's event 0. For a batch without events, the position that the next event will get.
    pub first_position: u64,
}

/// Why a batch was not applied. Nothing of it was written, and it took no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A guard did not hold.
    #[error("guard {index} of the batch does not hold; read again and decide anew")]
    GuardFailed {
        /// Index into [`Batch::guards`] of the first guard that failed.
        index: u32,
    },
    /// A guard could not be checked because the disk could not be read.
    #[error("guard {index} of the batch could not be checked: {failure}")]
    GuardUnreadable {
        /// Index into [`Batch::guards`].
        index: u32,
        /// Why.
        failure: EngineFailure,
    },
    /// A record that the batch removes could not be read.
    #[error("the record of position {position} could not be read to be removed: {failure}")]
    LogUnreadable {
        /// The position.
        position: u64,
        /// Why.
        failure: EngineFailure,
    },
    /// The batch belongs to the leader of another term than the one that it was proposed in. Only in clusters.
    #[error("the batch belongs to a leader that is none any more")]
    Fenced,
    /// The batch is malformed and would never be accepted.
    #[error("the batch is malformed: {0}")]
    Invalid(String),
    /// The batch is over a limit and would never be accepted.
    #[error("{what} is {actual}, over the limit of {limit}; split the batch")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The measured size.
        actual: u64,
        /// The largest size that is accepted.
        limit: u64,
    },
}

/// The largest sizes of a batch and its parts that a check lets pass.
struct Bounds {
    guards: usize,
    operations: usize,
    events: usize,
    removes: usize,
    key_bytes: usize,
    value_bytes: usize,
    event_bytes: usize,
    batch_bytes: usize,
}

/// What may be committed or proposed.
const LIMITS: Bounds = Bounds {
    guards: limits::BATCH_GUARDS_MAX,
    operations: limits::BATCH_OPERATIONS_MAX,
    events: limits::BATCH_EVENTS_MAX as usize,
    removes: limits::BATCH_REMOVES_MAX,
    key_bytes: limits::KEY_BYTES_MAX,
    value_bytes: limits::VALUE_BYTES_MAX,
    event_bytes: limits::EVENT_BYTES_MAX,
    batch_bytes: limits::BATCH_BYTES_MAX,
};

/// What can be applied, whatever the limits were when it was proposed: the lengths that a record of the engine has room for.
const FORM: Bounds = Bounds {
    guards: usize::MAX,
    operations: usize::MAX,
    events: usize::MAX,
    removes: usize::MAX,
    key_bytes: u16::MAX as usize,
    value_bytes: i32::MAX as usize,
    event_bytes: i32::MAX as usize - 16,
    batch_bytes: usize::MAX,
};

impl Guard {
    fn check(&self, bounds: &Bounds) -> Result<usize, BatchError> {
        match self {
            Self::Absent { keyspace, .. }
            | Self::Equals { keyspace, .. }
            | Self::RangeEmpty { keyspace, .. } => check_keyspace(keyspace)?,
            Self::LogEndsAt { .. } => {}
        }
        match self {
            Self::LogEndsAt { .. } => Ok(0),
            Self::Absent { key, .. } => {
                check_key(key, bounds)?;
                Ok(key.len())
            }
            Self::Equals { key, value, .. } => {
                check_key(key, bounds)?;
                at_most("a guard's value in bytes", value.len(), bounds.value_bytes)?;
                Ok(key.len() + value.len())
            }
            Self::RangeEmpty { start, end, .. } => {
                let end_bytes = end.as_ref().map_or(0, Vec::len);
                at_most("a guard's range start in bytes", start.len(), bounds.key_bytes)?;
                at_most("a guard's range end in bytes", end_bytes, bounds.key_bytes)?;
                Ok(start.len() + end_bytes)
            }
        }
    }
}

impl Operation {
    pub(crate) fn keyspace(&self) -> &str {
        match self {
            Self::Put { keyspace, .. } | Self::Delete { keyspace, .. } => keyspace,
        }
    }

    fn check(&self, events: u32, bounds: &Bounds) -> Result<usize, BatchError> {
        check_keyspace(self.keyspace())?;
        match self {
            Self::Put { key, value, key_stamps, value_stamps, chain, .. } => {
                check_key(key, bounds)?;
                at_most("a value in bytes", value.len(), bounds.value_bytes)?;
                check_stamps("key", key_stamps.iter().copied(), key.len(), events, bounds)?;
                check_stamps("value", value_stamps.iter().copied(), value.len(), events, bounds)?;
                if let Some(chain) = chain {
                    check_chain(*chain, value_stamps, value.len(), events)?;
                }
                Ok(key.len() + value.len())
            }
            Self::Delete { key, .. } => {
                check_key(key, bounds)?;
                Ok(key.len())
            }
        }
    }

    /// Checks that a chained put follows the event that was chained `last`, and notes it as the last.
    fn check_chain_order(&self, last: &mut Option<u32>) -> Result<(), BatchError> {
        let Self::Put { chain: Some(chain), .. } = self else { return Ok(()) };
        if let Some(last) = last.filter(|last| *last >= chain.event) {
            return Err(BatchError::Invalid(format!(
                "it chains event {} after event {last}; chain each event once, in ascending order",
                chain.event
            )));
        }
        *last = Some(chain.event);
        Ok(())
    }
}

impl Changes {
    /// Checks everything that does not depend on the store's state. Returns the number of entries.
    fn check(&self, positions: u32, bounds: &Bounds) -> Result<usize, BatchError> {
        check_keyspace(&self.keyspace)?;
        let mut entries = self.deletes.len();
        for put in PackedPuts::new(&self.puts) {
            let put = put.map_err(|what| BatchError::Invalid(what.into()))?;
            entries += 1;
            check_key(put.key, bounds)?;
            at_most("a value in bytes", put.value.len(), bounds.value_bytes)?;
            check_stamps("key", put.key_stamps.iter(), put.key.len(), positions, bounds)?;
            check_stamps("value", put.value_stamps.iter(), put.value.len(), positions, bounds)?;
        }
        self.deletes.iter().try_for_each(|key| check_key(key, bounds))?;
        Ok(entries)
    }

    fn bytes(&self) -> usize {
        self.puts.len() + self.deletes.iter().map(Vec::len).sum::<usize>()
    }
}

impl Batch {
    /// Checks everything that does not depend on the store's state. The error names the guard or operation.
    pub(crate) fn check(&self) -> Result<(), BatchError> {
        self.check_within(&LIMITS)
    }

    /// Checks that the batch can be applied, whether or not it is within the limits. What passes here passes in every version
    /// of this software that knows the batch's encoding.
    pub(crate) fn check_form(&self) -> Result<(), BatchError> {
        self.check_within(&FORM)
    }

    fn check_within(&self, bounds: &Bounds) -> Result<(), BatchError> {
        at_most("the number of guards", self.guards.len(), bounds.guards)?;
        at_most("the number of operations", self.operations.len(), bounds.operations)?;
        at_most("the number of events", self.events as usize, bounds.events)?;
        at_most("the number of removed events", self.removes.len(), bounds.removes)?;
        let positions = self.check_positions(bounds)?;
        let mut bytes = self.log.len() + self.removes.len() * size_of::<u64>();
        for (index, guard) in self.guards.iter().enumerate() {
            bytes += guard.check(bounds).map_err(|error| error.at("guard", index))?;
        }
        let mut chained = None;
        for (index, operation) in self.operations.iter().enumerate() {
            bytes += operation
                .check(positions, bounds)
                .and_then(|bytes| operation.check_chain_order(&mut chained).map(|()| bytes))
                .map_err(|error| error.at("operation", index))?;
        }
        let mut entries = self.operations.len();
        for (index, changes) in self.changes.iter().enumerate() {
            entries += changes.check(positions, bounds).map_err(|error| error.at("changes", index))?;
            bytes += changes.bytes();
        }
        at_most("the number of operations", entries, bounds.operations)?;
        at_most("the batch in bytes", bytes, bounds.batch_bytes)
    }

    /// Checks what is appended to the log. Returns the number of positions that the batch takes.
    fn check_positions(&self, bounds: &Bounds) -> Result<u32, BatchError> {
        if self.log.is_empty() {
            return Ok(self.events);
        }
        if self.events > 0 {
            return Err(BatchError::Invalid(
                "it takes positions both with and without records in the log".into(),
            ));
        }
        let (mut events, mut positions) = (0, 0_u64);
        for frame in Frames::new(&self.log) {
            let frame = frame.map_err(|broken| BatchError::Invalid(broken.to_string()))?;
            match frame.record {
                Record::Event(envelope) => {
                    Envelope::read(envelope).map_err(|broken| {
                        BatchError::Invalid(format!("event {events} of its log: {broken}"))
                    })?;
                    at_most("an event in bytes", envelope.len(), bounds.event_bytes)?;
                    events += 1;
                    positions += 1;
                }
                Record::Gap { positions: more } => positions = positions.saturating_add(more),
                Record::Removed { .. } => {
                    return Err(BatchError::Invalid("it appends an event that was removed".into()));
                }
            }
        }
        at_most("the number of events", events, bounds.events)?;
        u32::try_from(positions).map_err(|_| BatchError::TooLarge {
            what: "the number of positions",
            actual: positions,
            limit: u32::MAX.into(),
        })
    }

    /// Number of positions that the batch takes; of one that is malformed, those up to the first broken frame.
    #[must_use]
    pub fn positions(&self) -> u64 {
        let in_log = Frames::new(&self.log).map_while(Result::ok).map(|frame| match frame.record {
            Record::Gap { positions } => positions,
            Record::Event(_) | Record::Removed { .. } => 1,
        });
        in_log.fold(self.events.into(), u64::saturating_add)
    }

    /// Bytes of keys and values, including those of guards: what the limits of queue and group count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let guards: usize = self
            .guards
            .iter()
            .map(|guard| match guard {
                Guard::Absent { key, .. } => key.len(),
                Guard::Equals { key, value, .. } => key.len() + value.len(),
                Guard::RangeEmpty { start, end, .. } => start.len() + end.as_ref().map_or(0, Vec::len),
                Guard::LogEndsAt { .. } => 0,
            })
            .sum();
        let operations: usize = self
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Put { key, value, .. } => key.len() + value.len(),
                Operation::Delete { key, .. } => key.len(),
            })
            .sum();
        let changes = self.changes.iter().map(Changes::bytes).sum::<usize>();
        guards + operations + changes + self.log.len() + self.removes.len() * size_of::<u64>()
    }
}

impl BatchError {
    fn at(self, what: &str, index: usize) -> Self {
        match self {
            Self::Invalid(reason) => Self::Invalid(format!("{what} {index}: {reason}")),
            other => other,
        }
    }
}

fn check_stamps(
    what: &str,
    stamps: impl ExactSizeIterator<Item = Stamp>,
    len: usize,
    events: u32,
    bounds: &Bounds,
) -> Result<(), BatchError> {
    at_most("the stamps of one operation", stamps.len(), bounds.operations)?;
    for (index, stamp) in stamps.enumerate() {
        check_stamp(format_args!("{what} stamp {index}"), what, stamp, len, events)?;
    }
    Ok(())
}

fn check_stamp(
    name: std::fmt::Arguments<'_>,
    what: &str,
    stamp: Stamp,
    len: usize,
    events: u32,
) -> Result<(), BatchError> {
    if stamp.at as usize + STAMP_BYTES > len {
        return Err(BatchError::Invalid(format!(
            "{name} needs bytes {} to {} of a {what} of {len} bytes",
            stamp.at,
            stamp.at as usize + STAMP_BYTES
        )));
    }
    if stamp.event >= events {
        return Err(BatchError::Invalid(format!(
            "{name} names event {} of a batch of {events} events",
            stamp.event
        )));
    }
    Ok(())
}

fn check_chain(chain: Stamp, value_stamps: &[Stamp], len: usize, events: u32) -> Result<(), BatchError> {
    check_stamp(format_args!("the chain"), "value", chain, len, events)?;
    match value_stamps.iter().position(|stamp| (stamp.at.abs_diff(chain.at) as usize) < STAMP_BYTES) {
        None => Ok(()),
        Some(index) => Err(BatchError::Invalid(format!(
            "the chain at byte {} overlaps value stamp {index} at byte {}",
            chain.at, value_stamps[index].at
        ))),
    }
}

fn check_keyspace(keyspace: &str) -> Result<(), BatchError> {
    name::check("keyspace", keyspace).map_err(BatchError::Invalid)
}

fn check_key(key: &[u8], bounds: &Bounds) -> Result<(), BatchError> {
    if key.is_empty() {
        return Err(BatchError::Invalid("a key is empty; keys have at least one byte".into()));
    }
    at_most("a key in bytes", key.len(), bounds.key_bytes)
}

fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), BatchError> {
    if actual > limit {
        return Err(BatchError::TooLarge { what, actual: actual as u64, limit: limit as u64 });
    }
    Ok(())
}
