//! Reading a keyspace from end to end, a stretch at a time.
//!
//! Whoever reads everything must not hold the store open for as long as that takes: each stretch is read on its own,
//! and between two of them the store can close. Unlike a [page](crate::Page), a stretch that fails keeps what was read
//! before.

use std::ops::Bound;

use fjall::{Keyspace, Readable, Slice};

use crate::engine_failure::EngineFailure;
use crate::limits;
use crate::read::snapshot::{Direction, ReadError, Snapshot, contained};

/// Bytes of keys and values of a stretch; one entry alone may have more. 1 MiB: some milliseconds of work, so that is
/// how long closing the store waits, and large enough that finding the place again costs nothing beside it.
pub(crate) const STRETCH_BYTES: usize = 1024 * 1024;

/// Consecutive entries of a keyspace.
#[derive(Default)]
pub(crate) struct Stretch {
    /// Keys with their values, in the direction of the walk.
    pub(crate) entries: Vec<(Slice, Slice)>,
    /// There is more behind the last entry.
    pub(crate) more: bool,
    /// Why nothing could be read behind the last entry, if so.
    pub(crate) failure: Option<EngineFailure>,
}

/// Reads on: the entries between two keys, both exclusive.
pub(crate) fn stretch(
    snapshot: &fjall::Snapshot,
    keyspace: &Keyspace,
    after: Option<&[u8]>,
    before: Option<&[u8]>,
    direction: Direction,
) -> Stretch {
    let mut stretch = Stretch::default();
    // fjall's memtable panics on a range that ends before it begins.
    if after.zip(before).is_some_and(|(after, before)| before <= after) {
        return stretch;
    }
    let bound = |key: Option<&'_ [u8]>| key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
    let read = contained(|| {
        let mut range = snapshot.range::<Vec<u8>, _>(keyspace, (bound(after), bound(before)));
        let mut bytes = 0;
        while let Some(entry) = match direction {
            Direction::Forward => range.next(),
            Direction::Backward => range.next_back(),
        } {
            if bytes >= STRETCH_BYTES || stretch.entries.len() == limits::PAGE_ENTRIES_MAX {
                stretch.more = true;
                return Ok(());
            }
            let (key, value) = entry.into_inner()?;
            bytes += key.len() + value.len();
            stretch.entries.push((key, value));
        }
        Ok(())
    });
    stretch.failure = read.err();
    stretch
}

impl Snapshot {
    /// Reads on in a keyspace; see [`stretch`]. Holds the store open meanwhile.
    pub(crate) fn stretch(
        &self,
        owner: &str,
        keyspace: &str,
        after: Option<&[u8]>,
        before: Option<&[u8]>,
        direction: Direction,
    ) -> Result<Stretch, ReadError> {
        self.with_keyspace(owner, keyspace, Stretch::default(), |handle| {
            Ok(stretch(self.engine(), handle, after, before, direction))
        })
    }
}
