//! A store: one open database, and the thread that commits to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::commit::{Commit, CommitError, Committer, Health, Outcomes, Shared, Writer};
use crate::engine::Fjall;
use crate::open::{Kind, OpenError, open};
use crate::options::Options;
use crate::read::{Published, Reader, Snapshot};
use crate::space::{DiskSpace, probe};

/// One open database, and the thread that commits to it.
///
/// Dropping it writes and answers the queued commits, flushes what the journal holds (unless the store is poisoned; for
/// some seconds at most), stops the thread and closes the database, all before the drop returns. If it is dropped on the
/// committer thread itself, from within a reply, the drop cannot wait for that thread, which closes the database right
/// after the reply.
pub struct Store {
    shared: Arc<Shared>,
    pub(crate) published: Arc<Published<Fjall>>,
    committer: Option<JoinHandle<()>>,
    pub(crate) dir: PathBuf,
    /// How long to wait for flushes.
    pub(crate) stall_limit: Duration,
    pub(crate) space: DiskSpace,
}

/// All handles can be shared between threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Store>();
    shared::<Reader>();
    shared::<Writer>();
    shared::<Snapshot>();
};

impl Store {
    /// Opens the store in `dir`, creating folder and store if they do not exist.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what is wrong, where, and what to do. Nothing that was acknowledged was changed.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = open(dir, &options, Kind::Single)?;
        let stall_limit = Duration::from_millis(options.stall_limit_ms);
        let space = DiskSpace::new(dir, options.reserve_bytes, options.free_space.clone());
        let shared = Arc::new(Shared::new(options.commit_queue, options.commit_queue_bytes));
        let (mut committer, published) = Committer::new(dir, opened, options, Arc::clone(&shared));
        committer.check_disk_room();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(OpenError::io("starting the committer thread of", dir))?;
        Ok(Self { shared, published, committer: Some(thread), dir: dir.to_owned(), stall_limit, space })
    }

    /// A handle to read with.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.published))
    }

    /// The store as of the last fsync; the same as `reader().snapshot()`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.reader().snapshot()
    }

    /// A handle to commit with.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(Arc::clone(&self.shared))
    }

    /// See [`Writer::commit`].
    ///
    /// # Errors
    ///
    /// [`CommitError`], if the commit was not queued; `reply` is not called then.
    pub fn commit(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.writer().commit(commit, reply)
    }

    /// See [`Writer::commit_blocking`].
    ///
    /// # Errors
    ///
    /// [`CommitError`], if the commit was not queued or not completed.
    pub fn commit_blocking(&self, commit: Commit) -> Result<Outcomes, CommitError> {
        self.writer().commit_blocking(commit)
    }

    /// Has `listener` called once, with the reason, when the store is poisoned; at once if it already is.
    pub fn on_poisoned(&self, listener: impl FnOnce(&str) + Send + 'static) {
        self.shared.on_poisoned(listener);
    }

    /// Whether the store takes commits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Writes, syncs and removes a small file in a store's folder, to find out whether a poisoned store can be opened
    /// again. Needs no store, and works while one is open.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn probe(dir: &Path) -> std::io::Result<()> {
        probe(dir)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.close();
        let Some(committer) = self.committer.take() else { return };
        if committer.thread().id() == std::thread::current().id() {
            return;
        }
        if committer.join().is_err() {
            tracing::error!("the committer thread panicked outside of a commit");
        }
    }
}
