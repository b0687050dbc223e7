//! The data directory of a member: its lock, its files, and the stores in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use exesdb_storage::Replica;
use exesdb_storage::dump::unfinished;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Identity, Place, StartError, io_error};
use crate::limits::FILE_BYTES_MAX;
use crate::{CLUSTER_GROUP, CLUSTER_NAME, names};

const LOG: &str = "$log";
const LOCK_FILE: &str = "lock";
const NODE_FILE: &str = "node.json";
const FOUNDING_FILE: &str = "founding.json";
const REPLICA: &str = "replica";

/// The data directory of a member, locked.
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// What is in the folder of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No store.
    Nothing,
    /// A store that belongs to no cluster, whole or damaged, or what an unfinished restore left of one.
    Single,
    /// A replica.
    Replica,
}

/// Whether a data directory belongs to a node of a cluster, or is about to. A host without a cluster must not open it.
#[must_use]
pub fn is_cluster_member(path: &Path) -> bool {
    let cluster = path.join(CLUSTER_NAME);
    [NODE_FILE, FOUNDING_FILE, REPLICA].iter().any(|name| cluster.join(name).exists())
}

impl DataFolder {
    /// Locks a data directory, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// [`StartError::Locked`], or the operating system's error.
    pub fn lock(path: &Path) -> Result<Self, StartError> {
        let cluster = path.join(CLUSTER_NAME);
        create_private(&cluster)?;
        let file = cluster.join(LOCK_FILE);
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&file);
        let lock = opened.map_err(io_error("opening", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io_error("locking", &file)(source)),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where the replica of `$cluster` is.
    #[must_use]
    pub fn cluster_replica(&self) -> PathBuf {
        self.path.join(CLUSTER_NAME).join(REPLICA)
    }

    /// Where a replica is.
    #[must_use]
    pub fn replica(&self, place: &Place) -> PathBuf {
        match place.group {
            CLUSTER_GROUP => self.cluster_replica(),
            _ => self.path.join(&place.store),
        }
    }

    /// Who the node is; `None` if it belongs to no cluster.
    ///
    /// # Errors
    ///
    /// [`StartError::Malformed`], or the operating system's error.
    pub fn identity(&self) -> Result<Option<Identity>, StartError> {
        let path = self.file(NODE_FILE);
        let Some(identity) = read::<Identity>(&path)? else { return Ok(None) };
        identity.check().map_err(|reason| StartError::Malformed { path, reason })?;
        Ok(Some(identity))
    }

    /// Writes down who the node is. Durable on return.
    ///
    /// # Errors
    ///
    /// The operating system's error; the file is as it was.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), StartError> {
        self.write(NODE_FILE, identity)
    }

    /// Whether an initialisation was begun and not finished.
    pub(crate) fn is_founding(&self) -> bool {
        self.file(FOUNDING_FILE).exists()
    }

    pub(crate) fn founding<T: DeserializeOwned>(&self) -> Result<Option<T>, StartError> {
        read(&self.file(FOUNDING_FILE))
    }

    pub(crate) fn write_founding(&self, founding: &impl Serialize) -> Result<(), StartError> {
        self.write(FOUNDING_FILE, founding)
    }

    pub(crate) fn remove_founding(&self) -> Result<(), StartError> {
        let path = self.file(FOUNDING_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &path)(error)),
            _ => sync(&self.path.join(CLUSTER_NAME)),
        }
    }

    /// The stores and replicas in the directory, by name.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn stores(&self) -> Result<Vec<(String, Kept)>, StartError> {
        let failed = || io_error("listing", &self.path);
        let mut stores = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            if names::store(&name).is_ok() && path.is_dir() {
                match kept_in(&path)? {
                    Kept::Nothing => {}
                    kept => stores.push((name, kept)),
                }
            }
        }
        stores.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(stores)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(CLUSTER_NAME).join(name)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StartError> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let mut text =
            serde_json::to_vec_pretty(value).expect("it has text as keys, and nothing that can fail");
        text.push(b'\n');
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(io_error("writing", &new))?;
        fs::rename(&new, &path).map_err(io_error("renaming", &new))?;
        sync(&self.path.join(CLUSTER_NAME))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StartError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", path)(error)),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(io_error("reading", path))?;
    let malformed =
        |error: serde_json::Error| StartError::Malformed { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&text).map(Some).map_err(malformed)
}

/// What is in the folder of a store, or of a replica.
pub(crate) fn kept_in(path: &Path) -> Result<Kept, StartError> {
    let look = || -> io::Result<Kept> {
        let is_there = |name: &str| path.join(name).try_exists();
        let has_data = is_there("data")?;
        if Replica::is_in(path)? {
            // The mark is made first. One without data is what a creation left that was cut short.
            return Ok(if has_data { Kept::Replica } else { Kept::Nothing });
        }
        let is_single = has_data || is_there("durable.mark")? || unfinished::is_unfinished(path)?;
        Ok(if is_single { Kept::Single } else { Kept::Nothing })
    };
    look().map_err(io_error("looking into", path))
}

/// Makes the creation, renaming or removal of a folder's entries durable.
pub(crate) fn sync(folder: &Path) -> Result<(), StartError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("syncing", folder))
}

/// Creates a folder that only its owner may enter.
fn create_private(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(io_error("creating", path))
}
