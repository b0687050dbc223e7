//! A replica in a folder.
//!
//! Three folders take part: `<store>`, which has the replica; `<store>.incoming`, into which a snapshot is received; and
//! `<store>.outgoing`, which exists only while one replaces the other:
//!
//! 1. the snapshot is in `<store>.incoming`, whole and durable;
//! 2. `<store>` becomes `<store>.outgoing`;
//! 3. `<store>.incoming` becomes `<store>`;
//! 4. `<store>.outgoing` is deleted.
//!
//! A crash between 2 and 3 leaves no `<store>`, and the next open does step 3. What is called incoming or outgoing otherwise is
//! left over.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use exesdb_storage::dump::restore_replica;
use exesdb_storage::{Fjall, Options, Replica, ReplicaOpenError, ReplicaState};

use super::{HomeError, ReplicaHome};

/// Keeps a replica in a folder.
pub struct FilesHome {
    store: PathBuf,
    incoming: PathBuf,
    outgoing: PathBuf,
    options: Options,
}

impl FilesHome {
    /// Keeps the replica in `store`, whose parent exists. The first replica of a group is put there by
    /// [`Replica::create`].
    #[must_use]
    pub fn new(store: &Path, options: Options) -> Self {
        let beside = |suffix: &str| {
            let mut name = store.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            store.with_file_name(name)
        };
        Self {
            store: store.to_owned(),
            incoming: beside(".incoming"),
            outgoing: beside(".outgoing"),
            options,
        }
    }

    fn finish_swap(&self) -> Result<(), HomeError> {
        if self.outgoing.exists() && !self.store.exists() {
            self.rename(&self.incoming, &self.store)?;
        }
        remove(&self.outgoing)?;
        remove(&self.incoming)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HomeError> {
        fs::rename(from, to).map_err(io_error("renaming", from))?;
        let parent = to.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error("syncing", parent))
    }
}

impl ReplicaHome for FilesHome {
    type Engine = Fjall;
    type Incoming = ();

    fn open(&self) -> Result<Option<Replica<Fjall>>, HomeError> {
        self.finish_swap()?;
        match Replica::open(&self.store, self.options.clone()) {
            Ok(replica) => Ok(Some(replica)),
            Err(ReplicaOpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&self, dump: &mut dyn Read) -> Result<((), ReplicaState), HomeError> {
        remove(&self.incoming)?;
        let summary = restore_replica(&self.incoming, dump, None, &mut |_| {})?;
        Ok(((), summary.replica.ok_or(HomeError::NoReplica)?))
    }

    fn install(&self, (): ()) -> Result<Replica<Fjall>, HomeError> {
        if self.store.exists() {
            self.rename(&self.store, &self.outgoing)?;
        }
        self.rename(&self.incoming, &self.store)?;
        remove(&self.outgoing)?;
        Ok(Replica::open(&self.store, self.options.clone())?)
    }
}

fn remove(folder: &Path) -> Result<(), HomeError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", folder)(error)),
        _ => Ok(()),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    move |source| HomeError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use exesdb_storage::{Options, Replica};

    use super::FilesHome;
    use crate::home::ReplicaHome;
    use crate::members::{Member, genesis};

    fn home(store: &Path) -> FilesHome {
        FilesHome::new(store, Options { zeroes_ahead: false, ..Options::default() })
    }

    /// A dump of the first replica of a group.
    fn dump(of: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a folder");
        let genesis = genesis(of, Member { node: "a".into(), incarnation: 1 });
        let replica = Replica::create(dir.path(), Options::default(), &genesis).expect("a replica");
        let mut out = Vec::new();
        replica.reader().snapshot().dump(&mut out, &mut |_| {}).expect("a dump");
        out
    }

    fn founder(home: &FilesHome) -> u64 {
        let replica = home.open().expect("it opens").expect("there is one");
        let (_, membership) = crate::members::decode(&replica.state().membership).expect("members");
        membership.voter_ids().next().expect("a voter")
    }

    #[test]
    fn a_snapshot_replaces_the_replica_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = dir.path().join("store");
        let home = home(&store);
        assert!(home.open().expect("it opens").is_none());
        assert!(!store.exists(), "nothing is created where there is nothing");
        let ((), _) = home.receive(&mut &*dump(1)).expect("the dump is good");
        home.install(()).expect("it is installed");
        assert_eq!(founder(&home), 1);
        home.receive(&mut &*dump(2)).expect("the dump is good");
        assert_eq!(founder(&home), 1, "what was only received is left over");
        // A crash between the two renames.
        home.receive(&mut &*dump(2)).expect("the dump is good");
        fs::rename(&store, dir.path().join("store.outgoing")).expect("it is closed");
        assert_eq!(founder(&home), 2);
        let left: Vec<_> = fs::read_dir(dir.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_snapshot_that_is_cut_short_or_no_dump_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = home(&dir.path().join("store"));
        home.receive(&mut &*dump(1)).expect("the dump is good");
        home.install(()).expect("it is installed");
        let good = dump(2);
        assert!(home.receive(&mut &good[..good.len() - 1]).is_err());
        assert!(home.receive(&mut &b"hostile"[..]).is_err());
        assert_eq!(founder(&home), 1);
    }
}
