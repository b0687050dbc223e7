//! How far a replica has applied the log.
//!
//! The state is in `meta`, in the same record as each batch that writes something. So after a crash a replica knows exactly
//! what it has applied, also in the middle of an entry. What writes nothing (a guard that failed, a fenced batch, an empty
//! entry) is noted with the next record: if that note is lost, the same is decided again from the same data.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::entry::LogId;
use crate::batch::{BatchError, Committed};
use crate::mark::AppliedMark;

/// Bytes of an encoded [`Applied`]: six numbers.
pub(crate) const APPLIED_BYTES: usize = 48;

/// How far the log was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry that was applied whole.
    pub id: LogId,
    /// Batches of the next entry that were applied. Not 0 only if the replica stopped in the middle of that entry.
    pub batches: u32,
    /// The highest time of the entries that were applied, in microseconds since 1970-01-01T00:00:00 UTC.
    pub time: u64,
    /// The outcomes of all batches, hashed one after the other: two replicas with the same link at an index decided the
    /// same on every batch.
    pub link: u64,
}

/// How far a replica has applied the log, and the group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// How far the log was applied.
    pub applied: Applied,
    /// What the last membership entry had.
    pub membership: Arc<[u8]>,
}

impl Applied {
    pub(crate) fn mark(&self) -> AppliedMark {
        AppliedMark { index: self.id.index, batches: self.batches.into() }
    }

    pub(crate) fn encode(&self) -> [u8; APPLIED_BYTES] {
        let Self { id: LogId { term, leader, index }, batches, time, link } = *self;
        let mut bytes = [0; APPLIED_BYTES];
        for (field, number) in
            bytes.as_chunks_mut().0.iter_mut().zip([term, leader, index, batches.into(), time, link])
        {
            *field = u64::to_be_bytes(number);
        }
        bytes
    }

    /// `None` if the bytes are not an encoded state.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; APPLIED_BYTES] = bytes.try_into().ok()?;
        let numbers = <[[u8; 8]; 6]>::try_from(bytes.as_chunks().0).ok()?;
        let [term, leader, index, batches, time, link] = numbers.map(u64::from_be_bytes);
        let batches = u32::try_from(batches).ok()?;
        Some(Self { id: LogId { term, leader, index }, batches, time, link })
    }
}

/// The link after the outcome of a batch: the XXH3 (64 bits) of the link before (`u64`), the kind of the outcome (`u8`: 0
/// applied, 1 a guard failed, 2 fenced, 3 refused for what it is), and its number (`u64`: the first position of a batch
/// that was applied, the index of the guard that failed, or 0); all big-endian.
pub(super) fn link(before: u64, outcome: &Result<Committed, BatchError>) -> u64 {
    let (kind, number) = match outcome {
        Ok(committed) => (0, committed.first_position),
        Err(BatchError::GuardFailed { index }) => (1, (*index).into()),
        Err(BatchError::Fenced) => (2, 0),
        // Neither the text of an error nor a limit may tell two replicas apart. A replica that cannot read stops instead.
        Err(
            BatchError::Invalid(_)
            | BatchError::TooLarge { .. }
            | BatchError::GuardUnreadable { .. }
            | BatchError::LogUnreadable { .. },
        ) => (3, 0),
    };
    let mut hash = Xxh3::new();
    hash.update(&before.to_be_bytes());
    hash.update(&[kind]);
    hash.update(&number.to_be_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::{APPLIED_BYTES, Applied, LogId, link};
    use crate::batch::{BatchError, Committed};

    #[test]
    fn the_bytes_of_the_state_are_fixed_and_read_back() {
        let applied =
            Applied { id: LogId { term: 1, leader: 2, index: 3 }, batches: 4, time: 5, link: u64::MAX };
        let bytes = applied.encode();
        let expected: Vec<u8> = [1, 2, 3, 4, 5, u64::MAX].into_iter().flat_map(u64::to_be_bytes).collect();
        assert_eq!(bytes[..], expected);
        assert_eq!(Applied::decode(&bytes), Some(applied));
        for other in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[0xff; APPLIED_BYTES], &[]] {
            assert_eq!(Applied::decode(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_link_tells_outcomes_apart_and_not_their_wording() {
        let committed = |first_position| Ok(Committed { first_position });
        let outcomes = [
            committed(0),
            committed(1),
            Err(BatchError::GuardFailed { index: 0 }),
            Err(BatchError::GuardFailed { index: 1 }),
            Err(BatchError::Fenced),
            Err(BatchError::Invalid("x".into())),
        ];
        let links: Vec<_> = outcomes.iter().map(|outcome| link(7, outcome)).collect();
        let distinct: std::collections::BTreeSet<_> = links.iter().collect();
        assert_eq!(distinct.len(), outcomes.len());
        assert_eq!(links[5], link(7, &Err(BatchError::Invalid("y".into()))));
        assert_ne!(links[0], link(8, &outcomes[0]));
        let definition = xxhash_rust::xxh3::xxh3_64(b"\0\0\0\0\0\0\0\x07\x01\0\0\0\0\0\0\0\x01");
        assert_eq!(links[3], definition, "the definition in the format's documentation");
    }
}
