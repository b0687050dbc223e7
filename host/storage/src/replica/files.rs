//! Replicas in files.

use std::path::Path;
use std::sync::Arc;

use super::Replica;
use super::entry::LogId;
use super::error::ReplicaOpenError;
use super::keeper::FileKeeper;
use super::state::{Applied, ReplicaState};
use crate::apply::Applier;
use crate::engine::Fjall;
use crate::format;
use crate::mark;
use crate::open::{Kind, OpenError, Opened, create_replica, engine_error, open};
use crate::options::Options;
use crate::read::{Published, Reached};

/// What a group begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Genesis {
    /// The entry that counts as the last one that was applied.
    pub id: LogId,
    /// The group's first members.
    pub membership: Vec<u8>,
}

impl Genesis {
    /// The state of a replica that begins at `time`.
    pub(crate) fn state(&self, time: u64) -> ReplicaState {
        let applied = Applied { id: self.id, time, ..Applied::default() };
        ReplicaState { applied, membership: self.membership.as_slice().into() }
    }
}

impl Replica<Fjall> {
    /// Creates the first, empty replica of a group in `dir`, and opens it. All others begin with a
    /// [snapshot](crate::dump::restore_replica) of it.
    ///
    /// # Errors
    ///
    /// [`ReplicaOpenError`]; there is a store or replica in the folder, or it cannot be written.
    pub fn create(dir: &Path, options: Options, genesis: &Genesis) -> Result<Self, ReplicaOpenError> {
        create_replica(dir, &options, &genesis.state(0)).map_err(ReplicaOpenError::create(dir))?;
        Self::open(dir, options)
    }

    /// Opens the replica in `dir`, which must exist. It may be behind what it had applied, but not behind what it had
    /// [made durable](Self::persist).
    ///
    /// Of the options, those of commits mean nothing to a replica.
    ///
    /// # Errors
    ///
    /// [`ReplicaOpenError`]. Nothing that was durable was changed.
    pub fn open(dir: &Path, options: Options) -> Result<Self, ReplicaOpenError> {
        let exists = |name| {
            let path = dir.join(name);
            path.try_exists().map_err(OpenError::io("looking for", &path))
        };
        // Nothing is created where there is nothing.
        let names = [format::DATABASE_FOLDER, format::MARK_FILE, format::RESTORE_FILE];
        if !(exists(names[0])? || exists(names[1])? || exists(names[2])?) {
            return Err(ReplicaOpenError::Missing { path: dir.to_owned() });
        }
        let Opened { meta, keyspaces, format, head, histories, mark, journal, data, database, lock, replica } =
            open(dir, &options, Kind::Replica)?;
        if let Some(found) = meta.get(format::DIVERGED_KEY).map_err(engine_error(dir))? {
            return Err(ReplicaOpenError::diverged(&found));
        }
        let state = replica.expect("what is opened as a replica has the state of one");
        let published = Arc::new(Published::new(
            database.snapshot(),
            Reached { head, replica: Some(state.clone()) },
            format,
            histories,
            keyspaces,
            meta.clone(),
            options.is_json,
        ));
        let keeper = FileKeeper::new(Arc::clone(&published), &options, &data, journal, mark, lock);
        let fail_points = options.fail_points.clone();
        // A limit is no reason to decide otherwise than replicas that have another one.
        let applier = Applier::new(Fjall::new(database, options), meta, head, &published, usize::MAX);
        Ok(Self::new(published, state, applier, Box::new(keeper), fail_points))
    }

    /// Whether there is a replica in `dir`, according to its mark. Reads nothing else.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn is_in(dir: &Path) -> std::io::Result<bool> {
        let found = mark::read(dir)?;
        Ok(matches!(found, mark::FoundMark::Whole(mark::Mark { applied: Some(_), .. })))
    }
}
