//! Writing a dump.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::DumpError;
use super::format::{KEYSPACES_MAX, Kind};
use super::frame::{FrameWriter, Tally, head_payload, manifest_payload, push_entry, push_names};
use super::summary::{KeyspaceSummary, Progress, Summary};
use crate::engine::Engine;
use crate::limits;
use crate::read::{Direction, ReadError, Snapshot};
use crate::replica::ReplicaState;

impl<E: Engine> Snapshot<E> {
    /// Writes everything in the snapshot, and its head, as a [dump](crate::dump). Meanwhile the store goes on committing,
    /// and can be closed: then the dump fails with [`ReadError::Closed`].
    ///
    /// `progress` is called after each piece of about 1 MiB; to cancel, let `out` fail. `out` is flushed at the end, but
    /// making it durable is up to the caller. While the snapshot is held, the space of what is overwritten and deleted
    /// is not reclaimed.
    ///
    /// # Errors
    ///
    /// [`DumpError`]: the store could not be read, or the output not written.
    pub fn dump(
        &self,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Summary, DumpError> {
        let names = self.keyspaces()?;
        if names.len() > KEYSPACES_MAX {
            return Err(DumpError::TooManyKeyspaces { actual: names.len() });
        }
        let (format, head) = (self.format(), self.head());
        let taken_at = now();
        let mut frames =
            FrameWriter::begin(out, format).map_err(|source| DumpError::Write { at: 0, source })?;
        let payload = head_payload(format, head, taken_at, frames.has_time());
        put(&mut frames, Kind::Head, &payload)?;
        let histories = self.histories().clone();
        put(&mut frames, Kind::Histories, &histories.encode())?;
        let replica = self.replica().cloned();
        if let Some(ReplicaState { applied, membership }) = &replica {
            put(&mut frames, Kind::Replica, &[&applied.encode()[..], membership].concat())?;
        }
        let mut keyspaces = Vec::new();
        for (owner, keyspace) in names {
            if let Some(summary) = self.dump_keyspace(&owner, &keyspace, &mut frames, &keyspaces, progress)? {
                keyspaces.push(summary);
            }
        }
        let digest = frames.digest();
        put(&mut frames, Kind::Manifest, &manifest_payload(&keyspaces, digest))?;
        frames.flush().map_err(|source| DumpError::Write { at: frames.at(), source })?;
        Ok(Summary {
            format,
            head,
            histories: Some(histories),
            replica,
            taken_at,
            keyspaces,
            dump_bytes: frames.at(),
            digest,
        })
    }

    /// Writes one keyspace, unless it is empty.
    fn dump_keyspace(
        &self,
        owner: &str,
        keyspace: &str,
        frames: &mut FrameWriter<'_>,
        before: &[KeyspaceSummary],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Option<KeyspaceSummary>, DumpError> {
        let mut tally: Option<Tally> = None;
        let mut payload = Vec::new();
        let mut last = None;
        loop {
            let chunk = self.chunk(owner, keyspace, last.as_deref(), None, Direction::Forward)?;
            if let Some(failure) = chunk.failure {
                let (owner, keyspace) = (owner.into(), keyspace.into());
                return Err(ReadError::Engine { owner, keyspace, failure }.into());
            }
            payload.clear();
            for (key, value) in &chunk.entries {
                if key.len() > limits::KEY_BYTES_MAX || value.len() > limits::VALUE_BYTES_MAX {
                    return Err(DumpError::OversizedEntry {
                        owner: owner.into(),
                        keyspace: keyspace.into(),
                        key_bytes: key.len(),
                        value_bytes: value.len(),
                    });
                }
                push_entry(&mut payload, key, value);
            }
            if let Some((key, _)) = chunk.entries.last() {
                if tally.is_none() {
                    let mut names = Vec::new();
                    push_names(&mut names, owner, keyspace);
                    put(frames, Kind::Keyspace, &names)?;
                }
                let tally = tally.get_or_insert_with(|| Tally::new(owner, keyspace));
                put(frames, Kind::Entries, &payload)?;
                tally.add(chunk.entries.len(), &payload);
                progress(tally.progress(before));
                last = Some(key.clone());
            }
            if !chunk.more {
                return Ok(tally.map(|tally| tally.summary()));
            }
        }
    }
}

fn put(frames: &mut FrameWriter<'_>, kind: Kind, payload: &[u8]) -> Result<(), DumpError> {
    frames.frame(kind, payload).map_err(|source: io::Error| DumpError::Write { at: frames.at(), source })
}

/// Microseconds since 1970-01-01 UTC; 0 if the clock is set before.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
