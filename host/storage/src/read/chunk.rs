//! Reading a keyspace from end to end, a chunk at a time.
//!
//! A walk through a whole keyspace must not hold the store open until it ends. So each chunk is read on its own, and the
//! store can close between two of them. Unlike a [`Page`](super::Page), a chunk that fails keeps what was read before
//! the failure.

use std::ops::Bound;

use super::error::ReadError;
use super::scan::Direction;
use super::snapshot::Snapshot;
use crate::Slice;
use crate::engine::Engine;
use crate::engine_failure::EngineFailure;
use crate::limits;

/// Bytes of keys and values after which a chunk ends. 1 MiB: some milliseconds of work, which is how long closing the
/// store waits, and large enough that finding the place again costs little in comparison.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// Consecutive entries of a keyspace.
#[derive(Default)]
pub(crate) struct Chunk {
    /// Keys with their values, in the direction of the walk.
    pub(crate) entries: Vec<(Slice, Slice)>,
    /// Whether there are entries after the last one.
    pub(crate) more: bool,
    /// Why reading ended after the last entry, if it failed there.
    pub(crate) failure: Option<EngineFailure>,
}

impl Chunk {
    /// Bytes of the keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// Reads the next entries between two keys, both exclusive: at most `limit`, and at most as many as a page has.
pub(crate) fn read_chunk<E: Engine>(
    snapshot: &E::Snapshot,
    keyspace: &E::Keyspace,
    after: Option<&[u8]>,
    before: Option<&[u8]>,
    direction: Direction,
    limit: usize,
) -> Chunk {
    let limit = limit.min(limits::PAGE_ENTRIES_MAX);
    let mut chunk = Chunk::default();
    // fjall's memtable panics on a range that ends before it begins.
    if after.zip(before).is_some_and(|(after, before)| before <= after) {
        return chunk;
    }
    let [after, before] = [after, before].map(|key| key.map_or(Bound::Unbounded, Bound::Excluded));
    let read = EngineFailure::catch::<_, E::Error>(|| {
        let mut range = E::range_in(snapshot, keyspace, (after, before));
        let mut bytes = 0;
        while let Some(entry) = match direction {
            Direction::Forward => range.next(),
            Direction::Backward => range.next_back(),
        } {
            if bytes >= CHUNK_BYTES || chunk.entries.len() == limit {
                chunk.more = true;
                return Ok(());
            }
            let (key, value) = entry?;
            bytes += key.len() + value.len();
            chunk.entries.push((key, value));
        }
        Ok(())
    });
    chunk.failure = read.err();
    chunk
}

impl<E: Engine> Snapshot<E> {
    /// [Reads a chunk](read_chunk) of an owner's keyspace and holds the store open meanwhile.
    pub(crate) fn chunk(
        &self,
        owner: &str,
        keyspace: &str,
        after: Option<&[u8]>,
        before: Option<&[u8]>,
        direction: Direction,
    ) -> Result<Chunk, ReadError> {
        self.with_keyspace(owner, keyspace, Chunk::default(), |handle| {
            Ok(read_chunk::<E>(self.engine(), handle, after, before, direction, usize::MAX))
        })
    }
}
