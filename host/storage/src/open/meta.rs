//! Reading and writing the keyspace `meta`: format, head, histories, and the list of keyspaces.

use std::path::Path;

use fjall::{Database, Keyspace, PersistMode};

use super::engine::engine_error;
use super::error::OpenError;
use crate::engine::Fjall;
use crate::format;
use crate::head::{LogHead, RecordedHead};
use crate::history::Histories;
use crate::name;
use crate::options::Options;
use crate::read::Keyspaces;
use crate::replica::{APPLIED_BYTES, Applied, ReplicaState};

/// The version of the store's format, which is one that this code knows.
pub(super) fn read_format(dir: &Path, meta: &Keyspace) -> Result<u32, OpenError> {
    let found = value(dir, meta, format::FORMAT_KEY)?;
    let found = <[u8; 4]>::try_from(&*found)
        .map_err(|_| OpenError::damaged(dir, format!("format has {} bytes instead of 4", found.len())))?;
    let found = u32::from_be_bytes(found);
    if format::is_known(found) {
        Ok(found)
    } else {
        Err(OpenError::UnknownFormat { path: dir.to_owned(), found })
    }
}

pub(crate) fn read_head(dir: &Path, meta: &Keyspace) -> Result<LogHead, OpenError> {
    let found = value(dir, meta, format::HEAD_KEY)?;
    RecordedHead::decode(&found)
        .map(|recorded| recorded.head)
        .ok_or_else(|| OpenError::damaged(dir, format!("head has {} bytes instead of 32 or 40", found.len())))
}

/// How far a replica has applied the log, and its group's members.
pub(super) fn read_replica(dir: &Path, meta: &Keyspace) -> Result<ReplicaState, OpenError> {
    let found = value(dir, meta, format::APPLIED_KEY)?;
    let applied = Applied::decode(&found).ok_or_else(|| {
        OpenError::damaged(dir, format!("applied has {} bytes instead of {APPLIED_BYTES}", found.len()))
    })?;
    Ok(ReplicaState { applied, membership: (*value(dir, meta, format::MEMBERSHIP_KEY)?).into() })
}

fn value(dir: &Path, meta: &Keyspace, key: &[u8]) -> Result<fjall::Slice, OpenError> {
    let shown = String::from_utf8_lossy(key);
    let found = meta.get(key).map_err(engine_error(dir))?;
    found.ok_or_else(|| OpenError::damaged(dir, format!("meta has no {shown}")))
}

/// The store's histories; `None` if the store was written before there were any.
pub(super) fn read_histories(
    dir: &Path,
    meta: &Keyspace,
    head: LogHead,
) -> Result<Option<Histories>, OpenError> {
    let found = meta.get(format::HISTORIES_KEY).map_err(engine_error(dir))?;
    let histories = found.map(|found| Histories::decode(&found, head.next_position));
    histories.transpose().map_err(|reason| OpenError::damaged(dir, reason))
}

/// Writes the list of histories durably, as a batch of its own. Returns the head after that batch.
pub(super) fn write_histories(
    dir: &Path,
    database: &Database,
    meta: &Keyspace,
    head: LogHead,
    histories: &Histories,
) -> Result<LogHead, OpenError> {
    let head = LogHead { sequence: head.sequence + 1, ..head };
    let mut batch = database.batch();
    batch.insert(meta, format::HISTORIES_KEY, histories.encode());
    let recorded = RecordedHead { head, engine_floor: database.seqno() };
    batch.insert(meta, &format::HEAD_KEY[..], recorded.encode());
    batch.commit().map_err(engine_error(dir))?;
    database.persist(PersistMode::SyncAll).map_err(engine_error(dir))?;
    Ok(head)
}

/// Opens the keyspaces that are listed in `meta`. A keyspace of the engine that is not listed was created for a batch that
/// was then not written; the first batch that writes to it lists it.
pub(super) fn open_keyspaces(
    dir: &Path,
    database: &Database,
    meta: &Keyspace,
    options: &Options,
) -> Result<Keyspaces<Fjall>, OpenError> {
    for full in database.list_keyspace_names() {
        if &*full != format::META && name::split(&full).is_none() {
            return Err(OpenError::damaged(dir, format!("keyspace {:?} belongs to nobody", &*full)));
        }
    }
    let mut keyspaces = Keyspaces::<Fjall>::default();
    for entry in meta.prefix(format::KEYSPACE_KEY_PREFIX) {
        let (key, value) = entry.into_inner().map_err(engine_error(dir))?;
        let full = String::from_utf8_lossy(&key[format::KEYSPACE_KEY_PREFIX.len()..]);
        let number = <[u8; 8]>::try_from(&*value).map(u64::from_be_bytes);
        let (Some((owner, keyspace)), Ok(number)) = (name::split(&full), number) else {
            return Err(OpenError::damaged(dir, format!("meta lists keyspace {full:?} as {:?}", &*value)));
        };
        if !database.keyspace_exists(&full) {
            let folder = format!("{}/data/keyspaces/{number}", dir.display());
            let reason = format!("keyspace {full} is missing, which was in {folder}");
            return Err(OpenError::damaged(dir, reason));
        }
        let handle = database.keyspace(&full, || options.keyspace()).map_err(engine_error(dir))?;
        if handle.id() != number {
            let reason = format!("keyspace {full} is number {} and not {number}", handle.id());
            return Err(OpenError::damaged(dir, reason));
        }
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle);
    }
    Ok(keyspaces)
}

/// Injects the fault [`DropOneOnReplay`](crate::fault::Fault::DropOneOnReplay).
#[cfg(feature = "faults")]
pub(super) fn drop_one(dir: &Path, keyspaces: &Keyspaces<Fjall>, options: &Options) -> Result<(), OpenError> {
    if !options.injects(crate::fault::Fault::DropOneOnReplay) {
        return Ok(());
    }
    let of = |owner: &str, keyspace: &str| keyspaces.get(owner).and_then(|owned| owned.get(keyspace));
    let events = of(format::LOG.0, format::LOG.1).or_else(|| of("streams", "events"));
    let last = events.and_then(|events| events.last_key_value().map(|entry| (events, entry)));
    let Some((events, entry)) = last else { return Ok(()) };
    events.remove(entry.key().map_err(engine_error(dir))?).map_err(engine_error(dir))
}
