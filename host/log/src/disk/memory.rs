//! A disk in memory that loses power: for tests and simulations.
//!
//! What was not synced when the power fails is kept or lost block by block, by chance, as a disk does it that writes its
//! cache in any order. Names that were not synced are kept up to a random one of their changes, as by a journaling file
//! system.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Folder, FolderFile};

/// Unit in which unsynced writes are kept or lost. 512: the smallest block that disks write as a whole.
const BLOCK_BYTES: usize = 512;

/// A disk with one folder.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    counts: Arc<Counts>,
}

/// The folder of a [`MemoryDisk`] until the next loss of power.
#[derive(Clone)]
pub struct MemoryFolder {
    disk: MemoryDisk,
    /// Lives of the disk before this one.
    life: u64,
}

#[derive(Default)]
struct State {
    life: u64,
    /// Contents of files by their number, whatever names they have.
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    /// Names as of the last sync of the folder, and after each change since.
    synced_names: BTreeMap<String, u64>,
    unsynced_names: Vec<BTreeMap<String, u64>>,
    next_file: u64,
    is_locked: bool,
    /// Operations until one fails, and all after it.
    fails_after: Option<u64>,
    /// No file may grow.
    is_full: bool,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Places of unsynced writes in `bytes`.
    unsynced: Vec<Range<usize>>,
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    syncs: AtomicU64,
}

struct MemoryFile {
    disk: MemoryDisk,
    life: u64,
    file: u64,
}

struct MemoryLock {
    disk: MemoryDisk,
    life: u64,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The folder, for a process that uses the disk until the next loss of power.
    #[must_use]
    pub fn folder(&self) -> MemoryFolder {
        MemoryFolder { disk: self.clone(), life: self.state.lock().life }
    }

    /// Syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.counts.syncs.load(Ordering::SeqCst)
    }

    /// Writes to files so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.counts.writes.load(Ordering::SeqCst)
    }

    /// Has every write, sync and change of names fail after so many more of them.
    pub fn fail_after(&self, operations: u64) {
        self.state.lock().fails_after = Some(operations);
    }

    /// Fills the disk, or makes room: on a full one no file can be created or grow.
    pub fn fill(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    /// Ends the failing of [`fail_after`](Self::fail_after).
    pub fn heal(&self) {
        self.state.lock().fails_after = None;
    }

    /// Fails the power. `below(n)` draws a number below `n`. Folders and files from before are unusable then.
    pub fn cut(&self, below: &mut dyn FnMut(usize) -> usize) {
        let mut state = self.state.lock();
        state.life += 1;
        state.is_locked = false;
        state.fails_after = None;
        let kept = below(state.unsynced_names.len() + 1);
        if let Some(kept) = kept.checked_sub(1) {
            state.synced_names = state.unsynced_names[kept].clone();
        }
        state.names = state.synced_names.clone();
        state.unsynced_names.clear();
        let State { files, names, .. } = &mut *state;
        files.retain(|file, _| names.values().any(|named| named == file));
        for file in files.values_mut() {
            file.cut(below);
        }
    }

    /// The contents of a file. `None` if there is none.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        Some(state.files.get(state.names.get(name)?)?.bytes.clone())
    }
}

impl State {
    /// Counts a change; an error if it is to fail.
    fn change(&mut self, life: u64) -> io::Result<()> {
        if life != self.life {
            return Err(io::Error::other("the power has failed"));
        }
        match &mut self.fails_after {
            Some(0) => Err(io::Error::other("the disk fails")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn renamed(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }
}

impl File {
    fn cut(&mut self, below: &mut dyn FnMut(usize) -> usize) {
        let mut left = self.synced.clone();
        for range in std::mem::take(&mut self.unsynced) {
            let mut at = range.start;
            while at < range.end {
                let end = ((at / BLOCK_BYTES + 1) * BLOCK_BYTES).min(range.end);
                if below(2) == 1 {
                    left.resize(left.len().max(end), 0);
                    left[at..end].copy_from_slice(&self.bytes[at..end]);
                }
                at = end;
            }
        }
        self.synced = left.clone();
        self.bytes = left;
    }
}

impl Folder for MemoryFolder {
    fn describe(&self) -> String {
        "a disk in memory".into()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.state.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FolderFile>>> {
        let file = self.disk.state.lock().names.get(name).copied();
        Ok(file.map(|file| {
            Arc::new(MemoryFile { disk: self.disk.clone(), life: self.life, file }) as Arc<dyn FolderFile>
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        if state.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, File::default());
        state.names.insert(name.to_owned(), file);
        state.renamed();
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), life: self.life, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.renamed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.renamed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        if std::mem::replace(&mut state.is_locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryLock { disk: self.disk.clone(), life: self.life })))
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life {
            state.is_locked = false;
        }
    }
}

impl MemoryFile {
    fn with<T>(&self, use_file: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        use_file(state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?)
    }

    fn change(&self, change: impl FnOnce(&mut File, bool) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(self.life)?;
        let is_full = state.is_full;
        change(state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?, is_full)
    }
}

impl FolderFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.bytes.len() as u64))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            let bytes = file.bytes.get(at..).and_then(|bytes| bytes.get(..buffer.len()));
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.counts.writes.fetch_add(1, Ordering::SeqCst);
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(|file, is_full| {
            let range = at..at + bytes.len();
            if is_full && range.end > file.bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.bytes.resize(file.bytes.len().max(range.end), 0);
            file.bytes[range.clone()].copy_from_slice(bytes);
            file.unsynced.push(range);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.counts.syncs.fetch_add(1, Ordering::SeqCst);
        self.change(|file, _| {
            let File { bytes, synced, unsynced } = file;
            synced.resize(bytes.len(), 0);
            for range in unsynced.drain(..) {
                synced[range.clone()].copy_from_slice(&bytes[range]);
            }
            Ok(())
        })
    }

    fn evict(&self) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{BLOCK_BYTES, MemoryDisk};
    use crate::disk::Folder as _;

    #[test]
    fn a_cut_loses_unsynced_blocks_and_names_by_chance() {
        let disk = MemoryDisk::new();
        let folder = disk.folder();
        let file = folder.create("a").unwrap();
        file.write(0, &[1; 3 * BLOCK_BYTES]).unwrap();
        file.sync().unwrap();
        folder.sync().unwrap();
        file.write(0, &[2; 3 * BLOCK_BYTES]).unwrap();
        folder.rename("a", "b").unwrap();
        // Names: the first outcome of two. Blocks: the second one is kept.
        let mut draws = [0, 0, 1, 0].into_iter();
        disk.cut(&mut |_| draws.next().unwrap());
        let left = disk.contents("a").unwrap();
        let blocks: Vec<u8> = left.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
        assert_eq!(blocks, [1, 2, 1]);
        assert!(disk.contents("b").is_none());
        assert!(file.write(0, b"late").is_err() && folder.create("c").is_err(), "its process has ended");
        assert!(disk.folder().create("c").is_ok());
    }

    #[test]
    fn a_failing_disk_fails_until_it_is_healed() {
        let disk = MemoryDisk::new();
        let file = disk.folder().create("a").unwrap();
        disk.fail_after(1);
        file.write(0, b"a").unwrap();
        assert!(file.sync().is_err() && file.write(0, b"a").is_err());
        disk.heal();
        file.sync().unwrap();
        assert_eq!((disk.writes(), disk.syncs()), (2, 2));
    }

    #[test]
    fn only_one_holds_the_lock() {
        let disk = MemoryDisk::new();
        let lock = disk.folder().lock("lock").unwrap();
        assert!(lock.is_some() && disk.folder().lock("lock").unwrap().is_none());
        drop(lock);
        assert!(disk.folder().lock("lock").unwrap().is_some());
    }
}
